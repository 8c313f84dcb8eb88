//! The bookkeeper: makes the ledger of a job durable that asks for one.
//!
//! What the trainer has recorded becomes a file before each part of a checkpoint is told, and
//! every few seconds between. Records that could not be written stay, and so do those of a
//! generation that has ended: they are in the first file of the next one.

use std::{future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use phalanx_protocol::{ledger, message::Assignment};
use phalanx_storage::{StorageError, Store};
use phalanx_train::Ledger;
use tokio::{
    sync::Mutex,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, warn};

/// Between two files, where there are no checkpoints.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// Makes records of one rank of one generation durable.
#[derive(Debug)]
pub(crate) struct Bookkeeper {
    assignment: Assignment,
    store: Store,
    /// `None` where the job wants no ledger.
    ledger: Option<Arc<Ledger>>,
    /// Number of the next file. Held while one is written.
    segment: Mutex<u32>,
}

impl Bookkeeper {
    pub(crate) fn new(assignment: Assignment, store: Store, ledger: Option<Arc<Ledger>>) -> Self {
        Self { assignment, store, ledger, segment: Mutex::default() }
    }

    /// Makes everything durable that is recorded now.
    pub(crate) async fn save(&self) -> Result<(), StorageError> {
        let Some(records) = &self.ledger else { return Ok(()) };
        let mut segment = self.segment.lock().await;
        let entries = records.unsaved();
        if entries.is_empty() {
            return Ok(());
        }
        let Assignment { job, generation, rank, .. } = &self.assignment;
        let path = ledger::path(job, *generation, *rank, *segment);
        // Whether a file that fails is there is not known: its name is not used again.
        *segment += 1;
        self.store.create(&path, Bytes::from(ledger::to_text(&entries))).await?;
        debug!(path, records = entries.len(), "ledger written");
        records.saved(&entries);
        Ok(())
    }

    /// What `training` gives. Meanwhile, saves now and then.
    pub(crate) async fn while_training<T>(&self, training: impl Future<Output = T>) -> T {
        tokio::select! {
            ended = training => ended,
            () = self.save_now_and_then() => unreachable!("it has no end"),
        }
    }

    async fn save_now_and_then(&self) {
        if self.ledger.is_none() {
            return pending().await;
        }
        let mut ticks = interval(SAVE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.save().await {
                // They stay, and the next checkpoint waits for them.
                warn!(%error, "ledger not written");
            }
        }
    }
}

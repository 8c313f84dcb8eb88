//! The checkpointer: an actor that writes this rank's parts of checkpoints while
//! training goes on.
//!
//! It writes one part at a time and one more waits in its mailbox; the trainer
//! waits when both places are taken. Leaving out the one that waits would be
//! quicker, but each rank would leave out others, and a checkpoint is whole only
//! with the parts of all ranks: a store that is too slow for the job's
//! `checkpoint.every` would then never have a whole one.
//!
//! Where a part cannot be written it tells that at once, and training goes on until
//! the coordinator ends the generation: a rank that closed its connections first
//! would make its peers report a lost peer, and the reason might come second.
//!
//! Invariants:
//!
//! 1. After the answer to [`Flush`], the parts of all snapshots that were handed over before are
//!    durable and reported, or a failure is.
//! 2. A part is reported after this rank's records of the ledger are durable, up to the snapshot's step.

use std::{sync::Arc, time::Instant};

use kameo::{
    Actor,
    actor::{ActorRef, Spawn as _},
    error::Infallible,
    mailbox,
    message::{Context, Message},
};
use phalanx_protocol::{
    message::{Assignment, CheckpointPart, Event},
    reference::FileRef,
};
use phalanx_storage::{StorageError, Store};
use phalanx_train::Snapshot;
use tracing::{Instrument as _, Span, info, warn};

use crate::{bookkeeper::Bookkeeper, failure, metrics, orders::Orders, outbox::Reports};

/// Snapshots that wait while one is written.
const WAITING_MAX: usize = 1;

/// Writes this rank's parts of checkpoints.
pub(crate) struct Checkpointer {
    assignment: Assignment,
    store: Store,
    bookkeeper: Arc<Bookkeeper>,
    reports: Reports,
    orders: Arc<Orders>,
    /// Whether a part could not be written. After that no other one is.
    failed: bool,
}

impl Checkpointer {
    /// Starts the actor for one rank of one generation.
    pub(crate) fn start(
        assignment: Assignment,
        store: Store,
        bookkeeper: Arc<Bookkeeper>,
        reports: Reports,
        orders: Arc<Orders>,
    ) -> ActorRef<Self> {
        let checkpointer = Self { assignment, store, bookkeeper, reports, orders, failed: false };
        Self::spawn_with_mailbox(checkpointer, mailbox::bounded(WAITING_MAX))
    }

    async fn write(&self, snapshot: Arc<Snapshot>) -> Result<FileRef, StorageError> {
        let Assignment { job, generation, rank, .. } = &self.assignment;
        let (rank, world_size) = (rank.get(), self.assignment.world_size());
        let folder = format!("checkpoints/{job}/g{generation}-s{}", snapshot.step());
        let path = format!("{folder}/part-{rank}-of-{world_size}.safetensors");
        let part = tokio::task::spawn_blocking(move || snapshot.part(rank, world_size)).await;
        let part = part.map_err(|panic| StorageError::Other(format!("{path}: {panic}")))?;
        let written = tokio::try_join!(self.store.create(&path, part), self.bookkeeper.save());
        written.map(|(file, ())| file)
    }

    async fn save(&mut self, snapshot: Arc<Snapshot>) {
        let begun = Instant::now();
        let step = snapshot.step();
        match self.orders.unless_over(self.write(Arc::clone(&snapshot))).await {
            Ok(Ok(file)) => {
                let elapsed = begun.elapsed();
                metrics::checkpointed(file.bytes, elapsed);
                info!(step, bytes = file.bytes, ?elapsed, "checkpoint part written");
                self.reports.tell(Event::CheckpointPart(Box::new(CheckpointPart {
                    step,
                    cursor: snapshot.cursor(),
                    rank: self.assignment.rank,
                    state_hash: snapshot.state_hash().to_owned(),
                    file,
                    progress_json: snapshot.progress_json().to_owned(),
                })));
            }
            Ok(Err(error)) => {
                warn!(step, %error, "checkpoint part not written");
                self.failed = true;
                metrics::failed();
                self.reports.tell(Event::Failed(failure::write(&error)));
            }
            Err(_over) => {}
        }
    }
}

impl Actor for Checkpointer {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(this: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(this)
    }
}

/// A snapshot whose part is to be written.
pub(crate) struct Save {
    /// It.
    pub(crate) snapshot: Snapshot,
    /// The span that covers the writing.
    pub(crate) span: Span,
}

impl Message<Save> for Checkpointer {
    type Reply = ();

    async fn handle(&mut self, Save { snapshot, span }: Save, _: &mut Context<Self, ()>) {
        if !self.failed {
            self.save(Arc::new(snapshot)).instrument(span).await;
        }
    }
}

/// Asks whether all that was handed over is durable.
pub(crate) struct Flush;

/// A part could not be written, which was told.
#[derive(Debug)]
pub(crate) struct NotDurable;

impl Message<Flush> for Checkpointer {
    type Reply = Result<(), NotDurable>;

    async fn handle(&mut self, _: Flush, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        if self.failed { Err(NotDurable) } else { Ok(()) }
    }
}

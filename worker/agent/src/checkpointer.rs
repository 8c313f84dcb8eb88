//! The checkpointer: an actor that writes this rank's parts of checkpoints while
//! training goes on.
//!
//! It has one *place*: a checkpoint is begun only when it is free on all ranks, which
//! they tell each other with every step. So training never waits for the store, and a checkpoint that is begun
//! has the parts of all ranks in the end. Did each rank leave out what it has no
//! place for, each would leave out others, and under a store that is too slow for
//! the job's `checkpoint.every` none would ever be whole. One that is due while the
//! place is taken is begun as soon as it is free, with the state of that moment. The last state of
//! a rank that stops or is done has no place and waits in the mailbox: no step comes after it.
//!
//! A store that is away is waited for as long as the generation lasts. Where a part
//! cannot be written for another reason it tells that at once, and training goes on until
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
use tokio::{sync::OwnedSemaphorePermit, task::spawn_blocking};
use tracing::{Instrument as _, Span, info, warn};

use crate::{
    bookkeeper::Bookkeeper,
    failure, metrics,
    orders::Orders,
    outbox::Reports,
    patience::{self, StorePatience},
};

/// Snapshots that wait while one is written: the last one.
const WAITING_MAX: usize = 1;

/// Writes this rank's parts of checkpoints.
pub(crate) struct Checkpointer {
    assignment: Assignment,
    store: Store,
    bookkeeper: Arc<Bookkeeper>,
    reports: Reports,
    orders: Arc<Orders>,
    patience: StorePatience,
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
        let patience = patience::with_store(&store, &reports);
        let checkpointer = Self { assignment, store, bookkeeper, reports, orders, patience, failed: false };
        Self::spawn_with_mailbox(checkpointer, mailbox::bounded(WAITING_MAX))
    }

    async fn write(&mut self, snapshot: Arc<Snapshot>) -> Result<FileRef, StorageError> {
        let Assignment { job, generation, rank, .. } = &self.assignment;
        let (rank, world_size) = (rank.get(), self.assignment.world_size());
        let folder = format!("checkpoints/{job}/g{generation}-s{}", snapshot.step());
        let path = format!("{folder}/part-{rank}-of-{world_size}.safetensors");
        let panicked = |panic| StorageError::Other(format!("{path}: {panic}"));
        let taken = Arc::clone(&snapshot);
        let part = spawn_blocking(move || taken.part(rank, world_size)).await.map_err(panicked)?;
        // Beside the disk, and told with the part.
        let hashing = spawn_blocking(move || {
            snapshot.state_hash();
        });
        let creating = self.patience.call(|| self.store.create(&path, part.clone()));
        let (hashed, created) = tokio::join!(hashing, creating);
        hashed.map_err(panicked)?;
        let file = created?;
        self.patience.call(|| self.bookkeeper.save()).await?;
        Ok(file)
    }

    async fn save(&mut self, snapshot: Arc<Snapshot>) {
        let begun = Instant::now();
        let step = snapshot.step();
        let orders = Arc::clone(&self.orders);
        match orders.unless_over(self.write(Arc::clone(&snapshot))).await {
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
    /// Its place, if it has one; given back when it is durable.
    pub(crate) place: Option<OwnedSemaphorePermit>,
    /// The span that covers the writing.
    pub(crate) span: Span,
}

impl Message<Save> for Checkpointer {
    type Reply = ();

    async fn handle(&mut self, Save { snapshot, place, span }: Save, _: &mut Context<Self, ()>) {
        if !self.failed {
            self.save(Arc::new(snapshot)).instrument(span).await;
        }
        drop(place);
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

//! One rank's work for one generation, from the data set to the last report.
//!
//! ```text
//! load data set and checkpoint ─► connect and train (own thread) ─► parts durable ─► Stopped
//!                                          │                                      └► files of the model durable (rank 0) ─► Finished
//!                                          └► Save ─► checkpointer ─► CheckpointPart
//! ```
//!
//! Invariants:
//!
//! 1. `Stopped` and `Finished` are told after everything that belongs to them is durable.
//! 2. One of `Stopped`, `Finished` and `Failed` is told at the most, and nothing after it.
//! 3. When this ends, the trainer's thread has ended.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use kameo::{actor::ActorRef, error::SendError};
use phalanx_collective::Listener;
use phalanx_data::Dataset;
use phalanx_protocol::{
    message::{Assignment, Event, Failure, Finished, Timeouts},
    reference::{FileRef, ModelArtifact},
};
use phalanx_storage::Store;
use phalanx_telemetry::set_parent;
use phalanx_train::{Ending, ExportedModel, Outcome, Snapshot, Tasks};
use tokio::time::sleep;
use tracing::{Instrument as _, info, info_span, warn};

use crate::{
    checkpointer::{Checkpointer, Flush, NotDurable},
    failure, metrics,
    orders::{Orders, Over},
    outbox::Reports,
    restore::restore,
    trainer::Trainer,
};

/// How long the loss of a peer is kept back: a rank that ends for a reason of its own
/// says so first, and the job fails or pauses with that reason.
const PEER_HOLD: Duration = Duration::from_millis(200);

/// One rank's work for one generation.
pub(crate) struct Training {
    pub(crate) assignment: Assignment,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) store: Store,
    pub(crate) cache: Arc<Path>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) timeouts: Timeouts,
    pub(crate) threads: usize,
    pub(crate) reports: Reports,
    pub(crate) orders: Arc<Orders>,
}

/// Why the work ended without an ending of its own.
enum Ended {
    /// The generation is over, or the reason was told already.
    Silently,
    Failed(Failure),
}

impl From<Over> for Ended {
    fn from(_: Over) -> Self {
        Self::Silently
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Training {
    /// Works until the rank has told how it ended, or its generation is over.
    pub(crate) async fn run(self) {
        let Assignment { job, generation, rank, trace, .. } = &self.assignment;
        let world_size = self.assignment.world_size();
        let span = info_span!("train", %job, %generation, %rank, world_size);
        if let Some(parent) = trace {
            set_parent(&span, parent);
        }
        self.work().instrument(span).await;
    }

    async fn work(self) {
        metrics::generation();
        let (reports, orders) = (self.reports.clone(), Arc::clone(&self.orders));
        match self.try_work().await {
            Ok(event) => event.into_iter().for_each(|event| reports.tell(event)),
            Err(Ended::Failed(failure)) if !orders.is_over() => {
                metrics::failed();
                warn!(?failure, "training cannot go on");
                if matches!(failure, Failure::Peer { .. }) {
                    // Where it is over meanwhile, nothing is told.
                    let _ = orders.unless_over(sleep(PEER_HOLD)).await;
                }
                reports.tell(Event::Failed(failure));
            }
            Err(Ended::Failed(_) | Ended::Silently) => info!("generation is over"),
        }
    }

    /// Gives what is told last; on all ranks but the first there is nothing to tell of a finished job.
    async fn try_work(self) -> Result<Option<Event>, Ended> {
        let orders = Arc::clone(&self.orders);
        let (dataset, restored) = orders.unless_over(self.load()).await??;
        let checkpointer = Checkpointer::start(
            self.assignment.clone(),
            self.store.clone(),
            self.reports.clone(),
            Arc::clone(&orders),
        );
        let trainer = Trainer {
            assignment: self.assignment.clone(),
            dataset,
            tasks: Arc::clone(&self.tasks),
            restored,
            listener: Arc::clone(&self.listener),
            timeouts: self.timeouts,
            reports: self.reports.clone(),
            checkpointer: checkpointer.clone(),
            orders: Arc::clone(&orders),
        };
        let resumed_from = self.assignment.resume.as_ref().map(|from| from.manifest.path.as_str());
        let ended = trainer.run(self.threads).await.map_err(|error| error.into_failure(resumed_from))?;
        orders.unless_over(flush(&checkpointer)).await??;
        match ended {
            Ending::Stopped { step } => Ok(Some(Event::Stopped { step })),
            Ending::Finished(outcome) => Ok(orders.unless_over(self.finish(*outcome)).await??),
        }
    }

    /// Fetches what training begins with.
    async fn load(&self) -> Result<(Arc<Dataset>, Option<Snapshot>), Failure> {
        let dataset = Dataset::open(&self.assignment.dataset, &self.store, &self.cache).await;
        let dataset = dataset.map_err(|error| failure::open(&error))?;
        Ok((Arc::new(dataset), restore(&self.store, &self.assignment).await?))
    }

    /// Writes the model's files, where this rank has them.
    async fn finish(&self, outcome: Outcome) -> Result<Option<Event>, Failure> {
        let Outcome { step, cursor, stopped_early, evaluation, state_hash, sample, model } = outcome;
        let Some(model) = model else { return Ok(None) };
        let artifact = self.publish(model).await?;
        info!(step, state_hash, "job finished");
        Ok(Some(Event::Finished(Box::new(Finished {
            step,
            cursor,
            stopped_early,
            metrics: evaluation.metrics,
            undefined: evaluation.undefined,
            confusion: evaluation.confusion,
            state_hash,
            artifact,
            sample,
        }))))
    }

    async fn publish(&self, model: ExportedModel) -> Result<ModelArtifact, Failure> {
        let Assignment { job, generation, .. } = &self.assignment;
        let folder = format!("artifacts/{job}/g{generation}");
        let weights = self.create(format!("{folder}/model.safetensors"), model.weights).await?;
        let description = self.create(format!("{folder}/description.json"), model.description).await?;
        Ok(ModelArtifact { weights, description })
    }

    async fn create(&self, path: String, content: Bytes) -> Result<FileRef, Failure> {
        self.store.create(&path, content).await.map_err(|error| failure::write(&error))
    }
}

/// Waits until the parts of all snapshots are durable.
async fn flush(checkpointer: &ActorRef<Checkpointer>) -> Result<(), Ended> {
    match checkpointer.ask(Flush).await {
        Ok(()) => Ok(()),
        Err(SendError::HandlerError(NotDurable)) => Err(Ended::Silently),
        // Only a panic ends it before the work does.
        Err(_) => Err(Failure::Peer { reason: "the checkpointer has ended".to_owned() }.into()),
    }
}

//! One rank's work for one generation, from the data set to the last report.
//!
//! ```text
//! open data set ─► connect, hand over, train (own thread) ─► parts durable ─► Stopped
//!                            │                                   └► files of the model durable (rank 0) ─► Finished
//!                            └► Save ─► checkpointer ─► CheckpointPart
//! ```
//!
//! Invariants:
//!
//! 1. `Stopped` and `Finished` are told after everything that belongs to them is durable.
//! 2. One of `Stopped`, `Finished` and `Failed` is told at the most, and nothing after it.
//! 3. When this ends, the trainer's thread has ended.
//! 4. What the next generation can use is kept, however this one ends.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use kameo::{actor::ActorRef, error::SendError};
use phalanx_assess::needs_columns;
use phalanx_collective::Listener;
use phalanx_data::{Cache, Dataset, OpenError, RawRows, Split};
use phalanx_protocol::{
    message::{Assignment, Event, Failure, Finished, Timeouts},
    reference::{FileRef, ModelArtifact},
};
use phalanx_report::Report;
use phalanx_storage::Store;
use phalanx_telemetry::set_parent;
use phalanx_train::{Ended, Ending, ExportedModel, Outcome, Tasks};
use tokio::{sync::mpsc, time::timeout};
use tracing::{Instrument as _, error, info, info_span, warn};

use crate::{
    bookkeeper::Bookkeeper,
    checkpointer::{Checkpointer, Flush, NotDurable},
    error::AgentError,
    evaluation::{Evaluated, Evaluation, KeptPredictions, RawTable, fetch, write_predictions},
    failure,
    kept::{Kept, open},
    kind::machine_kind,
    metrics,
    orders::{Orders, Over},
    outbox::Reports,
    pace::PaceMeter,
    patience::{self, StorePatience},
    trainer::Trainer,
    watch::{Watch, until_dead},
};

/// The longest that a worker whose trainer is stuck waits until the coordinator has heard of it.
const LAST_WORD_MAX: Duration = Duration::from_secs(1);

/// One rank's work for one generation.
pub(crate) struct Training {
    pub(crate) assignment: Assignment,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) store: Store,
    pub(crate) cache: Cache,
    pub(crate) listener: Arc<Listener>,
    pub(crate) timeouts: Timeouts,
    pub(crate) threads: usize,
    pub(crate) reports: Reports,
    pub(crate) orders: Arc<Orders>,
    pub(crate) pace: PaceMeter,
    /// Takes the reason for which the process must end.
    pub(crate) fatal: mpsc::Sender<AgentError>,
}

/// Why the work ended without an ending of its own.
enum Unended {
    /// The generation is over, or the reason was told already.
    Silently,
    Failed(Failure),
}

impl From<Over> for Unended {
    fn from(_: Over) -> Self {
        Self::Silently
    }
}

impl From<Failure> for Unended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Training {
    /// Works until the rank has told how it ended, or its generation is over. Takes what is
    /// kept of earlier generations of the job, and gives what the next one can use.
    pub(crate) async fn run(self, kept: Option<Kept>) -> Option<Kept> {
        let Assignment { job, generation, rank, trace, .. } = &self.assignment;
        let world_size = self.assignment.world_size();
        let span = info_span!("train", %job, %generation, %rank, world_size);
        if let Some(parent) = trace {
            set_parent(&span, parent);
        }
        Box::pin(self.work(kept)).instrument(span).await
    }

    async fn work(self, mut kept: Option<Kept>) -> Option<Kept> {
        metrics::generation();
        match Box::pin(self.try_work(&mut kept)).await {
            Ok(event) => event.into_iter().for_each(|event| self.reports.tell(event)),
            Err(Unended::Failed(failure)) if !self.orders.is_over() => {
                metrics::failed();
                warn!(?failure, "training cannot go on");
                self.reports.tell(Event::Failed(failure));
            }
            Err(Unended::Failed(_) | Unended::Silently) => info!("generation is over"),
        }
        kept
    }

    /// Gives what is told last; on all ranks but the first there is nothing to tell of a finished job.
    async fn try_work(&self, kept: &mut Option<Kept>) -> Result<Option<Event>, Unended> {
        let orders = &self.orders;
        let Assignment { job, dataset, .. } = &self.assignment;
        let opening = open(kept, job, dataset, (&self.store, &self.reports), &self.cache);
        let dataset: Arc<Dataset> = orders.unless_over(opening).await??;
        let watch = Arc::new(Watch::new(Arc::clone(&dataset), Arc::clone(orders)));
        tokio::select! {
            told = self.train(dataset, kept, &watch) => told,
            never = self.end_when_stuck(&watch) => match never {},
        }
    }

    /// Trains, and makes durable what comes of it.
    async fn train(
        &self,
        dataset: Arc<Dataset>,
        kept: &mut Option<Kept>,
        watch: &Arc<Watch>,
    ) -> Result<Option<Event>, Unended> {
        let orders = &self.orders;
        let held = kept.as_mut().and_then(|kept| kept.model.take());
        let ledger = kept.as_ref().map(|kept| Arc::clone(&kept.ledger));
        let ledger = ledger.filter(|_| self.assignment.spec.train.ledger);
        let bookkeeper =
            Arc::new(Bookkeeper::new(self.assignment.clone(), self.store.clone(), ledger.clone()));
        let checkpointer = Checkpointer::start(
            self.assignment.clone(),
            self.store.clone(),
            Arc::clone(&bookkeeper),
            self.reports.clone(),
            Arc::clone(orders),
        );
        let trainer = Trainer {
            assignment: self.assignment.clone(),
            dataset: Arc::clone(&dataset),
            tasks: Arc::clone(&self.tasks),
            held,
            ledger,
            store: self.store.clone(),
            listener: Arc::clone(&self.listener),
            timeouts: self.timeouts,
            reports: self.reports.clone(),
            checkpointer: checkpointer.clone(),
            orders: Arc::clone(orders),
            pace: self.pace.clone(),
            watch: Arc::clone(watch),
        };
        let resumed_from = self.assignment.resume.as_ref().map(|from| from.manifest.path.as_str());
        let ended = bookkeeper.while_training(trainer.run(self.threads)).await;
        watch.ends();
        let ended = ended.map_err(|error| error.into_failure(resumed_from))?;
        let Ended { ending, held } = ended;
        let step = held.as_ref().map_or(0, |held| held.step());
        if let Some(kept) = kept {
            kept.model = held;
        }
        let ending = ending.map_err(|error| match failure::train(&error, resumed_from) {
            Failure::Peer { reason, .. } => Failure::Peer { reason, step },
            own => own,
        })?;
        if orders.vote().awaits_store() {
            orders.unless_over(flush(&checkpointer)).await??;
        }
        match ending {
            Ending::Stopped { step } => Ok(Some(Event::Stopped { step })),
            Ending::Finished(outcome) => {
                Ok(orders.unless_over(Box::pin(self.finish(dataset, outcome))).await??)
            }
        }
    }

    /// A trainer that is stuck cannot be ended, and neither can a call to a dead disk: the process is.
    /// Never returns, since the thread may not be left (invariant 3).
    async fn end_when_stuck(&self, watch: &Watch) -> Infallible {
        let (limit, disk_limit) = (self.timeouts.exchange(&self.assignment.spec.train), self.timeouts.step);
        let error = tokio::select! {
            () = watch.until_stuck(limit) => AgentError::Stuck { limit },
            () = until_dead(&self.store, disk_limit) => AgentError::DeadDisk { limit: disk_limit },
        };
        error!(%error, "this worker cannot go on");
        self.reports.tell(Event::Failed(failure::peer(error.to_string())));
        let _ = timeout(LAST_WORD_MAX, self.reports.heard()).await;
        // Where it ends already, that is for another reason.
        let _ = self.fatal.try_send(error);
        pending().await
    }

    /// Evaluates the model and writes its files, where this rank has it.
    async fn finish(&self, dataset: Arc<Dataset>, outcome: Box<Outcome>) -> Result<Option<Event>, Failure> {
        if outcome.model.is_none() {
            return Ok(None);
        }
        let Evaluated { outcome, assessment, kept, report } = self.evaluate(dataset, outcome).await?;
        let Outcome { step, cursor, stopped_early, state_hash, sample, model, .. } = *outcome;
        let Some(model) = model else { return Ok(None) };
        let artifact = self.publish(model, kept.as_ref(), report).await?;
        info!(step, state_hash, "job finished");
        let (evaluation, moot) =
            assessment.map(|assessed| (assessed.evaluation, assessed.moot)).unwrap_or_default();
        let incumbents = self.assignment.incumbents.iter();
        Ok(Some(Event::Finished(Box::new(Finished {
            step,
            cursor,
            stopped_early,
            metrics: evaluation.metrics,
            undefined: evaluation.undefined,
            moot,
            compared: incumbents.map(|(named, incumbent)| (named.clone(), incumbent.version())).collect(),
            confusion: evaluation.confusion,
            state_hash,
            artifact,
            sample,
        }))))
    }

    /// Finds out what the model is worth. It computes on threads of its own, which end by themselves
    /// where the generation is over before.
    async fn evaluate(&self, dataset: Arc<Dataset>, outcome: Box<Outcome>) -> Result<Evaluated, Failure> {
        let mut patience = patience::with_store(&self.store, &self.reports);
        let device = self.tasks.device();
        let incumbents = fetch(&self.assignment, &self.store, &mut patience).await;
        let needed = needs_columns(&self.assignment.spec.evaluate) || incumbents.need_columns();
        let mut tables = [None, None];
        for (table, split) in tables.iter_mut().zip([Split::Test, Split::Validation]) {
            if needed {
                *table = self.table(&dataset, split, &mut patience).await?;
            }
        }
        let evaluation = Evaluation {
            tasks: Arc::clone(&self.tasks),
            incumbents,
            tables,
            assignment: self.assignment.clone(),
            dataset,
            outcome,
            machine: machine_kind(device),
            device: device.kind().unwrap_or("cpu").to_owned(),
        };
        let threads = self.threads;
        let evaluated = tokio::task::spawn_blocking(move || evaluation.run(threads)).await;
        let evaluated = evaluated
            .map_err(|panic| Failure::Job { reason: format!("the evaluation panicked: {panic}") })?;
        evaluated.map_err(|error| error.into_failure(None))
    }

    /// The columns of a split, where they were kept for all of its rows.
    async fn table(
        &self,
        dataset: &Dataset,
        split: Split,
        patience: &mut StorePatience,
    ) -> Result<Option<RawTable>, Failure> {
        let rows = loop {
            match patience.watch(RawRows::read(dataset.manifest(), split, &self.store)).await {
                Err(OpenError::Storage(error)) if error.is_transient() => patience.wait(&error).await,
                read => break read.map_err(|error| failure::open(&error))?,
            }
        };
        patience.done();
        Ok((rows.rows() as u64 == dataset.rows(split)).then_some(RawTable(rows)))
    }

    async fn publish(
        &self,
        model: ExportedModel,
        kept: Option<&KeptPredictions>,
        mut report: Report,
    ) -> Result<ModelArtifact, Failure> {
        let Assignment { job, generation, .. } = &self.assignment;
        let folder = format!("artifacts/{job}/g{generation}");
        let weights = self.create(format!("{folder}/model.safetensors"), model.weights).await?;
        let description =
            self.create(format!("{folder}/description.json"), model.description.to_json()).await?;
        let mut artifact = ModelArtifact::new(weights, description);
        let unwritten = |error: &dyn std::fmt::Display| Failure::Job { reason: error.to_string() };
        if let Some(kept) = kept {
            let content = write_predictions(kept).map_err(|error| unwritten(&error))?;
            artifact.predictions = Some(self.create(format!("{folder}/predictions.parquet"), content).await?);
        }
        report.identity.artifact = Some(artifact.clone());
        let json = report.to_json().map_err(|error| unwritten(&error))?;
        artifact.report = Some(self.create(format!("{folder}/report.json"), json.into()).await?);
        artifact.page = Some(self.create(format!("{folder}/report.html"), report.to_html().into()).await?);
        artifact.card =
            Some(self.create(format!("{folder}/README.md"), report.to_model_card().into()).await?);
        Ok(artifact)
    }

    async fn create(&self, path: String, content: Bytes) -> Result<FileRef, Failure> {
        let mut patience = patience::with_store(&self.store, &self.reports);
        let created = patience.call(|| self.store.create(&path, content.clone())).await;
        created.map_err(|error| failure::write(&error))
    }
}

/// Waits until the parts of all snapshots are durable.
async fn flush(checkpointer: &ActorRef<Checkpointer>) -> Result<(), Unended> {
    match checkpointer.ask(Flush).await {
        Ok(()) => Ok(()),
        Err(SendError::HandlerError(NotDurable)) => Err(Unended::Silently),
        // Only a panic ends it before the work does.
        Err(_) => Err(failure::peer("the checkpointer has ended".to_owned()).into()),
    }
}

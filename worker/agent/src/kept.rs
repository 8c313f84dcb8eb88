//! What a worker keeps of a job between two of its generations: the open data set, and the
//! state after the last step. It is given up when the worker begins to work on another job, or
//! is told that this one is over.

use std::sync::Arc;

use phalanx_data::{Cache, Dataset, OpenError};
use phalanx_protocol::{
    id::{JobId, TraceParent},
    message::{Event, Failure},
    reference::DatasetRef,
};
use phalanx_storage::Store;
use phalanx_telemetry::set_parent;
use phalanx_train::{Held, Ledger};
use tracing::{Instrument as _, info, info_span, warn};

use crate::{failure, metrics, orders::Orders, outbox::Reports, patience};

/// What a worker keeps of a job.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) job: JobId,
    /// Version of the data set.
    version: String,
    dataset: Arc<Dataset>,
    /// Absent before the first step, and where it cannot be trusted.
    pub(crate) model: Option<Held>,
    /// Records that are not durable yet, of a job that keeps a ledger.
    pub(crate) ledger: Arc<Ledger>,
}

/// The data set: the one that is kept, or else opened and kept from now on. Waits while the store is away.
pub(crate) async fn open(
    kept: &mut Option<Kept>,
    job: &JobId,
    wanted: &DatasetRef,
    (store, reports): (&Store, &Reports),
    cache: &Cache,
) -> Result<Arc<Dataset>, Failure> {
    if let Some(kept) = kept.as_ref().filter(|kept| kept.job == *job && kept.version == wanted.version) {
        return Ok(Arc::clone(&kept.dataset));
    }
    let mut patience = patience::with_store(store, reports);
    let opened = loop {
        match patience.watch(Dataset::open(wanted, store, cache)).await {
            Err(OpenError::Storage(error)) if error.is_transient() => patience.wait(&error).await,
            opened => break opened,
        }
    };
    patience.done();
    let dataset = Arc::new(opened.map_err(|error| failure::open(&error))?);
    let fresh = Kept {
        job: job.clone(),
        version: wanted.version.clone(),
        dataset: Arc::clone(&dataset),
        model: None,
        ledger: Arc::default(),
    };
    *kept = Some(fresh);
    Ok(dataset)
}

/// A newcomer's work before it joins a job: having the data set at hand.
pub(crate) struct Fetching {
    pub(crate) job: JobId,
    pub(crate) dataset: DatasetRef,
    pub(crate) trace: Option<TraceParent>,
    pub(crate) store: Store,
    pub(crate) cache: Cache,
    pub(crate) reports: Reports,
    pub(crate) orders: Arc<Orders>,
    pub(crate) kept: Option<Kept>,
}

impl Fetching {
    /// Works until the end has been told, or the worker is not wanted any more.
    pub(crate) async fn run(self) -> Option<Kept> {
        let span = info_span!("fetch", job = %self.job, version = self.dataset.version);
        if let Some(parent) = &self.trace {
            set_parent(&span, parent);
        }
        Box::pin(self.work()).instrument(span).await
    }

    async fn work(self) -> Option<Kept> {
        let Self { job, dataset, store, cache, reports, orders, mut kept, .. } = self;
        let opening = open(&mut kept, &job, &dataset, (&store, &reports), &cache);
        match orders.unless_over(opening).await {
            Ok(Ok(_)) => {
                info!("data set at hand");
                reports.tell(Event::Fetched);
            }
            Ok(Err(failure)) => {
                metrics::failed();
                warn!(?failure, "data set not at hand");
                reports.tell(Event::Failed(failure));
            }
            Err(_over) => info!("not wanted any more"),
        }
        kept
    }
}

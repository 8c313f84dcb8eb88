//! Preparing a job's data set: rank 0's work before its generation trains.
//!
//! Told to stop, it ends where it is. That does no harm: a dataset version is there
//! when its manifest is, which is written last, and what was stored before is used
//! when it is tried again.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use phalanx_data::{PrepareError, Prepared, Progress, Stage};
use phalanx_protocol::{
    id::TraceParent,
    message::Event,
    spec::{DataSpec, JobSpec, SourceSpec},
};
use phalanx_storage::Store;
use phalanx_telemetry::set_parent;
use tracing::{Instrument as _, info, info_span, warn};

use crate::{failure, metrics, orders::Orders, outbox::Reports, patience};

/// How often the coordinator hears how far it is.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// The preparing of one data set.
pub(crate) struct Preparation {
    pub(crate) spec: Box<JobSpec>,
    pub(crate) trace: Option<TraceParent>,
    pub(crate) store: Store,
    pub(crate) reports: Reports,
    pub(crate) orders: Arc<Orders>,
}

impl Preparation {
    /// Works until the end has been told, or the generation is over.
    pub(crate) async fn run(self) {
        let span = info_span!("prepare", job = self.spec.name);
        if let Some(parent) = &self.trace {
            set_parent(&span, parent);
        }
        Box::pin(self.work().instrument(span)).await;
    }

    async fn work(self) {
        let Self { spec, store, reports, orders, .. } = self;
        let mut telling = Telling::new(&spec.data, reports.clone());
        let mut tell = |progress| telling.tell(progress);
        let mut patience = patience::with_store(&store, &reports);
        let preparing = orders.unless_over(async {
            let prepared = loop {
                match Box::pin(patience.watch(phalanx_data::prepare(&spec.data, &store, &mut tell))).await {
                    Err(PrepareError::Storage(error)) if error.is_transient() => patience.wait(&error).await,
                    prepared => break prepared,
                }
            };
            patience.done();
            prepared
        });
        let prepared = tokio::select! {
            prepared = preparing => prepared,
            () = orders.stopping() => {
                info!("preparing stopped");
                return reports.tell(Event::Stopped { step: 0 });
            }
        };
        match prepared {
            Ok(Ok(Prepared { dataset, found, summary })) => {
                info!(version = dataset.version, found, summary, "data set prepared");
                reports.tell(Event::Prepared { dataset, found, summary });
            }
            Ok(Err(error)) => {
                metrics::failed();
                warn!(%error, "data set not prepared");
                reports.tell(Event::Failed(failure::prepare(&error)));
            }
            Err(_over) => info!("generation is over"),
        }
    }
}

/// What the coordinator is told meanwhile.
struct Telling {
    reports: Reports,
    path: PathBuf,
    /// Size of the source; 0 where it cannot be seen, which preparing will say.
    total_bytes: u64,
    last: Option<(Stage, Instant)>,
}

impl Telling {
    fn new(spec: &DataSpec, reports: Reports) -> Self {
        let source = spec.source();
        let path = source.and_then(SourceSpec::path).map_or_else(PathBuf::new, Path::to_owned);
        let total_bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
        Self { reports, path, total_bytes, last: None }
    }

    fn tell(&mut self, Progress { stage, fraction }: Progress) {
        let now = Instant::now();
        if self.last.is_some_and(|(last, at)| last == stage && now - at < TELL_EVERY) {
            return;
        }
        self.last = Some((stage, now));
        let doing = match stage {
            Stage::Hash => "hashing",
            Stage::Profile => "reading",
            Stage::Fit => "measuring",
            Stage::Write => "encoding",
        };
        self.reports.tell(Event::Preparing {
            what: format!("{doing} {}", self.path.display()),
            done_bytes: (f64::from(fraction.clamp(0.0, 1.0)) * self.total_bytes as f64) as u64,
            total_bytes: self.total_bytes,
        });
    }
}

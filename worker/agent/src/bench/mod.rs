//! A job's steps against the clock, with no coordinator: workers make them as they
//! would in a job, from gathering the rows to the update.
//!
//! In reading order: steps of one worker in this process ([`measure_steps`]), the
//! stopwatch (`turn`), several workers in processes of their own beside one of them
//! ([`StepBench`]), and what such a process does ([`serve_steps`]).
//!
//! All rows are training rows, so that no validation comes between two steps;
//! nothing is saved and nothing is registered. The data set lies in a folder of
//! the caller's, who also removes it.

mod rank;
mod turn;
mod workers;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use phalanx_collective::{CollectiveError, Listener, Transport};
use phalanx_data::{Cache, Dataset, OpenError, PrepareError, Schema};
use phalanx_protocol::{
    id::{Generation, JobId, Rank, WorkerId},
    message::{Assignment, Peer},
    reference::DatasetRef,
    spec::{JobSpec, SplitSpec},
};
use phalanx_storage::{StorageError, Store};
use phalanx_train::{BuildError, Tasks, TrainError};

use self::turn::{Bench, Lap, Turn};
pub use self::{
    rank::serve_steps,
    workers::{ScalingRound, StepBench, StepScaling},
};

/// More steps than any measurement makes.
const STEPS_MAX: u64 = 1 << 40;

/// How fast a worker trains.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRate {
    /// What the model was told of the data set.
    pub schema: Schema,
    /// Numbers that are trained.
    pub parameters: usize,
    /// Steps that were counted.
    pub steps: u64,
    /// How long they took.
    pub elapsed: Duration,
}

/// Why a job's steps cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The data set cannot be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The prepared data set cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The folder cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The model cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A step failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The workers' group cannot be made.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// A thread or a socket cannot be had.
    #[error("the worker's {part} could not be made: {reason}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// One worker cannot train on an equal share.
    #[error("{workers} workers cannot share {lanes} lanes evenly")]
    Share {
        /// Workers that were asked for.
        workers: u32,
        /// Lanes of the job.
        lanes: u32,
    },
    /// A worker's process cannot be started.
    #[error("the process of rank {rank} cannot be started: {cause}")]
    Start {
        /// Its rank.
        rank: u32,
        /// What the system says.
        cause: io::Error,
    },
    /// A worker's process ended before it was told to.
    #[error("the process of rank {rank} has ended: {how}")]
    Ended {
        /// Its rank.
        rank: u32,
        /// As in `signal: 9 (SIGKILL)`.
        how: String,
    },
    /// A worker could not do its part.
    #[error("rank {rank}: {reason}")]
    Rank {
        /// Its rank.
        rank: u32,
        /// What it said.
        reason: String,
    },
}

fn part(part: &'static str, error: &io::Error) -> MeasureError {
    MeasureError::Part { part, reason: error.to_string() }
}

/// Prepares the data of `spec` in `folder`, and makes steps on one thread until those
/// after a short warm-up have taken `duration`.
///
/// # Errors
///
/// Where the data cannot be prepared, the model not built, or the loss becomes no number.
pub async fn measure_steps(
    spec: JobSpec,
    tasks: Tasks,
    duration: Duration,
    folder: &Path,
) -> Result<StepRate, MeasureError> {
    let prepared = Prepared::new(spec, &tasks, folder).await?;
    let (schema, parameters) = (prepared.schema().clone(), prepared.parameters);
    let bench = Bench::new(listen()?, Arc::clone(&prepared.dataset), tasks)?;
    let assignment = prepared.assignment(prepared.spec.clone(), 1, 0, &[bench.listens_at()]);
    let Lap { steps, elapsed } =
        bench.make(Turn { assignment, transport: Transport::Auto, time: duration }).await?;
    Ok(StepRate { schema, parameters, steps, elapsed })
}

fn listen() -> Result<Listener, MeasureError> {
    Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(|error| part("listener", &error))
}

/// A job that never ends, and its data set.
struct Prepared {
    spec: JobSpec,
    store: PathBuf,
    cache: PathBuf,
    reference: DatasetRef,
    dataset: Arc<Dataset>,
    /// Numbers that are trained.
    parameters: usize,
}

impl Prepared {
    /// Prepares the data of `spec` in `folder`.
    async fn new(mut spec: JobSpec, tasks: &Tasks, folder: &Path) -> Result<Self, MeasureError> {
        spec.data.split = SplitSpec { train: 1.0, validation: 0.0, test: 0.0, ..spec.data.split };
        (spec.train.epochs, spec.train.steps, spec.train.early_stop) = (None, Some(STEPS_MAX), None);
        spec.checkpoint.every = 0;
        let [store, cache] = ["store", "cache"].map(|name| folder.join(name));
        let opened = Store::open(&store.to_string_lossy())?;
        let reference = phalanx_data::prepare(&spec.data, &opened, &mut |_| {}).await?.dataset;
        let dataset =
            Arc::new(Dataset::open(&reference, &opened, &Cache::new(&cache, Cache::BYTES_MAX)).await?);
        let parameters = tasks.build(&spec, dataset.schema())?.layout().trained_len();
        Ok(Self { spec, store, cache, reference, dataset, parameters })
    }

    fn schema(&self) -> &Schema {
        self.dataset.schema()
    }

    /// The place of `rank` in a generation of workers that listen at `peers` and train `spec`.
    fn assignment(&self, spec: JobSpec, generation: u64, rank: u32, peers: &[SocketAddr]) -> Assignment {
        let peers = peers.iter().zip(1..);
        Assignment {
            job: JobId::new(&spec.name, 1),
            generation: Generation::new(generation),
            rank: Rank::new(rank),
            peers: peers.map(|(addr, id)| Peer { worker: WorkerId::new(id), data_addr: *addr }).collect(),
            spec: Box::new(spec),
            dataset: self.reference.clone(),
            resume: None,
            disputed: None,
            incumbents: Default::default(),
            verify_at: None,
            trace: None,
        }
    }
}

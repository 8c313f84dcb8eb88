//! A job's steps against the clock: one worker makes them as it would in a job, from
//! gathering the rows to the update, with neither coordinator nor peers.
//!
//! All rows are training rows, so that no validation comes between two steps;
//! nothing is saved and nothing is registered. The data set lies in a folder of
//! the caller's, who also removes it.

use std::{
    cell::RefCell,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use phalanx_collective::{AbortHandle, CollectiveError, Group, GroupConfig, Listener, Transport};
use phalanx_data::{Dataset, OpenError, PrepareError, Schema};
use phalanx_protocol::{
    id::{Generation, JobId, Rank, WorkerId},
    message::{Assignment, Event, Peer, Timeouts},
    reference::DatasetRef,
    spec::{JobSpec, SplitSpec},
};
use phalanx_storage::{StorageError, Store};
use phalanx_train::{BuildError, Host, Session, Snapshot, StopVote, Tasks, TrainError, run};
use rayon::ThreadPoolBuilder;

/// Steps that are not counted: caches fill, and buffers find their size.
const WARM_UP_STEPS: u64 = 10;

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
    /// A group of one cannot be made.
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
}

/// Prepares the data of `spec` in `folder`, and makes steps on `threads` threads until
/// those after a short warm-up have taken `duration`.
///
/// # Errors
///
/// Where the data cannot be prepared, the model not built, or the loss becomes no number.
pub async fn measure_steps(
    mut spec: JobSpec,
    tasks: Tasks,
    threads: usize,
    duration: Duration,
    folder: &Path,
) -> Result<StepRate, MeasureError> {
    spec.data.split = SplitSpec { train: 1.0, validation: 0.0, test: 0.0, ..spec.data.split };
    (spec.train.epochs, spec.train.steps, spec.train.early_stop) = (None, Some(STEPS_MAX), None);
    spec.checkpoint.every = 0;
    let store = Store::open(&folder.join("store").to_string_lossy())?;
    let prepared = phalanx_data::prepare(&spec.data, &store, &mut |_| {}).await?;
    let dataset = Arc::new(Dataset::open(&prepared.dataset, &store, &folder.join("cache")).await?);
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| MeasureError::Part { part: "thread", reason: error.to_string() })?;
    let measuring = move || pool.install(|| measure(spec, prepared.dataset, dataset, tasks, duration));
    tokio::task::spawn_blocking(measuring)
        .await
        .map_err(|error| MeasureError::Part { part: "result", reason: error.to_string() })?
}

/// Makes the steps on this thread, which belongs to the pool that computes.
fn measure(
    spec: JobSpec,
    reference: DatasetRef,
    dataset: Arc<Dataset>,
    tasks: Tasks,
    duration: Duration,
) -> Result<StepRate, MeasureError> {
    let parameters = tasks.build(&spec, dataset.schema())?.layout().trained_len();
    let schema = dataset.schema().clone();
    let part = |part, error: &std::io::Error| MeasureError::Part { part, reason: error.to_string() };
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let listener = listener.map_err(|error| part("listener", &error))?;
    let abort = AbortHandle::new().map_err(|error| part("abort handle", &error))?;
    let config = GroupConfig {
        job: spec.name.clone(),
        generation: 1,
        rank: 0,
        lanes: spec.train.lanes,
        peers: vec![listener.local_addr()],
        timeout: Timeouts::default().abort,
        silence: Timeouts::default().abort,
        transport: Transport::Auto,
    };
    let group = Group::connect(&listener, config, &abort)?;
    let assignment = Assignment {
        job: JobId::new(&spec.name, 1),
        generation: Generation::new(1),
        rank: Rank::new(0),
        peers: vec![Peer { worker: WorkerId::new(1), data_addr: listener.local_addr() }],
        spec: Box::new(spec),
        dataset: reference,
        resume: None,
        trace: None,
    };
    let mut stopwatch = Stopwatch::new(duration);
    run(Session { assignment, dataset, tasks: Arc::new(tasks), restored: None, group }, &mut stopwatch)?;
    let Lap { steps, elapsed } = stopwatch.lap();
    Ok(StepRate { schema, parameters, steps, elapsed })
}

/// Times the steps of a session: it asks for a vote once in each, at its beginning.
struct Stopwatch {
    duration: Duration,
    clock: RefCell<Clock>,
}

#[derive(Default)]
struct Clock {
    votes: u64,
    started: Option<Instant>,
    lap: Lap,
}

/// Whole steps since the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Lap {
    steps: u64,
    elapsed: Duration,
}

impl Stopwatch {
    fn new(duration: Duration) -> Self {
        Self { duration, clock: RefCell::default() }
    }

    fn lap(&self) -> Lap {
        self.clock.borrow().lap
    }

    /// A step begins `now`.
    fn step_begins(&self, now: Instant) -> StopVote {
        let mut clock = self.clock.borrow_mut();
        clock.votes += 1;
        if clock.votes <= WARM_UP_STEPS {
            return StopVote::Continue;
        }
        let started = *clock.started.get_or_insert(now);
        clock.lap = Lap { steps: clock.votes - 1 - WARM_UP_STEPS, elapsed: now - started };
        if clock.lap.steps > 0 && clock.lap.elapsed >= self.duration {
            StopVote::Stop
        } else {
            StopVote::Continue
        }
    }
}

impl Host for Stopwatch {
    fn event(&mut self, _event: Event) {}

    fn stop_vote(&self) -> StopVote {
        self.step_begins(Instant::now())
    }

    fn checkpoint(&mut self, _snapshot: Snapshot) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_steps_after_the_warm_up_are_counted() {
        let stopwatch = Stopwatch::new(Duration::from_secs(3));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for step in 0..WARM_UP_STEPS {
            assert_eq!(stopwatch.step_begins(at(step)), StopVote::Continue);
        }
        assert_eq!(stopwatch.lap(), Lap::default());
        for second in [100, 102] {
            assert_eq!(stopwatch.step_begins(at(second)), StopVote::Continue);
        }
        assert_eq!(stopwatch.step_begins(at(104)), StopVote::Stop);
        assert_eq!(stopwatch.lap(), Lap { steps: 2, elapsed: Duration::from_secs(4) });
    }

    #[test]
    fn at_least_one_step_is_counted() {
        let stopwatch = Stopwatch::new(Duration::ZERO);
        let now = Instant::now();
        for _ in 0..=WARM_UP_STEPS {
            assert_eq!(stopwatch.step_begins(now), StopVote::Continue);
        }
        assert_eq!(stopwatch.step_begins(now), StopVote::Stop);
    }
}

//! One turn of a measurement on this worker: the steps of a session, timed.

use std::{
    cell::RefCell,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use phalanx_collective::{AbortHandle, Group, Listener, Transport};
use phalanx_data::Dataset;
use phalanx_protocol::{
    message::{Assignment, Event, Failure, Timeouts},
    pace::StepTime,
};
use phalanx_train::{Host, Session, Snapshot, StopVote, Tasks, TrainError, run};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};

use super::{MeasureError, part};
use crate::trainer::group_config;

/// Steps that are not counted: caches fill, and buffers find their size.
const WARM_UP_STEPS: u64 = 10;

/// The fewest of them, where they are slow.
const WARM_UP_STEPS_MIN: u64 = 2;

/// Steps are slow when the warm-up takes longer than this.
const WARM_UP_MAX: Duration = Duration::from_secs(1);

/// What one worker is to do in a turn.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Turn {
    /// Its place in a generation of this turn.
    pub(super) assignment: Assignment,
    /// What carries gradients.
    #[serde(with = "TransportName")]
    pub(super) transport: Transport,
    /// How long; the leader's word counts for all.
    pub(super) time: Duration,
}

/// The transport as text.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Transport", rename_all = "kebab-case")]
enum TransportName {
    Auto,
    SharedMemory,
    Tcp,
}

/// Whole steps since the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Lap {
    pub(super) steps: u64,
    pub(super) elapsed: Duration,
}

/// A worker that makes turns, on a thread of its own that alone computes.
pub(super) struct Bench {
    listener: Arc<Listener>,
    dataset: Arc<Dataset>,
    tasks: Arc<Tasks>,
    pool: Arc<ThreadPool>,
}

impl Bench {
    pub(super) fn new(listener: Listener, dataset: Arc<Dataset>, tasks: Tasks) -> Result<Self, MeasureError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .map_err(|error| MeasureError::Part { part: "thread", reason: error.to_string() })?;
        Ok(Self { listener: Arc::new(listener), dataset, tasks: Arc::new(tasks), pool: Arc::new(pool) })
    }

    pub(super) fn listens_at(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Makes the steps of a turn.
    pub(super) async fn make(&self, turn: Turn) -> Result<Lap, MeasureError> {
        let (listener, pool) = (Arc::clone(&self.listener), Arc::clone(&self.pool));
        let (dataset, tasks) = (Arc::clone(&self.dataset), Arc::clone(&self.tasks));
        tokio::task::spawn_blocking(move || pool.install(|| make(turn, &listener, dataset, tasks)))
            .await
            .map_err(|error| MeasureError::Part { part: "result", reason: error.to_string() })?
    }
}

/// Makes the steps on this thread, which belongs to the pool that computes.
fn make(
    turn: Turn,
    listener: &Listener,
    dataset: Arc<Dataset>,
    tasks: Arc<Tasks>,
) -> Result<Lap, MeasureError> {
    let Turn { assignment, transport, time } = turn;
    let abort = AbortHandle::new().map_err(|error| part("abort handle", &error))?;
    let config = group_config(&assignment, &Timeouts::default(), transport);
    let group = Group::connect(listener, config, &abort)?;
    // All stop after the same step, the one that the leader chooses.
    let mut stopwatch = Stopwatch::new(if assignment.rank.is_leader() { time } else { Duration::MAX });
    run(Session { assignment, dataset, tasks, held: None, ledger: None, group }, &mut stopwatch).ending?;
    Ok(stopwatch.lap())
}

/// Times the steps of a session: it asks for a vote once in each, at its beginning.
struct Stopwatch {
    duration: Duration,
    clock: RefCell<Clock>,
}

#[derive(Default)]
struct Clock {
    votes: u64,
    /// When the first step began.
    began: Option<Instant>,
    warm: Option<Warm>,
    lap: Lap,
}

/// The end of the warm-up.
#[derive(Clone, Copy)]
struct Warm {
    votes: u64,
    at: Instant,
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
        let (done, began) = (clock.votes, *clock.began.get_or_insert(now));
        clock.votes += 1;
        let is_warm = done >= WARM_UP_STEPS || (done >= WARM_UP_STEPS_MIN && now - began >= WARM_UP_MAX);
        if !is_warm {
            return StopVote::Continue;
        }
        let warm = *clock.warm.get_or_insert(Warm { votes: done, at: now });
        clock.lap = Lap { steps: done - warm.votes, elapsed: now - warm.at };
        if clock.lap.steps > 0 && clock.lap.elapsed >= self.duration {
            StopVote::Stop
        } else {
            StopVote::Continue
        }
    }
}

impl Host for Stopwatch {
    fn restore(&mut self) -> Result<Snapshot, Failure> {
        Err(Failure::Job { reason: "a bench has no checkpoint".to_owned() })
    }

    fn failing(&mut self, _: &TrainError) {}

    fn event(&mut self, _event: Event) {}

    fn stepped(&mut self, _: &StepTime) {}

    fn stop_vote(&self) -> StopVote {
        self.step_begins(Instant::now())
    }

    fn is_saving(&self) -> bool {
        false
    }

    fn checkpoint(&mut self, _snapshot: Snapshot, _took: Duration) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_steps_after_the_warm_up_are_counted() {
        let stopwatch = Stopwatch::new(Duration::from_secs(3));
        let start = Instant::now();
        for step in 0..WARM_UP_STEPS {
            let now = start + Duration::from_millis(step);
            assert_eq!(stopwatch.step_begins(now), StopVote::Continue);
        }
        assert_eq!(stopwatch.lap(), Lap::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in [100, 102] {
            assert_eq!(stopwatch.step_begins(at(second)), StopVote::Continue);
        }
        assert_eq!(stopwatch.step_begins(at(104)), StopVote::Stop);
        assert_eq!(stopwatch.lap(), Lap { steps: 2, elapsed: Duration::from_secs(4) });
    }

    #[test]
    fn slow_steps_need_few_to_warm_up() {
        let stopwatch = Stopwatch::new(Duration::from_secs(1));
        let start = Instant::now();
        let step_begins = |second| stopwatch.step_begins(start + Duration::from_secs(second));
        assert!((0..3).all(|second| step_begins(second) == StopVote::Continue));
        assert_eq!(step_begins(3), StopVote::Stop);
        assert_eq!(stopwatch.lap(), Lap { steps: 1, elapsed: Duration::from_secs(1) });
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

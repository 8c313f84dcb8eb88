//! When which directive arrived, and how long that took after its cause.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use phalanx_protocol::{
    id::{Generation, JobId},
    message::Directive,
};

/// What a directive wants, without its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prepare,
    Train,
    Stop,
    Release,
}

/// A directive that arrived at a worker.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    /// The same moment, to be compared with what the coordinator logs.
    pub(crate) wall: Timestamp,
    pub(crate) kind: Kind,
    pub(crate) job: JobId,
    pub(crate) generation: Generation,
}

impl Arrival {
    /// What arrives now; `None` for what is not measured.
    fn of(directive: &Directive) -> Option<Self> {
        let (kind, job, generation) = match directive {
            Directive::Prepare { job, generation, .. } => (Kind::Prepare, job, *generation),
            Directive::Train(assignment) => (Kind::Train, &assignment.job, assignment.generation),
            Directive::Stop { job, generation, .. } => (Kind::Stop, job, *generation),
            Directive::Release { job, generation, .. } => (Kind::Release, job, *generation),
            Directive::Fetch { .. } | Directive::Leave => return None,
        };
        Some(Self { at: Instant::now(), wall: Timestamp::now(), kind, job: job.clone(), generation })
    }
}

/// All directives that have arrived.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(Mutex<Vec<Arrival>>);

impl Arrivals {
    /// Notes one that arrives now.
    pub(crate) fn note(&self, directive: &Directive) {
        self.all().extend(Arrival::of(directive));
    }

    /// Forgets those until now.
    pub(crate) fn clear(&self) {
        self.all().clear();
    }

    /// Those of one kind for a job, in their order.
    pub(crate) fn of(&self, job: &JobId, kind: Kind) -> Vec<Arrival> {
        self.all().iter().filter(|one| one.kind == kind && one.job == *job).cloned().collect()
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The head of the table.
pub(crate) fn print_head() {
    println!("\n{:<60} {:>7} {:>8} {:>8} {:>8}", "milliseconds", "count", "median", "p99", "worst");
}

/// A line of the table.
pub(crate) struct Row {
    what: &'static str,
    /// In order.
    times: Vec<Duration>,
}

impl Row {
    pub(crate) fn new(what: &'static str, mut times: Vec<Duration>) -> Self {
        times.sort();
        Self { what, times }
    }

    pub(crate) fn print(&self) {
        let last = self.times.len().saturating_sub(1);
        let at = |share: f64| self.times.get((last as f64 * share).ceil() as usize);
        let shown =
            |share| at(share).map_or("-".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1e3));
        let (median, p99, worst) = (shown(0.5), shown(0.99), shown(1.0));
        println!("{:<60} {:>7} {median:>8} {p99:>8} {worst:>8}", self.what, self.times.len());
    }
}

//! Which waiting job starts, and on which workers: a pure function.
//!
//! Properties of [`place`], each tested below:
//!
//! 1. A worker is given to one job at most, and only if it is idle.
//! 2. The workers of one job are of one kind, the job's own if it has one, and all have its task.
//! 3. A job that starts gets between `workers_min` and `workers_max` workers.
//! 4. No job waits without need: no kind has enough idle workers left over for it.
//! 5. A job that waits for workers which are merely busy holds back the idle
//!    ones of its kind, so that smaller jobs behind it do not starve it. One
//!    that more workers must attach for holds back nobody.
//! 6. The same arguments give the same answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use phalanx_protocol::id::WorkerId;

use crate::worker::counted;

/// A job that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting<'a> {
    /// The fewest workers it starts with, at least 1.
    pub(crate) workers_min: usize,
    /// The most workers it takes, at least `workers_min`.
    pub(crate) workers_max: usize,
    /// The custom task that its workers must have.
    pub(crate) task: Option<&'a str>,
    /// The kind of processor that it must stay on.
    pub(crate) kind: Option<&'a str>,
}

impl Waiting<'_> {
    fn task_fits(&self, worker: &Candidate<'_>) -> bool {
        self.task.is_none_or(|task| worker.tasks.iter().any(|has| has == task))
    }

    fn kind_fits(&self, worker: &Candidate<'_>) -> bool {
        self.kind.is_none_or(|kind| kind == worker.kind)
    }
}

/// An attached worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    /// The worker.
    pub(crate) worker: WorkerId,
    /// Its kind of processor.
    pub(crate) kind: &'a str,
    /// The custom tasks that it has.
    pub(crate) tasks: &'a [String],
    /// Whether it serves no job.
    pub(crate) idle: bool,
}

/// What becomes of a waiting job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It starts on these workers, in the order of their ranks.
    Start(Vec<WorkerId>),
    /// It goes on waiting.
    Wait(Shortage),
}

/// Why a job waits. Displays as words that read after "the job".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// No worker is attached.
    NoWorkers,
    /// No attached worker has its task.
    NoTask {
        /// The task.
        task: String,
        /// Attached workers.
        attached: usize,
    },
    /// No attached worker is of its kind.
    NoKind {
        /// The kind.
        kind: String,
        /// Attached workers.
        attached: usize,
    },
    /// Some attached workers have its task and some are of its kind, but none is both.
    NoTaskOnKind {
        /// The task.
        task: String,
        /// The kind.
        kind: String,
    },
    /// There are too few workers, even if all were idle.
    TooFew {
        /// Workers that it needs.
        needed: usize,
        /// Workers of one kind that fit it, at the most.
        fitting: usize,
    },
    /// There are enough workers, but other jobs have them.
    Busy {
        /// Workers that it needs.
        needed: usize,
        /// Those of its kind that are idle and not held back for an earlier job.
        idle: usize,
        /// Those of its kind that are attached.
        fitting: usize,
    },
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorkers => f.write_str("waits for workers: none is attached"),
            Self::NoTask { task, attached } => {
                write!(
                    f,
                    "waits for a worker that has the task `{task}`: none of the {attached} attached has it"
                )
            }
            Self::NoKind { kind, attached } => {
                write!(
                    f,
                    "waits for a worker of kind {kind}, on which it began: none of the {attached} attached is"
                )
            }
            Self::NoTaskOnKind { task, kind } => {
                write!(
                    f,
                    "waits for a worker that has the task `{task}` and is of kind {kind}, on which it began: none \
                     of those attached is both"
                )
            }
            Self::TooFew { needed, fitting } => {
                write!(f, "waits for {needed} workers of one kind: {fitting} attached")
            }
            Self::Busy { needed, idle, fitting } => {
                let needed = counted(*needed, "idle worker");
                write!(f, "waits for {needed}: of {fitting} that fit, {idle} can be had now")
            }
        }
    }
}

/// Workers of one kind that fit a job.
#[derive(Debug, Default)]
struct Group {
    fitting: usize,
    free: Vec<WorkerId>,
}

/// Decides for each job of `queue`, the first come first, whether it starts and
/// with which of `workers`. The answer has the order of `queue`.
pub(crate) fn place(queue: &[Waiting<'_>], workers: &[Candidate<'_>]) -> Vec<Verdict> {
    let mut free: BTreeSet<WorkerId> = workers.iter().filter(|w| w.idle).map(|w| w.worker).collect();
    queue
        .iter()
        .map(|job| {
            let groups = groups(job, workers, &free);
            let (verdict, taken) = decide(job, workers, &groups);
            for worker in taken {
                free.remove(worker);
            }
            verdict
        })
        .collect()
}

fn groups<'a>(
    job: &Waiting<'_>,
    workers: &[Candidate<'a>],
    free: &BTreeSet<WorkerId>,
) -> BTreeMap<&'a str, Group> {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for worker in workers.iter().filter(|worker| job.task_fits(worker) && job.kind_fits(worker)) {
        let group = groups.entry(worker.kind).or_default();
        group.fitting += 1;
        if free.contains(&worker.worker) {
            group.free.push(worker.worker);
        }
    }
    groups
}

/// The verdict, and the workers that later jobs cannot have: those given to
/// the job, or held back for it.
fn decide<'g>(
    job: &Waiting<'_>,
    workers: &[Candidate<'_>],
    groups: &'g BTreeMap<&str, Group>,
) -> (Verdict, &'g [WorkerId]) {
    // The last of equals is taken by `max_by_key`: reversed, so that the first name wins.
    let most_free = |enough: fn(&Group, usize) -> bool| {
        groups
            .values()
            .rev()
            .filter(|group| enough(group, job.workers_min))
            .max_by_key(|group| group.free.len())
    };
    if let Some(group) = most_free(|group, needed| group.free.len() >= needed) {
        let taken = &group.free[..group.free.len().min(job.workers_max)];
        return (Verdict::Start(taken.to_vec()), taken);
    }
    let needed = job.workers_min;
    if let Some(group) = most_free(|group, needed| group.fitting >= needed) {
        let shortage = Shortage::Busy { needed, idle: group.free.len(), fitting: group.fitting };
        return (Verdict::Wait(shortage), &group.free);
    }
    let fitting = groups.values().map(|group| group.fitting).max().unwrap_or(0);
    let shortage = if fitting == 0 { none_fits(job, workers) } else { Shortage::TooFew { needed, fitting } };
    (Verdict::Wait(shortage), &[])
}

/// Why no worker fits.
fn none_fits(job: &Waiting<'_>, workers: &[Candidate<'_>]) -> Shortage {
    let attached = workers.len();
    let nobody_has_task = !workers.iter().any(|worker| job.task_fits(worker));
    let nobody_is_of_kind = !workers.iter().any(|worker| job.kind_fits(worker));
    match (job.task.map(str::to_owned), job.kind.map(str::to_owned)) {
        _ if attached == 0 => Shortage::NoWorkers,
        (Some(task), _) if nobody_has_task => Shortage::NoTask { task, attached },
        (_, Some(kind)) if nobody_is_of_kind => Shortage::NoKind { kind, attached },
        (Some(task), Some(kind)) => Shortage::NoTaskOnKind { task, kind },
        (_, None) | (None, _) => Shortage::TooFew { needed: job.workers_min, fitting: 0 },
    }
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;

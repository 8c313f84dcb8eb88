//! Why a job waits, as a value and in words that read after "the job".

use std::fmt;

use phalanx_protocol::id::JobId;

use crate::worker::counted;

/// The most jobs that one text names.
const NAMES_MAX: usize = 3;

/// Why a job waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// No worker is attached that may be used.
    NoWorkers {
        /// Attached workers that are about to leave.
        draining: usize,
        /// Those whose connection is gone.
        cut_off: usize,
        /// Those that have computed wrongly too often.
        quarantined: usize,
    },
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
    /// It needs more workers than its project may ever use.
    QuotaTooSmall {
        /// Workers that it needs.
        needed: usize,
        /// The project.
        project: String,
        /// The project's quota.
        quota: usize,
    },
    /// Its project uses what it may use.
    QuotaUsedUp {
        /// Workers that it needs.
        needed: usize,
        /// The project.
        project: String,
        /// Workers that the project uses, and those that are kept for its jobs before this one.
        used: usize,
        /// The project's quota.
        quota: usize,
    },
    /// Its workers are reserved, but it was preempted and is still saving its state.
    Unsaved,
    /// Its workers are reserved, and some of them are not idle yet.
    Coming {
        /// Those that are not.
        coming: usize,
        /// The jobs that give them up; empty if they have been released.
        from: Vec<JobId>,
    },
    /// Another job waits for the same workers and comes first.
    Behind {
        /// Workers that it needs.
        needed: usize,
        /// The other job.
        job: JobId,
        /// Why that one comes first.
        ahead: Ahead,
    },
    /// There are enough workers, but other jobs have them.
    Busy {
        /// Workers that it needs.
        needed: usize,
        /// Those of its kind that are idle and not taken by an earlier job.
        idle: usize,
        /// Those of its kind that are attached.
        fitting: usize,
    },
}

/// Why another job comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// Its priority is higher.
    Priority,
    /// Its project has a smaller share.
    Share {
        /// That project.
        project: String,
    },
    /// It was submitted earlier.
    Submission,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorkers { draining: 0, cut_off: 0, quarantined: 0 } => {
                f.write_str("waits for workers: none is attached")
            }
            Self::NoWorkers { draining, cut_off, quarantined } => {
                let all = [(*draining, "draining"), (*cut_off, "cut off"), (*quarantined, "quarantined")];
                let some = all.iter().filter(|(count, _)| *count > 0);
                let some: Vec<String> = some.map(|(count, what)| format!("{count} {what}")).collect();
                write!(f, "waits for workers that can work: of those attached {}", some.join(", "))
            }
            Self::NoTask { task, attached } => write!(
                f,
                "waits for a worker that has the task `{task}`: none of the {attached} attached has it"
            ),
            Self::NoKind { kind, attached } => write!(
                f,
                "waits for a worker of kind {kind}, on which it began: none of the {attached} attached is"
            ),
            Self::NoTaskOnKind { task, kind } => write!(
                f,
                "waits for a worker that has the task `{task}` and is of kind {kind}, on which it began: none \
                 of those attached is both"
            ),
            Self::TooFew { needed, fitting } => {
                write!(f, "waits for {needed} workers of one kind: {fitting} attached")
            }
            Self::QuotaTooSmall { needed, project, quota } => write!(
                f,
                "waits for a larger quota: it needs {}, and its project `{project}` may use {quota}",
                counted(*needed, "worker")
            ),
            Self::QuotaUsedUp { needed, project, used, quota } => write!(
                f,
                "waits for its project `{project}`, which uses {used} of the {} that it may use: it needs {needed} more",
                counted(*quota, "worker")
            ),
            Self::Unsaved => f.write_str("saves its state before it goes on"),
            Self::Coming { coming, from } if from.is_empty() => {
                write!(f, "waits for {} to be released", counted(*coming, "worker"))
            }
            Self::Coming { coming, from } => {
                write!(f, "waits for {} to give up {}", named(from), counted(*coming, "worker"))
            }
            Self::Behind { needed, job, ahead } => {
                write!(f, "waits for {} behind {job}, {ahead}", counted(*needed, "worker"))
            }
            Self::Busy { needed, idle, fitting } => {
                let needed = counted(*needed, "idle worker");
                write!(f, "waits for {needed}: of {fitting} that fit, {idle} can be had now")
            }
        }
    }
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Priority => f.write_str("which has a higher priority"),
            Self::Share { project } => write!(f, "whose project `{project}` has a smaller share"),
            Self::Submission => f.write_str("which was submitted earlier"),
        }
    }
}

/// Some jobs for people: `a-1, b-2, c-3 and 2 others`.
fn named(jobs: &[JobId]) -> String {
    let names: Vec<String> = jobs.iter().take(NAMES_MAX).map(ToString::to_string).collect();
    match jobs.len().saturating_sub(NAMES_MAX) {
        0 => names.join(", "),
        more => format!("{} and {}", names.join(", "), counted(more, "other")),
    }
}

//! Which jobs run, and on which workers: a pure function.
//!
//! [`solve`] looks at all live jobs, all workers and the quotas of projects, and
//! says what becomes of each job. It is asked again whenever something has
//! changed. All that it must remember until then are the reservations, which it
//! hands out with its verdicts and gets back with the claims.
//!
//! # The line
//!
//! All live jobs form one line, waiting and running ones: the higher priority
//! first, then the smaller share, then the earlier submission. A job's *share* is
//! the number of workers that jobs of its project before it need at least, over
//! the most workers that the project may use: its quota, or all that are
//! attached. Before it come those of a higher priority, and of its own those
//! submitted earlier; those that could not start even if all workers were idle
//! do not count.
//!
//! So the line does not depend on who runs, and nothing that a plan does moves
//! anyone in it. Were workers in use counted, a project's small job that fits
//! into a gap would push the project's large job back that waits beside the gap.
//!
//! # What becomes of a waiting job
//!
//! The line is gone through once. A job that waits
//!
//! - *starts*, if enough workers of one kind are idle; or
//! - *has a reservation*, if enough are idle or will be soon, because they were
//!   released or because running jobs give them up for it; or
//! - *holds back* the idle workers that it could use, of all kinds that have
//!   enough for it, until somebody ends. A job whose quota is used up holds back
//!   only what is left of the quota; one that more workers must attach for,
//!   nothing.
//!
//! Idle workers that are left over then go to jobs that start or run, up to
//! their `workers_max`. Those that are held back are lent to elastic jobs, too:
//! their job gets them back as soon as it can start with them. And they go to
//! jobs that start now and come before that job in the line.
//!
//! # Properties
//!
//! Each is tested in `tests/properties.rs`.
//!
//! 1. A worker is given to one job at most, and only if it is idle and not
//!    reserved for another; it is reserved for one at most. A job gives up its
//!    own members only.
//! 2. The workers of one job are of one kind, the job's own if it has one, and
//!    those that it gets have its task.
//! 3. A job starts with `workers_min` to `workers_max` workers, grows up to
//!    `workers_max`, and shrinks down to `workers_min`.
//! 4. No project gets workers beyond its quota; those that its jobs are giving
//!    up count until they are idle.
//! 5. Jobs behind another in the line change nothing about whether that starts,
//!    what is reserved for it, and why it waits; except that what was reserved
//!    for one of the same priority before stays reserved.
//! 6. No job waits without need: no kind has enough idle workers left over for
//!    it that are not held back for a job before it.
//! 7. A reservation has as many workers as its job needs, of one kind, each idle
//!    or about to be. Only a job of a higher priority can take them away; when
//!    all are idle, the job starts.
//! 8. Backfill delays nobody: a job that waits for workers starts, or has its
//!    reservation, as soon as it would without the jobs behind it, whichever
//!    running jobs end.
//! 9. Running jobs give up workers only for a reservation that they complete.
//!    Nobody is preempted while what the jobs of that kind have above their
//!    `workers_min` is enough; only jobs of a lower priority than the one that
//!    they are preempted for are.
//! 10. Victims are those that lose least: the lowest priorities, then the least
//!     time since the last checkpoint times workers, then the fewest.
//! 11. No worker is left idle that an elastic job could take.
//! 12. No flapping: when a plan was carried out, the next one changes nothing.
//!     Where workers of one kind have different tasks, a job that had to give up
//!     some may go on with others which only it can use; that ends, too.
//! 13. The answer does not depend on the order of the arguments.
//! 14. A job that starts gets idle workers that hold its state before others of
//!     that kind; other jobs get them last.

mod admission;
mod growth;
mod line;
mod plan;
mod shortage;
mod takes;
mod workers;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use phalanx_protocol::id::{JobId, WorkerId};

pub(crate) use shortage::{Ahead, Shortage};

use plan::Plan;
use workers::Groups;

/// What is to be solved. No two claims have the same number, no two candidates the same worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Problem<'a> {
    /// All jobs that wait or have workers.
    pub(crate) claims: &'a [Claim<'a>],
    /// All workers that are attached.
    pub(crate) workers: &'a [Candidate<'a>],
    /// The most workers that a project may use at once; without an entry, as many as there are.
    pub(crate) quotas: &'a BTreeMap<String, u32>,
}

impl Problem<'_> {
    fn quota(&self, project: &str) -> Option<usize> {
        self.quotas.get(project).map(|quota| usize::try_from(*quota).unwrap_or(usize::MAX))
    }
}

/// What a live job asks for.
#[derive(Debug, Clone)]
pub(crate) struct Claim<'a> {
    /// The job.
    pub(crate) id: &'a JobId,
    /// Its place in the order of submission.
    pub(crate) number: u64,
    /// Its priority; the higher one comes first.
    pub(crate) priority: i32,
    /// Its project.
    pub(crate) project: &'a str,
    /// The fewest workers that it starts with, at least 1.
    pub(crate) workers_min: usize,
    /// The most workers that it takes, at least `workers_min`.
    pub(crate) workers_max: usize,
    /// The custom task that its workers must have.
    pub(crate) task: Option<&'a str>,
    /// The kind of processor that it must stay on; that of its members, while it has some.
    pub(crate) kind: Option<&'a str>,
    /// Whether it can take and give up workers while it runs.
    pub(crate) elastic: bool,
    /// What it does now.
    pub(crate) situation: Situation<'a>,
}

/// What a live job does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Situation<'a> {
    /// It waits.
    Waiting {
        /// What keeps it from starting, beside workers.
        readiness: Readiness,
        /// What the plan before has reserved for it.
        reserved: &'a [WorkerId],
    },
    /// It has workers.
    Running {
        /// Its members by rank, without those that it is giving up.
        members: &'a [WorkerId],
        /// Whether it can be preempted now. Only one that is elastic ever is.
        preemptible: bool,
        /// Time since it last saved its state, or since it started.
        unsaved: Duration,
    },
    /// It gives up all its workers and does not want any more.
    Ending,
}

/// What keeps a waiting job from starting, beside workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Nothing.
    Ready,
    /// It was preempted and is saving its state.
    Saving,
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
    /// Whether it can be had.
    pub(crate) availability: Availability<'a>,
    /// The job whose state it holds.
    pub(crate) holds: Option<&'a JobId>,
}

/// Whether a worker can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability<'a> {
    /// It serves no job.
    Idle,
    /// It is a member of a running job.
    Serving,
    /// It will be idle soon. While it still works for a job, that is named.
    Leaving(Option<&'a JobId>),
    /// It gets no more work, whether it serves a job or not.
    Unusable(Unusable),
}

/// Why a worker gets no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is about to leave the cluster.
    Draining,
    /// Its connection is gone.
    CutOff,
    /// It has computed wrongly too often.
    Quarantined,
}

/// What becomes of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It starts on these workers, in the order of their ranks.
    Start(Vec<WorkerId>),
    /// It goes on waiting.
    Wait {
        /// Why.
        why: Shortage,
        /// The workers that are kept for it, to be handed back with its next claim.
        reserved: Vec<WorkerId>,
    },
    /// Nothing changes.
    Keep,
    /// It gets these workers, beside those that it has.
    Grow(Vec<WorkerId>),
    /// It gives up these members and goes on with the others.
    Shrink(Vec<WorkerId>),
    /// It saves its state, gives up all members, and waits.
    Preempt {
        /// The job that it makes room for.
        by: JobId,
        /// As for a job that waits.
        reserved: Vec<WorkerId>,
    },
}

/// Decides what becomes of each job, in the order of the claims.
///
/// Takes time in proportion to jobs × pools of workers that are alike, and to
/// workers × running jobs for what these give up and take.
pub(crate) fn solve(problem: &Problem<'_>) -> Vec<Verdict> {
    let groups = Groups::of(problem.workers);
    let mut plan = Plan::new(problem, &groups);
    for level in plan.line() {
        plan.set_aside(&level);
        for job in level {
            plan.decide(job);
        }
    }
    plan.grow();
    plan.verdicts()
}

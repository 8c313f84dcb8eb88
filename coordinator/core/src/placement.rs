//! Asks the scheduler which jobs get which workers, and carries its plan out. Owns what is
//! remembered of the last plan.
//!
//! That costs much where jobs and workers are many, so it is done once for all inputs that came together.

use std::collections::BTreeMap;

use jiff::Timestamp;
use phalanx_protocol::id::{JobId, WorkerId};
use tracing::debug;

use crate::{
    Coordinator, Effect, Now,
    context::{Context, Turn},
    job::Job,
    schedule::{Problem, Verdict, solve},
};

/// What is remembered of the last plan.
#[derive(Debug, Default)]
pub(crate) struct LastPlan {
    /// When it was made.
    pub(crate) at: Timestamp,
    /// The workers that it keeps for waiting jobs.
    pub(crate) reserved: BTreeMap<JobId, Vec<WorkerId>>,
}

impl Coordinator {
    /// Decides which jobs get which workers, if what has happened since the last time may change
    /// that, and adds to `out` what is to be done. To be called after the inputs that were taken
    /// together; until then, whoever waits goes on waiting.
    pub fn place(&mut self, now: Now, out: &mut Vec<Effect>) {
        if !self.placement_due {
            return;
        }
        let mut turn = Turn::default();
        self.place_jobs(now, &mut turn);
        self.finish_turn(turn, out);
        // A plan that was carried out leaves nothing to be decided (property 12 of the scheduler).
        self.placement_due = false;
    }

    /// What becomes of each live job, in the order of their submission.
    pub(crate) fn plan(&self, at: Timestamp) -> Vec<(JobId, Verdict)> {
        let teams = self.teams();
        let (claims, workers) = (self.claims(at, &teams), self.candidates());
        let problem = Problem { claims: &claims, workers: &workers, quotas: &self.config.quotas };
        let verdicts = solve(&problem);
        debug!(jobs = claims.len(), workers = workers.len(), "jobs scheduled");
        claims.iter().map(|claim| claim.id.clone()).zip(verdicts).collect()
    }

    /// Gives idle workers to jobs that wait, and those left over to jobs that can grow.
    fn place_jobs(&mut self, now: Now, turn: &mut Turn) {
        let plan = self.plan(now.wall);
        self.last_plan = LastPlan { at: now.wall, reserved: reserved(&plan) };
        let (jobs, mut cx) = self.split(now, turn);
        for (id, verdict) in plan {
            if let Some(job) = jobs.get_mut(&id) {
                apply(job, &mut cx, verdict);
            }
        }
        self.relieve_stragglers(now, turn);
    }
}

/// Carries out what was decided for one job: the one place from which the scheduler changes jobs.
fn apply(job: &mut Job, cx: &mut Context<'_>, verdict: Verdict) {
    match verdict {
        Verdict::Start(members) => job.start(cx, members),
        Verdict::Wait { why, reserved: _ } => job.goes_on_waiting(cx, why.to_string()),
        Verdict::Keep => {}
        Verdict::Grow(newcomers) => job.grow(cx, newcomers),
        Verdict::Shrink(leaving) => job.shrink(cx, leaving),
        Verdict::Preempt { by, reserved: _ } => job.preempt(cx, &by),
    }
}

/// The workers that a plan keeps for jobs.
fn reserved(plan: &[(JobId, Verdict)]) -> BTreeMap<JobId, Vec<WorkerId>> {
    plan.iter()
        .filter_map(|(id, verdict)| match verdict {
            Verdict::Wait { reserved, .. } | Verdict::Preempt { reserved, .. } if !reserved.is_empty() => {
                Some((id.clone(), reserved.clone()))
            }
            Verdict::Start(_)
            | Verdict::Wait { .. }
            | Verdict::Keep
            | Verdict::Grow(_)
            | Verdict::Shrink(_)
            | Verdict::Preempt { .. } => None,
        })
        .collect()
}

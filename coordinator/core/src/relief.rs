//! Which idle worker takes the place of a straggler, where a job wants that. Owns nothing.
//!
//! A worker is idle only where no job can take it, so nobody is kept from one by this. For the
//! moment in which the newcomer fetches its data, the job has one worker more than it may have otherwise.

use std::collections::BTreeSet;

use phalanx_protocol::id::WorkerId;

use crate::{
    Coordinator, Now,
    context::Turn,
    job::{Job, Phase},
    worker::{Duty, Worker},
};

impl Coordinator {
    /// Gives an idle worker to each job that wants to give up a straggler for it; none while a job
    /// waits for workers.
    pub(crate) fn relieve_stragglers(&mut self, now: Now, turn: &mut Turn) {
        let wanting: Vec<_> =
            self.live_jobs().filter_map(|job| Some((job.record().id.clone(), job.wants_out()?))).collect();
        let waits = |job: &Job| matches!(job.phase(), Phase::Queued { .. });
        if wanting.is_empty() || self.live_jobs().any(waits) {
            return;
        }
        let mut taken: BTreeSet<WorkerId> = self.last_plan.reserved.values().flatten().copied().collect();
        for (id, out) in wanting {
            let Some(by) = self.jobs.get(&id).and_then(|job| self.replacement(job, &taken)) else { continue };
            taken.insert(by);
            let (jobs, mut cx) = self.split(now, turn);
            if let Some(job) = jobs.get_mut(&id) {
                job.relieve(&mut cx, out, by);
            }
        }
    }

    /// The first idle worker that the job can use and has not taken out before.
    fn replacement(&self, job: &Job, taken: &BTreeSet<WorkerId>) -> Option<WorkerId> {
        let record = job.record();
        let task = record.spec.model.custom_task();
        let fits = |worker: &Worker| {
            let has_task = task.is_none_or(|task| worker.hello.tasks.iter().any(|has| has == task));
            has_task && record.kind.as_ref().is_none_or(|kind| *kind == worker.hello.kind)
        };
        let free = |(id, worker): &(WorkerId, &Worker)| {
            worker.duty == Duty::Idle && worker.can_work() && !taken.contains(id) && job.may_take(*id)
        };
        self.fleet.iter().find(|each| free(each) && fits(each.1)).map(|(id, _)| id)
    }
}

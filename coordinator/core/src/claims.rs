//! Jobs and workers as the scheduler sees them. Owns nothing: it translates what
//! is known of them into a [`Problem`](crate::schedule::Problem).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use phalanx_protocol::{
    id::{JobId, WorkerId},
    view::JobState,
};

use crate::{
    Coordinator,
    job::{Job, Phase},
    record::{Goal, JobRecord},
    schedule::{Availability, Candidate, Claim, Readiness, Situation},
    worker::{Duty, Worker},
};

/// What a waiting job asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting<'a> {
    /// The fewest workers that it starts with, at least 1.
    pub(crate) workers_min: usize,
    /// The most workers that it takes, at least `workers_min`.
    pub(crate) workers_max: usize,
    /// The custom task that its workers must have.
    pub(crate) task: Option<&'a str>,
    /// The kind of processor that it must stay on.
    pub(crate) kind: Option<&'a str>,
}

impl Coordinator {
    /// The members of each job that has some, as [`Job::team`] counts them.
    pub(crate) fn teams(&self) -> BTreeMap<&JobId, Vec<WorkerId>> {
        let live = self.live.iter().filter_map(|id| self.jobs.get(id));
        live.filter(|job| job.phase().gang().is_some()).map(|job| (&job.record().id, job.team())).collect()
    }

    /// What live jobs, whose members are `teams`, ask for at the moment `at`, in the order of their submission.
    pub(crate) fn claims<'a>(
        &'a self,
        at: Timestamp,
        teams: &'a BTreeMap<&'a JobId, Vec<WorkerId>>,
    ) -> Vec<Claim<'a>> {
        let kinds: BTreeSet<&str> = self.fleet.iter().map(|(_, worker)| worker.hello.kind.as_str()).collect();
        let mut claims: Vec<Claim<'a>> = self
            .live
            .iter()
            .filter_map(|id| self.jobs.get(id))
            .filter_map(|job| {
                let reserved = self.last_plan.reserved.get(&job.record().id).map_or(&[][..], Vec::as_slice);
                let team = teams.get(&job.record().id).map_or(&[][..], Vec::as_slice);
                claim(job, at, (team, reserved), |kind| kinds.contains(kind))
            })
            .collect();
        claims.sort_by_key(|claim| claim.number);
        claims
    }

    /// All workers, by number.
    pub(crate) fn candidates(&self) -> Vec<Candidate<'_>> {
        self.fleet
            .iter()
            .map(|(id, worker)| Candidate {
                worker: id,
                kind: &worker.hello.kind,
                tasks: &worker.hello.tasks,
                availability: self.availability(id, worker),
                holds: worker.holds.as_ref(),
            })
            .collect()
    }
}

impl Coordinator {
    fn availability<'a>(&self, id: WorkerId, worker: &'a Worker) -> Availability<'a> {
        let ends = |job: &Job| job.phase().state() == JobState::Stopping || job.gives_up(id);
        if let Some(why) = worker.unusable() {
            return Availability::Unusable(why);
        }
        match &worker.duty {
            Duty::Idle => Availability::Idle,
            Duty::Released { .. } => Availability::Leaving(None),
            Duty::Serving(job) | Duty::Homing { job, .. } if self.jobs.get(job).is_some_and(ends) => {
                Availability::Leaving(Some(job))
            }
            Duty::Serving(_) | Duty::Homing { .. } => Availability::Serving,
        }
    }
}

/// What a job asks for; `None` if it neither waits nor has workers.
fn claim<'a>(
    job: &'a Job,
    at: Timestamp,
    (members, reserved): (&'a [WorkerId], &'a [WorkerId]),
    kind_is_there: impl Fn(&str) -> bool,
) -> Option<Claim<'a>> {
    let record = job.record();
    let schedule = &record.spec.schedule;
    let (workers_min, workers_max) = record.workers_range();
    let claim = Claim {
        id: &record.id,
        number: record.number,
        priority: schedule.priority,
        project: &schedule.project,
        workers_min,
        workers_max,
        task: record.spec.model.custom_task(),
        kind: record.kind.as_deref(),
        elastic: job.is_elastic(),
        situation: Situation::Ending,
    };
    match job.phase() {
        Phase::Queued { .. } => {
            let waiting = job.waiting(kind_is_there)?;
            let Waiting { workers_min, workers_max, task, kind } = waiting;
            let situation = Situation::Waiting { readiness: Readiness::Ready, reserved };
            // It will be, once it runs.
            let elastic = true;
            Some(Claim { workers_min, workers_max, task, kind, situation, elastic, ..claim })
        }
        Phase::Stopping { goal: Goal::Regroup, .. } | Phase::Regrouping { .. } if job.is_preempted() => {
            let situation = Situation::Waiting { readiness: Readiness::Saving, reserved };
            Some(Claim { situation, ..claim })
        }
        Phase::Preparing { .. }
        | Phase::Forming { .. }
        | Phase::Training { .. }
        | Phase::Evaluating { .. }
        | Phase::Stopping { goal: Goal::Regroup, .. }
        | Phase::Regrouping { .. } => {
            let preemptible = job.phase().state() == JobState::Training;
            let unsaved = unsaved(record, at);
            Some(Claim { situation: Situation::Running { members, preemptible, unsaved }, ..claim })
        }
        Phase::Stopping { .. } => Some(claim),
        Phase::Registering { .. }
        | Phase::Paused { .. }
        | Phase::Cancelled { .. }
        | Phase::Done
        | Phase::Failed { .. } => None,
    }
}

/// How long a job has not saved its state. A job that went on from an old checkpoint has lost
/// less than that tells.
fn unsaved(record: &JobRecord, at: Timestamp) -> Duration {
    let saved = record.checkpoints.last().map(|newest| newest.checkpoint.written_at);
    let since = saved.or(record.started_at).unwrap_or(at);
    Duration::try_from(at.duration_since(since)).unwrap_or_default()
}

//! Jobs and workers as the scheduler sees them. Owns nothing: it translates what
//! is known of them into a [`Problem`](crate::schedule::Problem).

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use phalanx_protocol::{id::WorkerId, view::JobState};

use crate::{
    Coordinator,
    job::{Job, Phase},
    record::JobRecord,
    schedule::{Availability, Candidate, Claim, Readiness, Standing},
    worker::Duty,
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
    /// Whether it waits for those of its last generation.
    pub(crate) readiness: Readiness,
}

impl Coordinator {
    /// What live jobs ask for at the moment `at`, in the order of their submission.
    pub(crate) fn claims(&self, at: Timestamp) -> Vec<Claim<'_>> {
        let kinds: BTreeSet<&str> = self.fleet.iter().map(|(_, worker)| worker.hello.kind.as_str()).collect();
        let mut claims: Vec<Claim<'_>> = self
            .live
            .iter()
            .filter_map(|id| self.jobs.get(id))
            .filter_map(|job| {
                let reserved = self.last_plan.reserved.get(&job.record().id).map_or(&[][..], Vec::as_slice);
                claim(job, at, reserved, |kind| kinds.contains(kind))
            })
            .collect();
        claims.sort_by_key(|claim| claim.number);
        claims
    }

    /// All workers, by number.
    pub(crate) fn candidates(&self) -> Vec<Candidate<'_>> {
        let ends = |job: &Job| job.phase().state() == JobState::Stopping;
        self.fleet
            .iter()
            .map(|(id, worker)| Candidate {
                worker: id,
                kind: &worker.hello.kind,
                tasks: &worker.hello.tasks,
                availability: match &worker.duty {
                    Duty::Idle => Availability::Idle,
                    Duty::Serving(job) if self.jobs.get(job).is_some_and(ends) => {
                        Availability::Leaving(Some(job))
                    }
                    Duty::Serving(_) => Availability::Serving,
                    Duty::Leaving { .. } => Availability::Leaving(None),
                },
            })
            .collect()
    }
}

/// What a job asks for; `None` if it neither waits nor has workers.
fn claim<'a>(
    job: &'a Job,
    at: Timestamp,
    reserved: &'a [WorkerId],
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
        // Generations keep their members until they end.
        elastic: false,
        standing: Standing::Ending,
    };
    match job.phase() {
        Phase::Queued { .. } => {
            let waiting = job.waiting(kind_is_there)?;
            let Waiting { workers_min, workers_max, task, kind, readiness } = waiting;
            let standing = Standing::Waiting { readiness, reserved };
            Some(Claim { workers_min, workers_max, task, kind, standing, ..claim })
        }
        Phase::Preparing { gang, .. }
        | Phase::Forming { gang, .. }
        | Phase::Training { gang, .. }
        | Phase::Evaluating { gang, .. } => {
            let preemptible = job.phase().state() == JobState::Training;
            let standing =
                Standing::Running { members: &gang.members, preemptible, unsaved: unsaved(record, at) };
            Some(Claim { standing, ..claim })
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

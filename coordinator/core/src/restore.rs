//! From records back to a coordinator, after a restart.
//!
//! No worker is known until it attaches. Jobs that had workers first wait for
//! as many as they had, for the length of a lease; then they take whom they get.

use phalanx_protocol::id::JobId;

use crate::{
    Config, Coordinator, Effect, Now, Record,
    context::Turn,
    job::{Job, Muster, Phase},
    record::{Counters, JobRecord, Standing},
    registry::Registry,
    worker::Fleet,
};

/// Records that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A model version without its model.
    #[error("the state store has version {version} of model `{model}`, but not the model")]
    OrphanVersion {
        /// The model.
        model: String,
        /// The version.
        version: u64,
    },
    /// A job whose number was not given out.
    #[error("the state store has job {job} with number {number}, but the next number is {next}")]
    UncountedJob {
        /// The job.
        job: JobId,
        /// Its number.
        number: u64,
        /// The counter.
        next: u64,
    },
}

impl Coordinator {
    /// The coordinator that stored `records`, in any order, after a restart.
    /// Jobs that were running queue again with their newest checkpoint, and those
    /// that were stopping stop. What is to be done at once is added to `out`, as by [`handle`](Self::handle).
    ///
    /// # Errors
    ///
    /// [`RestoreError`] if the records contradict each other.
    pub fn restore(
        config: Config,
        now: Now,
        records: impl IntoIterator<Item = Record>,
        out: &mut Vec<Effect>,
    ) -> Result<Self, RestoreError> {
        let mut counters = Counters::default();
        let mut registry = Registry::default();
        let (mut versions, mut jobs) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                Record::Counters(stored) => counters = stored,
                Record::Job(job) => jobs.push(*job),
                Record::Model(head) => registry.restore_head(head),
                Record::ModelVersion(version) => versions.push(*version),
            }
        }
        for version in versions {
            let (model, number) = (version.name.clone(), version.version);
            if !registry.restore_version(version) {
                return Err(RestoreError::OrphanVersion { model, version: number });
            }
        }
        if let Some(job) = jobs.iter().find(|job| job.number >= counters.next_job) {
            let (id, next) = (job.id.clone(), counters.next_job);
            return Err(RestoreError::UncountedJob { job: id, number: job.number, next });
        }
        let mut coordinator = Self::new(config);
        coordinator.fleet = Fleet::new(counters.workers_reserved);
        (coordinator.counters, coordinator.registry) = (counters, registry);
        let mut turn = Turn { placement_due: true, ..Turn::default() };
        coordinator.restore_jobs(now, &mut turn, jobs);
        let is_live = |job: &&Job| !job.phase().state().is_over();
        coordinator.live =
            coordinator.jobs.values().filter(is_live).map(|job| job.record().id.clone()).collect();
        coordinator.finish_turn(now, turn, out);
        Ok(coordinator)
    }

    fn restore_jobs(&mut self, now: Now, turn: &mut Turn, records: Vec<JobRecord>) {
        let (jobs, mut cx) = self.split(now, turn);
        let until = cx.after(cx.config.timeouts.lease);
        for record in records {
            let id = record.id.clone();
            let queued = |muster| Phase::Queued { muster, why: "waits".to_owned() };
            let regrouping = queued(Muster::Regroup { workers: record.world_size, until });
            let job = match record.standing.clone() {
                Standing::Waiting => Job::restored(record, queued(Muster::Start)),
                Standing::Running => {
                    let mut job = Job::restored(record, regrouping);
                    job.restarted(&mut cx);
                    job
                }
                Standing::Stopping { goal } => {
                    let mut job = Job::restored(record, regrouping);
                    job.restarted_while_stopping(&mut cx, goal);
                    job
                }
                Standing::Registering(version) => {
                    let mut job = Job::restored(record, Phase::Registering { version });
                    job.go_on_registering(&mut cx);
                    job
                }
                Standing::Paused { reason, unregistered } => {
                    Job::restored(record, Phase::Paused { reason, unregistered })
                }
                Standing::Cancelled { reason } => Job::restored(record, Phase::Cancelled { reason }),
                Standing::Done => Job::restored(record, Phase::Done),
                Standing::Failed { reason } => Job::restored(record, Phase::Failed { reason }),
            };
            jobs.insert(id, job);
        }
    }
}

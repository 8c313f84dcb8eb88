//! From records back to a coordinator, after a restart.
//!
//! Workers that serve a generation are known from its job's record, and go on with it under
//! their old numbers. All others are unknown until they attach.

use std::collections::BTreeSet;

use phalanx_protocol::{id::JobId, message::Timeouts};

use crate::{
    Config, Coordinator, Effect, Now, Record,
    context::{Context, Turn},
    job::{Gang, Job, Muster, Phase},
    processes::Processes,
    record::{Counters, JobRecord, Member, Stage, Standing},
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
    /// Generations that were running go on. What is to be done at once is added to `out`, as by [`handle`](Self::handle).
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
        let (mut registry, mut processes) = (Registry::default(), Processes::default());
        let (mut versions, mut jobs) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                Record::Counters(stored) => counters = stored,
                Record::Processes(remembered) => processes = Processes::restored(remembered),
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
        coordinator.fleet = Fleet::new(counters.workers_reserved, processes);
        (coordinator.counters, coordinator.registry) = (counters, registry);
        let mut turn = Turn { placement_due: true, ..Turn::default() };
        coordinator.restore_jobs(now, &mut turn, jobs);
        let all: Vec<JobId> = coordinator.jobs.keys().cloned().collect();
        all.iter().for_each(|id| coordinator.index(id));
        coordinator.finish_turn(turn, out);
        coordinator.place(now, out);
        Ok(coordinator)
    }

    fn restore_jobs(&mut self, now: Now, turn: &mut Turn, records: Vec<JobRecord>) {
        let (jobs, mut cx) = self.split(now, turn);
        for record in records {
            let id = record.id.clone();
            let queued = |muster| Phase::Queued { muster, why: "waits".to_owned() };
            let phase = match record.standing.clone() {
                Standing::Waiting => queued(Muster::Start),
                Standing::Broken => queued(Muster::GoOn),
                Standing::Running { members, stage } => take_over(&mut cx, &record, members, stage),
                Standing::Registering(version) => Phase::Registering { version },
                Standing::Paused { reason, unregistered } => Phase::Paused { reason, unregistered },
                Standing::Cancelled { reason } => Phase::Cancelled { reason },
                Standing::Done => Phase::Done,
                Standing::Failed { reason } => Phase::Failed { reason },
            };
            let mut job = Job::restored(record, phase);
            job.go_on_registering(&mut cx);
            if cx.config.workers_end_with_it {
                job.restarted_alone(&mut cx);
            } else {
                job.restarted(&mut cx);
            }
            jobs.insert(id, job);
        }
    }
}

/// Takes a running generation over: its members get a new lease, and go on as if nothing had
/// happened.
fn take_over(cx: &mut Context<'_>, record: &JobRecord, members: Vec<Member>, stage: Stage) -> Phase {
    let Timeouts { heartbeat, lease, step, .. } = cx.config.timeouts;
    let lease_ends = cx.after(lease);
    let farthest_step = record.progress.farthest_step;
    let gang = Gang { members: members.iter().map(|member| member.worker).collect(), farthest_step };
    for Member { worker, attached } in members {
        if let Some(attached) = attached.filter(|_| !cx.config.workers_end_with_it) {
            cx.fleet.restore(worker, attached, lease_ends, &record.id);
        }
    }
    match stage {
        Stage::Preparing => Phase::Preparing { gang, what: None, deadline: cx.after(step) },
        Stage::Forming => Phase::Forming { gang, formed: BTreeSet::new(), deadline: cx.after(step) },
        Stage::Training { saves } => Phase::Training { gang, saves },
        Stage::Evaluating { saves } => Phase::Evaluating { gang, saves },
        Stage::Stopping { goal, save, saves, halted } => {
            let deadline = cx.after(cx.config.timeouts.exchange(&record.spec.train));
            Phase::Stopping { gang, saves, goal, save, halted, deadline }
        }
        // Its members have to find the new coordinator first.
        Stage::Regrouping => {
            Phase::Regrouping { gang, home: BTreeSet::new(), deadline: cx.after(lease + heartbeat) }
        }
    }
}

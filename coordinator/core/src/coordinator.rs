//! The one entry: an input comes in, effects go out. Owns the whole state, and
//! hands each input to the job, the worker or the model that it is about.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use phalanx_protocol::{
    id::{Generation, JobId, TraceParent, WorkerId},
    message::{Directive, Hello, Numbered, Report},
    pace::Pace,
    rpc,
    spec::JobSpec,
    view::{Curve, JobState, JobView, ModelView, WorkerView},
};
use tracing::info;

use crate::{
    Completion, Config, Effect, Input, Now, Record, Rejected, Reply,
    context::{Context, Turn},
    job::Job,
    placement::LastPlan,
    processes::Processes,
    record::{Counters, Process, WORKER_BLOCK},
    registry::Registry,
    worker::{DIRECTIVE_NUMBERS, Fleet, Seen},
};

/// The state of a coordinator.
#[derive(Debug)]
pub struct Coordinator {
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    pub(crate) fleet: Fleet,
    pub(crate) registry: Registry,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    /// Those of `jobs` that are not over: the others stay as they are until somebody asks for
    /// something, and are not looked at whenever time passes.
    pub(crate) live: BTreeSet<JobId>,
    /// When something is due for a job, of those for which something is: few, where many wait.
    pub(crate) deadlines: BTreeMap<JobId, Duration>,
    /// Whether a job or a worker has begun to wait since the last plan.
    pub(crate) placement_due: bool,
    pub(crate) last_plan: LastPlan,
}

impl Coordinator {
    /// A coordinator that knows of nothing.
    pub fn new(config: Config) -> Self {
        let counters = Counters::default();
        Self {
            config,
            counters,
            fleet: Fleet::new(counters.workers_reserved, Processes::default()),
            registry: Registry::default(),
            jobs: BTreeMap::new(),
            live: BTreeSet::new(),
            deadlines: BTreeMap::new(),
            placement_due: false,
            last_plan: LastPlan::default(),
        }
    }

    /// Takes one input and adds to `out` what is to be done, in order. The
    /// effects are to be done even if the input was rejected: time has passed,
    /// and leases that have ended meanwhile are dealt with first.
    ///
    /// Which jobs get which workers is decided by [`place`](Self::place), once for all inputs
    /// that are taken together.
    ///
    /// # Errors
    ///
    /// [`Rejected`] says why the input was not taken.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) -> Result<Reply, Rejected> {
        let mut turn = Turn::default();
        self.pass_time(now, &mut turn);
        let result = self.dispatch(now, input, &mut turn);
        self.finish_turn(turn, out);
        result
    }

    /// When [`Input::Tick`] is due, on the clock of [`Now::instant`].
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.values().copied().chain(self.fleet.next_deadline()).min()
    }

    /// The directives in a worker's queue after number `after`; `None` if the worker is not attached.
    pub fn directives_after(&self, worker: WorkerId, after: u64) -> Option<Vec<Numbered>> {
        self.fleet.directives_after(worker, after)
    }

    /// All jobs in the order of their submission.
    pub fn jobs(&self) -> Vec<JobView> {
        self.newest_jobs(usize::MAX)
    }

    /// The jobs that are not over and the newest `over_max` of the others, in the
    /// order of their submission.
    pub fn newest_jobs(&self, over_max: usize) -> Vec<JobView> {
        let over = self.jobs.len() - self.live.len();
        let mut left_out = over.saturating_sub(over_max);
        let mut jobs: Vec<&Job> = self.jobs.values().collect();
        jobs.sort_by_key(|job| job.record().number);
        jobs.retain(|job| {
            let leave_out = left_out > 0 && job.phase().state().is_over();
            left_out -= usize::from(leave_out);
            !leave_out
        });
        jobs.into_iter().map(Job::view).collect()
    }

    /// The state of each job.
    pub fn job_states(&self) -> impl Iterator<Item = JobState> {
        self.jobs.values().map(|job| job.phase().state())
    }

    /// Jobs that wait for the object store, which is away.
    pub fn jobs_with_store_away(&self) -> usize {
        self.jobs.values().filter(|job| job.record().outage.is_some()).count()
    }

    /// Generations that have ever begun, of all jobs together.
    pub fn generations_begun(&self) -> u64 {
        self.jobs.values().map(|job| job.record().generation.get()).fold(0, u64::saturating_add)
    }

    /// Members of running jobs that are slower than the others for long.
    pub fn straggler_count(&self) -> usize {
        self.live_jobs().map(Job::stragglers).sum()
    }

    /// How many workers are attached.
    pub fn worker_count(&self) -> usize {
        self.fleet.len()
    }

    /// A job.
    pub fn job(&self, id: &JobId) -> Option<JobView> {
        self.jobs.get(id).map(Job::view)
    }

    /// A job's loss curve.
    pub fn curve(&self, id: &JobId) -> Option<Curve> {
        self.jobs.get(id).map(|job| job.record().curve.view())
    }

    /// The span that a job belongs to, as it was submitted.
    pub fn trace(&self, id: &JobId) -> Option<TraceParent> {
        self.jobs.get(id).and_then(|job| job.record().trace.clone())
    }

    /// All workers by number.
    pub fn workers(&self) -> Vec<WorkerView> {
        let view = |(id, worker): (WorkerId, &crate::worker::Worker)| {
            let job = worker.duty.job().cloned();
            let gang = job.as_ref().and_then(|job| self.jobs.get(job)).and_then(|job| job.phase().gang());
            WorkerView {
                id,
                host: worker.hello.host.clone(),
                pid: worker.hello.pid,
                data_addr: worker.hello.data_addr,
                kind: worker.hello.kind.clone(),
                version: worker.hello.version.clone(),
                rank: gang.and_then(|gang| gang.rank_of(id)).map(|rank| rank.get()),
                job,
                attached_at: worker.attached_at,
                draining: worker.draining,
                quarantined: worker.is_quarantined(),
                metrics_addr: worker.hello.metrics_addr,
            }
        };
        self.fleet.iter().map(view).collect()
    }

    /// All models that have a version, by name.
    pub fn models(&self) -> Vec<ModelView> {
        self.registry.views()
    }

    /// A model that has a version.
    pub fn model(&self, name: &str) -> Option<ModelView> {
        self.registry.view(name)
    }

    /// Splits the state into the jobs and what their handlers may touch.
    pub(crate) fn split<'a>(
        &'a mut self,
        now: Now,
        turn: &'a mut Turn,
    ) -> (&'a mut BTreeMap<JobId, Job>, Context<'a>) {
        let Self { config, fleet, registry, jobs, .. } = self;
        (jobs, Context { now, config, fleet, registry, turn })
    }

    /// Ends a turn: queues what it has led to.
    pub(crate) fn finish_turn(&mut self, mut turn: Turn, out: &mut Vec<Effect>) {
        turn.changed.iter().for_each(|id| self.index(id));
        for worker in self.fleet.drained() {
            self.fleet.send(worker, Directive::Leave);
            turn.effects.push(Effect::Send { worker });
        }
        let Turn { effects, changed, placement_due } = turn;
        self.placement_due |= placement_due;
        out.extend(effects);
        out.extend(changed.into_iter().map(Effect::JobChanged));
    }

    /// Notes whether a job is live, and when something is due for it.
    pub(crate) fn index(&mut self, id: &JobId) {
        let live = self.jobs.get(id).filter(|job| !job.phase().state().is_over());
        match live {
            Some(_) => self.live.insert(id.clone()),
            None => self.live.remove(id),
        };
        match live.and_then(Job::deadline) {
            Some(deadline) => self.deadlines.insert(id.clone(), deadline),
            None => self.deadlines.remove(id),
        };
    }

    fn dispatch(&mut self, now: Now, input: Input, turn: &mut Turn) -> Result<Reply, Rejected> {
        match input {
            Input::Submit { spec, trace, key } => {
                return self.submit(now, turn, spec, (trace, key)).map(Reply::Job);
            }
            Input::Cancel { job } => self.with_job(now, turn, job, Job::cancel)?,
            Input::Interrupt { job } => self.with_job(now, turn, job, Job::interrupt)?,
            Input::Resume { job, workers } => {
                self.with_job(now, turn, job, |job, cx| job.resume(cx, workers))?;
            }
            Input::SetAlias { model, alias, version, by } => {
                let changed = self.registry.set_alias(&model, &alias, version, by, now.wall)?;
                turn.effects.extend(changed.map(Effect::Persist));
            }
            Input::Attach(hello) => return Ok(Reply::Attached(self.attach(now, turn, *hello)?)),
            Input::Poll { worker, after, pace } => {
                return Ok(self.poll(now, turn, worker, (after, pace)).map(Reply::Directives)?);
            }
            Input::Report { worker, report } => self.report(now, turn, worker, *report)?,
            Input::Scale { job, workers } => {
                self.with_job(now, turn, job, |job, cx| job.scale(cx, workers))?;
            }
            Input::Drain { worker } => self.drain(now, turn, worker)?,
            Input::Disconnected { worker } => self.disconnected(now, turn, worker),
            Input::Detach { worker } => self.detach(now, turn, worker),
            Input::Tick => {}
            Input::EffectDone(completion) => self.complete(now, turn, completion),
        }
        Ok(Reply::Done)
    }

    fn submit(
        &mut self,
        now: Now,
        turn: &mut Turn,
        spec: Box<JobSpec>,
        (trace, key): (Option<TraceParent>, Option<String>),
    ) -> Result<JobId, Rejected> {
        if let Some(known) = key.as_deref().and_then(|key| self.job_of_key(key)) {
            return Ok(known);
        }
        let problems: Vec<String> = spec.problems().iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(Rejected::WrongJob { problems });
        }
        let limit = self.config.jobs_max;
        if self.live.len() >= limit {
            return Err(Rejected::Full { limit });
        }
        let number = self.counters.next_job;
        self.counters.next_job += 1;
        turn.effects.push(Effect::Persist(Record::Counters(self.counters)));
        let id = JobId::new(&spec.name, number);
        let (jobs, mut cx) = self.split(now, turn);
        let job = Job::submitted(&mut cx, id.clone(), number, spec, (trace, key));
        jobs.insert(id.clone(), job);
        Ok(id)
    }

    fn with_job(
        &mut self,
        now: Now,
        turn: &mut Turn,
        id: JobId,
        act: impl FnOnce(&mut Job, &mut Context<'_>) -> Result<(), Rejected>,
    ) -> Result<(), Rejected> {
        let (jobs, mut cx) = self.split(now, turn);
        match jobs.get_mut(&id) {
            Some(job) => act(job, &mut cx),
            None => Err(Rejected::UnknownJob(id)),
        }
    }

    fn attach(&mut self, now: Now, turn: &mut Turn, hello: Hello) -> Result<WorkerId, rpc::NotAttached> {
        if hello.version != rpc::VERSION {
            let coordinator = rpc::VERSION.to_owned();
            return Err(rpc::NotAttached::Version { worker: hello.version, coordinator });
        }
        let before = self.fleet.of_process(&Process::of(&hello));
        let limit = self.config.workers_max;
        if before.is_none() && self.fleet.len() >= limit {
            return Err(rpc::NotAttached::Full { limit });
        }
        if let Some(before) = before {
            self.lose(now, turn, before, "its process has attached again");
        }
        if self.fleet.next() >= self.counters.workers_reserved {
            self.counters.workers_reserved = self.fleet.next() + WORKER_BLOCK;
            turn.effects.push(Effect::Persist(Record::Counters(self.counters)));
        }
        let lease = self.config.timeouts.lease;
        info!(host = hello.host, pid = hello.pid, kind = hello.kind, "worker attached");
        turn.placement_due = true;
        Ok(self.fleet.attach(now, lease, hello))
    }

    fn poll(
        &mut self,
        now: Now,
        turn: &mut Turn,
        worker: WorkerId,
        (after, pace): (u64, Option<Pace>),
    ) -> Result<Vec<Numbered>, rpc::Rejected> {
        if after >= DIRECTIVE_NUMBERS {
            return Err(rpc::Rejected::Impossible(format!("worker {worker} has seen directive {after}")));
        }
        self.hear(now, turn, worker)?;
        if let Some(pace) = pace {
            let (jobs, mut cx) = self.split(now, turn);
            if let Some(job) = jobs.get_mut(&pace.job) {
                job.paced(&mut cx, worker, &pace);
            }
        }
        match self.fleet.confirm(worker, after) {
            Seen::Nothing => {}
            Seen::Idle => turn.placement_due = true,
            Seen::Home(id) => {
                let (jobs, mut cx) = self.split(now, turn);
                if let Some(job) = jobs.get_mut(&id) {
                    job.member_home(&mut cx, worker);
                }
            }
        }
        self.fleet.directives_after(worker, after).ok_or(rpc::Rejected::UnknownWorker(worker))
    }

    fn report(
        &mut self,
        now: Now,
        turn: &mut Turn,
        worker: WorkerId,
        report: Report,
    ) -> Result<(), rpc::Rejected> {
        self.hear(now, turn, worker)?;
        let Report { job, generation, event } = report;
        let (jobs, mut cx) = self.split(now, turn);
        let unknown = rpc::Rejected::StaleGeneration { got: generation, current: Generation::default() };
        jobs.get_mut(&job).ok_or(unknown)?.report(&mut cx, worker, generation, event)
    }

    /// A worker is about to leave, or a user wants it to.
    fn drain(&mut self, now: Now, turn: &mut Turn, id: WorkerId) -> Result<(), rpc::Rejected> {
        let worker = self.fleet.get(id).ok_or(rpc::Rejected::UnknownWorker(id))?;
        if worker.draining {
            return Ok(());
        }
        info!(worker = %id, "worker is about to leave");
        let serves = worker.duty.job().cloned();
        self.fleet.drain(id);
        turn.placement_due = true;
        let (jobs, mut cx) = self.split(now, turn);
        cx.remember_processes();
        if let Some(job) = serves.and_then(|job| jobs.get_mut(&job)) {
            job.drain(&mut cx, id);
        }
        Ok(())
    }

    /// A worker's connection is gone. It is not lost before its lease ends, but nobody waits for it.
    fn disconnected(&mut self, now: Now, turn: &mut Turn, id: WorkerId) {
        self.fleet.disconnected(id);
        turn.placement_due = true;
        let Some(serves) = self.fleet.get(id).and_then(|worker| worker.duty.job().cloned()) else { return };
        let (jobs, mut cx) = self.split(now, turn);
        if let Some(job) = jobs.get_mut(&serves) {
            job.worker_disconnected(&mut cx);
        }
    }

    fn hear(&mut self, now: Now, turn: &mut Turn, worker: WorkerId) -> Result<(), rpc::Rejected> {
        let lease_ends = now.instant.saturating_add(self.config.timeouts.lease);
        turn.placement_due |= self.fleet.hear(worker, lease_ends)?;
        Ok(())
    }

    /// A worker leaves, and with it its process.
    fn detach(&mut self, now: Now, turn: &mut Turn, id: WorkerId) {
        let process = self.fleet.get(id).map(|worker| Process::of(&worker.hello));
        self.lose(now, turn, id, "it has left");
        if process.is_some_and(|process| self.fleet.has_left(&process)) {
            self.split(now, turn).1.remember_processes();
        }
    }

    /// A worker is no longer there: its generation learns of it.
    fn lose(&mut self, now: Now, turn: &mut Turn, id: WorkerId, why: &str) {
        let Some(worker) = self.fleet.remove(id) else { return };
        info!(worker = %id, why, "worker lost");
        turn.placement_due = true;
        let (jobs, mut cx) = self.split(now, turn);
        if let Some(job) = worker.duty.job().and_then(|job| jobs.get_mut(job)) {
            job.worker_lost(&mut cx, id, &worker.hello, why);
        }
    }

    fn complete(&mut self, now: Now, turn: &mut Turn, completion: Completion) {
        let (jobs, mut cx) = self.split(now, turn);
        match completion {
            Completion::CheckpointManifest { job, generation, step, result } => {
                if let Some(job) = jobs.get_mut(&job) {
                    job.manifest_written(&mut cx, generation, step, result);
                }
            }
            Completion::ModelManifest { job, version, result } => {
                if let Some(job) = jobs.get_mut(&job) {
                    job.model_manifest_written(&mut cx, &version, result.map(|_| ()));
                }
            }
            Completion::StoreAway { job, lasting, why } => {
                if let Some(job) = jobs.get_mut(&job) {
                    job.store_is_away(&mut cx, None, lasting, why);
                }
            }
            Completion::StoreBack { job } => {
                if let Some(job) = jobs.get_mut(&job) {
                    job.store_is_back(&mut cx, None);
                }
            }
        }
    }

    /// Deals with leases and deadlines that have passed.
    fn pass_time(&mut self, now: Now, turn: &mut Turn) {
        for worker in self.fleet.expired(now.instant) {
            let why = format!("it was not heard of for {:?}", self.config.timeouts.lease);
            self.lose(now, turn, worker, &why);
        }
        let due = self.deadlines.iter().filter(|(_, deadline)| **deadline <= now.instant);
        let due: Vec<JobId> = due.map(|(id, _)| id.clone()).collect();
        let (jobs, mut cx) = self.split(now, turn);
        for id in &due {
            if let Some(job) = jobs.get_mut(id) {
                job.pass_time(&mut cx);
            }
        }
        due.iter().for_each(|id| self.index(id));
    }

    pub(crate) fn live_jobs(&self) -> impl Iterator<Item = &Job> {
        self.live.iter().filter_map(|id| self.jobs.get(id))
    }
}

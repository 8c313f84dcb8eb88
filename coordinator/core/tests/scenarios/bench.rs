//! A coordinator on the bench: every effect is done at once, except that
//! manifests are written when a test says so.

use std::{collections::BTreeMap, time::Duration};

use phalanx_core::{
    Completion, Config, Coordinator, Effect, Input, Leftovers, Now, Record, Rejected, Reply, WriteFailed,
};
use phalanx_protocol::{
    id::{Generation, JobId, Rank, WorkerId},
    message::{
        Assignment, CheckpointPart, Directive, Event, Finished, Hello, Progress, Report, StateSource,
        Timeouts,
    },
    pace::Pace,
    reference::CheckpointRef,
    view::{JobState, JobView, ModelVersionRef},
};

use crate::support::{dataset, file, finished, hello, part_path, spec, state_hash};

/// The lease of the bench.
pub(crate) const LEASE: Duration = Duration::from_secs(4);

/// A coordinator on the bench.
pub(crate) struct Bench {
    pub(crate) coordinator: Coordinator,
    pub(crate) now: Duration,
    /// Checkpoints that were deleted.
    pub(crate) deleted: Vec<CheckpointRef>,
    /// Leftovers that were deleted.
    pub(crate) swept: Vec<Leftovers>,
    records: BTreeMap<String, Vec<u8>>,
    writes: Vec<Completion>,
    seen: BTreeMap<WorkerId, u64>,
    /// Where workers were sent to train last.
    assigned: BTreeMap<WorkerId, Assignment>,
    processes: u32,
    /// What workers tell of their pace with the next poll.
    paces: BTreeMap<WorkerId, Pace>,
}

fn config() -> Config {
    Config { timeouts: Timeouts::from_lease(LEASE), fruitless_generations_max: 3, ..Config::default() }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self {
            coordinator: Coordinator::new(config),
            now: Duration::from_secs(100),
            deleted: Vec::new(),
            swept: Vec::new(),
            records: BTreeMap::new(),
            writes: Vec::new(),
            seen: BTreeMap::new(),
            assigned: BTreeMap::new(),
            processes: 0,
            paces: BTreeMap::new(),
        }
    }

    fn clock(&self) -> Now {
        let since = jiff::SignedDuration::try_from(self.now).expect("a short time");
        Now { instant: self.now, wall: jiff::Timestamp::UNIX_EPOCH + since }
    }

    /// Hands in one input, and does what follows from it.
    pub(crate) fn call(&mut self, input: Input) -> Result<Reply, Rejected> {
        let mut effects = Vec::new();
        let reply = self.coordinator.handle(self.clock(), input, &mut effects);
        self.coordinator.place(self.clock(), &mut effects);
        self.coordinator.check_invariants().expect("the invariants hold");
        self.perform(effects);
        reply
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist(record) => {
                    self.records.insert(record.key(), record.encode());
                }
                Effect::WriteCheckpointManifest { job, generation, manifest, path } => {
                    let (step, result) = (manifest.step, Ok(file(path)));
                    self.writes.push(Completion::CheckpointManifest { job, generation, step, result });
                }
                Effect::WriteModelManifest { job, version, path } => {
                    let version = ModelVersionRef { name: version.name, version: version.version };
                    self.writes.push(Completion::ModelManifest { job, version, result: Ok(file(path)) });
                }
                Effect::DeleteCheckpoint { checkpoint, .. } => self.deleted.push(checkpoint),
                Effect::DeleteLeftovers(leftovers) => self.swept.push(*leftovers),
                Effect::Send { .. } | Effect::JobChanged(_) => {}
            }
        }
    }

    /// All manifests under way become durable.
    pub(crate) fn write(&mut self) {
        for completion in std::mem::take(&mut self.writes) {
            self.call(Input::EffectDone(completion)).expect("a completion is taken");
        }
    }

    /// All manifests under way fail.
    pub(crate) fn fail_to_write(&mut self) {
        for mut completion in std::mem::take(&mut self.writes) {
            match &mut completion {
                Completion::CheckpointManifest { result, .. } | Completion::ModelManifest { result, .. } => {
                    *result = Err(WriteFailed { reason: "no space is left".to_owned() });
                }
                Completion::StoreAway { .. } | Completion::StoreBack { .. } => {}
            }
            self.call(Input::EffectDone(completion)).expect("a completion is taken");
        }
    }

    /// What is durable.
    pub(crate) fn records(&self) -> Vec<Record> {
        let stored = self.records.iter();
        stored.map(|(key, value)| Record::decode(key, value).expect("a record that was stored")).collect()
    }

    /// The coordinator dies and starts again; writes under way are forgotten.
    pub(crate) fn restart(&mut self) {
        let records = self.records();
        self.writes.clear();
        let mut effects = Vec::new();
        let restored = Coordinator::restore(config(), self.clock(), records, &mut effects);
        self.coordinator = restored.expect("records that were stored together");
        self.perform(effects);
    }

    /// Time passes, in steps so small that workers which poll keep their leases.
    pub(crate) fn wait(&mut self, duration: Duration, polling: &[WorkerId]) {
        let end = self.now + duration;
        while self.now < end {
            self.now = end.min(self.now + LEASE / 8);
            for worker in polling {
                self.confirm(*worker);
            }
            self.call(Input::Tick).expect("time is taken");
        }
    }

    pub(crate) fn submit(&mut self, settings: &[(&str, &str)]) -> JobId {
        match self.call(Input::Submit { spec: spec(settings), trace: None, key: None }) {
            Ok(Reply::Job(id)) => id,
            other => panic!("a job was answered with {other:?}"),
        }
    }

    pub(crate) fn attach(&mut self, count: usize) -> Vec<WorkerId> {
        (0..count)
            .map(|_| {
                self.processes += 1;
                self.attach_as(hello(self.processes))
            })
            .collect()
    }

    pub(crate) fn attach_as(&mut self, hello: Hello) -> WorkerId {
        match self.call(Input::Attach(Box::new(hello))) {
            Ok(Reply::Attached(id)) => id,
            other => panic!("a worker was answered with {other:?}"),
        }
    }

    /// Members poll once, and tell how many milliseconds each needs for the gradients of a step; the
    /// last directives of each.
    pub(crate) fn pace(&mut self, job: &JobId, millis: &[(WorkerId, u64)]) {
        let generation = self.job(job).generation;
        for (worker, millis) in millis {
            let pace = Pace {
                job: job.clone(),
                generation,
                steps: 10,
                lanes: 1,
                gradients: Duration::from_millis(10 * millis),
                reduction: Duration::from_millis(10),
                update: Duration::ZERO,
            };
            self.paces.insert(*worker, pace);
            self.poll(*worker);
        }
    }

    /// The directives that a worker has not seen yet. It confirms them with its next poll.
    pub(crate) fn poll(&mut self, worker: WorkerId) -> Vec<Directive> {
        let after = self.seen.get(&worker).copied().unwrap_or(0);
        let pace = self.paces.remove(&worker);
        match self.call(Input::Poll { worker, after, pace }) {
            Ok(Reply::Directives(directives)) => {
                let last = directives.last().map_or(after, |last| last.number);
                self.seen.insert(worker, last);
                let directives: Vec<_> = directives.into_iter().map(|numbered| numbered.directive).collect();
                for directive in &directives {
                    if let Directive::Train(assignment) = directive {
                        self.assigned.insert(worker, (**assignment).clone());
                    }
                }
                directives
            }
            other => panic!("a poll was answered with {other:?}"),
        }
    }

    /// Where a worker was sent to train last.
    pub(crate) fn assignment(&mut self, worker: WorkerId) -> Assignment {
        if let [.., Directive::Prepare { job, .. }] = &self.poll(worker)[..] {
            let job = job.clone();
            self.prepared(&job);
        }
        self.poll(worker);
        self.assigned.get(&worker).cloned().expect("it was sent to train")
    }

    /// A worker sees and confirms everything.
    pub(crate) fn confirm(&mut self, worker: WorkerId) {
        while !self.poll(worker).is_empty() {}
    }

    /// A member reports; its job and generation are the current ones.
    pub(crate) fn report(&mut self, worker: WorkerId, job: &JobId, event: Event) {
        let generation = self.job(job).generation;
        self.report_in(worker, job, generation, event).expect("a report of the current generation is taken");
    }

    pub(crate) fn report_in(
        &mut self,
        worker: WorkerId,
        job: &JobId,
        generation: Generation,
        event: Event,
    ) -> Result<Reply, Rejected> {
        let report = Box::new(Report { job: job.clone(), generation, event });
        self.call(Input::Report { worker, report })
    }

    pub(crate) fn job(&self, job: &JobId) -> JobView {
        self.coordinator.job(job).expect("a job that was submitted")
    }

    pub(crate) fn prepared(&mut self, job: &JobId) {
        let leader = self.job(job).workers[0];
        let event = Event::Prepared { dataset: dataset(), found: true, summary: "100 rows".to_owned() };
        self.report(leader, job, event);
    }

    /// From Preparing or Forming to Training, with the state of the newest checkpoint; returns
    /// the members.
    pub(crate) fn form(&mut self, job: &JobId) -> Vec<WorkerId> {
        let saved = self.job(job).checkpoints.last().map(|newest| newest.step);
        let from = saved.map_or(StateSource::Seed, |_| StateSource::Checkpoint);
        self.form_at(job, saved.unwrap_or(0), from)
    }

    /// From Preparing or Forming to Training, with the state that members hold after `step` steps.
    pub(crate) fn form_held(&mut self, job: &JobId, step: u64) -> Vec<WorkerId> {
        self.form_at(job, step, StateSource::Members { healed: 0 })
    }

    /// What a rank tells that holds the state after `step` steps.
    pub(crate) fn formed(&self, step: u64) -> Event {
        Event::Formed { step, from: StateSource::Members { healed: 0 } }
    }

    fn form_at(&mut self, job: &JobId, step: u64, from: StateSource) -> Vec<WorkerId> {
        if self.job(job).state == JobState::Preparing {
            self.prepared(job);
        }
        self.check(job, JobState::Forming);
        let members = self.job(job).workers;
        for member in &members {
            self.report(*member, job, Event::Formed { step, from });
        }
        self.check(job, JobState::Training);
        members
    }

    /// A job that trains on `count` workers.
    pub(crate) fn train(count: usize, settings: &[(&str, &str)]) -> (Self, JobId, Vec<WorkerId>) {
        let mut bench = Self::new();
        let count_text = count.to_string();
        let mut all = vec![("workers.max", count_text.as_str())];
        all.extend(settings);
        bench.attach(count);
        let job = bench.submit(&all);
        let members = bench.form(&job);
        assert_eq!(members.len(), count);
        (bench, job, members)
    }

    pub(crate) fn step(&mut self, job: &JobId, step: u64) {
        let leader = self.job(job).workers[0];
        let progress = Progress {
            step,
            epoch: step / 10,
            cursor: step * 8,
            loss: 0.5,
            learning_rate: 0.01,
            samples_per_second: 10.0,
            curve: vec![(step, 0.5)],
        };
        self.report(leader, job, Event::Progress(progress));
    }

    pub(crate) fn part(&self, job: &JobId, rank: u32, step: u64) -> CheckpointPart {
        let seed = spec(&[]);
        CheckpointPart {
            step,
            cursor: step * 8,
            rank: Rank::new(rank),
            state_hash: state_hash(&seed, step),
            file: file(part_path(job, self.job(job).generation, step, rank)),
            progress_json: "{}".to_owned(),
        }
    }

    /// Every rank writes its part.
    pub(crate) fn save_parts(&mut self, job: &JobId, step: u64) {
        for (rank, member) in (0..).zip(self.job(job).workers) {
            let part = Box::new(self.part(job, rank, step));
            self.report(member, job, Event::CheckpointPart(part));
        }
    }

    /// A whole checkpoint comes to be.
    pub(crate) fn save(&mut self, job: &JobId, step: u64) {
        self.step(job, step);
        self.save_parts(job, step);
        self.write();
    }

    pub(crate) fn finish(&mut self, job: &JobId) {
        self.finish_with(job, |_| {});
    }

    /// The job ends with another outcome.
    pub(crate) fn finish_with(&mut self, job: &JobId, change: impl FnOnce(&mut Finished)) {
        let view = self.job(job);
        let mut end = finished(&spec(&[]), job, view.generation);
        change(&mut end);
        self.report(view.workers[0], job, Event::Finished(Box::new(end)));
    }

    #[track_caller]
    pub(crate) fn check(&self, job: &JobId, state: JobState) {
        let view = self.job(job);
        assert_eq!(view.state, state, "{:?}", view.reason);
    }

    /// Whether one of a job's messages contains `text`.
    #[track_caller]
    pub(crate) fn check_said(&self, job: &JobId, text: &str) {
        let messages = self.job(job).messages;
        assert!(messages.iter().any(|message| message.text.contains(text)), "no `{text}` in {messages:#?}");
    }
}

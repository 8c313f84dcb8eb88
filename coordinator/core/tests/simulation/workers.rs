//! Simulated worker processes, and the collective that they train in. A step
//! takes all members of a generation; when one is missing, the others fail.

use std::{collections::BTreeMap, time::Duration};

use phalanx_core::{Input, Rejected, Reply};
use phalanx_protocol::{
    id::{Generation, JobId, Rank, WorkerId},
    message::{Assignment, CheckpointPart, Directive, Event, Failure, Progress, Report},
    rpc,
    spec::JobSpec,
};

use crate::{
    support::{dataset, file, finished, hello, part_path, state_hash},
    world::{Happening, World},
};

/// A place where a worker process runs, one after another.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The process that runs; 0 if none does.
    life: u64,
    pub(crate) hangs_until: Duration,
    id: Option<WorkerId>,
    after: u64,
    work: Option<Work>,
}

/// What a worker works on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Work {
    job: JobId,
    generation: Generation,
    told_to_stop: bool,
}

/// A report on its way.
#[derive(Debug, Clone)]
pub(crate) struct Telling {
    slot: usize,
    life: u64,
    worker: WorkerId,
    report: Report,
}

/// The collective of one generation.
#[derive(Debug)]
pub(crate) struct Group {
    spec: Box<JobSpec>,
    /// Slot, life and id of each rank that has joined.
    members: BTreeMap<Rank, (usize, u64, WorkerId)>,
    step: u64,
}

impl Slot {
    pub(crate) fn is_alive(&self) -> bool {
        self.life != 0
    }

    /// The process goes on, but no longer knows its number.
    pub(crate) fn forget(&mut self) {
        (self.id, self.after, self.work) = (None, 0, None);
    }
}

impl World {
    pub(crate) fn respawn(&mut self, slot: usize) {
        if !self.slots[slot].is_alive() {
            let life = self.next_life();
            self.note(|| format!("slot {slot} starts process {life}"));
            self.slots[slot] = Slot { life, ..Slot::default() };
            self.schedule(1, 100, Happening::Poll { slot, life, regular: true });
        }
    }

    pub(crate) fn kill(&mut self, slot: usize) {
        let id = self.slots[slot].id;
        self.note(|| format!("slot {slot} is killed; it was worker {id:?}"));
        self.ended.lost_workers += 1;
        self.slots[slot] = Slot::default();
    }

    /// A worker leaves in order, and its process starts again.
    pub(crate) fn detach(&mut self, slot: usize) -> Result<(), String> {
        let id = self.slots[slot].id;
        self.kill(slot);
        self.schedule(100, 3_000, Happening::Respawn { slot });
        match id {
            Some(worker) => self.call(Input::Detach { worker }).map(|_| ()),
            None => Ok(()),
        }
    }

    /// A directive waits: the worker's long poll is answered.
    pub(crate) fn wake(&mut self, worker: WorkerId) {
        if let Some(slot) = self.slots.iter().position(|slot| slot.id == Some(worker)) {
            let life = self.slots[slot].life;
            self.schedule(1, 20, Happening::Poll { slot, life, regular: false });
        }
    }

    /// No directive may name a generation that is not durable.
    pub(crate) fn check_sent(&self, directive: &Directive) -> Result<(), String> {
        let (job, generation) = match directive {
            Directive::Prepare { job, generation, .. }
            | Directive::Stop { job, generation }
            | Directive::Release { job, generation } => (job, *generation),
            Directive::Train(assignment) => (&assignment.job, assignment.generation),
        };
        if generation <= self.stores.generation(job) {
            Ok(())
        } else {
            Err(format!("invariant 1: {job} is told of generation {generation}, which is not durable"))
        }
    }

    pub(crate) fn poll(&mut self, slot: usize, life: u64, regular: bool) -> Result<(), String> {
        if self.slots[slot].life != life {
            return Ok(());
        }
        if self.slots[slot].hangs_until > self.now {
            self.at(self.slots[slot].hangs_until, Happening::Poll { slot, life, regular });
            return Ok(());
        }
        if regular {
            self.schedule(300, 480, Happening::Poll { slot, life, regular });
        }
        let Some(worker) = self.slots[slot].id else {
            let pid = u32::try_from(life).map_err(|error| error.to_string())?;
            if let Some(Ok(Reply::Attached(id))) = self.call(Input::Attach(Box::new(hello(pid))))? {
                self.note(|| format!("slot {slot} is worker {id}"));
                let taken = self.slots.iter().any(|slot| slot.id == Some(id));
                self.slots[slot].id = Some(id);
                return if taken { Err(format!("worker number {id} was given out twice")) } else { Ok(()) };
            }
            return Ok(());
        };
        match self.call(Input::Poll { worker, after: self.slots[slot].after })? {
            Some(Ok(Reply::Directives(directives))) => {
                for numbered in directives {
                    self.slots[slot].after = numbered.number;
                    self.obey(slot, worker, numbered.directive)?;
                }
            }
            Some(Err(Rejected::Call(rpc::Rejected::UnknownWorker(_)))) => self.slots[slot].forget(),
            Some(other) => return Err(format!("a poll was answered with {other:?}")),
            None => {}
        }
        Ok(())
    }

    fn obey(&mut self, slot: usize, worker: WorkerId, directive: Directive) -> Result<(), String> {
        self.note(|| format!("worker {worker} is told {}", short(&directive)));
        match directive {
            Directive::Prepare { job, generation, .. } => {
                self.slots[slot].work = Some(Work { job: job.clone(), generation, told_to_stop: false });
                let preparing =
                    Event::Preparing { what: "reading demo.csv".to_owned(), done_bytes: 1, total_bytes: 2 };
                self.tell(slot, worker, &job, generation, preparing, (1, 100));
                let prepared =
                    Event::Prepared { dataset: dataset(), found: true, summary: "100 rows".to_owned() };
                self.tell(slot, worker, &job, generation, prepared, (10, 400));
            }
            Directive::Train(assignment) => self.join(slot, worker, *assignment)?,
            Directive::Stop { job, generation } => {
                if let Some(work) = &mut self.slots[slot].work {
                    work.told_to_stop |= work.job == job && work.generation == generation;
                }
            }
            Directive::Release { job, generation } => {
                let over = |work: &Work| work.job == job && work.generation <= generation;
                self.slots[slot].work = self.slots[slot].work.take().filter(|work| !over(work));
            }
        }
        Ok(())
    }

    fn join(&mut self, slot: usize, worker: WorkerId, assignment: Assignment) -> Result<(), String> {
        let world_size = assignment.peers.len();
        let Assignment { job, generation, rank, spec, resume, .. } = assignment;
        self.slots[slot].work = Some(Work { job: job.clone(), generation, told_to_stop: false });
        if let Some(resume) = &resume {
            self.ended.resumed_from_checkpoint += 1;
            if self.stores.generation(&job) == generation {
                let whole = self.stores.check_whole(resume, &[]);
                whole.map_err(|why| format!("invariant 4: {job} goes on from nothing: {why}"))?;
            }
            if self.chance(self.odds.damaged) {
                self.ended.damaged += 1;
                let manifest = resume.manifest.path.clone();
                let failure = Failure::CheckpointDamaged { manifest, reason: "a byte is wrong".to_owned() };
                self.tell(slot, worker, &job, generation, Event::Failed(failure), (1, 50));
                return Ok(());
            }
        }
        self.tell(slot, worker, &job, generation, Event::Formed, (1, 150));
        let life = self.slots[slot].life;
        let group = self.groups.entry((job.clone(), generation)).or_insert_with(|| Group {
            spec,
            members: BTreeMap::new(),
            step: resume.map_or(0, |resume| resume.step),
        });
        group.members.insert(rank, (slot, life, worker));
        if group.members.len() == world_size {
            self.schedule(50, 300, Happening::Step { job, generation });
        }
        Ok(())
    }

    /// A generation makes some steps, or breaks up, or stops, or comes to its end.
    pub(crate) fn step(&mut self, job: &JobId, generation: Generation) {
        let Some(group) = self.groups.remove(&(job.clone(), generation)) else { return };
        let member = |(slot, life, worker): &(usize, u64, WorkerId)| {
            let at = &self.slots[*slot];
            let works = at.work.as_ref().is_some_and(|w| w.job == *job && w.generation == generation);
            (at.life == *life && at.id == Some(*worker) && works).then_some(at)
        };
        let present =
            |place: &(usize, u64, WorkerId)| member(place).is_some_and(|at| at.hangs_until <= self.now);
        if !group.members.values().all(present) {
            let left: Vec<_> =
                group.members.values().filter(|place| member(place).is_some()).copied().collect();
            for (slot, _, worker) in left {
                let failure = Event::Failed(Failure::Peer { reason: "a connection broke".to_owned() });
                self.tell(slot, worker, job, generation, failure, (1, 500));
            }
            return;
        }
        let stop = group
            .members
            .values()
            .any(|(slot, ..)| self.slots[*slot].work.as_ref().is_some_and(|work| work.told_to_stop));
        self.advance(job, generation, group, stop);
    }

    fn advance(&mut self, job: &JobId, generation: Generation, mut group: Group, stop: bool) {
        let total = group.spec.train.total_steps(dataset().train_rows);
        let before = group.step;
        group.step = (group.step + self.rng.u64(1..=3)).min(total);
        let (step, every) = (group.step, group.spec.checkpoint.every);
        let Some(&(slot, _, leader)) = group.members.get(&Rank::new(0)) else { return };
        let cursor = step * u64::from(group.spec.train.batch_size);
        let progress = Progress {
            step,
            epoch: step / 10,
            cursor,
            loss: 1.0 / (step + 1) as f64,
            learning_rate: 0.01,
            samples_per_second: 100.0,
            curve: (before + 1..=step).map(|step| (step, 1.0 / step as f64)).collect(),
        };
        self.tell(slot, leader, job, generation, Event::Progress(progress), (1, 50));
        let saves = step > before && (stop || step / every > before / every);
        let ranks: Vec<_> = group.members.iter().map(|(rank, place)| (*rank, *place)).collect();
        for (rank, (slot, _, worker)) in ranks {
            if saves {
                self.save(slot, worker, job, generation, &group, rank);
            }
            if stop {
                self.tell(slot, worker, job, generation, Event::Stopped { step }, (1, 100));
            }
        }
        if stop {
            return;
        }
        if step < total {
            self.groups.insert((job.clone(), generation), group);
            self.schedule(100, 500, Happening::Step { job: job.clone(), generation });
            return;
        }
        self.tell(slot, leader, job, generation, Event::Evaluating, (1, 100));
        let end = finished(&group.spec, job, generation);
        self.tell(slot, leader, job, generation, Event::Finished(Box::new(end)), (100, 500));
    }

    fn save(
        &mut self,
        slot: usize,
        worker: WorkerId,
        job: &JobId,
        generation: Generation,
        group: &Group,
        rank: Rank,
    ) {
        let step = group.step;
        if self.is_disk_full() {
            let failure = Failure::Storage { reason: "no space is left".to_owned() };
            return self.tell(slot, worker, job, generation, Event::Failed(failure), (1, 100));
        }
        let path = part_path(job, generation, step, rank.get());
        self.stores.write(path.clone());
        let differs = group.members.len() > 1 && self.chance(self.odds.differing);
        self.ended.differing += u64::from(differs);
        let state_hash = if differs { "another state".to_owned() } else { state_hash(&group.spec, step) };
        let part = CheckpointPart {
            step,
            cursor: step * u64::from(group.spec.train.batch_size),
            rank,
            state_hash,
            file: file(path),
            progress_json: "{}".to_owned(),
        };
        self.tell(slot, worker, job, generation, Event::CheckpointPart(Box::new(part)), (1, 200));
    }

    fn tell(
        &mut self,
        slot: usize,
        worker: WorkerId,
        job: &JobId,
        generation: Generation,
        event: Event,
        (least_ms, most_ms): (u64, u64),
    ) {
        let life = self.slots[slot].life;
        let report = Report { job: job.clone(), generation, event };
        let telling = Box::new(Telling { slot, life, worker, report });
        if self.chance(self.odds.twice) {
            self.schedule(least_ms, 2 * most_ms, Happening::Deliver(telling.clone()));
        }
        self.schedule(least_ms, most_ms, Happening::Deliver(telling));
    }

    pub(crate) fn deliver(&mut self, telling: Telling) -> Result<(), String> {
        let Telling { slot, life, worker, report } = &telling;
        let at = &self.slots[*slot];
        if at.life != *life || at.id != Some(*worker) {
            return Ok(());
        }
        if at.hangs_until > self.now {
            self.at(at.hangs_until, Happening::Deliver(Box::new(telling)));
            return Ok(());
        }
        let (slot, worker, report) = (*slot, *worker, report.clone());
        let durable = self.stores.generation(&report.job);
        let (job, generation) = (report.job.clone(), report.generation);
        self.note(|| format!("worker {worker} reports {report:?}"));
        match self.call(Input::Report { worker, report: Box::new(report) })? {
            // It is not known whether the coordinator has heard it: say it again.
            None => self.schedule(50, 500, Happening::Deliver(Box::new(telling))),
            Some(Ok(_)) if generation < durable => {
                return Err(format!("invariant 3: generation {generation} of {job} was heard in {durable}"));
            }
            Some(Ok(_)) => {}
            Some(Err(Rejected::Call(rpc::Rejected::UnknownWorker(_)))) => self.slots[slot].forget(),
            Some(Err(Rejected::Call(rpc::Rejected::StaleGeneration { .. }))) => self.ended.stale += 1,
            Some(Err(other)) => return Err(format!("a report was answered with {other}")),
        }
        Ok(())
    }
}

/// A directive without its job file.
fn short(directive: &Directive) -> String {
    match directive {
        Directive::Prepare { job, generation, .. } => format!("to prepare {job}, generation {generation}"),
        Directive::Train(a) => {
            let step = a.resume.as_ref().map_or(0, |resume| resume.step);
            format!("to train {}, generation {}, rank {} from step {step}", a.job, a.generation, a.rank)
        }
        Directive::Stop { job, generation } => format!("to stop {job}, generation {generation}"),
        Directive::Release { job, generation } => format!("that {job}, generation {generation} is over"),
    }
}

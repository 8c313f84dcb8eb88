//! Simulated worker processes, and the collective that they train in. A step
//! takes all members of a generation; when one is missing, the others fail.

use std::{collections::BTreeMap, time::Duration};

use phalanx_core::{Input, Rejected, Reply};
use phalanx_protocol::{
    id::{Generation, JobId, Rank, WorkerId},
    message::{Assignment, CheckpointPart, Directive, Event, Failure, Progress, Report, StateSource},
    reference::CheckpointRef,
    rpc,
    spec::JobSpec,
};

use crate::{
    log::short,
    states::{Held, Place, compared_at, places},
    support::{dataset, file, finished, hello, part_path},
    world::{Happening, World},
};

/// A place where a worker process runs, one after another.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The process that runs; 0 if none does.
    pub(crate) life: u64,
    pub(crate) hangs_until: Duration,
    /// It does not reach the coordinator before, and goes on with its work.
    pub(crate) cut_off_until: Duration,
    id: Option<WorkerId>,
    after: u64,
    work: Option<Work>,
    pub(crate) held: Option<Held>,
}

/// What a worker works on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Work {
    job: JobId,
    generation: Generation,
    /// Whether it has joined its group, which it does once.
    trains: bool,
    /// Whether it was told to stop, and to save first.
    stop: Option<bool>,
}

impl Work {
    fn new(job: &JobId, generation: Generation) -> Self {
        Self { job: job.clone(), generation, trains: false, stop: None }
    }
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
    pub(crate) spec: Box<JobSpec>,
    resume: Option<CheckpointRef>,
    /// A disputed step.
    verify_at: Option<u64>,
    /// Slot, life and id of each rank that has joined.
    pub(crate) members: BTreeMap<Rank, Place>,
    pub(crate) step: u64,
    /// Steps finished at the last checkpoint.
    saved: u64,
}

impl Slot {
    pub(crate) fn is_alive(&self) -> bool {
        self.life != 0
    }

    pub(crate) fn id(&self) -> Option<WorkerId> {
        self.id
    }

    /// The process, and what it works on.
    pub(crate) fn work(&self) -> Option<(u64, &JobId, Generation)> {
        self.work.as_ref().map(|work| (self.life, &work.job, work.generation))
    }

    /// Begins some work; `false` where it is under way already or of an older generation.
    fn begin(&mut self, job: &JobId, generation: Generation) -> bool {
        if self.work.as_ref().is_some_and(|work| work.job == *job && work.generation >= generation) {
            return false;
        }
        self.work = Some(Work::new(job, generation));
        self.held.take_if(|held| held.job != *job);
        true
    }

    /// The process goes on, but no longer knows its number, and gives up what it holds.
    pub(crate) fn forget(&mut self) {
        (self.id, self.after, self.work, self.held) = (None, 0, None, None);
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
        // Its connection breaks, which is mostly seen.
        if let Some(worker) = id
            && self.rng.bool()
        {
            self.schedule(1, 50, Happening::Disconnect { worker });
        }
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

    pub(crate) fn poll(&mut self, slot: usize, life: u64, regular: bool) -> Result<(), String> {
        if self.slots[slot].life != life {
            return Ok(());
        }
        if let Some(until) = self.unheard(slot) {
            self.at(until, Happening::Poll { slot, life, regular });
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
        let pace = self.slots[slot].pace();
        match self.call(Input::Poll { worker, after: self.slots[slot].after, pace })? {
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
                if !self.slots[slot].begin(&job, generation) {
                    return Ok(());
                }
                let preparing =
                    Event::Preparing { what: "reading demo.csv".to_owned(), done_bytes: 1, total_bytes: 2 };
                self.tell(slot, worker, &job, generation, preparing, (1, 100));
                let prepared =
                    Event::Prepared { dataset: dataset(), found: true, summary: "100 rows".to_owned() };
                self.tell(slot, worker, &job, generation, prepared, (10, 400));
            }
            Directive::Fetch { job, generation, .. } => {
                if self.slots[slot].begin(&job, generation) {
                    self.tell(slot, worker, &job, generation, Event::Fetched, (10, 400));
                }
            }
            Directive::Train(assignment) => self.join(slot, worker, *assignment),
            Directive::Stop { job, generation, save } => {
                if let Some(work) = &mut self.slots[slot].work
                    && work.job == job
                    && work.generation == generation
                {
                    work.stop = Some(work.stop.unwrap_or(save) || save);
                }
            }
            Directive::Release { job, generation, keep } => {
                let at = &mut self.slots[slot];
                let over = |work: &Work| work.job == job && work.generation <= generation;
                at.work = at.work.take().filter(|work| !over(work));
                at.held.take_if(|held| !keep && held.job == job);
            }
            Directive::Leave => {
                self.ended.left += 1;
                self.detach(slot)?;
            }
        }
        Ok(())
    }

    fn join(&mut self, slot: usize, worker: WorkerId, assignment: Assignment) {
        let world_size = assignment.peers.len();
        let Assignment { job, generation, rank, spec, resume, verify_at, .. } = assignment;
        let at = &mut self.slots[slot];
        let is_known = |work: &Work| work.job == job && (work.generation, work.trains) >= (generation, true);
        if at.work.as_ref().is_some_and(is_known) {
            return;
        }
        at.work = Some(Work { trains: true, ..Work::new(&job, generation) });
        at.held.take_if(|held| held.job != job);
        let life = at.life;
        let group = self.groups.entry((job.clone(), generation)).or_insert_with(|| Group {
            spec,
            saved: resume.as_ref().map_or(0, |resume| resume.step),
            resume,
            verify_at,
            members: BTreeMap::new(),
            step: 0,
        });
        group.members.insert(rank, (slot, life, worker));
        if group.members.len() == world_size {
            self.schedule(5, 150, Happening::Form { job, generation });
        }
    }

    /// All ranks have met: they find the newest state, and begin.
    pub(crate) fn form(&mut self, job: &JobId, generation: Generation) -> Result<(), String> {
        let Some(mut group) = self.groups.remove(&(job.clone(), generation)) else { return Ok(()) };
        if !self.all_are_there(&group, job, generation) {
            self.break_up(&group, job, generation);
            return Ok(());
        }
        self.check_held(job, &group)?;
        let held = |member: &Place| self.held_by(member);
        let saved = group.resume.as_ref().map(|resume| resume.step);
        let newest = group.members.values().filter_map(held).max();
        let from = match (newest, saved) {
            (Some(held), saved) if saved.is_none_or(|saved| saved <= held) => {
                group.step = held;
                let behind = group.members.values().filter(|member| self.held_by(member) != Some(held));
                let healed = u32::try_from(behind.count()).map_err(|error| error.to_string())?;
                let holds = |world: &Self, slot: usize| {
                    world.slots[slot].held.as_ref().is_some_and(|mine| mine.step == held)
                };
                if healed > 0 && !self.compare(job, generation, &group, holds) {
                    return Ok(());
                }
                self.ended.healed += u64::from(healed);
                StateSource::Members { healed }
            }
            (_, Some(saved)) => {
                group.step = saved;
                self.ended.resumed_from_checkpoint += 1;
                StateSource::Checkpoint
            }
            (_, None) => StateSource::Seed,
        };
        if let (StateSource::Checkpoint, Some(resume)) = (from, &group.resume) {
            if self.stores.generation(job) == generation {
                let whole = self.stores.check_whole(resume, &[]);
                whole.map_err(|why| format!("invariant 4: {job} goes on from nothing: {why}"))?;
            }
            if self.chance(self.odds.damaged) {
                self.ended.damaged += 1;
                let manifest = resume.manifest.path.clone();
                let failure = Failure::CheckpointDamaged { manifest, reason: "a byte is wrong".to_owned() };
                if let Some((slot, _, worker)) = group.members.values().next().copied() {
                    self.tell(slot, worker, job, generation, Event::Failed(failure), (1, 50));
                }
                return Ok(());
            }
        }
        let step = group.step;
        for (slot, _, worker) in group.members.values().copied().collect::<Vec<_>>() {
            self.slots[slot].held = Some(Held::right(job, step));
            self.tell(slot, worker, job, generation, Event::Formed { step, from }, (1, 150));
        }
        self.groups.insert((job.clone(), generation), group);
        self.schedule(50, 300, Happening::Step { job: job.clone(), generation });
        Ok(())
    }

    /// Until when the coordinator does not hear of this slot, if it does not.
    fn unheard(&self, slot: usize) -> Option<Duration> {
        let until = self.slots[slot].hangs_until.max(self.slots[slot].cut_off_until);
        (until > self.now).then_some(until)
    }

    fn held_by(&self, (slot, ..): &Place) -> Option<u64> {
        self.slots[*slot].held.as_ref().map(|held| held.step)
    }

    /// Whether this member still works for its generation.
    fn works(&self, (slot, life, worker): &Place, job: &JobId, generation: Generation) -> bool {
        let at = &self.slots[*slot];
        let works = at.work.as_ref().is_some_and(|w| w.job == *job && w.generation == generation);
        at.life == *life && at.id == Some(*worker) && works
    }

    fn all_are_there(&self, group: &Group, job: &JobId, generation: Generation) -> bool {
        let hangs = |(slot, ..): &Place| self.slots[*slot].hangs_until > self.now;
        let mut apart = group.members.values().filter(|(slot, ..)| self.split_slots.contains(slot)).count();
        if self.now >= self.split_until || apart == group.members.len() {
            apart = 0;
        }
        apart == 0
            && group.members.values().all(|member| self.works(member, job, generation) && !hangs(member))
    }

    /// One is missing: those left fail.
    fn break_up(&mut self, group: &Group, job: &JobId, generation: Generation) {
        for member in group.members.values() {
            if self.works(member, job, generation) {
                let step = self.held_by(member).unwrap_or(0);
                let reason = "a connection broke".to_owned();
                let failure = Event::Failed(Failure::Peer { reason, step });
                self.tell(member.0, member.2, job, generation, failure, (1, 500));
            }
        }
    }

    /// A generation makes some steps, or breaks up, or stops, or comes to its end.
    pub(crate) fn step(&mut self, job: &JobId, generation: Generation) {
        let Some(group) = self.groups.remove(&(job.clone(), generation)) else { return };
        if !self.all_are_there(&group, job, generation) {
            return self.break_up(&group, job, generation);
        }
        let wishes = group.members.values().filter_map(|(slot, ..)| self.slots[*slot].work.as_ref()?.stop);
        let stop = wishes.reduce(|one, other| one || other);
        self.advance(job, generation, group, stop);
    }

    fn advance(&mut self, job: &JobId, generation: Generation, mut group: Group, stop: Option<bool>) {
        let total = group.spec.train.total_steps(dataset().train_rows);
        let before = group.step;
        group.step = (group.step + self.rng.u64(1..=3)).min(total);
        let disputed = group.verify_at.filter(|step| (before + 1..=group.step).contains(step));
        group.step = disputed.unwrap_or(group.step);
        let (step, every) = (group.step, group.spec.checkpoint.every);
        // Where no step is left, nobody votes.
        let stop = stop.filter(|_| step > before);
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
        let saves = step > group.saved && (stop == Some(true) || step / every > group.saved / every);
        if saves {
            group.saved = step;
        }
        for (_, (slot, _, worker)) in places(&group) {
            if let Some(held) = &mut self.slots[slot].held {
                held.step = step;
            }
            if group.members.len() > 1 && (saves || disputed.is_some()) {
                self.err(slot, worker);
            }
        }
        if disputed.is_some() && stop.is_none() {
            if !self.compare(job, generation, &group, |_, _| true) {
                return;
            }
            let state_hash = self.hash_of(slot, &group);
            self.tell(slot, leader, job, generation, Event::Verified { step, state_hash }, (1, 100));
        }
        if saves {
            self.remember_wrong(job, generation, &group);
        }
        for (rank, (slot, _, worker)) in places(&group) {
            if saves {
                self.save(slot, worker, job, generation, &group, rank);
            }
            if self.chance(self.odds.store_away) {
                // It may never say that it is back, and another may.
                let lasting = Duration::from_secs(self.rng.u64(5..60));
                let away = Event::StoreAway { lasting, why: "connection refused".to_owned() };
                let word = if self.rng.bool() { away } else { Event::StoreBack };
                self.tell(slot, worker, job, generation, word, (1, 300));
            }
            if stop.is_some() {
                self.tell(slot, worker, job, generation, Event::Stopped { step }, (1, 100));
            }
        }
        if stop.is_some() {
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
        let part = CheckpointPart {
            step,
            cursor: step * u64::from(group.spec.train.batch_size),
            rank,
            state_hash: self.hash_of(slot, group),
            file: file(path),
            progress_json: "{}".to_owned(),
        };
        self.tell(slot, worker, job, generation, Event::CheckpointPart(Box::new(part)), (1, 200));
    }

    pub(crate) fn tell(
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
        if let Some(until) = self.unheard(*slot) {
            self.at(until, Happening::Deliver(Box::new(telling)));
            return Ok(());
        }
        let (slot, worker, report) = (*slot, *worker, report.clone());
        let durable = self.stores.generation(&report.job);
        let (job, generation) = (report.job.clone(), report.generation);
        // A newcomer belongs to the next generation, whichever it is.
        let of_newcomer = matches!(report.event, Event::Fetched);
        let compared = compared_at(&report.event).map(|step| (step, self.last_message(&job)));
        self.note(|| format!("worker {worker} reports {report:?}"));
        match self.call(Input::Report { worker, report: Box::new(report) })? {
            // It is not known whether the coordinator has heard it: say it again.
            None => self.schedule(50, 500, Happening::Deliver(Box::new(telling))),
            Some(Ok(_)) if generation < durable && !of_newcomer => {
                return Err(format!("invariant 3: generation {generation} of {job} was heard in {durable}"));
            }
            Some(Ok(_)) => {
                if let Some((step, last)) = compared {
                    self.hear_judgement(&job, generation, step, last)?;
                }
            }
            Some(Err(Rejected::Call(rpc::Rejected::UnknownWorker(_)))) => self.slots[slot].forget(),
            Some(Err(Rejected::Call(rpc::Rejected::StaleGeneration { .. }))) => self.ended.stale += 1,
            Some(Err(other)) => return Err(format!("a report was answered with {other}")),
        }
        Ok(())
    }
}

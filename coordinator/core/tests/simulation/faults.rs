//! What goes wrong, and what users do meanwhile.

use std::time::Duration;

use phalanx_core::{Input, Rejected};
use phalanx_protocol::{
    id::JobId,
    message::{Event, Report},
    spec::{JobSpec, WorkersSpec},
    view::JobState,
};

use crate::{
    driver::config,
    support::spec,
    work::Act,
    world::{Happening, World},
};

/// The most jobs of one run.
const JOBS_MAX: u64 = 3;

/// How likely things are, in thousandths; another mixture for each seed.
#[derive(Debug)]
pub(crate) struct Odds {
    /// A crash at one effect.
    pub(crate) crash: u32,
    /// An error of one rank before its state is compared.
    pub(crate) differing: u32,
    /// A worker that is out of reach right when its state is known to be wrong.
    pub(crate) cut_off_when_wrong: u32,
    /// A checkpoint that a rank finds damaged.
    pub(crate) damaged: u32,
    /// A newcomer that cannot read the data set.
    pub(crate) not_fetched: u32,
    /// A connection that breaks while ranks hand their state over.
    pub(crate) cut_while_forming: u32,
    /// A report that arrives twice, and an answer to a poll that does not.
    pub(crate) twice: u32,
    /// Milliseconds between two troubles.
    pub(crate) trouble_ms: u64,
}

impl Odds {
    pub(crate) fn any(rng: &mut fastrand::Rng) -> Self {
        let mut pick = |choices: [u32; 4]| choices[rng.usize(0..4)];
        Self {
            crash: pick([0, 0, 4, 20]),
            differing: pick([0, 10, 50, 150]),
            cut_off_when_wrong: pick([0, 300, 600, 600]),
            damaged: pick([0, 0, 50, 200]),
            not_fetched: pick([0, 0, 50, 200]),
            cut_while_forming: pick([0, 50, 100, 200]),
            twice: pick([0, 50, 50, 200]),
            trouble_ms: u64::from(pick([400, 800, 1_500, 3_000])),
        }
    }
}

/// The job file of the `number`th job, where there are so many workers: some register, some have gates, and one in six fails its gate.
fn spec_numbered(number: u64, workers: usize) -> Box<JobSpec> {
    let seed = number.to_string();
    let mut settings = vec![("train.seed", seed.as_str())];
    if number % 2 == 1 {
        settings.extend([("register.model", "demo"), ("register.alias", "newest")]);
    }
    match number % 6 {
        0 => settings.push(("evaluate.gates", r#"["accuracy >= 0.95"]"#)),
        1 | 2 => settings.push(("evaluate.gates", r#"["accuracy >= 0.5"]"#)),
        _ => {}
    }
    match number % 4 {
        0 if workers > 1 => settings.extend([("workers.min", "2"), ("workers.max", "3")]),
        1 => settings.push(("workers.max", "1")),
        2 => settings.extend([("workers.max", "2"), ("workers.evict_stragglers", "true")]),
        _ => {}
    }
    spec(&settings)
}

impl World {
    /// One fault, or one thing that a user does, and then the next.
    pub(crate) fn trouble(&mut self) -> Result<(), String> {
        if self.calm {
            return Ok(());
        }
        let (least, most) = (self.odds.trouble_ms / 4, self.odds.trouble_ms * 2);
        self.schedule(least, most, Happening::Trouble);
        let slot = self.rng.usize(0..self.slots.len());
        match self.rng.u32(0..28) {
            0..5 => self.submit(),
            5 | 6 => {
                self.kill(slot);
                self.schedule(100, 3_000, Happening::Respawn { slot });
                Ok(())
            }
            7 => {
                self.hang(slot);
                Ok(())
            }
            8 => self.detach(slot),
            9 => {
                self.take_store_away();
                Ok(())
            }
            10 => {
                self.disk_full_until = self.now + Duration::from_millis(self.rng.u64(100..1_500));
                self.note(|| "the disk is full".to_owned());
                Ok(())
            }
            11 if self.odds.crash > 0 => {
                self.crash();
                Ok(())
            }
            12 => self.act(|job| Input::Cancel { job }),
            13 => self.act(|job| Input::Interrupt { job }),
            14 => {
                let alias = "chosen".to_owned();
                let version = self.rng.u64(1..4);
                let by = "user".to_owned();
                self.call(Input::SetAlias { model: "demo".to_owned(), alias, version, by }).map(|_| ())
            }
            15 => self.drain(slot),
            20 => {
                let life = self.slots[slot].life;
                if self.slots[slot].is_alive() {
                    self.schedule(0, 0, Happening::Depart { slot, life });
                }
                Ok(())
            }
            21 => {
                self.get_stuck(slot);
                Ok(())
            }
            22 => {
                self.lose_power();
                Ok(())
            }
            17 => {
                self.cut_off(slot);
                Ok(())
            }
            18 => {
                self.split();
                Ok(())
            }
            16 => self.scale(),
            19 => self.babble(slot),
            _ => self.act(|job| Input::Resume { job, workers: None }),
        }
    }

    /// A worker does nothing for a while.
    fn hang(&mut self, slot: usize) {
        let wakes = self.now + Duration::from_millis(self.rng.u64(100..5_000));
        self.note(|| format!("slot {slot} hangs until {wakes:?}"));
        self.slots[slot].hangs_until = wakes;
    }

    /// The object store does not answer for a while.
    fn take_store_away(&mut self) {
        self.store_away_until = self.now + Duration::from_millis(self.rng.u64(500..8_000));
        self.note(|| "the object store is away".to_owned());
        self.ended.store_away += 1;
    }

    /// Some workers and the others do not reach each other for a while.
    fn split(&mut self) {
        self.split_until = self.now + Duration::from_millis(self.rng.u64(100..3_000));
        self.split_slots = (0..self.slots.len()).filter(|_| self.rng.bool()).collect();
        let slots = self.split_slots.clone();
        self.note(|| format!("slots {slots:?} and the others do not reach each other"));
        self.ended.splits += 1;
    }

    /// A worker does not reach the coordinator for a while, which may be longer than its lease.
    pub(crate) fn cut_off(&mut self, slot: usize) {
        let until = self.now + Duration::from_millis(self.rng.u64(100..8_000));
        self.note(|| format!("slot {slot} is cut off from the coordinator until {until:?}"));
        self.slots[slot].cut_off_until = until;
        self.ended.cut_off += 1;
    }

    /// Several processes die at once.
    fn lose_power(&mut self) {
        for slot in 0..self.slots.len() {
            if self.rng.bool() {
                self.kill(slot);
                self.schedule(100, 3_000, Happening::Respawn { slot });
            }
        }
    }

    /// The thread that trains hangs. Its worker finds that out when a step should have been over.
    fn get_stuck(&mut self, slot: usize) {
        // It takes long, and nothing else happens meanwhile.
        if self.ended.stuck > 0 || self.rng.bool() {
            return;
        }
        let until = self.now + config().timeouts.step;
        let Some(work) = self.slots[slot].work.as_mut().filter(|work| work.is_training()) else { return };
        work.stuck_until = Some(until);
        let place = (slot, work.number);
        self.note(|| format!("the thread of slot {slot} hangs"));
        self.at(until, Happening::Work { place, act: Act::FoundStuck });
    }

    pub(crate) fn is_disk_full(&self) -> bool {
        !self.calm && self.now < self.disk_full_until
    }

    fn submit(&mut self) -> Result<(), String> {
        if self.submitted == JOBS_MAX {
            return Ok(());
        }
        self.submitted += 1;
        let spec = spec_numbered(self.first_job + self.submitted, self.slots.len());
        self.note(|| "a job is submitted".to_owned());
        self.call(Input::Submit { spec, trace: None, key: None }).map(|_| ())
    }

    /// A user changes how many workers some job takes.
    fn scale(&mut self) -> Result<(), String> {
        let max = self.rng.u32(1..=4);
        let min = Some(self.rng.u32(1..=max).min(2));
        let workers = WorkersSpec { min, max: Some(max), ..Default::default() };
        self.act(|job| Input::Scale { job, workers })
    }

    /// A worker is told that its machine will soon be gone.
    fn drain(&mut self, slot: usize) -> Result<(), String> {
        let Some(worker) = self.slots[slot].id else { return Ok(()) };
        self.note(|| format!("worker {worker} is drained"));
        self.call(Input::Drain { worker }).map(|_| ())
    }

    /// A worker tells what cannot be true, and nobody believes it.
    fn babble(&mut self, slot: usize) -> Result<(), String> {
        let Some(worker) = self.slots[slot].id else { return Ok(()) };
        let refused = |reply: &Rejected| matches!(reply, Rejected::Call(_));
        let polled = self.call(Input::Poll { worker, after: u64::MAX, pace: None })?;
        let job = self.jobs().first().map(|job| (job.id.clone(), job.generation));
        let Some((job, generation)) = job else { return Ok(()) };
        let event = Event::Stopped { step: u64::MAX };
        let report = Box::new(Report { job, generation, event });
        let reported = self.call(Input::Report { worker, report })?;
        for reply in [polled, reported].into_iter().flatten() {
            if !reply.as_ref().is_err_and(refused) {
                return Err(format!("what cannot be true was answered with {reply:?}"));
            }
        }
        Ok(())
    }

    /// A user does something to some job.
    fn act(&mut self, input: impl FnOnce(JobId) -> Input) -> Result<(), String> {
        let jobs = self.jobs();
        if jobs.is_empty() {
            return Ok(());
        }
        let job = &jobs[self.rng.usize(0..jobs.len())];
        let input = input(job.id.clone());
        self.note(|| format!("{input:?} while it is {:?}", job.state));
        match self.call(input)? {
            None | Some(Ok(_) | Err(Rejected::WrongState { .. })) => Ok(()),
            Some(Err(other)) => Err(format!("a user was told: {other}")),
        }
    }

    /// All faults cease: processes run, disks have room, users want their jobs done.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        self.note(|| "all faults cease".to_owned());
        self.calm = true;
        self.split_until = Duration::ZERO;
        self.store_away_until = Duration::ZERO;
        for slot in 0..self.slots.len() {
            self.slots[slot].hangs_until = Duration::ZERO;
            self.slots[slot].cut_off_until = Duration::ZERO;
            if !self.slots[slot].is_alive() {
                self.respawn(slot);
            }
        }
        self.resume_all()
    }

    /// Somebody replaces the workers that get no more work.
    fn replace_quarantined(&mut self) -> Result<(), String> {
        let workers = self.coordinator.as_ref().map(|coordinator| coordinator.workers()).unwrap_or_default();
        for worker in workers.into_iter().filter(|worker| worker.quarantined) {
            if let Some(slot) = self.slots.iter().position(|slot| slot.id == Some(worker.id)) {
                self.ended.quarantined += 1;
                self.detach(slot)?;
            }
        }
        Ok(())
    }

    /// Resumes what has stopped, with no more workers than there are.
    pub(crate) fn resume_all(&mut self) -> Result<(), String> {
        self.schedule(500, 500, Happening::ResumeAll);
        self.replace_quarantined()?;
        if self.submitted == 0 {
            return self.submit();
        }
        let count = u32::try_from(self.slots.len()).map_err(|error| error.to_string())?;
        for job in self.jobs() {
            let workers = WorkersSpec { min: Some(1), max: Some(count), ..Default::default() };
            match job.state {
                JobState::Paused => self.ended.paused += 1,
                JobState::Cancelled => self.ended.cancelled += 1,
                JobState::Failed if !Self::has_failed_gate(&job) => {}
                JobState::Queued => {
                    self.call(Input::Scale { job: job.id, workers })?;
                    continue;
                }
                _ => continue,
            }
            self.note(|| format!("{} is resumed; it is {:?}: {:?}", job.id, job.state, job.reason));
            let reply = self.call(Input::Resume { job: job.id, workers: Some(workers) })?;
            if let Some(Err(refused)) = reply {
                return Err(format!("a job that has stopped cannot be resumed: {refused}"));
            }
        }
        Ok(())
    }
}

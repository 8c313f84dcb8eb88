//! Simulated worker processes: their place in the cluster, and what control does about directives. What
//! is decided, [`phalanx_member`] decides; here is what the agent does around that, with its delays.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use phalanx_core::{Input, Rejected, Reply};
use phalanx_member::{Action, Attendance, Departure, Duty, Polled, Reports, StopVote};
use phalanx_protocol::{
    id::{Generation, JobId, WorkerId},
    message::Directive,
};

use crate::{
    log::short,
    reports::Told,
    states::{Held, Vow},
    support::hello,
    work::Running,
    world::{Happening, World},
};

/// How long a worker that is told to end waits for its work to be handed over.
const DRAIN_MAX_MS: u64 = 25_000;

/// A place where a worker process runs, one after another.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The process that runs; 0 if none does.
    pub(crate) life: u64,
    pub(crate) hangs_until: Duration,
    /// It does not reach the coordinator before, and goes on with its work.
    pub(crate) cut_off_until: Duration,
    pub(crate) id: Option<WorkerId>,
    attendance: Attendance,
    /// It is told to end, and hands its work over.
    departs: bool,
    /// What control has not looked at yet.
    letters: VecDeque<Letter>,
    /// What control does when the work under way has ended.
    then: Option<Then>,
    pub(crate) duty: Duty,
    pub(crate) work: Option<Running>,
    /// The newest generation of each job that is over, as this worker was told.
    pub(crate) over: BTreeMap<JobId, Generation>,
    pub(crate) kept: Option<Held>,
    /// The generation in which what is kept was trained last.
    pub(crate) kept_in: Generation,
    pub(crate) reports: Reports<Told>,
    pub(crate) sends: bool,
    /// What the process has finished and must not lose.
    pub(crate) vow: Option<Vow>,
}

/// What control is told.
#[derive(Debug)]
pub(crate) enum Letter {
    Directive(Directive),
    Superseded { job: JobId, generation: Generation },
    Forget,
}

/// The rest of a course, which waits for the end of the work under way.
#[derive(Debug)]
struct Then {
    actions: VecDeque<Action>,
    begins: Option<Directive>,
    /// It attaches again when all is done.
    forgets: bool,
    /// Nothing of this generation, or an older one, is to be kept after it.
    gives_up: Option<(JobId, Generation)>,
}

impl Slot {
    pub(crate) fn is_alive(&self) -> bool {
        self.life != 0
    }

    /// The process, and what it trains.
    pub(crate) fn trains(&self) -> Option<(u64, &JobId, Generation)> {
        let work = self.work.as_ref().filter(|work| work.is_training())?;
        Some((self.life, &work.job, work.generation))
    }

    fn is_idle(&self) -> bool {
        self.work.as_ref().is_none_or(|work| work.has_ended)
    }
}

impl World {
    pub(crate) fn respawn(&mut self, slot: usize) {
        if !self.slots[slot].is_alive() {
            let life = self.next_number();
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

    /// Until when the coordinator does not hear of this slot, if it does not.
    pub(crate) fn unheard(&self, slot: usize) -> Option<Duration> {
        let until = self.slots[slot].hangs_until.max(self.slots[slot].cut_off_until);
        (until > self.now).then_some(until)
    }

    /// Whether this process hangs; what it was to do then happens when it wakes.
    pub(crate) fn hangs(&mut self, slot: usize, happening: impl FnOnce() -> Happening) -> bool {
        let until = self.slots[slot].hangs_until;
        let hangs = until > self.now;
        if hangs {
            self.at(until, happening());
        }
        hangs
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
        let Some(worker) = self.slots[slot].id else { return self.attach(slot, life) };
        let (pace, after) = (self.slots[slot].pace(), self.slots[slot].attendance.last());
        let answer = match self.call(Input::Poll { worker, after, pace })? {
            Some(Ok(Reply::Directives(directives))) => Ok(directives),
            Some(Err(Rejected::Call(rejected))) => Err(rejected),
            Some(other) => return Err(format!("a poll was answered with {other:?}")),
            None => return Ok(()),
        };
        // An answer may be lost on its way.
        if self.chance(self.odds.twice) {
            return Ok(());
        }
        match self.slots[slot].attendance.answered(answer) {
            Polled::Follow(directives) => {
                for directive in directives {
                    if self.chance(self.odds.twice / 4) {
                        let late = Letter::Directive(directive.clone());
                        self.schedule(1, 3_000, Happening::LateLetter { slot, life, letter: Box::new(late) });
                    }
                    self.write_to(slot, Letter::Directive(directive));
                }
                Ok(())
            }
            Polled::Forgotten => self.forgotten(slot),
            Polled::Later(rejected) => Err(format!("a poll was refused: {rejected}")),
        }
    }

    fn attach(&mut self, slot: usize, life: u64) -> Result<(), String> {
        // It waits until nothing is left of which the new worker could speak.
        let at = &self.slots[slot];
        if !at.letters.is_empty() || at.then.is_some() {
            return Ok(());
        }
        let pid = u32::try_from(life).map_err(|error| error.to_string())?;
        if let Some(Ok(Reply::Attached(id))) = self.call(Input::Attach(Box::new(hello(pid))))? {
            self.note(|| format!("slot {slot} is worker {id}"));
            if self.lives.insert(id, life).is_some() {
                return Err(format!("worker number {id} was given out twice"));
            }
            let at = &mut self.slots[slot];
            (at.id, at.attendance) = (Some(id), Attendance::default());
        }
        Ok(())
    }

    /// The coordinator does not know this worker any more.
    pub(crate) fn forgotten(&mut self, slot: usize) -> Result<(), String> {
        if self.slots[slot].departs {
            return self.detach(slot);
        }
        self.note(|| format!("slot {slot} is no longer known"));
        self.slots[slot].id = None;
        self.write_to(slot, Letter::Forget);
        Ok(())
    }

    /// Control is told something; it looks at one letter after the other.
    pub(crate) fn write_to(&mut self, slot: usize, letter: Letter) {
        let at = &mut self.slots[slot];
        at.letters.push_back(letter);
        if at.letters.len() == 1 && at.then.is_none() {
            let life = at.life;
            self.schedule(0, 5, Happening::Control { slot, life });
        }
    }

    /// Control looks at the next letter, or the work that it has waited for has ended.
    pub(crate) fn control(&mut self, slot: usize, life: u64) -> Result<(), String> {
        let again = || Happening::Control { slot, life };
        if self.slots[slot].life != life || self.hangs(slot, again) {
            return Ok(());
        }
        let at = &self.slots[slot];
        let stuck = at.work.as_ref().and_then(|work| work.stuck_until).filter(|until| *until > self.now);
        if let Some(until) = stuck.filter(|_| at.then.is_some()) {
            // The thread does not end: the process will, first.
            self.at(until, again());
            return Ok(());
        }
        let then = match self.slots[slot].then.take() {
            Some(then) => {
                self.finish_work(slot);
                then
            }
            None => match self.slots[slot].letters.pop_front() {
                Some(letter) => self.decide(slot, letter)?,
                None => return Ok(()),
            },
        };
        self.carry_out(slot, then)?;
        let at = &self.slots[slot];
        if at.life == life && at.then.is_none() && !at.letters.is_empty() {
            self.schedule(0, 5, again());
        }
        Ok(())
    }

    fn decide(&mut self, slot: usize, letter: Letter) -> Result<Then, String> {
        self.note_what_is_over(slot, &letter);
        let duty = &mut self.slots[slot].duty;
        let gives_up = match &letter {
            Letter::Directive(Directive::Release { job, generation, keep: false }) => {
                Some((job.clone(), *generation))
            }
            Letter::Directive(_) | Letter::Superseded { .. } | Letter::Forget => None,
        };
        let (actions, begins, forgets) = match letter {
            Letter::Directive(directive) => {
                let (actions, work) = duty.directed(&directive);
                self.note(|| {
                    format!("slot {slot} is told {}: {actions:?}, begins: {work:?}", short(&directive))
                });
                self.hold_to_vow(slot, &directive);
                (actions, work.map(|_| directive), false)
            }
            Letter::Superseded { job, generation } => {
                self.ended.superseded += 1;
                (duty.superseded(&job, generation), None, false)
            }
            Letter::Forget => (duty.forgotten(), None, true),
        };
        Ok(Then { actions: actions.into(), begins, forgets, gives_up })
    }

    fn note_what_is_over(&mut self, slot: usize, letter: &Letter) {
        let over = &mut self.slots[slot].over;
        match letter {
            Letter::Superseded { job, generation }
            | Letter::Directive(Directive::Release { job, generation, .. }) => {
                let newest = over.entry(job.clone()).or_default();
                *newest = (*newest).max(*generation);
            }
            Letter::Directive(_) => {}
            Letter::Forget => over.clear(),
        }
    }

    /// Does what was decided, up to the end of work that is not there yet.
    fn carry_out(&mut self, slot: usize, mut then: Then) -> Result<(), String> {
        while let Some(action) = then.actions.pop_front() {
            match action {
                Action::End => {
                    let Some(work) = &mut self.slots[slot].work else { continue };
                    work.stop = StopVote::Stop;
                    work.is_over = true;
                    let life = self.slots[slot].life;
                    self.slots[slot].then = Some(then);
                    self.schedule(0, 200, Happening::Control { slot, life });
                    return Ok(());
                }
                Action::GiveUp => self.give_up(slot)?,
                Action::GiveUpState => {
                    self.ended.given_up += u64::from(self.slots[slot].kept.is_some());
                    self.give_up(slot)?;
                }
                Action::Stop { save } => self.stop_work(slot, save),
                Action::Leave => {
                    self.ended.left += 1;
                    return self.detach(slot);
                }
            }
        }
        if let Some(directive) = then.begins {
            self.begin(slot, directive)?;
        }
        if then.forgets {
            self.slots[slot].reports.clear();
        }
        match then.gives_up {
            Some(given_up) => self.check_given_up(slot, &given_up),
            None => Ok(()),
        }
    }

    fn give_up(&mut self, slot: usize) -> Result<(), String> {
        let at = &mut self.slots[slot];
        let kept = at.kept.take();
        if let (Some(kept), Some(vow)) = (&kept, &at.vow)
            && kept.job == vow.job
        {
            return Err(format!("invariant 11: slot {slot} gives up what it is to keep: {vow:?}"));
        }
        Ok(())
    }

    /// Whoever was told to give up what it had of a generation keeps nothing of that.
    fn check_given_up(&self, slot: usize, (job, generation): &(JobId, Generation)) -> Result<(), String> {
        let at = &self.slots[slot];
        let keeps = at.kept.as_ref().is_some_and(|kept| kept.job == *job) && at.kept_in <= *generation;
        if keeps && at.work.is_none() {
            return Err(format!("invariant 13: slot {slot} keeps {:?}", at.kept));
        }
        Ok(())
    }

    /// A worker is told to end: it hands its work over first.
    pub(crate) fn depart(&mut self, slot: usize, life: u64) -> Result<(), String> {
        let again = || Happening::Depart { slot, life };
        if self.slots[slot].life != life || self.hangs(slot, again) {
            return Ok(());
        }
        if !std::mem::replace(&mut self.slots[slot].departs, true) {
            self.note(|| format!("slot {slot} is told to end"));
            self.schedule(DRAIN_MAX_MS, DRAIN_MAX_MS, Happening::Detach { slot, life });
        }
        let Some(worker) = self.slots[slot].id else { return self.detach(slot) };
        let heard = match self.unheard(slot) {
            Some(_) => false,
            None => matches!(self.call(Input::Drain { worker })?, Some(Ok(_))),
        };
        match Departure::next(heard, self.slots[slot].is_idle()) {
            Departure::Leave => self.detach(slot),
            Departure::Wait => Ok(()),
            Departure::TellAgain => {
                self.schedule(50, 500, again());
                Ok(())
            }
        }
    }
}

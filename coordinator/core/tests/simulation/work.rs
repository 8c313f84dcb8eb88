//! The work of one generation on one simulated worker, as far as it needs no other rank: preparing,
//! fetching, opening, what it tells, and the parts of checkpoints that it writes.

use std::{collections::VecDeque, time::Duration};

use phalanx_member::{Kind, Rhythm, Setback, StopVote, Voice, Votes, speaks_first};
use phalanx_protocol::{
    id::{Generation, JobId},
    message::{Assignment, CheckpointPart, Directive, Event, Failure, Report},
};

use crate::{
    reports::Told,
    states::Held,
    support::{dataset, file, part_path},
    world::{Happening, World},
};

/// The place of one work: the slot, and the number of the work in it.
pub(crate) type Place = (usize, u64);

/// Work that is under way, or has come to its end by itself.
#[derive(Debug)]
pub(crate) struct Running {
    /// Of all works of the world.
    pub(crate) number: u64,
    pub(crate) job: JobId,
    pub(crate) generation: Generation,
    pub(crate) kind: Kind,
    pub(crate) stop: StopVote,
    /// It was told to end.
    pub(crate) is_over: bool,
    pub(crate) has_ended: bool,
    /// Its thread hangs until the worker notices that.
    pub(crate) stuck_until: Option<Duration>,
    voice: Voice,
    pub(crate) rank: Option<Ranked>,
}

/// What training adds to a work.
#[derive(Debug)]
pub(crate) struct Ranked {
    pub(crate) assignment: Box<Assignment>,
    pub(crate) rhythm: Rhythm,
    pub(crate) held: Option<Held>,
    /// With what it takes part in the step under way.
    pub(crate) votes: Votes,
    /// Parts that are being written, the oldest first.
    parts: VecDeque<CheckpointPart>,
    /// A part could not be written, so that no other one is.
    failed: bool,
    /// It ends when all parts are written, with this word if it has one.
    ends: Option<Option<Event>>,
}

impl Running {
    pub(crate) fn is_training(&self) -> bool {
        self.kind == Kind::Train && !self.has_ended
    }
}

impl Ranked {
    fn new(assignment: Box<Assignment>, held: Option<Held>) -> Self {
        let votes = Votes { stop: StopVote::Continue, is_saving: false };
        let rhythm = Rhythm::of(&assignment);
        Self { assignment, rhythm, held, votes, parts: VecDeque::new(), failed: false, ends: None }
    }

    pub(crate) fn is_saving(&self) -> bool {
        !self.parts.is_empty()
    }
}

/// Something that happens to one work by itself.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// The data set is prepared.
    Prepared,
    /// A newcomer has it, or cannot have it.
    Fetched,
    /// A rank has it, and meets the others.
    Opened,
    /// A connection broke.
    Cut,
    /// It fails for a reason.
    Fail(Failure),
    /// The oldest part is written, if the disk has room.
    Saved,
    /// The worker finds that its thread hangs.
    FoundStuck,
}

impl World {
    /// The work at this place, if it is still there and has not ended.
    pub(crate) fn running(&mut self, (slot, number): Place) -> Option<&mut Running> {
        self.slots[slot].work.as_mut().filter(|work| work.number == number && !work.has_ended)
    }

    /// The rank that trains at this place and may go on.
    pub(crate) fn rank_at(&mut self, place: Place) -> Option<&mut Ranked> {
        self.running(place).filter(|work| !work.is_over).and_then(|work| work.rank.as_mut())
    }

    /// Begins what a directive wants.
    pub(crate) fn begin(&mut self, slot: usize, directive: Directive) -> Result<(), String> {
        let number = self.next_number();
        let at = &mut self.slots[slot];
        if at.work.is_some() {
            return Err(format!("invariant 12: slot {slot} begins {directive:?} beside {:?}", at.work));
        }
        let (job, generation, kind) = match &directive {
            Directive::Prepare { job, generation, .. } => (job.clone(), *generation, Kind::Prepare),
            Directive::Fetch { job, generation, .. } => (job.clone(), *generation, Kind::Fetch),
            Directive::Train(it) => (it.job.clone(), it.generation, Kind::Train),
            Directive::Stop { .. } | Directive::Release { .. } | Directive::Leave => {
                return Err(format!("{directive:?} begins nothing"));
            }
        };
        if at.over.get(&job).is_some_and(|over| generation <= *over) {
            return Err(format!("invariant 3: slot {slot} begins what is over: {directive:?}"));
        }
        at.work = Some(Running {
            number,
            job: job.clone(),
            generation,
            kind,
            stop: StopVote::Continue,
            is_over: false,
            has_ended: false,
            stuck_until: None,
            voice: Voice::default(),
            rank: None,
        });
        let place = (slot, number);
        if at.kept.as_ref().is_some_and(|kept| kept.job != job) {
            return Err(format!("slot {slot} works on {job} and keeps another job's state"));
        }
        match directive {
            Directive::Prepare { .. } => {
                let what = "reading demo.csv".to_owned();
                self.tell(place, Event::Preparing { what, done_bytes: 1, total_bytes: 2 });
                self.later(10, 400, place, Act::Prepared);
            }
            Directive::Fetch { .. } => self.later(10, 400, place, Act::Fetched),
            Directive::Train(assignment) => {
                let at = &mut self.slots[slot];
                let held = at.kept.take();
                if let Some(work) = &mut at.work {
                    work.rank = Some(Ranked::new(assignment, held));
                }
                self.later(1, 150, place, Act::Opened);
            }
            Directive::Stop { .. } | Directive::Release { .. } | Directive::Leave => {}
        }
        Ok(())
    }

    /// Lets something happen to a work after a random time.
    pub(crate) fn later(&mut self, least_ms: u64, most_ms: u64, place: Place, act: Act) {
        self.schedule(least_ms, most_ms, Happening::Work { place, act });
    }

    /// Something happens to a work, if it is still there.
    pub(crate) fn work(&mut self, place: Place, act: Act) -> Result<(), String> {
        if self.running(place).is_none()
            || self.hangs(place.0, || Happening::Work { place, act: act.clone() })
        {
            return Ok(());
        }
        let Some(Running { stop, is_over, .. }) = self.running(place) else { return Ok(()) };
        let (stop, is_over) = (*stop, *is_over);
        match act {
            Act::Prepared if stop == StopVote::Continue => {
                let summary = "100 rows".to_owned();
                self.tell(place, Event::Prepared { dataset: dataset(), found: true, summary });
                self.end(place);
            }
            // It has stopped already.
            Act::Prepared => {}
            Act::Fetched if self.chance(self.odds.not_fetched) => {
                let reason = "it cannot be read here".to_owned();
                self.fail(place, Failure::Storage { reason });
            }
            Act::Fetched => {
                self.tell(place, Event::Fetched);
                self.end(place);
            }
            Act::Opened if is_over => {}
            Act::Opened => self.meet_others(place),
            Act::Cut => self.cut(place),
            Act::Fail(failure) => self.fail(place, failure),
            Act::Saved => self.saved(place),
            Act::FoundStuck => self.found_stuck(place),
        }
        Ok(())
    }

    pub(crate) fn stop_work(&mut self, slot: usize, save: bool) {
        let Some(work) = &mut self.slots[slot].work else { return };
        work.stop = work.stop.max(StopVote::to_stop(save));
        if work.kind == Kind::Prepare && !work.has_ended {
            let place = (slot, work.number);
            self.tell(place, Event::Stopped { step: 0 });
            self.end(place);
        }
    }

    /// The work has come to its end; what the next generation can use stays in it.
    pub(crate) fn end(&mut self, place: Place) {
        if let Some(work) = self.running(place) {
            work.has_ended = true;
        }
    }

    /// Control has waited for the end of the work: what is left of it is kept.
    pub(crate) fn finish_work(&mut self, slot: usize) {
        let at = &mut self.slots[slot];
        let Some(Running { generation, rank: Some(rank), .. }) = at.work.take() else { return };
        (at.kept, at.kept_in) = (rank.held, generation);
    }

    /// A rank cannot go on since a peer is gone, or because of the step's limit.
    fn cut(&mut self, place: Place) {
        let step =
            self.rank_at(place).and_then(|rank| rank.held.as_ref()).map_or(0, |held| held.position.step);
        self.fall(place, Setback::Interrupted);
        self.tell(place, Event::Failed(Failure::Peer { reason: "a connection broke".to_owned(), step }));
        self.end(place);
    }

    /// A rank, or whoever prepares or fetches, fails for a reason of its own.
    fn fail(&mut self, place: Place, failure: Failure) {
        let setback = match &failure {
            Failure::Differs { hashes, .. } => Setback::Differs(hashes),
            Failure::Job { .. }
            | Failure::Peer { .. }
            | Failure::CheckpointDamaged { .. }
            | Failure::Storage { .. } => Setback::Broken,
        };
        self.fall(place, setback);
        self.tell(place, Event::Failed(failure));
        self.end(place);
    }

    /// The peers of a rank that fails for a reason of its own see its connections close.
    pub(crate) fn fail_before_others(&mut self, place: Place, failure: Failure, others: &[Place]) {
        let (mine, theirs) = if speaks_first(&failure) { ((1, 20), (50, 500)) } else { ((1, 500), (1, 20)) };
        self.later(mine.0, mine.1, place, Act::Fail(failure));
        for other in others.iter().filter(|other| **other != place) {
            self.later(theirs.0, theirs.1, *other, Act::Cut);
        }
    }

    /// A rank gives up what it holds, if that is not what it was after its last step.
    fn fall(&mut self, place: Place, setback: Setback<'_>) {
        let Some(rank) = self.running(place).and_then(|work| work.rank.as_mut()) else { return };
        let own = rank.assignment.rank;
        if !setback.leaves_state(own) {
            rank.held = None;
        }
        self.break_vow(place.0, setback, own);
    }

    fn found_stuck(&mut self, place: Place) {
        self.ended.stuck += 1;
        self.tell(place, Event::Failed(Failure::Peer { reason: "its thread hangs".to_owned(), step: 0 }));
        let (slot, life) = (place.0, self.slots[place.0].life);
        self.schedule(1, 1_000, Happening::Die { slot, life });
    }

    /// A rank hands its state to whoever writes its part.
    pub(crate) fn save(&mut self, place: Place, hash: String) {
        let Some(Ranked { assignment, held, parts, failed, .. }) = self.rank_at(place) else { return };
        let Some(held) = held.as_ref().filter(|_| !*failed) else { return };
        let Assignment { job, generation, rank, spec, .. } = assignment.as_ref();
        let step = held.position.step;
        let part = CheckpointPart {
            step,
            cursor: step * u64::from(spec.train.batch_size),
            rank: *rank,
            state_hash: hash,
            file: file(part_path(job, *generation, step, rank.get())),
            progress_json: held.progress_json(),
        };
        parts.push_back(part);
        if parts.len() == 1 {
            self.write_part(place);
        }
    }

    /// The oldest part is on its way to the store.
    fn write_part(&mut self, place: Place) {
        let now = self.now;
        let slowness = if self.slots[place.0].life.is_multiple_of(5) { 1_500 } else { 200 };
        if let Some(lasts) = self.store_away_until.checked_sub(now) {
            let away =
                Event::StoreAway { lasting: Duration::from_millis(1), why: "connection refused".to_owned() };
            self.tell(place, away);
            let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
            self.later(lasts, lasts + slowness, place, Act::Saved);
        } else {
            self.later(1, slowness, place, Act::Saved);
        }
    }

    fn saved(&mut self, place: Place) {
        let is_full = self.is_disk_full();
        let Some(rank) = self.rank_at(place) else { return };
        if is_full {
            rank.failed = true;
            rank.parts.clear();
            let ends = rank.ends.is_some();
            self.tell(place, Event::Failed(Failure::Storage { reason: "no space is left".to_owned() }));
            if ends {
                self.end(place);
            }
            return;
        }
        let Some(part) = rank.parts.pop_front() else { return };
        let more = !rank.parts.is_empty();
        self.stores.write(part.file.path.clone());
        self.tell(place, Event::CheckpointPart(Box::new(part)));
        if more {
            self.write_part(place);
        } else if let Some(word) = self.rank_at(place).and_then(|rank| rank.ends.take()) {
            word.into_iter().for_each(|word| self.tell(place, word));
            self.end(place);
        }
    }

    /// The last a rank does: it tells `word`, after its parts are durable if it waits for that.
    pub(crate) fn conclude(&mut self, place: Place, word: Option<Event>) {
        let Some(work) = self.running(place) else { return };
        let awaits = work.stop.awaits_store();
        let Some(rank) = &mut work.rank else { return };
        if awaits && rank.is_saving() {
            rank.ends = Some(word);
            return;
        }
        let is_told = !(awaits && rank.failed);
        word.into_iter().filter(|_| is_told).for_each(|word| self.tell(place, word));
        self.end(place);
    }

    /// A work tells something, if it still may.
    pub(crate) fn tell(&mut self, place: Place, event: Event) {
        let Some(work) = self.running(place) else { return };
        if !work.voice.tells(&event, work.is_over) {
            return;
        }
        let told = Told { work: work.number, fetches: work.kind == Kind::Fetch };
        let report = Report { job: work.job.clone(), generation: work.generation, event };
        let at = &mut self.slots[place.0];
        at.reports.add(report, told);
        if !std::mem::replace(&mut at.sends, true) {
            let (slot, life) = (place.0, at.life);
            let most = if self.rng.u8(0..10) == 0 { 500 } else { 60 };
            self.schedule(1, most, Happening::Send { slot, life });
        }
    }
}

//! The states that simulated workers hold, the errors in them, and what must not be lost of them.
//! Knows what coordinator and workers can only find out: whose state is wrong.
//!
//! An error that was handed to all ranks before a comparison has shown it is mended: nobody could
//! tell. One that was shown must never be used again, and nobody may be named who has made none.

use std::collections::BTreeMap;

use phalanx_member::{Position, Setback};
use phalanx_protocol::{
    id::{Generation, JobId, Rank},
    message::{Directive, Event, Failure},
    reference::HashHex,
    spec::JobSpec,
};

use crate::{support::state_hash, work::Place, world::World};

/// Steps of an epoch, after which ranks validate.
pub(crate) const STEPS_PER_EPOCH: u64 = 10;

/// What a worker holds of a job's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) job: JobId,
    pub(crate) position: Position,
    /// Validations taken in, which decide when training stops early.
    pub(crate) validations: u64,
    /// The number of the error that is in it.
    pub(crate) error: Option<u64>,
    /// Whether the coordinator has said that the state is wrong.
    pub(crate) is_known_wrong: bool,
}

impl Held {
    /// What the seed or a checkpoint gives: a checkpoint is taken after the validation of its step.
    pub(crate) fn right(job: &JobId, step: u64) -> Self {
        let position = Position { step, validated: true };
        let validations = step / STEPS_PER_EPOCH;
        Self { job: job.clone(), position, validations, error: None, is_known_wrong: false }
    }

    pub(crate) fn make_step(&mut self) {
        self.position = Position { step: self.position.step + 1, validated: false };
    }

    pub(crate) fn must_validate(&self) -> bool {
        let Position { step, validated } = self.position;
        step > 0 && step.is_multiple_of(STEPS_PER_EPOCH) && !validated
    }

    pub(crate) fn validate(&mut self) {
        self.validations += 1;
        self.position.validated = true;
    }

    /// What belongs to the state beside its tensors.
    pub(crate) fn progress_json(&self) -> String {
        format!(r#"{{"validations":{}}}"#, self.validations)
    }

    pub(crate) fn hash(&self, spec: &JobSpec) -> HashHex {
        match self.error {
            Some(error) => format!("error {error} at step {}", self.position.step),
            None => state_hash(spec, self.position.step),
        }
    }
}

/// What a process has finished: the next generation it takes part in must not begin before that,
/// for as long as nobody has told it to give its state up, and it is not known to be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vow {
    pub(crate) job: JobId,
    pub(crate) step: u64,
    /// In which it took part last.
    generation: Generation,
}

/// Slot and life of those in one comparison whose state was wrong.
pub(crate) type Wrong = Vec<(usize, u64)>;

impl World {
    /// The state that is held at a place.
    pub(crate) fn held_at(&self, (slot, number): Place) -> Option<&Held> {
        let work = self.slots[slot].work.as_ref().filter(|work| work.number == number)?;
        work.rank.as_ref()?.held.as_ref()
    }

    /// A rank may compute wrongly, from now on.
    pub(crate) fn err(&mut self, place: Place, per_mille: u32) {
        if !self.chance(per_mille) {
            return;
        }
        self.ended.differing += 1;
        let error = self.ended.differing;
        let life = self.slots[place.0].life;
        self.note(|| format!("slot {} computes wrongly: error {error}", place.0));
        self.erred.insert(life);
        if let Some(held) = self.rank_at(place).and_then(|rank| rank.held.as_mut()) {
            held.error = Some(error);
        }
    }

    /// Remembers whose state is wrong in a comparison, of which the coordinator may hear.
    pub(crate) fn remember_wrong(
        &mut self,
        (job, generation): (&JobId, Generation),
        step: u64,
        members: &BTreeMap<Rank, Place>,
    ) {
        let is_wrong = |place: &&Place| self.held_at(**place).is_some_and(|held| held.error.is_some());
        let wrong = members.values().filter(is_wrong);
        let wrong: Wrong = wrong.map(|(slot, _)| (*slot, self.slots[*slot].life)).collect();
        self.compared.insert((job.clone(), generation, step), wrong);
    }

    /// Looks at what the coordinator has said about the states of ranks, after a report of a
    /// comparison at `step`, since the message with number `last`.
    pub(crate) fn hear_judgement(
        &mut self,
        (job, generation): (&JobId, Generation),
        step: u64,
        last: u64,
    ) -> Result<(), String> {
        let view = self.coordinator.as_ref().and_then(|coordinator| coordinator.job(job));
        let new = view.into_iter().flat_map(|view| view.messages).filter(|message| message.number > last);
        for text in new.map(|message| message.text) {
            if text.starts_with(&format!("at step {step} the state"))
                || text.contains("its state was not saved: at step")
            {
                self.ended.judged += 1;
                let wrong = self.compared.remove(&(job.clone(), generation, step)).unwrap_or_default();
                for (slot, life) in wrong {
                    self.is_known_to_be_wrong(slot, life, job);
                }
            }
            if let Some((who, _)) = text.split_once(" has computed wrongly") {
                self.ended.named += 1;
                let number = who.split(' ').nth(1).and_then(|number| number.parse().ok());
                let life =
                    number.and_then(|number| self.lives.get(&phalanx_protocol::id::WorkerId::new(number)));
                if !life.is_some_and(|life| self.erred.contains(life)) {
                    return Err(format!("invariant 9: who has made no error is named: {text}"));
                }
            }
        }
        Ok(())
    }

    fn is_known_to_be_wrong(&mut self, slot: usize, life: u64, job: &JobId) {
        let at = &mut self.slots[slot];
        if at.life != life {
            return;
        }
        at.vow.take_if(|vow| vow.job == *job);
        let training =
            at.work.as_mut().and_then(|work| work.rank.as_mut()).and_then(|rank| rank.held.as_mut());
        let held =
            training.into_iter().chain(&mut at.kept).filter(|held| held.job == *job && held.error.is_some());
        held.for_each(|held| held.is_known_wrong = true);
        // The worst moment for it to be out of reach: it does not hear that its state is wrong.
        if self.chance(self.odds.cut_off_when_wrong) {
            self.cut_off(slot);
        }
    }

    /// A process takes part in a generation that has come to a step.
    pub(crate) fn vow(&mut self, place: Place, job: &JobId, generation: Generation) {
        let Some(held) = self.held_at(place).filter(|held| !held.is_known_wrong) else { return };
        let vow = Vow { job: job.clone(), step: held.position.step, generation };
        self.slots[place.0].vow = Some(vow);
    }

    /// What a worker is told may allow it to give its state up.
    pub(crate) fn hold_to_vow(&mut self, slot: usize, directive: &Directive) {
        let Some(vow) = &mut self.slots[slot].vow else { return };
        let may_give_up = match directive {
            Directive::Prepare { job, .. } | Directive::Fetch { job, .. } => *job != vow.job,
            Directive::Train(it) => {
                it.job != vow.job || it.disputed.is_some_and(|disputed| vow.generation <= disputed)
            }
            Directive::Release { job, generation, keep } => {
                *job == vow.job && !keep && vow.generation <= *generation
            }
            Directive::Stop { .. } | Directive::Leave => false,
        };
        match directive {
            _ if may_give_up => self.slots[slot].vow = None,
            Directive::Train(it) => vow.generation = it.generation.max(vow.generation),
            Directive::Prepare { .. }
            | Directive::Fetch { .. }
            | Directive::Release { .. }
            | Directive::Stop { .. }
            | Directive::Leave => {}
        }
    }

    /// A rank has failed: it may have to give its state up for that.
    pub(crate) fn break_vow(&mut self, slot: usize, setback: Setback<'_>, rank: Rank) {
        let is_sound = match setback {
            Setback::Interrupted => true,
            Setback::Broken => false,
            Setback::Differs(hashes) => {
                let own = hashes.get(rank.get() as usize).cloned().flatten();
                let all: Vec<_> = hashes.iter().flatten().collect();
                let same = all.iter().filter(|hash| Some(**hash) == own.as_ref()).count();
                own.is_some() && same > all.len() - same
            }
        };
        if !is_sound {
            self.slots[slot].vow = None;
        }
    }

    /// The number of a job's last message.
    pub(crate) fn last_message(&self, job: &JobId) -> u64 {
        let view = self.coordinator.as_ref().and_then(|coordinator| coordinator.job(job));
        view.and_then(|view| view.messages.last().map(|last| last.number)).unwrap_or(0)
    }
}

/// The step of a comparison that a report tells of.
pub(crate) fn compared_at(event: &Event) -> Option<u64> {
    match event {
        Event::CheckpointPart(part) => Some(part.step),
        Event::Verified { step, .. } | Event::Failed(Failure::Differs { step, .. }) => Some(*step),
        Event::Preparing { .. }
        | Event::Prepared { .. }
        | Event::Fetched
        | Event::Formed { .. }
        | Event::Progress(_)
        | Event::Validated { .. }
        | Event::Stopped { .. }
        | Event::Evaluating
        | Event::StoreAway { .. }
        | Event::StoreBack
        | Event::Finished(_)
        | Event::Failed(_) => None,
    }
}

//! The states that simulated workers hold, and the errors in them. Knows what the coordinator can
//! only find out: whose state is wrong.
//!
//! An error that no comparison has shown is mended when the next generation forms: nobody could
//! tell. One that was shown must never be used again, and nobody may be named who has made none.

use phalanx_protocol::{
    id::{Generation, JobId, Rank, WorkerId},
    message::{Event, Failure},
    reference::HashHex,
};

use crate::{support::state_hash, workers::Group, world::World};

/// What a worker holds of a job's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) job: JobId,
    /// Steps finished in it.
    pub(crate) step: u64,
    /// The number of the error that is in it.
    pub(crate) error: Option<u64>,
    /// Whether the coordinator has said that the state is wrong.
    pub(crate) is_known_wrong: bool,
}

impl Held {
    pub(crate) fn right(job: &JobId, step: u64) -> Self {
        Self { job: job.clone(), step, error: None, is_known_wrong: false }
    }
}

/// Slot and life of those in one comparison whose state was wrong.
pub(crate) type Wrong = Vec<(usize, u64)>;

impl World {
    /// One member may compute wrongly.
    pub(crate) fn err(&mut self, slot: usize, worker: WorkerId) {
        if !self.chance(self.odds.differing) {
            return;
        }
        self.ended.differing += 1;
        let error = self.ended.differing;
        self.note(|| format!("worker {worker} computes wrongly: error {error}"));
        self.erred.insert(worker);
        if let Some(held) = &mut self.slots[slot].held {
            held.error = Some(error);
        }
    }

    /// The hash of the state that a rank holds.
    pub(crate) fn hash_of(&self, slot: usize, group: &Group) -> HashHex {
        let held = self.slots[slot].held.as_ref();
        match held.and_then(|held| held.error) {
            Some(error) => format!("error {error} at step {}", group.step),
            None => state_hash(&group.spec, group.step),
        }
    }

    /// The ranks compare the states of those of them that hold one. Returns whether they agree; if
    /// not, each tells it.
    pub(crate) fn compare(
        &mut self,
        job: &JobId,
        generation: Generation,
        group: &Group,
        holds: impl Fn(&Self, usize) -> bool,
    ) -> bool {
        let places: Vec<_> = group.members.values().copied().collect();
        let hash = |slot: usize| holds(self, slot).then(|| self.hash_of(slot, group));
        let hashes: Vec<Option<HashHex>> = places.iter().map(|(slot, ..)| hash(*slot)).collect();
        let mut present = hashes.iter().flatten();
        let first = present.next();
        if present.all(|hash| Some(hash) == first) {
            return true;
        }
        self.remember_wrong(job, generation, group);
        for (slot, _, worker) in places {
            let failure = Failure::Differs { step: group.step, hashes: hashes.clone() };
            self.tell(slot, worker, job, generation, Event::Failed(failure), (1, 100));
        }
        false
    }

    /// Remembers whose state is wrong in a comparison, of which the coordinator may hear.
    pub(crate) fn remember_wrong(&mut self, job: &JobId, generation: Generation, group: &Group) {
        let is_wrong = |slot: usize| self.slots[slot].held.as_ref().is_some_and(|held| held.error.is_some());
        let members = group.members.values();
        let wrong = members.filter(|(slot, ..)| is_wrong(*slot)).map(|(slot, life, _)| (*slot, *life));
        let wrong: Wrong = wrong.collect();
        self.compared.insert((job.clone(), generation, group.step), wrong);
    }

    /// Looks at what the coordinator has said about the states of ranks, after a report of a
    /// comparison at `step`, since the message with number `last`.
    pub(crate) fn hear_judgement(
        &mut self,
        job: &JobId,
        generation: Generation,
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
                    let at = &mut self.slots[slot];
                    if let Some(held) = at.held.as_mut().filter(|held| at.life == life && held.job == *job) {
                        held.is_known_wrong = true;
                    }
                }
            }
            if let Some((who, _)) = text.split_once(" has computed wrongly") {
                self.ended.named += 1;
                let number = who.split(' ').nth(1).and_then(|number| number.parse().ok()).map(WorkerId::new);
                if !number.is_some_and(|worker| self.erred.contains(&worker)) {
                    return Err(format!("who has made no error is named: {text}"));
                }
            }
        }
        Ok(())
    }

    /// The members of a generation begin with what they hold: nothing of it may be known to be wrong.
    pub(crate) fn check_held(&mut self, job: &JobId, group: &Group) -> Result<(), String> {
        for (slot, _, worker) in group.members.values() {
            let held = self.slots[*slot].held.as_ref().filter(|held| held.job == *job);
            if held.is_some_and(|held| held.is_known_wrong) {
                return Err(format!("worker {worker} goes on from a state that is known to be wrong"));
            }
        }
        Ok(())
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

/// A rank's place: slot, life and number.
pub(crate) type Place = (usize, u64, WorkerId);

/// The members of a group by rank.
pub(crate) fn places(group: &Group) -> Vec<(Rank, Place)> {
    group.members.iter().map(|(rank, place)| (*rank, *place)).collect()
}

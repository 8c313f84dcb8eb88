//! With what a simulated generation begins: its ranks find the newest state that one of them holds, and
//! hand it to the others, or read the checkpoint, or take what the seed makes.

use phalanx_member::{Beginning, Position, all_agree, begin_with};
use phalanx_protocol::{
    id::Rank,
    message::{Event, Failure, StateSource},
    reference::HashHex,
};

use crate::{
    collective::{Group, Stage},
    states::Held,
    work::{Act, Place},
    world::World,
};

impl World {
    /// All ranks have met: they find the newest state, and begin.
    pub(crate) fn begin_together(&mut self, group: Group) -> Result<(), String> {
        let places = group.places();
        let held: Vec<Option<Position>> =
            places.iter().map(|place| self.held_at(*place).map(|held| held.position)).collect();
        let saved: Vec<_> = places.iter().map(|place| self.saved_before(*place)).collect();
        let decided: Vec<Beginning> = saved.iter().map(|saved| begin_with(&held, *saved)).collect();
        let Some(beginning) = decided.first().cloned() else { return Ok(()) };
        if decided.iter().any(|other| *other != beginning) {
            return Err(format!("invariant 10: ranks begin {} differently: {decided:?}", group.job));
        }
        let step = match &beginning {
            Beginning::Members { position, .. } => position.step,
            Beginning::Checkpoint { step } => *step,
            Beginning::Seed => 0,
        };
        for place in &places {
            let vow = self.slots[place.0].vow.as_ref().filter(|vow| vow.job == group.job);
            if let Some(vow) = vow.filter(|vow| vow.step > step) {
                return Err(format!(
                    "invariant 11: {} begins at step {step}, and slot {} has finished {}",
                    group.job, place.0, vow.step
                ));
            }
        }
        let from = match beginning {
            Beginning::Members { position, holders } => {
                let Some(healed) = self.hand_over(&group, position, &holders)? else { return Ok(()) };
                StateSource::Members { healed }
            }
            Beginning::Checkpoint { step } => {
                if !self.restore(&group, step)? {
                    return Ok(());
                }
                StateSource::Checkpoint
            }
            Beginning::Seed => {
                for place in &places {
                    self.take(*place, Held::right(&group.job, 0));
                }
                StateSource::Seed
            }
        };
        for place in &places {
            self.tell(*place, Event::Formed { step, from });
            self.vow(*place, &group.job, group.generation);
        }
        self.check_lockstep(&group)?;
        self.validate(&group)?;
        if step >= group.total_steps() {
            return self.end_together(group);
        }
        self.go_on(group, Stage::Step, (30, 200));
        Ok(())
    }

    /// Those behind take the state from those who hold the newest. Gives how many, unless that fails.
    fn hand_over(
        &mut self,
        group: &Group,
        position: Position,
        holders: &[Rank],
    ) -> Result<Option<u32>, String> {
        let places = group.places();
        let holds = |rank: &Rank| holders.contains(rank);
        let healed = group.members.keys().filter(|rank| !holds(rank)).count();
        if healed > 0 {
            let hash = |(rank, place): (&Rank, &Place)| {
                self.held_at(*place).filter(|_| holds(rank)).map(|held| held.hash(&group.spec))
            };
            let hashes: Vec<Option<HashHex>> = group.members.iter().map(hash).collect();
            if !all_agree(&hashes) {
                self.differ(group, position.step, hashes);
                return Ok(None);
            }
        }
        let first = holders.first().and_then(|rank| group.members.get(rank));
        let Some(state) = first.and_then(|place| self.held_at(*place)).cloned() else {
            return Err(format!("invariant 10: {} begins with the state of nobody", group.job));
        };
        for rank in holders {
            let held = group.members.get(rank).and_then(|place| self.held_at(*place));
            if held.is_some_and(|held| held.is_known_wrong) {
                return Err(format!(
                    "invariant 9: rank {rank} of {} goes on from a state that is known to be wrong",
                    group.job
                ));
            }
        }
        let breaks = self.chance(self.odds.cut_while_forming);
        for (rank, place) in &group.members {
            if !holds(rank) && (!breaks || self.rng.bool()) {
                self.take(*place, Held { error: None, ..state.clone() });
            }
        }
        // An error that spreads, or that is in the only state there is, nobody can find.
        if healed > 0 || places.len() == 1 {
            for rank in holders {
                let place = group.members.get(rank).copied();
                if let Some(held) =
                    place.and_then(|place| self.rank_at(place)).and_then(|rank| rank.held.as_mut())
                {
                    held.error = None;
                }
            }
        }
        if breaks {
            self.ended.cut_while_forming += 1;
            places.iter().for_each(|place| self.later(1, 300, *place, Act::Cut));
            return Ok(None);
        }
        self.ended.healed += healed as u64;
        Ok(Some(u32::try_from(healed).map_err(|error| error.to_string())?))
    }

    /// All ranks read the checkpoint. Gives whether that succeeds.
    fn restore(&mut self, group: &Group, step: u64) -> Result<bool, String> {
        let Some(leader) = group.leader() else { return Ok(false) };
        let resume = self.rank_at(leader).and_then(|rank| rank.assignment.resume.clone());
        let Some(resume) = resume else {
            return Err(format!("invariant 10: {} begins with a checkpoint that nobody named", group.job));
        };
        if self.stores.generation(&group.job) == group.generation {
            let whole = self.stores.check_whole(&resume, &[]);
            whole.map_err(|why| format!("invariant 4: {} goes on from nothing: {why}", group.job))?;
        }
        let places = group.places();
        if self.chance(self.odds.damaged) {
            self.ended.damaged += 1;
            let manifest = resume.manifest.path.clone();
            let failure = Failure::CheckpointDamaged { manifest, reason: "a byte is wrong".to_owned() };
            let finder = places[self.rng.usize(0..places.len())];
            self.fail_before_others(finder, failure, &places);
            return Ok(false);
        }
        self.ended.resumed_from_checkpoint += 1;
        places.iter().for_each(|place| self.take(*place, Held::right(&group.job, step)));
        Ok(true)
    }

    fn saved_before(&mut self, place: Place) -> Option<u64> {
        self.rank_at(place).and_then(|rank| rank.assignment.resume.as_ref()).map(|resume| resume.step)
    }

    fn take(&mut self, place: Place, held: Held) {
        if let Some(rank) = self.rank_at(place) {
            rank.held = Some(held);
        }
    }
}

//! The collective of the simulated ranks: how they meet, and what happens when one is missing. The
//! others fail then, some of them after the step that others have not finished. With what they begin
//! stands in `beginning`, and how they make steps in `steps`: each rank decides for itself with
//! [`phalanx_member`], from what all of them know, and all must come to the same.

use std::{collections::BTreeMap, time::Duration};

use phalanx_member::Votes;
use phalanx_protocol::{
    id::{Generation, JobId, Rank},
    message::Failure,
    reference::HashHex,
    spec::JobSpec,
};

use crate::{
    states::Held,
    support::dataset,
    work::{Act, Place, Ranked},
    world::{Happening, World},
};

/// The ranks of one generation.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) job: JobId,
    pub(crate) generation: Generation,
    pub(crate) spec: Box<JobSpec>,
    /// Those that are here, by rank.
    pub(crate) members: BTreeMap<Rank, Place>,
    stage: Stage,
}

/// What the ranks do together next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Meet,
    Step,
    Evaluate,
}

/// What keeps a generation from going on together.
enum Absence {
    /// A rank is silent: the others wait, until then at most where that is known.
    Silent(Option<Duration>),
    /// A rank is gone, and the others see it.
    Gone,
}

impl Group {
    pub(crate) fn places(&self) -> Vec<Place> {
        self.members.values().copied().collect()
    }

    pub(crate) fn leader(&self) -> Option<Place> {
        self.members.get(&Rank::new(0)).copied()
    }

    pub(crate) fn total_steps(&self) -> u64 {
        self.spec.train.total_steps(dataset().train_rows)
    }
}

impl World {
    /// A rank has all that it needs by itself.
    pub(crate) fn meet_others(&mut self, place: Place) {
        let Some(Ranked { assignment, .. }) = self.rank_at(place) else { return };
        let (job, generation, rank) = (assignment.job.clone(), assignment.generation, assignment.rank);
        let (spec, world_size) = (assignment.spec.clone(), assignment.peers.len());
        let group = self.groups.entry((job.clone(), generation)).or_insert_with(|| Group {
            job: job.clone(),
            generation,
            spec,
            members: BTreeMap::new(),
            stage: Stage::Meet,
        });
        group.members.insert(rank, place);
        if group.members.len() == world_size {
            self.schedule(5, 100, Happening::Together { job, generation });
        }
    }

    /// The ranks of a generation do something together, if all are there.
    pub(crate) fn together(&mut self, job: &JobId, generation: Generation) -> Result<(), String> {
        let Some(group) = self.groups.remove(&(job.clone(), generation)) else { return Ok(()) };
        match self.absence(&group) {
            Some(Absence::Gone) => self.lose_a_rank(&group),
            Some(Absence::Silent(until)) => {
                let soon = self.now + Duration::from_millis(100);
                self.at(until.map_or(soon, |until| until.max(soon)), again(&group));
                self.groups.insert((job.clone(), generation), group);
                Ok(())
            }
            None => match group.stage {
                Stage::Meet => self.begin_together(group),
                Stage::Step => self.step_together(group),
                Stage::Evaluate => {
                    self.finish_together(&group);
                    Ok(())
                }
            },
        }
    }

    pub(crate) fn go_on(&mut self, mut group: Group, stage: Stage, (least_ms, most_ms): (u64, u64)) {
        group.stage = stage;
        for place in group.places() {
            let Some(work) = self.running(place) else { continue };
            let stop = work.stop;
            if let Some(rank) = &mut work.rank {
                rank.votes = Votes { stop, is_saving: rank.is_saving() };
            }
        }
        self.schedule(least_ms, most_ms, again(&group));
        self.groups.insert((group.job.clone(), group.generation), group);
    }

    fn absence(&mut self, group: &Group) -> Option<Absence> {
        let places = group.places();
        if places.iter().any(|place| self.rank_at(*place).is_none()) {
            return Some(Absence::Gone);
        }
        let stuck = places.iter().filter_map(|place| self.running(*place)?.stuck_until).max();
        if let Some(until) = stuck {
            // The limit of the step, at which the others fail as well.
            return Some(if until <= self.now { Absence::Gone } else { Absence::Silent(Some(until)) });
        }
        let hangs = places.iter().any(|(slot, _)| self.slots[*slot].hangs_until > self.now);
        let apart = places.iter().filter(|(slot, _)| self.split_slots.contains(slot)).count();
        let is_split = self.split_until > self.now && apart > 0 && apart < places.len();
        // Connections may break for that, or stand it.
        let breaks = (hangs || is_split) && self.rng.u8(0..4) == 0;
        (hangs || is_split).then_some(if breaks { Absence::Gone } else { Absence::Silent(None) })
    }

    /// One is missing, and those left fail. What the missing one has contributed to the step under
    /// way may have sufficed for some of them.
    fn lose_a_rank(&mut self, group: &Group) -> Result<(), String> {
        let suffices = !self.calm && self.rng.bool();
        let places = group.places();
        let votes = self.combined_votes(&places);
        for (rank, place) in &group.members {
            let gets_through = suffices && self.rank_at(*place).is_some() && self.rng.bool();
            if gets_through && group.stage == Stage::Step && self.can_step(group, *place) {
                self.ended.ahead += 1;
                self.note(|| format!("rank {rank} of {} finishes the step before it fails", group.job));
                let interlude = self.finish_step(group, *place, votes);
                if self.held_at(*place).is_some_and(Held::must_validate) || interlude.verify {
                    // That takes the others, too.
                } else if interlude.stop {
                    self.stop_at(group, *place, interlude);
                    continue;
                } else if interlude.save {
                    self.save_at(group, *place);
                }
            }
            self.later(1, 500, *place, Act::Cut);
        }
        Ok(())
    }

    /// Ranks that should hold the same state do not: each finds that out, and fails.
    pub(crate) fn differ(&mut self, group: &Group, step: u64, hashes: Vec<Option<HashHex>>) {
        self.remember_wrong((&group.job, group.generation), step, &group.members);
        for place in group.places() {
            let failure = Failure::Differs { step, hashes: hashes.clone() };
            self.later(1, 100, place, Act::Fail(failure));
        }
    }

    pub(crate) fn combined_votes(&mut self, places: &[Place]) -> Votes {
        let mut sums = [0.0; Votes::COUNT];
        for place in places {
            let votes = self.rank_at(*place).map(|rank| rank.votes);
            let numbers = votes.map_or([0.0; Votes::COUNT], Votes::numbers);
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        }
        Votes::from_numbers(sums)
    }

    /// All ranks are equally far, in everything that belongs to the state.
    pub(crate) fn check_lockstep(&self, group: &Group) -> Result<(), String> {
        let how_far = |place: &Place| {
            let held = self.held_at(*place)?;
            Some((held.position, held.progress_json()))
        };
        let all: Vec<_> = group.members.values().map(how_far).collect();
        if all.iter().all(|one| one.is_some() && *one == all[0]) {
            return Ok(());
        }
        Err(format!("invariant 10: the ranks of {} are not equally far: {all:?}", group.job))
    }
}

fn again(group: &Group) -> Happening {
    Happening::Together { job: group.job.clone(), generation: group.generation }
}

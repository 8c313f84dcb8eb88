//! The steps of a simulated generation, what its ranks do between them, and how it ends.

use phalanx_member::{Interlude, Votes, all_agree};
use phalanx_protocol::{
    message::{Event, Finished, Metrics, Progress},
    reference::HashHex,
};

use crate::{
    collective::{Group, Stage},
    states::{Held, STEPS_PER_EPOCH},
    support::finished,
    work::{Place, Ranked},
    world::World,
};

impl World {
    pub(crate) fn step_together(&mut self, group: Group) -> Result<(), String> {
        let places = group.places();
        let votes = self.combined_votes(&places);
        let mut decided = Vec::new();
        for place in &places {
            decided.push(self.finish_step(&group, *place, votes));
        }
        self.check_lockstep(&group)?;
        self.validate(&group)?;
        let Some(&interlude) = decided.first() else { return Ok(()) };
        if decided.iter().any(|other| *other != interlude) {
            return Err(format!("invariant 10: ranks of {} decide differently: {decided:?}", group.job));
        }
        let Some(step) = self.report_progress(&group) else { return Ok(()) };
        if !self.pause(&group, interlude)? {
            return Ok(());
        }
        if interlude.stop {
            for place in &places {
                self.stop_at(&group, *place, Interlude { save: false, ..interlude });
            }
            return Ok(());
        }
        if step >= group.total_steps() {
            return self.end_together(group);
        }
        self.go_on(group, Stage::Step, (30, 250));
        Ok(())
    }

    /// The ranks compare and save their states, as far as that is due. Gives whether they agree.
    pub(crate) fn pause(&mut self, group: &Group, interlude: Interlude) -> Result<bool, String> {
        let places = group.places();
        let errs =
            if interlude.verify || interlude.save { self.odds.differing } else { self.odds.differing / 8 };
        for place in places.iter().filter(|_| places.len() > 1) {
            self.err(*place, errs);
        }
        let hash = |place: &Place| self.held_at(*place).map(|held| held.hash(&group.spec));
        let hashes: Vec<Option<HashHex>> = places.iter().map(hash).collect();
        let step = group.leader().and_then(|place| self.held_at(place)).map_or(0, |held| held.position.step);
        if interlude.verify {
            if !all_agree(&hashes) {
                self.differ(group, step, hashes);
                return Ok(false);
            }
            if let (Some(leader), Some(Some(hash))) = (group.leader(), hashes.first()) {
                self.tell(leader, Event::Verified { step, state_hash: hash.clone() });
            }
        }
        if interlude.save {
            self.remember_wrong((&group.job, group.generation), step, &group.members);
            for (place, hash) in places.iter().zip(hashes) {
                self.save(*place, hash.unwrap_or_default());
            }
        }
        Ok(true)
    }

    /// No step is left: the ranks compare and save what they have, and then measure it.
    pub(crate) fn end_together(&mut self, group: Group) -> Result<(), String> {
        let mut decided = Vec::new();
        for place in group.places() {
            let Some(Ranked { rhythm, held: Some(held), .. }) = self.rank_at(place) else { return Ok(()) };
            decided.push(rhythm.at_end(held.position.step));
        }
        let Some(&interlude) = decided.first() else { return Ok(()) };
        if decided.iter().any(|other| *other != interlude) {
            return Err(format!("invariant 10: ranks of {} end differently: {decided:?}", group.job));
        }
        if self.pause(&group, interlude)? {
            group.leader().into_iter().for_each(|leader| self.tell(leader, Event::Evaluating));
            self.go_on(group, Stage::Evaluate, (50, 300));
        }
        Ok(())
    }

    pub(crate) fn finish_together(&mut self, group: &Group) {
        for (rank, place) in &group.members {
            let Some(state_hash) = self.held_at(*place).map(|held| held.hash(&group.spec)) else { continue };
            let end = finished(&group.spec, &group.job, group.generation);
            let word = Event::Finished(Box::new(Finished { state_hash, ..end }));
            self.conclude(*place, rank.is_leader().then_some(word));
        }
    }

    pub(crate) fn can_step(&self, group: &Group, place: Place) -> bool {
        self.held_at(place).is_some_and(|held| held.position.step < group.total_steps())
    }

    /// One rank has the result of the step, and decides what comes before the next.
    pub(crate) fn finish_step(&mut self, group: &Group, place: Place, votes: Votes) -> Interlude {
        let total = group.total_steps();
        let Some(Ranked { rhythm, held: Some(held), .. }) = self.rank_at(place) else {
            return Interlude::default();
        };
        held.make_step();
        let step = held.position.step;
        let interlude = rhythm.after_step(step, votes, step < total);
        self.vow(place, &group.job, group.generation);
        interlude
    }

    /// A rank stops as it was told, and saves its state first if that is in the interlude.
    pub(crate) fn stop_at(&mut self, group: &Group, place: Place, interlude: Interlude) {
        if interlude.save {
            self.save_at(group, place);
        }
        if let Some(step) = self.held_at(place).map(|held| held.position.step) {
            self.conclude(place, Some(Event::Stopped { step }));
        }
    }

    pub(crate) fn save_at(&mut self, group: &Group, place: Place) {
        if let Some(hash) = self.held_at(place).map(|held| held.hash(&group.spec)) {
            self.save(place, hash);
        }
    }

    /// The validation that belongs to the last step is measured, by all ranks together.
    pub(crate) fn validate(&mut self, group: &Group) -> Result<(), String> {
        let places = group.places();
        let due: Vec<bool> =
            places.iter().map(|place| self.held_at(*place).is_some_and(Held::must_validate)).collect();
        if due.iter().any(|it| *it != due[0]) {
            return Err(format!("invariant 10: some ranks of {} validate, and others do not", group.job));
        }
        if !due.first().is_some_and(|due| *due) {
            return Ok(());
        }
        for place in &places {
            if let Some(held) = self.rank_at(*place).and_then(|rank| rank.held.as_mut()) {
                held.validate();
            }
        }
        if let Some(leader) = group.leader()
            && let Some(step) = self.held_at(leader).map(|held| held.position.step)
        {
            let metrics = Metrics::from([("accuracy".to_owned(), 0.9)]);
            self.tell(leader, Event::Validated { step, metrics });
        }
        self.check_lockstep(group)
    }

    pub(crate) fn report_progress(&mut self, group: &Group) -> Option<u64> {
        let leader = group.leader()?;
        let step = self.held_at(leader)?.position.step;
        let progress = Progress {
            step,
            epoch: step / STEPS_PER_EPOCH,
            cursor: step * u64::from(group.spec.train.batch_size),
            loss: 1.0 / (step + 1) as f64,
            learning_rate: 0.01,
            samples_per_second: 100.0,
            curve: vec![(step, 1.0 / step as f64)],
        };
        self.tell(leader, Event::Progress(progress));
        Some(step)
    }
}

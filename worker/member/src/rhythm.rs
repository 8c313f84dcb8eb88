//! What the ranks of a generation do between two steps: compare their states, save them, stop.
//! Every rank comes to the same decision, because it follows from what all of them know.
//!
//! Invariants, on every rank of a generation alike:
//!
//! 1. A state that is saved because it is time was compared before, where that is due at its step.
//! 2. No two checkpoints of one generation are of the same step, nor is one of a step that was saved before.
//! 3. The state after the last step is compared before anything is made of it, and saved.

use phalanx_protocol::message::Assignment;

use crate::votes::{StopVote, Votes};

/// When the ranks of one generation compare and save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rhythm {
    /// Steps between two checkpoints; 0 for none.
    save_every: u64,
    /// Steps between two comparisons; 0 for none.
    verify_every: u64,
    /// A disputed step, at which states are compared.
    verify_at: Option<u64>,
    /// Whether there are others to compare with.
    has_peers: bool,
    /// Steps finished at the last checkpoint.
    saved_at: u64,
}

/// What all ranks do before the next step, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interlude {
    /// They compare the hashes of their states.
    pub verify: bool,
    /// They save their state.
    pub save: bool,
    /// They stop.
    pub stop: bool,
}

impl Rhythm {
    /// That of a generation.
    pub fn of(assignment: &Assignment) -> Self {
        Self {
            save_every: assignment.spec.checkpoint.every,
            verify_every: assignment.spec.train.verify_every,
            verify_at: assignment.verify_at,
            has_peers: assignment.peers.len() > 1,
            saved_at: assignment.resume.as_ref().map_or(0, |resume| resume.step),
        }
    }

    /// What is done after `step`, with which the ranks have voted like this. `goes_on` says whether a step
    /// is left. A state that is due while another one is being written is saved once none is.
    pub fn after_step(&mut self, step: u64, votes: Votes, goes_on: bool) -> Interlude {
        let interlude = match votes.stop {
            StopVote::Continue => {
                let is_time = self.save_every > 0 && step / self.save_every > self.saved_at / self.save_every;
                Interlude {
                    verify: self.compares_at(step),
                    save: is_time && goes_on && !votes.is_saving,
                    stop: false,
                }
            }
            StopVote::Stop => Interlude { verify: false, save: false, stop: true },
            StopVote::SaveAndStop => Interlude { verify: false, save: true, stop: true },
        };
        if interlude.save {
            self.saved_at = step;
        }
        interlude
    }

    /// What is done with the state after the last step, `step`.
    pub fn at_end(&mut self, step: u64) -> Interlude {
        let save = step > self.saved_at;
        self.saved_at = step;
        Interlude { verify: self.has_peers, save, stop: true }
    }

    fn compares_at(&self, step: u64) -> bool {
        let is_time = self.verify_every > 0 && self.has_peers && step.is_multiple_of(self.verify_every);
        is_time || self.verify_at == Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rhythm() -> Rhythm {
        Rhythm { save_every: 5, verify_every: 4, verify_at: None, has_peers: true, saved_at: 0 }
    }

    fn votes(stop: StopVote, is_saving: bool) -> Votes {
        Votes { stop, is_saving }
    }

    const GO_ON: Votes = Votes { stop: StopVote::Continue, is_saving: false };

    #[test]
    fn states_are_compared_and_saved_when_it_is_time() {
        let mut rhythm = rhythm();
        let done: Vec<_> = (1..=10).map(|step| (step, rhythm.after_step(step, GO_ON, true))).collect();
        let at = |which: fn(&Interlude) -> bool| -> Vec<u64> {
            done.iter().filter(|(_, interlude)| which(interlude)).map(|(step, _)| *step).collect()
        };
        assert_eq!(at(|it| it.save), [5, 10]);
        assert_eq!(at(|it| it.verify), [4, 8]);
        assert!(at(|it| it.stop).is_empty());
    }

    #[test]
    fn what_is_due_while_a_rank_is_busy_is_saved_when_none_is() {
        let mut rhythm = rhythm();
        for (step, busy, saves) in [(5, true, false), (6, true, false), (7, false, true), (8, false, false)] {
            assert_eq!(rhythm.after_step(step, votes(StopVote::Continue, busy), true).save, saves, "{step}");
        }
        assert!(rhythm.after_step(10, GO_ON, true).save);
    }

    #[test]
    fn a_rank_that_stops_saves_if_that_is_wanted_and_compares_nothing() {
        for (stop, save) in [(StopVote::Stop, false), (StopVote::SaveAndStop, true)] {
            let found = rhythm().after_step(8, votes(stop, true), true);
            assert_eq!(found, Interlude { verify: false, save, stop: true });
        }
    }

    #[test]
    fn a_disputed_step_is_compared_even_by_one_rank_that_is_alone() {
        let mut alone = Rhythm { verify_at: Some(3), has_peers: false, ..rhythm() };
        let at = |step, rhythm: &mut Rhythm| rhythm.after_step(step, GO_ON, true).verify;
        assert!(at(3, &mut alone) && !at(4, &mut alone));
    }

    #[test]
    fn the_last_state_is_compared_and_saved_unless_it_was() {
        let mut rhythm = rhythm();
        assert!(!rhythm.after_step(10, GO_ON, false).save, "the end saves it");
        assert_eq!(rhythm.at_end(10), Interlude { verify: true, save: true, stop: true });
        assert!(!rhythm.at_end(10).save);
        let mut alone = Rhythm { has_peers: false, saved_at: 10, ..rhythm };
        assert_eq!(alone.at_end(10), Interlude { verify: false, save: false, stop: true });
    }
}

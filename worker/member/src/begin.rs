//! With whose state a generation begins. Every rank comes to the same decision, because all know
//! of all.

use phalanx_protocol::{id::Rank, reference::HashHex};
use serde::{Deserialize, Serialize};

/// How far a state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Position {
    /// Steps finished.
    pub step: u64,
    /// Whether the validation that belongs to the last step is taken in.
    pub validated: bool,
}

/// With what a generation begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// With the state that these ranks hold. All others take it from them.
    Members {
        /// How far it is.
        position: Position,
        /// Who holds it, in order; at least one.
        holders: Vec<Rank>,
    },
    /// With the newest checkpoint, since nobody holds a state that is as new.
    Checkpoint {
        /// Steps finished.
        step: u64,
    },
    /// With what the seed makes.
    Seed,
}

/// Decides with what a generation begins: `held` says of each rank how far the state is that it
/// holds, and `saved` is the step of the newest checkpoint.
pub fn begin_with(held: &[Option<Position>], saved: Option<u64>) -> Beginning {
    let newest = held.iter().flatten().max().copied();
    match (newest, saved) {
        (Some(position), saved) if saved.is_none_or(|saved| saved <= position.step) => {
            let ranks = (0..).map(Rank::new).zip(held);
            let holders = ranks.filter(|(_, held)| **held == Some(position)).map(|(rank, _)| rank).collect();
            Beginning::Members { position, holders }
        }
        (_, Some(step)) => Beginning::Checkpoint { step },
        (_, None) => Beginning::Seed,
    }
}

/// Whether all who hold a state hold the same. `hashes` are those of the states of all ranks;
/// `None` where a rank holds none.
pub fn all_agree(hashes: &[Option<HashHex>]) -> bool {
    let mut held = hashes.iter().flatten();
    let first = held.next();
    held.all(|hash| Some(hash) == first)
}

/// Whether `rank` holds what more than half of those hold who hold a state. `hashes` are those of
/// the states of all ranks; `None` where a rank holds none. Whoever is of the majority is right
/// and keeps its state, and all others have computed wrongly.
pub fn is_of_majority(hashes: &[Option<HashHex>], rank: Rank) -> bool {
    let Some(Some(own)) = hashes.get(rank.get() as usize) else { return false };
    let held = hashes.iter().flatten();
    2 * held.clone().filter(|hash| *hash == own).count() > held.count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(step: u64) -> Option<Position> {
        Some(Position { step, validated: false })
    }

    #[test]
    fn the_newest_state_is_taken_and_a_checkpoint_only_where_it_is_newer() {
        let members = |step, holders: &[u32]| Beginning::Members {
            position: Position { step, validated: false },
            holders: holders.iter().map(|rank| Rank::new(*rank)).collect(),
        };
        let check = |held: &[Option<Position>], saved, expected| {
            assert_eq!(begin_with(held, saved), expected, "{held:?}, {saved:?}");
        };
        check(&[None, None], None, Beginning::Seed);
        check(&[None, None], Some(4), Beginning::Checkpoint { step: 4 });
        check(&[at(3), None], Some(4), Beginning::Checkpoint { step: 4 });
        check(&[at(4), None], Some(4), members(4, &[0]));
        check(&[at(4), at(5), at(5)], None, members(5, &[1, 2]));
    }

    #[test]
    fn a_state_that_is_validated_is_newer_than_one_that_is_not() {
        let validated = Position { step: 5, validated: true };
        let found = begin_with(&[at(5), Some(validated)], None);
        assert_eq!(found, Beginning::Members { position: validated, holders: vec![Rank::new(1)] });
    }

    #[test]
    fn ranks_agree_where_all_who_hold_a_state_hold_the_same() {
        let check = |hashes: &[Option<&str>], agree| {
            let hashes: Vec<_> = hashes.iter().map(|hash| hash.map(str::to_owned)).collect();
            assert_eq!(all_agree(&hashes), agree, "{hashes:?}");
        };
        check(&[None, None], true);
        check(&[Some("a"), None, Some("a")], true);
        check(&[Some("a"), None, Some("b")], false);
    }

    #[test]
    fn the_majority_is_of_those_who_hold_a_state() {
        let check = |hashes: &[&str], right: &[u32]| {
            let hash = |hash: &&str| (!hash.is_empty()).then(|| (*hash).to_owned());
            let hashes: Vec<_> = hashes.iter().map(hash).collect();
            let ranks = 0..hashes.len() as u32;
            let found: Vec<u32> = ranks.filter(|rank| is_of_majority(&hashes, Rank::new(*rank))).collect();
            assert_eq!(found, right, "{hashes:?}");
        };
        check(&["a", "b", "a"], &[0, 2]);
        check(&["a", "b"], &[]);
        check(&["a", "b", "", "b"], &[1, 3]);
        check(&["a", "b", "a", "b"], &[]);
        check(&[], &[]);
    }

    proptest! {
        /// Nobody goes back behind what somebody holds or what is saved.
        #[test]
        fn nothing_that_somebody_has_finished_is_lost(
            steps in proptest::collection::vec(proptest::option::of(0_u64..9), 1..6),
            saved in proptest::option::of(0_u64..9),
        ) {
            let held: Vec<_> = steps.iter().map(|step| step.and_then(at)).collect();
            let farthest = steps.iter().flatten().copied().chain(saved).max();
            match begin_with(&held, saved) {
                Beginning::Members { position, holders } => {
                    prop_assert_eq!(Some(position.step), farthest);
                    prop_assert!(!holders.is_empty());
                    prop_assert!(holders.iter().all(|rank| held[rank.get() as usize] == Some(position)));
                }
                Beginning::Checkpoint { step } => prop_assert_eq!(Some(step), farthest),
                Beginning::Seed => prop_assert_eq!(None, farthest),
            }
        }
    }
}

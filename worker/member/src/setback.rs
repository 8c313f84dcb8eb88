//! What becomes of the state that a rank holds when its work for a generation fails.

use phalanx_protocol::{id::Rank, message::Failure, reference::HashHex};

use crate::begin::is_of_majority;

/// Why a rank's work for a generation has failed, as far as it matters for what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback<'a> {
    /// A connection broke, a peer said what cannot be read, the generation is over, or the store takes no
    /// more records or gives no more data: the state after the last step is what it was.
    Interrupted,
    /// Ranks that should hold the same state do not; these are the hashes of all of them.
    Differs(&'a [Option<HashHex>]),
    /// What the rank holds may be half of one state and half of another one, or is what failed.
    Broken,
}

impl Setback<'_> {
    /// Whether the state of `rank` is still the one after its last step, so that the next
    /// generation can go on with it.
    pub fn leaves_state(self, rank: Rank) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Differs(hashes) => is_of_majority(hashes, rank),
            Self::Broken => false,
        }
    }
}

/// Whether a rank that fails like this keeps its connections until the coordinator has heard why.
/// Its peers would tell of a lost peer otherwise, and the job would go on for no reason. Who has
/// lost a peer has no reason of its own, and what was computed wrongly all ranks know.
pub fn speaks_first(failure: &Failure) -> bool {
    match failure {
        Failure::Peer { .. } | Failure::Differs { .. } => false,
        Failure::Job { .. } | Failure::CheckpointDamaged { .. } | Failure::Storage { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_outlives_its_generation_unless_it_is_broken_or_wrong() {
        let hashes = ["a", "b", "a"].map(|hash| Some(hash.to_owned()));
        let differs = Setback::Differs(&hashes);
        let check = |setback: Setback<'_>, rank, kept| {
            assert_eq!(setback.leaves_state(Rank::new(rank)), kept, "{setback:?}");
        };
        check(Setback::Interrupted, 0, true);
        check(Setback::Broken, 0, false);
        check(differs, 0, true);
        check(differs, 1, false);
    }

    #[test]
    fn who_has_a_reason_of_its_own_says_so_first() {
        let reason = String::new;
        assert!(speaks_first(&Failure::Job { reason: reason() }));
        assert!(speaks_first(&Failure::Storage { reason: reason() }));
        assert!(!speaks_first(&Failure::Peer { reason: reason(), step: 1 }));
        assert!(!speaks_first(&Failure::Differs { step: 1, hashes: Vec::new() }));
    }
}

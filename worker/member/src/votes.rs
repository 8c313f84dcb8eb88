//! What a rank tells the others with each step, in the vector that is reduced anyway, and what
//! all of them together mean. After the reduction every rank knows the same.

/// What a rank wants after this step. The generation does what any of its ranks wants; the
/// greater of two wishes holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum StopVote {
    /// Go on.
    #[default]
    Continue,
    /// Stop.
    Stop,
    /// Stop, and save the state first.
    SaveAndStop,
}

impl StopVote {
    /// What the coordinator's wish to stop means.
    pub fn to_stop(save: bool) -> Self {
        if save { Self::SaveAndStop } else { Self::Stop }
    }

    /// Whether a rank with this wish has told everything only after its state is durable. Where
    /// others join or leave, they are not to wait for the store: the ranks hold the state.
    pub fn awaits_store(self) -> bool {
        match self {
            Self::Continue | Self::SaveAndStop => true,
            Self::Stop => false,
        }
    }
}

/// What a rank tells the others with a step, or all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Votes {
    /// Whether to stop.
    pub stop: StopVote,
    /// Whether the last checkpoint is still being written.
    pub is_saving: bool,
}

impl Votes {
    /// How many numbers they are.
    pub const COUNT: usize = 3;

    /// The votes as numbers that can be summed: wants to stop, wants to save, is saving.
    pub fn numbers(self) -> [f32; Self::COUNT] {
        let (stop, save) = match self.stop {
            StopVote::Continue => (false, false),
            StopVote::Stop => (true, false),
            StopVote::SaveAndStop => (true, true),
        };
        [stop, save, self.is_saving].map(|it| f32::from(u8::from(it)))
    }

    /// What the sums, or the means, of all ranks' votes say.
    pub fn from_numbers([stop, save, is_saving]: [f32; Self::COUNT]) -> Self {
        let stop = match (stop > 0.0, save > 0.0) {
            (false, _) => StopVote::Continue,
            (true, false) => StopVote::Stop,
            (true, true) => StopVote::SaveAndStop,
        };
        Self { stop, is_saving: is_saving > 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn together_the_ranks_want_what_any_of_them_wants() {
        let check = |stops: &[StopVote], saving: usize, stop| {
            let votes =
                stops.iter().enumerate().map(|(rank, stop)| Votes { stop: *stop, is_saving: rank < saving });
            let sums = votes.map(Votes::numbers).fold([0.0; Votes::COUNT], |sums, numbers| {
                std::array::from_fn(|nth| sums[nth] + numbers[nth])
            });
            assert_eq!(Votes::from_numbers(sums), Votes { stop, is_saving: saving > 0 }, "{stops:?}");
        };
        use StopVote::{Continue, SaveAndStop, Stop};
        check(&[Continue, Continue], 0, Continue);
        check(&[Continue, Stop, Continue], 1, Stop);
        check(&[SaveAndStop, Stop], 2, SaveAndStop);
    }
}

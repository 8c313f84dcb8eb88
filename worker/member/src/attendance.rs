//! A worker's place in its cluster, as far as the coordinator's answers go: which directives are
//! new, when it has to attach again, and when a worker that is to end may go.

use phalanx_protocol::{
    message::{Directive, Numbered},
    rpc::Rejected,
};

/// The directives that an attached worker has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attendance {
    last: u64,
}

/// What the coordinator's answer to a worker that asks for directives means.
#[derive(Debug, Clone, PartialEq)]
pub enum Polled {
    /// These are to be followed, in this order.
    Follow(Vec<Directive>),
    /// The coordinator does not know the worker any more: it attaches as a new one.
    Forgotten,
    /// To be asked again a little later.
    Later(Rejected),
}

impl Attendance {
    /// The number of the last directive that was seen; it tells the coordinator what to forget.
    pub fn last(self) -> u64 {
        self.last
    }

    /// Takes an answer in. One that was lost on its way is given again, so what was seen before
    /// is left out.
    pub fn answered(&mut self, answer: Result<Vec<Numbered>, Rejected>) -> Polled {
        match answer {
            Ok(numbered) => {
                let seen = self.last;
                self.last = numbered.last().map_or(seen, |newest| newest.number.max(seen));
                let new = numbered.into_iter().filter(|it| it.number > seen);
                Polled::Follow(new.map(|it| it.directive).collect())
            }
            Err(Rejected::UnknownWorker(_)) => Polled::Forgotten,
            Err(
                rejected @ (Rejected::StaleGeneration { .. }
                | Rejected::Impossible(_)
                | Rejected::Unavailable(_)
                | Rejected::Standby(_)),
            ) => Polled::Later(rejected),
        }
    }
}

/// What a worker that is to end does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It leaves: nothing is waited for.
    Leave,
    /// It waits until it is told to leave, or is no longer known.
    Wait,
    /// It tells the coordinator again, a little later.
    TellAgain,
}

impl Departure {
    /// Decides that when it has told the coordinator. `heard` says whether that knows by now, and
    /// `is_idle` whether nothing is under way. A worker that is not attached just leaves: others
    /// have its work.
    pub fn next(heard: bool, is_idle: bool) -> Self {
        match (heard, is_idle) {
            (true, _) => Self::Wait,
            // Nobody waits for what it does.
            (false, true) => Self::Leave,
            (false, false) => Self::TellAgain,
        }
    }
}

#[cfg(test)]
mod tests {
    use phalanx_protocol::id::WorkerId;

    use super::*;

    #[test]
    fn a_directive_is_followed_once() {
        let mut attendance = Attendance::default();
        let mut check = |numbers: &[u64], new: usize, last| {
            let leave = |number: &u64| Numbered { number: *number, directive: Directive::Leave };
            let polled = attendance.answered(Ok(numbers.iter().map(leave).collect()));
            assert_eq!(polled, Polled::Follow(vec![Directive::Leave; new]), "{numbers:?}");
            assert_eq!(attendance.last(), last, "{numbers:?}");
        };
        check(&[], 0, 0);
        check(&[1, 2], 2, 2);
        check(&[1, 2, 3], 1, 3);
        check(&[2, 3], 0, 3);
    }

    #[test]
    fn only_who_is_not_known_attaches_again() {
        let mut attendance = Attendance::default();
        let unknown = Rejected::UnknownWorker(WorkerId::new(1));
        assert_eq!(attendance.answered(Err(unknown)), Polled::Forgotten);
        let busy = || Rejected::Unavailable("it stops".to_owned());
        assert_eq!(attendance.answered(Err(busy())), Polled::Later(busy()));
    }

    #[test]
    fn a_worker_that_is_to_end_hands_its_work_over_if_somebody_is_there_to_take_it() {
        assert_eq!(Departure::next(true, true), Departure::Wait);
        assert_eq!(Departure::next(false, true), Departure::Leave);
        assert_eq!(Departure::next(false, false), Departure::TellAgain);
    }
}

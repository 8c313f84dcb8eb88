//! How a rank waits before it sleeps. What comes within microseconds comes sooner to who
//! looks for it than to who must be woken; but where ranks outnumber the cores, whoever
//! looks keeps the one from running that it waits for. Decides only; the mesh waits.

use std::{
    hint, thread,
    time::{Duration, Instant},
};

/// How long a rank looks before it sleeps, where it has a core of its own: about twice
/// what it takes to put it to sleep and wake it.
const SPIN_TIME: Duration = Duration::from_micros(50);

/// How often it looks before it lets others run once, and looks at the clock.
const TURNS_PER_CLOCK: u32 = 32;

/// How often it lets others run before it sleeps, where ranks outnumber the cores.
const YIELDS: u32 = 20;

/// What a rank does while nothing moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Patience {
    /// It sleeps at once: the core has something else to do.
    #[default]
    Sleep,
    /// It lets others run a few times, then sleeps: they are who it waits for.
    Yield,
    /// It looks for a while, then sleeps: it has a core of its own.
    Spin,
}

/// Since when nothing has moved, and how often that was found.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    turns: u32,
    since: Option<Instant>,
}

impl Idle {
    /// When it began, or now, if that was not asked before.
    pub(crate) fn since(&mut self) -> Instant {
        *self.since.get_or_insert_with(Instant::now)
    }
}

impl Patience {
    /// Of ranks that share this many cores.
    pub(crate) fn of(ranks: usize, cores: usize) -> Self {
        if ranks > cores { Self::Yield } else { Self::Spin }
    }

    /// Nothing has moved: whether to look again at once instead of sleeping.
    pub(crate) fn spins(self, idle: &mut Idle) -> bool {
        idle.turns = idle.turns.saturating_add(1);
        match self {
            Self::Sleep => false,
            Self::Yield => {
                let spins = idle.turns <= YIELDS;
                if spins {
                    thread::yield_now();
                }
                spins
            }
            Self::Spin if idle.turns.is_multiple_of(TURNS_PER_CLOCK) => {
                // Others may run on the core after all, the awaited rank among them.
                thread::yield_now();
                idle.since().elapsed() < SPIN_TIME
            }
            Self::Spin => {
                hint::spin_loop();
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_core_looks_and_who_has_none_lets_others_run() {
        assert_eq!(Patience::of(2, 2), Patience::Spin);
        assert_eq!(Patience::of(3, 2), Patience::Yield);
    }

    #[test]
    fn everyone_sleeps_in_the_end() {
        for patience in [Patience::Sleep, Patience::Yield, Patience::Spin] {
            let mut idle = Idle::default();
            while patience.spins(&mut idle) {}
            assert!(idle.turns > 0);
        }
    }
}

//! What goes wrong and when: a function of the seed. Touches nothing.

use std::time::Duration;

use phalanx_tests::Cut;

use crate::options::Kind;

/// Between two faults.
const PAUSE_MS: (u64, u64) = (300, 2_500);

/// One in so many kills hits all workers at once.
const KILLS_OF_ALL: u64 = 6;

/// Something that goes wrong for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// These workers are killed, and started again.
    Kill(Vec<usize>),
    /// This worker stands still.
    Stop(usize),
    /// This worker is cut off.
    Partition(usize, Cut),
    /// This coordinator is killed, and started again.
    Coordinator(usize),
    /// etcd hangs, or is killed and started again.
    Etcd(Way),
    /// The object store does.
    Store(Way),
}

/// How a service is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Killed,
    Hangs,
}

/// A fault and its time.
#[derive(Debug)]
pub(crate) struct Injection {
    /// After the one before.
    pub(crate) after: Duration,
    pub(crate) fault: Fault,
    pub(crate) lasts: Duration,
}

/// A sequence of faults without an end.
#[derive(Debug)]
pub(crate) struct Plan {
    chance: Chance,
    kinds: Vec<Kind>,
    workers: usize,
    coordinators: usize,
}

impl Fault {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Kill(_) => Kind::Kill,
            Self::Stop(_) => Kind::Stop,
            Self::Partition(..) => Kind::Partition,
            Self::Coordinator(_) => Kind::Coordinator,
            Self::Etcd(_) => Kind::Etcd,
            Self::Store(_) => Kind::Store,
        }
    }
}

impl Plan {
    /// The faults of `seed`, of these kinds.
    pub(crate) fn new(seed: u64, kinds: &[Kind], workers: usize, coordinators: usize) -> Self {
        Self { chance: Chance(seed), kinds: kinds.to_vec(), workers, coordinators }
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Injection {
        let after = self.chance.millis(PAUSE_MS);
        let kind = self.kinds[self.chance.below(self.kinds.len())];
        let worker = self.chance.below(self.workers);
        // Shorter and longer than the lease of two seconds.
        let (fault, lasts_ms) = match kind {
            Kind::Kill => {
                let all = self.chance.number().is_multiple_of(KILLS_OF_ALL);
                let killed = if all { (0..self.workers).collect() } else { vec![worker] };
                (Fault::Kill(killed), (0, 2_000))
            }
            Kind::Stop => (Fault::Stop(worker), (200, 6_000)),
            Kind::Partition => (Fault::Partition(worker, self.cut(worker)), (200, 6_000)),
            Kind::Coordinator => (Fault::Coordinator(self.chance.below(self.coordinators)), (0, 4_000)),
            Kind::Etcd => (Fault::Etcd(self.way()), (200, 5_000)),
            Kind::Store => (Fault::Store(self.way()), (500, 8_000)),
        };
        Injection { after, fault, lasts: self.chance.millis(lasts_ms) }
    }

    fn cut(&mut self, worker: usize) -> Cut {
        let other = self.chance.below(self.workers);
        match self.chance.below(3) {
            0 if other != worker => Cut::Host(other),
            1 => Cut::Home,
            _ => Cut::All,
        }
    }

    fn way(&mut self) -> Way {
        if self.chance.number().is_multiple_of(2) { Way::Killed } else { Way::Hangs }
    }
}

/// Numbers that only look like chance (SplitMix64, Steele et al. 2014).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    fn millis(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_millis(least + self.number() % (most - least))
    }
}

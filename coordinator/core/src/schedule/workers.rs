//! The workers, in pools of those that are alike. Owns which of them are free.
//!
//! Jobs are compared with pools and not with workers: there are few pools, and
//! many jobs.

use std::collections::{BTreeMap, BTreeSet};

use phalanx_protocol::id::{JobId, WorkerId};

use super::{Availability, Candidate};

/// All workers that may be used, by what they are.
#[derive(Debug, Default)]
pub(super) struct Groups<'a> {
    /// The kinds, by name.
    pub(super) kinds: Vec<&'a str>,
    /// The pools, by kind; of one kind, those with the fewest tasks first.
    pub(super) pools: Vec<Pool<'a>>,
    /// The pool of each worker.
    pub(super) home: BTreeMap<WorkerId, usize>,
}

/// Workers of one kind with the same tasks.
#[derive(Debug)]
pub(super) struct Pool<'a> {
    /// Index of their kind.
    pub(super) kind: usize,
    /// Their tasks, sorted.
    tasks: Vec<&'a str>,
    /// How many they are.
    size: usize,
}

/// The workers of one kind that a job can use.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    /// Index of the kind.
    pub(super) kind: usize,
    /// Indices of the pools, those that are taken from first at the beginning.
    pub(super) pools: Vec<usize>,
    /// How many workers they have, whatever these do now.
    pub(super) fitting: usize,
}

impl<'a> Groups<'a> {
    /// Sorts the workers that can be used.
    pub(super) fn of(workers: &[Candidate<'a>]) -> Self {
        let mut pools: BTreeMap<(&str, usize, Vec<&str>), Vec<WorkerId>> = BTreeMap::new();
        let is_usable = |worker: &&Candidate<'_>| !matches!(worker.availability, Availability::Unusable(_));
        for worker in workers.iter().filter(is_usable) {
            let tasks: BTreeSet<&str> = worker.tasks.iter().map(String::as_str).collect();
            let key = (worker.kind, tasks.len(), tasks.into_iter().collect());
            pools.entry(key).or_default().push(worker.worker);
        }
        let mut groups = Self::default();
        for ((kind, _, tasks), members) in pools {
            if groups.kinds.last() != Some(&kind) {
                groups.kinds.push(kind);
            }
            let pool = groups.pools.len();
            groups.home.extend(members.iter().map(|worker| (*worker, pool)));
            groups.pools.push(Pool { kind: groups.kinds.len() - 1, tasks, size: members.len() });
        }
        groups
    }

    /// What a job can use that needs `task` and must stay on `kind`, by the kinds' names.
    pub(super) fn fits(&self, task: Option<&str>, kind: Option<&str>) -> Vec<Fit> {
        let mut fits: Vec<Fit> = Vec::new();
        for (index, pool) in self.pools.iter().enumerate() {
            let fits_kind = kind.is_none_or(|kind| kind == self.kinds[pool.kind]);
            if !fits_kind || !pool.has(task) {
                continue;
            }
            if fits.last().is_none_or(|fit| fit.kind != pool.kind) {
                fits.push(Fit { kind: pool.kind, pools: Vec::new(), fitting: 0 });
            }
            if let Some(fit) = fits.last_mut() {
                fit.pools.push(index);
                fit.fitting += pool.size;
            }
        }
        fits
    }
}

impl Pool<'_> {
    /// Whether its workers have `task`.
    pub(super) fn has(&self, task: Option<&str>) -> bool {
        task.is_none_or(|task| self.tasks.binary_search(&task).is_ok())
    }
}

/// In which way a worker is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freedom {
    /// It is idle, and anyone may have it.
    Idle,
    /// It will be idle soon, and anyone may wait for it.
    Leaving,
    /// It is idle, held back for a job that cannot start, and meanwhile lent to jobs that give it back.
    HeldBack,
}

/// The workers that are free, pool by pool.
#[derive(Debug)]
pub(super) struct Free<'a> {
    pools: Vec<FreePool>,
    /// The workers that hold the state of a job, free or not.
    holders: BTreeMap<&'a JobId, Vec<WorkerId>>,
    holds: BTreeSet<WorkerId>,
    home: &'a BTreeMap<WorkerId, usize>,
}

/// A free worker, and whether it holds the state of some job: for others, those come last.
type Hand = (bool, WorkerId);

#[derive(Debug, Default)]
struct FreePool {
    idle: BTreeSet<Hand>,
    leaving: BTreeSet<Hand>,
    held_back: BTreeSet<Hand>,
}

impl FreePool {
    fn of(&self, freedom: Freedom) -> &BTreeSet<Hand> {
        match freedom {
            Freedom::Idle => &self.idle,
            Freedom::Leaving => &self.leaving,
            Freedom::HeldBack => &self.held_back,
        }
    }

    fn of_mut(&mut self, freedom: Freedom) -> &mut BTreeSet<Hand> {
        match freedom {
            Freedom::Idle => &mut self.idle,
            Freedom::Leaving => &mut self.leaving,
            Freedom::HeldBack => &mut self.held_back,
        }
    }
}

impl<'a> Free<'a> {
    /// Those of `workers` that are free.
    pub(super) fn of(workers: &[Candidate<'a>], groups: &'a Groups<'_>) -> Self {
        let mut free = Self {
            pools: groups.pools.iter().map(|_| FreePool::default()).collect(),
            holders: BTreeMap::new(),
            holds: BTreeSet::new(),
            home: &groups.home,
        };
        for worker in workers {
            if let Some(job) = worker.holds {
                free.holders.entry(job).or_default().push(worker.worker);
                free.holds.insert(worker.worker);
            }
        }
        free.holders.values_mut().for_each(|holders| holders.sort_unstable());
        for worker in workers {
            let freedom = match worker.availability {
                Availability::Idle => Freedom::Idle,
                Availability::Leaving(_) => Freedom::Leaving,
                Availability::Serving | Availability::Unusable(_) => continue,
            };
            free.add(worker.worker, groups.home[&worker.worker], freedom);
        }
        free
    }

    /// How many workers that fit are free in this way.
    pub(super) fn count(&self, fit: &Fit, freedom: Freedom) -> usize {
        fit.pools.iter().map(|pool| self.pools[*pool].of(freedom).len()).sum()
    }

    /// Takes up to `count` of them out for a job: first those that hold its state, and last those
    /// that hold another's.
    pub(super) fn take(&mut self, fit: &Fit, freedom: Freedom, count: usize, job: &JobId) -> Vec<WorkerId> {
        let mut taken = Vec::new();
        for holder in self.holders.get(job).into_iter().flatten() {
            let pool = self.home.get(holder).filter(|pool| fit.pools.contains(pool));
            if let Some(pool) = pool.filter(|_| taken.len() < count)
                && self.pools[*pool].of_mut(freedom).remove(&(true, *holder))
            {
                taken.push(*holder);
            }
        }
        for pool in &fit.pools {
            let workers = self.pools[*pool].of_mut(freedom);
            while taken.len() < count
                && let Some((_, worker)) = workers.pop_first()
            {
                taken.push(worker);
            }
        }
        taken
    }

    fn hand(&self, worker: WorkerId) -> Hand {
        (self.holds.contains(&worker), worker)
    }

    /// How a worker of `pool` is free.
    pub(super) fn freedom(&self, worker: WorkerId, pool: usize) -> Option<Freedom> {
        [Freedom::Idle, Freedom::Leaving]
            .into_iter()
            .find(|freedom| self.pools[pool].of(*freedom).contains(&self.hand(worker)))
    }

    /// Takes one worker of `pool` out.
    pub(super) fn remove(&mut self, worker: WorkerId, pool: usize, freedom: Freedom) {
        let hand = self.hand(worker);
        self.pools[pool].of_mut(freedom).remove(&hand);
    }

    /// A worker of `pool` is free.
    pub(super) fn add(&mut self, worker: WorkerId, pool: usize, freedom: Freedom) {
        let hand = self.hand(worker);
        self.pools[pool].of_mut(freedom).insert(hand);
    }

    /// Nobody else starts on the workers that fit. Those that are idle may be lent.
    pub(super) fn hold_back(&mut self, fit: &Fit) {
        for pool in &fit.pools {
            let FreePool { idle, leaving, held_back } = &mut self.pools[*pool];
            leaving.clear();
            held_back.append(idle);
        }
    }
}

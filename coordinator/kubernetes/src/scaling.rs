//! How many pods each pool of workers shall have: pure functions. Time comes in as an argument, and what is remembered of
//! a pool goes in and comes out.
//!
//! [`wishes`] spreads what jobs ask for over the pools; [`decide`] turns the wish of one pool, and what it has, into a
//! number of replicas.
//!
//! A pool is a StatefulSet. When its replicas are lowered, Kubernetes ends the pods with the highest ordinals, each of
//! which hands its work over first, and no others: so who leaves is known beforehand. Whatever is said about a number here
//! is said about the pods `0..number`.
//!
//! # Properties
//!
//! Each is tested below.
//!
//! 1. A pool has at least `min` and at most `max` replicas, whatever is wished for.
//! 2. Up at once: nothing but the bounds, the pace, and pods that find no node holds a higher wish back.
//! 3. Down after the idle time: the number never falls below any wish of the last `idle`, so a pause between two jobs costs
//!    no pod.
//! 4. No flapping: while the wish stays as it is, the number rises once at the most, and only falls after that.
//! 5. It gets there: when a wish stays, the number is that wish after `idle` (and a pace), within the bounds.
//! 6. Two changes of a pool are at least `pace` apart.
//! 7. Pods that have found no node for `patience` are given up, from the top: never one that has a node, and none below
//!    it. The wish stays below that for `retry`, and is tried again then.
//! 8. Whatever somebody else sets counts as a wish that ends when it was seen.
//! 9. A job is counted in pools of one kind of processor, its own if it has begun, and only where it could start; all jobs
//!    together are never given more than a pool can have.
//! 10. The answer does not depend on the order of pools.

use std::{collections::BTreeMap, time::Duration};

use phalanx_server::Demand;

/// What is known of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool {
    /// The fewest replicas.
    pub(crate) min: u32,
    /// The most.
    pub(crate) max: u32,
    /// How many it is told to have.
    pub(crate) replicas: u32,
    /// Pods that have a node: the ordinal after the highest of them.
    pub(crate) placed: u32,
    /// For how long the pod that has waited longest could not be given a node.
    pub(crate) unplaced_for: Option<Duration>,
    /// A wish that has passed counts for this long.
    pub(crate) idle: Duration,
    /// Pods that find no node are given up after this long.
    pub(crate) patience: Duration,
    /// What its workers are, if any has ever been seen.
    pub(crate) workers: Option<Workers>,
}

/// What the workers of a pool are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workers {
    /// Their kind of processor.
    pub(crate) kind: String,
    /// The custom tasks that they have.
    pub(crate) tasks: Vec<String>,
}

/// The least time between two changes of a pool.
pub(crate) const PACE: Duration = Duration::from_secs(1);

/// After this long pods are wished for again that found no node.
pub(crate) const RETRY: Duration = Duration::from_secs(600);

/// What is remembered of a pool from one decision to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Memory {
    /// The wish of the last decision.
    wish: u32,
    /// Wishes that have passed, and until when each was wished for: later ones are lower.
    passed: Vec<(Duration, u32)>,
    /// When replicas were last changed.
    changed_at: Option<Duration>,
    /// The number that was set or seen last.
    known: Option<u32>,
    /// The most that there are nodes for, and until when that is believed.
    cap: Option<(u32, Duration)>,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The number of replicas.
    pub(crate) replicas: u32,
    /// When it is to be decided again if nothing changes until then.
    pub(crate) again_at: Option<Duration>,
    /// What is to be remembered.
    pub(crate) memory: Memory,
}

/// How many replicas a pool shall have at `now`, if `wish` of them would be of use.
pub(crate) fn decide(now: Duration, pool: &Pool, wish: u32, mut memory: Memory) -> Decision {
    // Somebody else has set it; so does whoever led before this coordinator.
    if memory.known != Some(pool.replicas) {
        memory.pass(now, pool.replicas);
        memory.known = Some(pool.replicas);
    }
    if wish < memory.wish {
        let before = memory.wish;
        memory.pass(now, before);
    }
    memory.wish = wish;
    // What is not more than the wish of now says nothing.
    memory.passed.retain(|(until, passed)| *until + pool.idle > now && *passed > wish);
    memory.note_cap(now, pool);

    let held = memory.passed.iter().map(|(_, wish)| *wish).max().unwrap_or(0);
    let cap = memory.cap.map_or(u32::MAX, |(cap, _)| cap);
    let target = wish.max(held).min(cap).clamp(pool.min, pool.max.max(pool.min));
    let open_at = memory.changed_at.map_or(now, |changed| changed + PACE);
    let replicas = if open_at <= now { target } else { pool.replicas };
    if replicas != pool.replicas {
        memory.changed_at = Some(now);
        memory.known = Some(replicas);
    }
    let again = [
        (replicas != target).then_some(open_at),
        memory.passed.iter().map(|(until, _)| *until + pool.idle).min(),
        memory.cap.map(|(_, until)| until),
        pool.unplaced_for
            .filter(|waited| *waited < pool.patience)
            .map(|waited| now + (pool.patience - waited)),
    ];
    Decision { replicas, again_at: again.into_iter().flatten().min(), memory }
}

impl Memory {
    /// A wish has passed: lower ones that passed before say nothing any more.
    fn pass(&mut self, now: Duration, wish: u32) {
        self.passed.retain(|(_, before)| *before > wish);
        self.passed.push((now, wish));
    }

    /// Notes that there are no nodes for more, or that it may be tried again.
    fn note_cap(&mut self, now: Duration, pool: &Pool) {
        if self.cap.is_some_and(|(_, until)| until <= now) {
            self.cap = None;
        }
        if pool.unplaced_for.is_some_and(|waited| waited >= pool.patience) && pool.placed < pool.replicas {
            self.cap = Some((pool.placed, now + RETRY));
            // They were wished for in vain, which holds nothing up.
            self.passed.retain(|(_, wish)| *wish <= pool.placed);
        }
    }
}

/// How many replicas of each pool would be of use to the jobs, which stand in the order of their importance.
pub(crate) fn wishes<'p>(demand: &[Demand], pools: &'p BTreeMap<String, Pool>) -> BTreeMap<&'p str, u32> {
    let mut given: BTreeMap<&str, u32> = pools.keys().map(|name| (name.as_str(), 0)).collect();
    for job in demand {
        let fitting = pools.iter().filter(|(_, pool)| fits(pool, job));
        // Pools of one kind serve a job together; of a pool whose workers nobody has seen, only that is known.
        let mut kinds: BTreeMap<(usize, &str), Vec<(&str, u32)>> = BTreeMap::new();
        for (name, pool) in fitting {
            let room = pool.max.saturating_sub(given[name.as_str()]);
            let kind = match &pool.workers {
                Some(workers) => (0, workers.kind.as_str()),
                None => (1, name.as_str()),
            };
            kinds.entry(kind).or_default().push((name, room));
        }
        let enough = |pools: &&Vec<(&str, u32)>| {
            pools.iter().map(|(_, room)| u64::from(*room)).sum::<u64>() >= u64::from(job.workers_min)
        };
        let Some(chosen) = kinds.values().find(enough) else { continue };
        let mut wanted = job.workers_max;
        for (name, room) in chosen {
            let taken = wanted.min(*room);
            wanted -= taken;
            if let Some(given) = given.get_mut(name) {
                *given += taken;
            }
        }
    }
    given
}

/// Whether the workers of a pool could serve a job; of those that were never seen it is hoped.
fn fits(pool: &Pool, job: &Demand) -> bool {
    pool.workers.as_ref().is_none_or(|workers| {
        job.kind.as_ref().is_none_or(|kind| *kind == workers.kind)
            && job.task.as_ref().is_none_or(|task| workers.tasks.contains(task))
    })
}

#[cfg(test)]
mod tests;

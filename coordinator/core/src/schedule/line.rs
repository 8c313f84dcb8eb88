//! The line: in which order jobs are looked at. Owns nothing.

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeMap,
};

use super::Problem;

/// A share of the workers that a project may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Workers.
    pub(super) used: usize,
    /// The most that it may use: its quota, or all workers. At least 1.
    pub(super) of: usize,
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        let product = |one: usize, other: usize| one as u128 * other as u128;
        product(self.used, other.of).cmp(&product(other.used, self.of))
    }
}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Share {}

/// A job's place in the line; the least is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Its priority.
    pub(super) priority: Reverse<i32>,
    /// What the jobs of its project before it need.
    pub(super) share: Share,
    /// Its place in the order of submission.
    pub(super) number: u64,
    /// Its index among the claims.
    pub(super) job: usize,
}

/// The places of all jobs, in the order of their claims. A project may use a
/// share of `workers` workers. Jobs that do not `count` do not push back those behind them.
pub(super) fn places(problem: &Problem<'_>, workers: usize, counts: impl Fn(usize) -> bool) -> Vec<Place> {
    let claims = problem.claims;
    let mut order: Vec<usize> = (0..claims.len()).collect();
    order.sort_by_key(|job| (Reverse(claims[*job].priority), claims[*job].number));
    let mut needed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut places: Vec<Place> = order
        .into_iter()
        .map(|job| {
            let claim = &claims[job];
            let before = needed.entry(claim.project).or_default();
            let share = Share { used: *before, of: most(problem, claim.project, workers) };
            *before += if counts(job) { claim.workers_min } else { 0 };
            Place { priority: Reverse(claim.priority), share, number: claim.number, job }
        })
        .collect();
    places.sort_unstable_by_key(|place| place.job);
    places
}

/// The most workers that a project may use, at least 1 to be divided by.
pub(super) fn most(problem: &Problem<'_>, project: &str, workers: usize) -> usize {
    problem.quota(project).unwrap_or(workers).min(workers).max(1)
}

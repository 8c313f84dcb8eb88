//! What the state machine must be told. Owns no state.

use std::collections::BTreeMap;

use phalanx_protocol::message::Timeouts;

/// What the state machine must be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The cluster's time limits. Also sent to every worker that attaches, by the driver.
    pub timeouts: Timeouts,
    /// A job fails when this many of its generations in a row ended without
    /// one step beyond the farthest that it ever reached: whatever ends them
    /// will end the next one too.
    pub fruitless_generations_max: u32,
    /// Whether no worker lives on when the coordinator ends: those of before a restart are not waited for.
    pub workers_end_with_it: bool,
    /// The most jobs that are not over; further ones are refused.
    pub jobs_max: usize,
    /// The most workers; further ones are refused.
    pub workers_max: usize,
    /// The most workers that the jobs of a project may use at once. Projects without an entry may use all.
    pub quotas: BTreeMap<String, u32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            fruitless_generations_max: 10,
            workers_end_with_it: false,
            jobs_max: 10_000,
            workers_max: 10_000,
            quotas: BTreeMap::new(),
        }
    }
}

//! `[schedule]`: how the job is treated beside others.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The priorities that a job can have.
pub const PRIORITIES: RangeInclusive<i32> = -100..=100;

/// Which jobs come first where workers are short. It says nothing about the result, which is the same whenever the job runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SchedulingSpec {
    /// Jobs with a higher priority start first, and take the workers of those with a lower one if there are no others: -100 to 100.
    pub priority: i32,
    /// The project that the job belongs to: up to 63 lower-case letters, digits, `-` and `_`. Jobs of one priority start so that projects get equal shares of the workers, or of their quotas (`phalanx coordinator --quota`).
    pub project: String,
}

impl Default for SchedulingSpec {
    fn default() -> Self {
        Self { priority: 0, project: "default".to_owned() }
    }
}

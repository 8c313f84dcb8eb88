//! `[evaluate]` and `[register]`: what a model must reach, and where it goes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Gate;

/// The most classes of a target: the confusion matrix has a cell for each pair of
/// them, and travels in one control message.
pub const CLASSES_MAX: usize = 1_000;

/// What to measure on the test split, and what the model must reach.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateSpec {
    /// Metrics to measure beside the usual ones of the target, for example `["f_beta_weighted@2", "average_precision"]`. What gates and early
    /// stopping name is measured anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<String>>,
    /// Conditions that the test split must meet, for example `accuracy >= 0.95`. If one fails, the model is not registered and the job fails.
    pub gates: Vec<Gate>,
}

/// Where the finished model goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterSpec {
    /// The model's name in the registry; each finished job makes a new version of it.
    pub model: String,
    /// An alias that is set to the new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

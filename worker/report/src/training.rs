//! How training went. Owns nothing but its values.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Training, from its first step to the last.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// Steps that were made.
    pub steps: u64,
    /// Steps that were planned.
    pub steps_planned: u64,
    /// Passes over the training split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Samples that were learnt from, each as often as it came.
    pub samples: u64,
    /// Samples of one step.
    pub batch_size: u32,
    /// The step whose weights the model has; the last one, or with early stopping the best.
    pub kept_step: u64,
    /// Why it ended before its time; absent where it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_early: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How long workers computed, waits for workers left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The loss of steps, thinned.
    pub loss: Vec<StepValue>,
    /// What validation came to, by metric; `loss` among them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub validation: BTreeMap<String, Vec<StepValue>>,
}

/// A figure after a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepValue {
    /// Steps made by then.
    pub step: u64,
    /// The figure.
    pub value: f64,
}

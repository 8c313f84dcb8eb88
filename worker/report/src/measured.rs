//! Figures and the rows that they are of. Owns nothing but its values.

use std::collections::BTreeMap;

use phalanx_evaluate::{Evaluation, interval::Interval};
use serde::{Deserialize, Serialize};

/// Something that was found out on the rows of one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnSplit<T> {
    /// The split.
    pub split: String,
    /// Rows that were looked at: all of the split, or fewer where that says enough.
    pub rows: u64,
    /// What was found out.
    pub found: T,
}

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// It.
    pub value: f64,
    /// How far it may be off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

/// The metrics of one split.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitMetrics {
    /// The split.
    pub split: String,
    /// Its rows.
    pub rows: u64,
    /// Its metrics by name, those of one class as `f1[class]`.
    pub metrics: BTreeMap<String, Measured>,
    /// Metrics that have no value on these rows, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub undefined: BTreeMap<String, String>,
}

impl SplitMetrics {
    /// What an evaluation of `rows` rows came to, with the intervals that there are.
    pub fn of(
        split: &str,
        rows: u64,
        evaluation: &Evaluation,
        intervals: &BTreeMap<String, Interval>,
    ) -> Self {
        let measured = |(name, value): (&String, &f64)| {
            (name.clone(), Measured { value: *value, interval: intervals.get(name).copied() })
        };
        Self {
            split: split.to_owned(),
            rows,
            metrics: evaluation.metrics.iter().map(measured).collect(),
            undefined: evaluation.undefined.clone(),
        }
    }
}

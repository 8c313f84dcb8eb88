//! How far predicted numbers are from the true ones. Owns nothing but its values.

use phalanx_evaluate::{NumberColumns, metrics::Residuals};
use serde::{Deserialize, Serialize};

/// The most rows that are drawn one by one.
pub const PREDICTED_MAX: usize = 500;

/// The most bars of a histogram.
const BARS_MAX: usize = 40;

/// Predictions of numbers, in the target's own unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberPart {
    /// The target's unit, where somebody has said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What errors are like: prediction less truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residuals: Option<Residuals>,
    /// The same, in bars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<Histogram>,
    /// Some rows, spread evenly over all of them.
    pub predicted: Vec<Predicted>,
}

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicted {
    /// What is true.
    pub truth: f64,
    /// What was predicted.
    pub prediction: f64,
}

/// How many values lie where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// Where the first bar begins.
    pub from: f64,
    /// How wide each is.
    pub width: f64,
    /// Values in each. A value at the end of the last one belongs to it.
    pub counts: Vec<u64>,
    /// Values below the first bar.
    pub below: u64,
    /// Values above the last one.
    pub above: u64,
}

impl NumberPart {
    /// Of rows with and without weight alike.
    pub fn of(columns: &NumberColumns<'_>) -> Self {
        let rows = columns.truths().iter().zip(columns.predictions());
        let errors: Vec<f64> = rows.clone().map(|(truth, prediction)| prediction - truth).collect();
        let step = errors.len().div_ceil(PREDICTED_MAX).max(1);
        let row = |(truth, prediction): (&f64, &f64)| Predicted { truth: *truth, prediction: *prediction };
        Self {
            unit: None,
            residuals: Residuals::of(columns).ok(),
            histogram: Histogram::of(&errors),
            predicted: rows.step_by(step).map(row).collect(),
        }
    }
}

impl Histogram {
    /// Bars over the middle 99 % of `values`, so that a few far ones do not press all others into
    /// one; `None` where there is no value, or one is not finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank =
            |share: f64| sorted.get(((sorted.len().saturating_sub(1)) as f64 * share).round() as usize);
        let (from, to) = (*rank(0.005)?, *rank(0.995)?);
        let bars = ((values.len() as f64).sqrt().ceil() as usize).clamp(1, BARS_MAX);
        let width = if to > from { (to - from) / bars as f64 } else { 1.0 };
        if !(from.is_finite() && width.is_finite() && sorted.iter().all(|value| value.is_finite())) {
            return None;
        }
        let mut counts = vec![0; bars];
        let (mut below, mut above) = (0, 0);
        for value in sorted {
            if value < from {
                below += 1;
            } else if value > to {
                above += 1;
            } else {
                counts[(((value - from) / width) as usize).min(bars - 1)] += 1;
            }
        }
        Some(Self { from, width, counts, below, above })
    }
}

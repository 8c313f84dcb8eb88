//! All metrics of a kind of prediction behind one call, and the record of those
//! that could not be computed. Owns no state.

use std::collections::BTreeMap;

use phalanx_protocol::message::{Confusion, Metrics};

use crate::{classes, error::EvaluateError, next_bytes, numbers, predictions::Predictions};

/// What the predictions are worth.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluation {
    /// The metrics that fit the target; every value is finite.
    pub metrics: Metrics,
    /// The confusion matrix, where the target has classes.
    pub confusion: Option<Confusion>,
    /// The metrics that would fit the target but have no value on these rows, such as
    /// the ROC-AUC where all rows have one class; and why.
    pub undefined: BTreeMap<String, String>,
}

/// Measures `predictions`, in time that grows with their number (with its
/// logarithm as well, for the ROC-AUC).
///
/// # Errors
///
/// Where there are no rows, or where a prediction or a truth is none; the error
/// says which row.
pub fn evaluate(predictions: &Predictions) -> Result<Evaluation, EvaluateError> {
    let mut evaluation = Evaluation::default();
    match predictions {
        Predictions::Classes(scores) => {
            scores.columns()?;
            classes::measure(scores, &mut evaluation);
        }
        Predictions::Numbers(values) => {
            values.columns()?;
            numbers::measure(values, &mut evaluation);
        }
        Predictions::NextBytes(loss) => {
            loss.check()?;
            next_bytes::measure(*loss, &mut evaluation);
        }
    }
    Ok(evaluation)
}

impl Evaluation {
    /// Records a metric; one that is too large for `f64` counts as undefined.
    pub(crate) fn insert(&mut self, metric: impl Into<String>, value: f64) {
        if value.is_finite() {
            self.metrics.insert(metric.into(), value);
        } else {
            self.undefine(metric, "its value is too large for a 64-bit float");
        }
    }

    /// Records a metric with its value, or with the reason why it has none.
    pub(crate) fn insert_or_undefine(&mut self, metric: impl Into<String>, value: Result<f64, String>) {
        match value {
            Ok(value) => self.insert(metric, value),
            Err(reason) => self.undefine(metric, reason),
        }
    }

    fn undefine(&mut self, metric: impl Into<String>, reason: impl Into<String>) {
        self.undefined.insert(metric.into(), reason.into());
    }
}

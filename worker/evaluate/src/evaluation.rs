//! All metrics of a kind of prediction behind one call, and the record of those
//! that could not be computed. Owns no state.

use std::collections::BTreeMap;

use phalanx_protocol::{
    message::{Confusion, Metrics},
    spec::{EvaluateSpec, MeasuredOn, MetricName},
};

use crate::{
    error::EvaluateError,
    metrics::{classes, numbers, tokens},
    predictions::Predictions,
    undefined::{Undefined, Value, finite},
};

/// What the predictions are worth.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluation {
    /// The metrics by name; every value is finite.
    pub metrics: Metrics,
    /// The confusion matrix, where the target has classes: rows, whatever their weight.
    pub confusion: Option<Confusion>,
    /// The metrics that would fit the target but have no value on these rows, such as
    /// the ROC-AUC where all rows have one class; and why.
    pub undefined: BTreeMap<String, String>,
}

/// Measures the usual metrics of `predictions`, in time that grows with their number (with
/// its logarithm as well, for the ROC-AUC).
///
/// # Errors
///
/// Where there are no rows, or where a prediction or a truth is none; the error
/// says which row.
pub fn evaluate(predictions: &Predictions) -> Result<Evaluation, EvaluateError> {
    evaluate_also(predictions, &[])
}

/// Measures the usual metrics of `predictions` and those called `names`, each once. A name that
/// does not fit what is predicted is recorded as undefined. `loss` fits everything; it is training's,
/// and not measured here.
///
/// # Errors
///
/// Those of [`evaluate`].
pub fn evaluate_also(predictions: &Predictions, names: &[MetricName]) -> Result<Evaluation, EvaluateError> {
    let fits = |name: &MetricName| match predictions {
        Predictions::Classes(scores) => classes::fits(&scores.classes, name),
        Predictions::Numbers(_) => numbers::fits(name),
        Predictions::NextBytes(_) => tokens::fits(name),
    };
    let measured = names.iter().filter(|name| name.metric.measured_on != MeasuredOn::Everything);
    let (fitting, others): (Vec<_>, Vec<_>) =
        measured.map(|name| fits(name).map(|()| name)).partition(Result::is_ok);
    let with = |mut usual: Vec<MetricName>| {
        for name in fitting.into_iter().flatten() {
            if !usual.contains(name) {
                usual.push(name.clone());
            }
        }
        usual
    };
    let mut evaluation = match predictions {
        Predictions::Classes(scores) => {
            classes::measure(&scores.columns()?, with(classes::usual(&scores.classes)))?
        }
        Predictions::Numbers(values) => numbers::measure(&values.columns()?, with(numbers::usual()))?,
        Predictions::NextBytes(text) => tokens::measure(text)?,
    };
    for error in others.into_iter().filter_map(Result::err) {
        if let EvaluateError::NoSuchMetric { name, reason } = error {
            evaluation.undefined.insert(name, format!("it {reason}"));
        }
    }
    Ok(evaluation)
}

/// The metric that slices, importance and robustness look at.
pub fn focus(spec: &EvaluateSpec, predictions: &Predictions) -> Option<MetricName> {
    let usual = match predictions {
        Predictions::Classes(scores) if scores.classes.len() == 2 => "roc_auc",
        Predictions::Classes(_) => "accuracy",
        Predictions::Numbers(_) => "rmse",
        Predictions::NextBytes(_) => "bits_per_byte",
    };
    MetricName::parse(spec.focus.as_deref().unwrap_or(usual)).ok()
}

impl Evaluation {
    /// Adds what training lowers as `loss`: the log-loss, the squared error of a number in units of
    /// `deviation`, or the nats that a byte costs.
    pub fn add_loss(&mut self, deviation: f64) {
        let of = |name: &str, of: &dyn Fn(f64) -> f64| self.metrics.get(name).map(|value| of(*value));
        let loss = of("log_loss", &|loss| loss)
            .or_else(|| of("mse", &|mse| mse / (deviation * deviation)))
            .or_else(|| of("bits_per_byte", &|bits| bits * std::f64::consts::LN_2));
        self.metrics.extend(loss.map(|loss| ("loss".to_owned(), loss)));
    }

    /// Records a metric with its value, or with the reason why it has none. One that is
    /// too large for `f64` counts as undefined.
    pub(crate) fn record(&mut self, metric: impl Into<String>, value: Value) {
        match value.and_then(finite) {
            Ok(value) => {
                self.metrics.insert(metric.into(), value);
            }
            Err(reason) => self.undefine(metric, &reason),
        }
    }

    fn undefine(&mut self, metric: impl Into<String>, reason: &Undefined) {
        self.undefined.insert(metric.into(), reason.to_string());
    }
}

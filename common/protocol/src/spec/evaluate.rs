//! `[evaluate]` and `[register]`: what a model must reach, and where it goes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Gate;

/// The most classes of a target: the confusion matrix has a cell for each pair of
/// them, and travels in one control message.
pub const CLASSES_MAX: usize = 1_000;

/// What a metric is measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasuredOn {
    /// A target of classes.
    Classes,
    /// A target of numbers.
    Numbers,
    /// A text.
    Text,
    /// All of them.
    Everything,
}

impl MeasuredOn {
    /// It, for people.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Classes => "a target of classes",
            Self::Numbers => "a target of numbers",
            Self::Text => "a text",
            Self::Everything => "everything",
        }
    }
}

/// A metric that a gate or early stopping may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// What it is measured on.
    pub measured_on: MeasuredOn,
    /// Whether there is one for each class too, written with the class, as in `f1[setosa]`.
    pub per_class: bool,
}

impl Metric {
    const fn of_classes(name: &'static str, more_is_better: bool, per_class: bool) -> Self {
        Self { name, more_is_better, measured_on: MeasuredOn::Classes, per_class }
    }

    const fn of(measured_on: MeasuredOn, name: &'static str, more_is_better: bool) -> Self {
        Self { name, more_is_better, measured_on, per_class: false }
    }

    /// The least and the greatest value that it can have.
    pub fn range(&self) -> (f64, f64) {
        match self.name {
            "r2" => (f64::NEG_INFINITY, 1.0),
            "perplexity" => (1.0, f64::INFINITY),
            _ if self.more_is_better => (0.0, 1.0),
            _ => (0.0, f64::INFINITY),
        }
    }

    /// The metric called `name`; that of a single class is as its average is.
    pub fn named(name: &str) -> Option<&'static Self> {
        let average =
            name.strip_suffix(']').and_then(|name| name.split_once('[')).map(|(average, _)| average);
        METRICS.iter().find(|metric| match average {
            Some(average) => metric.per_class && metric.name == average,
            None => metric.name == name,
        })
    }
}

/// All metrics.
pub const METRICS: &[Metric] = &[
    Metric::of_classes("accuracy", true, false),
    Metric::of_classes("precision", true, true),
    Metric::of_classes("recall", true, true),
    Metric::of_classes("f1", true, true),
    Metric::of_classes("roc_auc", true, true),
    Metric::of_classes("log_loss", false, false),
    Metric::of(MeasuredOn::Numbers, "mse", false),
    Metric::of(MeasuredOn::Numbers, "rmse", false),
    Metric::of(MeasuredOn::Numbers, "mae", false),
    Metric::of(MeasuredOn::Numbers, "r2", true),
    Metric::of(MeasuredOn::Text, "bits_per_byte", false),
    Metric::of(MeasuredOn::Text, "perplexity", false),
    Metric::of(MeasuredOn::Everything, "loss", false),
];

/// What to measure on the test split, and what the model must reach.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateSpec {
    /// The metrics to show; all that fit the target by default.
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

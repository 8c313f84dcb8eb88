//! `[evaluate]` and `[register]`: what a model must reach, and where it goes.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most classes of a target: the confusion matrix has a cell for each pair of
/// them, and travels in one control message.
pub const CLASSES_MAX: usize = 1_000;

/// The metrics that a gate or early stopping may name, and whether more is better.
/// Per-class figures are written with the class, as in `f1[setosa]`.
pub const METRICS: &[(&str, bool)] = &[
    ("accuracy", true),
    ("precision", true),
    ("recall", true),
    ("f1", true),
    ("roc_auc", true),
    ("log_loss", false),
    ("mse", false),
    ("rmse", false),
    ("mae", false),
    ("r2", true),
    ("bits_per_byte", false),
    ("perplexity", false),
    ("loss", false),
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

/// How a gate compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `>=`
    AtLeast,
    /// `>`
    MoreThan,
    /// `<=`
    AtMost,
    /// `<`
    LessThan,
}

impl Comparison {
    fn symbol(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::MoreThan => ">",
            Self::AtMost => "<=",
            Self::LessThan => "<",
        }
    }
}

/// A condition on a metric, written `metric >= number`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Gate {
    /// The metric's name.
    pub metric: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// The bound.
    pub bound: f64,
}

impl Gate {
    /// Whether `value` meets the gate. NaN meets none.
    pub fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::AtLeast => value >= self.bound,
            Comparison::MoreThan => value > self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::LessThan => value < self.bound,
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.metric, self.comparison.symbol(), self.bound)
    }
}

/// A text that is no gate.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no gate: expected a metric, one of >= > <= <, and a number, as in `accuracy >= 0.95`")]
pub struct InvalidGate(String);

impl FromStr for Gate {
    type Err = InvalidGate;

    fn from_str(text: &str) -> Result<Self, InvalidGate> {
        let invalid = || InvalidGate(text.to_owned());
        // Two-character symbols first: `>` is a prefix of `>=`.
        let order = [Comparison::AtLeast, Comparison::AtMost, Comparison::MoreThan, Comparison::LessThan];
        let (comparison, (metric, bound)) = order
            .into_iter()
            .find_map(|comparison| text.split_once(comparison.symbol()).map(|parts| (comparison, parts)))
            .ok_or_else(invalid)?;
        let bound: f64 = bound.trim().parse().map_err(|_| invalid())?;
        let metric = metric.trim();
        if metric.is_empty() || !bound.is_finite() {
            return Err(invalid());
        }
        Ok(Self { metric: metric.to_owned(), comparison, bound })
    }
}

impl TryFrom<String> for Gate {
    type Error = InvalidGate;

    fn try_from(text: String) -> Result<Self, InvalidGate> {
        text.parse()
    }
}

impl From<Gate> for String {
    fn from(gate: Gate) -> Self {
        gate.to_string()
    }
}

impl JsonSchema for Gate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Gate".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "gate", "pattern": "^.+(>=|<=|>|<).+$" })
    }
}

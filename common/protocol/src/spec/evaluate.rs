//! `[evaluate]` and `[register]`: what a model must reach, and where it goes.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
        // The last one: a class may be called `<=50K`, a number holds no such sign.
        let (metric, rest) = text.rfind(['<', '>']).map(|at| text.split_at(at)).ok_or_else(invalid)?;
        // Two-character symbols first: `>` is a prefix of `>=`.
        let order = [Comparison::AtLeast, Comparison::AtMost, Comparison::MoreThan, Comparison::LessThan];
        let (comparison, bound) = order
            .into_iter()
            .find_map(|comparison| Some((comparison, rest.strip_prefix(comparison.symbol())?)))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gate_is_a_metric_a_comparison_and_a_number() {
        let check = |text: &str, metric: &str, comparison, bound| {
            let gate: Gate = text.parse().expect("it is a gate");
            assert_eq!(gate, Gate { metric: metric.to_owned(), comparison, bound }, "{text}");
        };
        check("accuracy >= 0.95", "accuracy", Comparison::AtLeast, 0.95);
        check("loss<3", "loss", Comparison::LessThan, 3.0);
        check("f1[>50K] <= 1e-3", "f1[>50K]", Comparison::AtMost, 1e-3);
        check("f1[<=50K] > 0.5", "f1[<=50K]", Comparison::MoreThan, 0.5);
        check("f1[a >= b]>=-1", "f1[a >= b]", Comparison::AtLeast, -1.0);
        for text in
            ["", "accuracy", "accuracy >=", ">= 0.9", "accuracy = 0.9", "accuracy > x", "accuracy > inf"]
        {
            assert!(text.parse::<Gate>().is_err(), "{text}");
        }
    }

    fn comparison() -> impl Strategy<Value = Comparison> {
        prop_oneof![
            Just(Comparison::AtLeast),
            Just(Comparison::MoreThan),
            Just(Comparison::AtMost),
            Just(Comparison::LessThan),
        ]
    }

    proptest! {
        #[test]
        fn a_gate_is_read_as_it_is_written(
            class in "[^\\]]{0,12}",
            comparison in comparison(),
            bound in any::<f64>().prop_filter("a gate's bound is finite", |bound| bound.is_finite()),
        ) {
            let gate = Gate { metric: format!("f1[{class}]"), comparison, bound };
            prop_assert_eq!(gate.to_string().parse::<Gate>().expect("it is a gate"), gate);
        }
    }
}

//! What metrics are called: a name, perhaps with how classes are averaged, a
//! parameter, and a class, as in `f_beta_weighted@2` or `precision_at_recall@0.9[yes]`.
//! The table of all of them is [`METRICS`]; `phalanx-evaluate` computes them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::metrics::METRICS;

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

/// How the figures of single classes become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Average {
    /// Their mean; what a name without any of these says.
    Macro,
    /// Every row counts once, whatever its class.
    Micro,
    /// Their mean, weighted by the rows of each class.
    Weighted,
    /// That of the second class of two.
    Binary,
}

impl Average {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Macro, Self::Micro, Self::Weighted, Self::Binary];

    /// Its name, which follows the metric's and an underscore.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Macro => "macro",
            Self::Micro => "micro",
            Self::Weighted => "weighted",
            Self::Binary => "binary",
        }
    }
}

/// The number that a metric takes, written behind an `@`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricParameter {
    /// What it is.
    pub meaning: &'static str,
    /// Its value where a name has none; `None` where it must have one.
    pub default: Option<f64>,
    /// The least that it may be.
    pub least: f64,
    /// The greatest that it may be.
    pub greatest: f64,
    /// Whether it must be a whole number.
    pub is_whole: bool,
}

/// A metric that `[evaluate]`, a gate or early stopping may name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is, in half a line.
    pub about: &'static str,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// What it is measured on.
    pub measured_on: MeasuredOn,
    /// The least and the greatest value that it can have.
    pub range: (f64, f64),
    /// Whether there is one for each class too, written with the class, as in `f1[setosa]`.
    pub per_class: bool,
    /// The averages over the classes that can be asked for, as in `f1_weighted`.
    pub averages: &'static [Average],
    /// The number that it takes, as in `f_beta@2`.
    pub parameter: Option<MetricParameter>,
}

impl Metric {
    /// The least and the greatest value that it can have.
    pub fn range(&self) -> (f64, f64) {
        self.range
    }

    /// The metric that `name` asks for; that of a single class is as its average is.
    pub fn named(name: &str) -> Option<&'static Self> {
        MetricName::parse(name).ok().map(|name| name.metric)
    }
}

/// A metric's name, taken apart. It travels as it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MetricName {
    /// The metric.
    pub metric: &'static Metric,
    /// How classes are averaged, where the name says it.
    pub average: Option<Average>,
    /// Its parameter, given or by default.
    pub parameter: Option<f64>,
    /// The one class that is meant.
    pub class: Option<String>,
    /// The name as it was written.
    written: String,
}

/// Why a name is none of a metric.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidMetricName {
    /// No metric is called so.
    #[error("is unknown")]
    Unknown,
    /// The metric has no figure for a single class.
    #[error("is not measured for each class")]
    NotPerClass,
    /// The metric takes no parameter.
    #[error("takes no number: leave out what follows the `@`")]
    NoParameter,
    /// The metric needs a parameter.
    #[error("needs {meaning} behind an `@`, as in `{example}`")]
    ParameterMissing {
        /// What it is.
        meaning: &'static str,
        /// How it might look.
        example: String,
    },
    /// The parameter is not what the metric takes.
    #[error("takes {meaning} behind the `@`: {kind} from {least} to {greatest}, got `{actual}`")]
    ParameterOutside {
        /// What it is.
        meaning: &'static str,
        /// A number, or a whole one.
        kind: &'static str,
        /// The least that it may be.
        least: f64,
        /// The greatest that it may be.
        greatest: f64,
        /// What was written.
        actual: String,
    },
}

impl MetricName {
    /// The name of `metric` itself, if it needs no parameter.
    pub fn of(metric: &'static Metric) -> Option<Self> {
        let parameter = metric.read_parameter(None).ok()?;
        Some(Self { metric, average: None, parameter, class: None, written: metric.name.to_owned() })
    }

    /// The name of `metric` of one class, whatever that is called, if it needs no parameter.
    pub fn of_class(metric: &'static Metric, class: &str) -> Option<Self> {
        let written = format!("{}[{class}]", metric.name);
        Some(Self { class: Some(class.to_owned()), written, ..Self::of(metric)? })
    }

    /// Takes `name` apart.
    ///
    /// # Errors
    ///
    /// Where it is no metric's name.
    pub fn parse(name: &str) -> Result<Self, InvalidMetricName> {
        let (rest, class) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
            Some((rest, class)) => (rest, Some(class)),
            None => (name, None),
        };
        let (rest, parameter) = match rest.split_once('@') {
            Some((rest, parameter)) => (rest, Some(parameter)),
            None => (rest, None),
        };
        let (metric, average) = find(rest).ok_or(InvalidMetricName::Unknown)?;
        if class == Some("") {
            return Err(InvalidMetricName::Unknown);
        }
        if class.is_some() && (average.is_some() || !metric.per_class) {
            return Err(InvalidMetricName::NotPerClass);
        }
        let parameter = metric.read_parameter(parameter)?;
        let class = class.map(str::to_owned);
        Ok(Self { metric, average, parameter, class, written: name.to_owned() })
    }
}

impl fmt::Display for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl TryFrom<String> for MetricName {
    type Error = InvalidMetricName;

    fn try_from(name: String) -> Result<Self, InvalidMetricName> {
        Self::parse(&name)
    }
}

impl From<MetricName> for String {
    fn from(name: MetricName) -> Self {
        name.written
    }
}

/// The metric and the average that a name without parameter and class says.
fn find(name: &str) -> Option<(&'static Metric, Option<Average>)> {
    let called = |name: &str| METRICS.iter().find(|metric| metric.name == name);
    if let Some(metric) = called(name) {
        return Some((metric, None));
    }
    Average::ALL.into_iter().find_map(|average| {
        let metric = called(name.strip_suffix(average.name())?.strip_suffix('_')?)?;
        metric.averages.contains(&average).then_some((metric, Some(average)))
    })
}

impl Metric {
    fn read_parameter(&self, written: Option<&str>) -> Result<Option<f64>, InvalidMetricName> {
        let (parameter, written) = match (self.parameter, written) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(InvalidMetricName::NoParameter),
            (Some(parameter), Some(written)) => (parameter, written),
            (Some(MetricParameter { default: Some(default), .. }), None) => return Ok(Some(default)),
            (Some(parameter), None) => {
                let example = format!("{}@{}", self.name, if parameter.is_whole { "5" } else { "0.9" });
                return Err(InvalidMetricName::ParameterMissing { meaning: parameter.meaning, example });
            }
        };
        let MetricParameter { meaning, least, greatest, is_whole, .. } = parameter;
        let fits = |value: &f64| (least..=greatest).contains(value) && !(is_whole && value.fract() != 0.0);
        written.parse().ok().filter(fits).map(Some).ok_or_else(|| InvalidMetricName::ParameterOutside {
            meaning,
            kind: if is_whole { "a whole number" } else { "a number" },
            least,
            greatest,
            actual: written.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Taken<'a> = (&'a str, Option<Average>, Option<f64>, Option<&'a str>);

    fn check(name: &str, expected: Result<Taken<'_>, &str>) {
        let actual = MetricName::parse(name);
        let actual = actual
            .as_ref()
            .map(|name| (name.metric.name, name.average, name.parameter, name.class.as_deref()));
        assert_eq!(actual.map_err(ToString::to_string), expected.map_err(str::to_owned), "{name}");
    }

    #[test]
    fn a_name_has_an_average_a_parameter_and_a_class() {
        check("accuracy", Ok(("accuracy", None, None, None)));
        check("f1_weighted", Ok(("f1", Some(Average::Weighted), None, None)));
        check("f_beta_micro@2", Ok(("f_beta", Some(Average::Micro), Some(2.0), None)));
        check("f_beta@0.5[a@b_micro[1]]", Ok(("f_beta", None, Some(0.5), Some("a@b_micro[1]"))));
        check("pinball_loss", Ok(("pinball_loss", None, Some(0.5), None)));
    }

    #[test]
    fn what_is_no_name_is_told_why() {
        check("acuracy", Err("is unknown"));
        check("f1[]", Err("is unknown"));
        check("accuracy_micro", Err("is unknown"));
        check("accuracy[yes]", Err("is not measured for each class"));
        check("f1_micro[yes]", Err("is not measured for each class"));
        check("accuracy@2", Err("takes no number: leave out what follows the `@`"));
        check("f_beta", Err("needs β behind an `@`, as in `f_beta@0.9`"));
        let outside = "takes k behind the `@`: a whole number from 1 to 1000, got `2.5`";
        check("top_k_accuracy@2.5", Err(outside));
        check("top_k_accuracy@", Err(&outside.replace("2.5", "")));
    }

    #[test]
    fn no_name_can_be_read_in_two_ways() {
        for metric in METRICS {
            let found: Vec<_> = METRICS.iter().filter(|other| other.name == metric.name).collect();
            assert_eq!(found.len(), 1, "{}", metric.name);
            for average in metric.averages {
                let name = format!("{}_{}", metric.name, average.name());
                assert_eq!(find(&name), Some((metric, Some(*average))), "{name}");
            }
        }
    }
}

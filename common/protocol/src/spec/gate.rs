//! Gates: conditions on what a model is worth, and the text they are written in.
//!
//! ```text
//! gate   := figure (">=" | ">" | "<=" | "<") bound
//! figure := metric [ "[slice: " condition "]" ] [ ".lower" | ".upper" ]
//!         | "fairness." name "[" column { ", " column } "]" [ ".lower" | ".upper" ]
//! metric := name [ "[" class "]" ]
//! bound  := number
//!         | "@" alias [ ("+" | "-") number ] [ "at" number "%" ]
//! ```
//!
//! `accuracy >= 0.95`, `roc_auc.lower >= 0.89`, `accuracy[slice: sex = 'Female'] >= 0.8`,
//! `fairness.demographic_parity_difference[sex] <= 0.1`, `roc_auc >= @champion - 0.002 at 95%`.
//!
//! Owns no state; measures nothing. Every gate is one measured figure beside one number, so that
//! whoever decides needs no more than a table of figures by name: [`Gate::measured`] is that
//! name, [`Gate::holds`] the decision.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::is_name;

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
    /// Two-character symbols first: `>` is a prefix of `>=`.
    const ALL: [Self; 4] = [Self::AtLeast, Self::AtMost, Self::MoreThan, Self::LessThan];

    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::MoreThan => ">",
            Self::AtMost => "<=",
            Self::LessThan => "<",
        }
    }

    /// Whether more of the figure is asked for, and not less.
    pub fn asks_for_more(self) -> bool {
        match self {
            Self::AtLeast | Self::MoreThan => true,
            Self::AtMost | Self::LessThan => false,
        }
    }

    /// Whether `value` and `bound` compare so. NaN does not.
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::AtLeast => value >= bound,
            Self::MoreThan => value > bound,
            Self::AtMost => value <= bound,
            Self::LessThan => value < bound,
        }
    }
}

/// Whether the figure itself is meant, or an end of its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The figure.
    Estimate,
    /// Its interval's lower end.
    Lower,
    /// Its interval's upper end.
    Upper,
}

impl End {
    fn suffix(self) -> &'static str {
        match self {
            Self::Estimate => "",
            Self::Lower => ".lower",
            Self::Upper => ".upper",
        }
    }
}

/// A figure that says how differently a model treats groups of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FairnessFigure {
    /// Its name: fairlearn's, where fairlearn has it.
    pub name: &'static str,
    /// Whether more of it is fairer.
    pub more_is_better: bool,
    /// Whether it is one of groups' numbers, and not of groups' classes.
    pub of_numbers: bool,
}

/// All fairness figures that a gate may name after `fairness.`; of a target with several classes,
/// those of the class that does worst.
pub const FAIRNESS_FIGURES: &[FairnessFigure] = &[
    FairnessFigure { name: "demographic_parity_difference", more_is_better: false, of_numbers: false },
    FairnessFigure { name: "demographic_parity_ratio", more_is_better: true, of_numbers: false },
    FairnessFigure { name: "equalized_odds_difference", more_is_better: false, of_numbers: false },
    FairnessFigure { name: "equalized_odds_ratio", more_is_better: true, of_numbers: false },
    FairnessFigure { name: "equal_opportunity_difference", more_is_better: false, of_numbers: false },
    FairnessFigure { name: "equal_opportunity_ratio", more_is_better: true, of_numbers: false },
    FairnessFigure { name: "predictive_parity_difference", more_is_better: false, of_numbers: false },
    FairnessFigure { name: "predictive_parity_ratio", more_is_better: true, of_numbers: false },
    FairnessFigure { name: "mean_error_difference", more_is_better: false, of_numbers: true },
    FairnessFigure { name: "mae_difference", more_is_better: false, of_numbers: true },
    FairnessFigure { name: "mae_ratio", more_is_better: true, of_numbers: true },
];

/// Of what the figure is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// All rows.
    Whole {
        /// The metric, with its class where it is that of one: `f1[>50K]`.
        metric: String,
    },
    /// The rows that meet an SQL condition.
    Slice {
        /// The metric, as above.
        metric: String,
        /// The condition.
        condition: String,
    },
    /// The groups of one column, or of several together.
    Fairness {
        /// Which of [`FAIRNESS_FIGURES`].
        name: String,
        /// The columns; several mean their intersections.
        columns: Vec<String>,
    },
}

/// What a gate looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Figure {
    /// Of what it is.
    pub subject: Subject,
    /// Whether it is the figure itself, or an end of its interval.
    pub end: End,
}

impl Figure {
    /// The name of the metric; fairness figures have none.
    pub fn metric(&self) -> Option<&str> {
        match &self.subject {
            Subject::Whole { metric } | Subject::Slice { metric, .. } => Some(metric),
            Subject::Fairness { .. } => None,
        }
    }
}

/// What a gate compares with.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// A number.
    Number(f64),
    /// The same figure of another version of the model, and so much more or less.
    Version {
        /// Its alias or number, without the `@`.
        version: String,
        /// What is added to its figure.
        offset: f64,
        /// How sure that must be, in percent; without, the figures themselves are compared.
        percent: Option<f64>,
    },
}

impl Bound {
    /// The number beside what [`Gate::measured`] names.
    pub fn number(&self) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Version { offset, .. } => *offset,
        }
    }
}

/// A condition on a figure, written `figure >= bound`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Gate {
    /// What it looks at.
    pub figure: Figure,
    /// How that is compared.
    pub comparison: Comparison,
    /// With what.
    pub bound: Bound,
}

impl Gate {
    /// What must be measured for this gate, by name: the figure, or how far it is from that of
    /// another version (`roc_auc - @champion`), or the end of that difference's interval which is
    /// on the safe side (`roc_auc - @champion at 95%`: the lower one where at least is asked for).
    pub fn measured(&self) -> String {
        match &self.bound {
            Bound::Number(_) => self.figure.to_string(),
            Bound::Version { version, percent, .. } => {
                format!("{} - @{version}{}", self.figure, Percent(*percent))
            }
        }
    }

    /// Whether the gate is met where [`measured`](Self::measured) has this value. NaN meets none.
    pub fn holds(&self, value: f64) -> bool {
        self.comparison.holds(value, self.bound.number())
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Whole { metric } => write!(f, "{metric}")?,
            Subject::Slice { metric, condition } => write!(f, "{metric}[slice: {condition}]")?,
            Subject::Fairness { name, columns } => write!(f, "fairness.{name}[{}]", columns.join(", "))?,
        }
        f.write_str(self.end.suffix())
    }
}

/// ` at 95%`, or nothing.
struct Percent(Option<f64>);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |percent| write!(f, " at {percent}%"))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Version { version, offset, percent } => {
                write!(f, "@{version}")?;
                if *offset != 0.0 {
                    write!(f, " {} {}", if *offset < 0.0 { '-' } else { '+' }, offset.abs())?;
                }
                write!(f, "{}", Percent(*percent))
            }
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.figure, self.comparison.symbol(), self.bound)
    }
}

/// A text that is no gate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no gate: {fault}")]
pub struct InvalidGate {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub fault: GateFault,
}

/// What keeps a text from being a gate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateFault {
    /// A part is absent.
    #[error("expected a figure, one of >= > <= <, and a number or @version, as in `accuracy >= 0.95`")]
    Form,
    /// What stands after the comparison is no number.
    #[error("`{0}` is neither a finite number nor an @version, as in `@champion - 0.002 at 95%`")]
    Bound(String),
    /// What stands after `@` is neither an alias nor a number.
    #[error("`@{0}` names no version: expected an alias or a version's number, as in `@champion` or `@3`")]
    Version(String),
    /// What stands after the version is not understood.
    #[error("`{0}` after the version is not understood: expected ` - 0.002`, ` at 95%` or both, with spaces")]
    AfterVersion(String),
    /// A bound on one side holds more often than not.
    #[error("`at {0}%` says too little: expected more than 50 and less than 100 percent")]
    Percent(String),
    /// A slice without its condition.
    #[error("a slice needs a condition, as in `accuracy[slice: sex = 'Female'] >= 0.8`")]
    Slice,
    /// An unknown fairness figure.
    #[error("`fairness.{0}` is not known: expected one of {known}", known = known_figures())]
    FairnessName(String),
    /// A fairness figure without columns.
    #[error("`fairness.{0}` needs columns, as in `fairness.{0}[sex]` or `fairness.{0}[sex, race]`")]
    FairnessColumns(String),
    /// An end of an interval beside a version.
    #[error("an interval's end does not compare with a version: write `{0} … @version … at 95%`")]
    EndOfVersion(String),
}

fn known_figures() -> String {
    let names: Vec<_> = FAIRNESS_FIGURES.iter().map(|figure| figure.name).collect();
    names.join(", ")
}

impl FromStr for Gate {
    type Err = InvalidGate;

    fn from_str(text: &str) -> Result<Self, InvalidGate> {
        parse(text).map_err(|fault| InvalidGate { text: text.to_owned(), fault })
    }
}

fn parse(text: &str) -> Result<Gate, GateFault> {
    // The last sign: a class may be called `<=50K` and a condition compares, a bound holds none.
    let at = text.rfind(['<', '>']).ok_or(GateFault::Form)?;
    let (figure, rest) = text.split_at(at);
    let (comparison, bound) = Comparison::ALL
        .into_iter()
        .find_map(|comparison| Some((comparison, rest.strip_prefix(comparison.symbol())?.trim())))
        .ok_or(GateFault::Form)?;
    let figure = figure.trim();
    if figure.is_empty() || bound.is_empty() {
        return Err(GateFault::Form);
    }
    let gate = Gate { figure: parse_figure(figure)?, comparison, bound: parse_bound(bound)? };
    if matches!(gate.bound, Bound::Version { .. }) && gate.figure.end != End::Estimate {
        let figure = Figure { end: End::Estimate, ..gate.figure };
        return Err(GateFault::EndOfVersion(figure.to_string()));
    }
    Ok(gate)
}

fn parse_figure(text: &str) -> Result<Figure, GateFault> {
    let (text, end) = [End::Lower, End::Upper]
        .into_iter()
        .find_map(|end| Some((text.strip_suffix(end.suffix())?, end)))
        .unwrap_or((text, End::Estimate));
    let subject = if let Some(rest) = text.strip_prefix("fairness.") {
        parse_fairness(rest)?
    } else if let Some((metric, condition)) = text.split_once("[slice:") {
        let condition = condition.strip_suffix(']').ok_or(GateFault::Slice)?.trim();
        if condition.is_empty() {
            return Err(GateFault::Slice);
        }
        Subject::Slice { metric: metric.trim().to_owned(), condition: condition.to_owned() }
    } else {
        Subject::Whole { metric: text.to_owned() }
    };
    let figure = Figure { subject, end };
    if figure.metric() == Some("") { Err(GateFault::Form) } else { Ok(figure) }
}

fn parse_fairness(text: &str) -> Result<Subject, GateFault> {
    let (name, columns) = text.split_once('[').map_or((text, None), |(name, rest)| (name, Some(rest)));
    let name = name.trim();
    if !FAIRNESS_FIGURES.iter().any(|figure| figure.name == name) {
        return Err(GateFault::FairnessName(name.to_owned()));
    }
    let absent = || GateFault::FairnessColumns(name.to_owned());
    let columns = columns.and_then(|columns| columns.strip_suffix(']')).ok_or_else(absent)?;
    let columns: Vec<String> = columns.split(',').map(|column| column.trim().to_owned()).collect();
    if columns.iter().any(String::is_empty) {
        return Err(absent());
    }
    Ok(Subject::Fairness { name: name.to_owned(), columns })
}

fn parse_bound(text: &str) -> Result<Bound, GateFault> {
    let Some(rest) = text.strip_prefix('@') else {
        return finite(text).map(Bound::Number).ok_or_else(|| GateFault::Bound(text.to_owned()));
    };
    let (version, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if !is_name(version) {
        return Err(GateFault::Version(version.to_owned()));
    }
    let unknown = || GateFault::AfterVersion(rest.trim().to_owned());
    let (offset, percent) = match rest.split_once("at") {
        Some((offset, percent)) => (offset.trim(), Some(percent.trim())),
        None => (rest.trim(), None),
    };
    let offset = match offset.split_at_checked(1) {
        None if offset.is_empty() => 0.0,
        Some(("+", number)) => amount(number).ok_or_else(unknown)?,
        // 0 less 0 is 0, while -0 would be written otherwise than it was read.
        Some(("-", number)) => 0.0 - amount(number).ok_or_else(unknown)?,
        None | Some(_) => return Err(unknown()),
    };
    let percent = percent.map(|percent| parse_percent(percent).ok_or_else(unknown)?).transpose()?;
    Ok(Bound::Version { version: version.to_owned(), offset, percent })
}

/// `None` where it is no percentage at all.
fn parse_percent(text: &str) -> Option<Result<f64, GateFault>> {
    let number = text.strip_suffix('%')?.trim_end();
    let percent = finite(number)?;
    let fits = percent > 50.0 && percent < 100.0;
    Some(if fits { Ok(percent) } else { Err(GateFault::Percent(number.to_owned())) })
}

/// A number without a sign: the sign before it is the bound's.
fn amount(text: &str) -> Option<f64> {
    let text = text.trim();
    finite(text).filter(|_| !text.starts_with(['+', '-']))
}

fn finite(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
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

    fn whole(metric: &str) -> Subject {
        Subject::Whole { metric: metric.to_owned() }
    }

    #[track_caller]
    fn check(text: &str, subject: Subject, end: End, comparison: Comparison, bound: Bound) {
        let gate: Gate = text.parse().expect("it is a gate");
        assert_eq!(gate, Gate { figure: Figure { subject, end }, comparison, bound }, "{text}");
        assert_eq!(gate.to_string().parse::<Gate>().expect("it is written as it is read"), gate);
    }

    #[test]
    fn a_gate_is_a_metric_a_comparison_and_a_number() {
        let check = |text: &str, metric: &str, comparison, bound| {
            check(text, whole(metric), End::Estimate, comparison, Bound::Number(bound));
        };
        check("accuracy >= 0.95", "accuracy", Comparison::AtLeast, 0.95);
        check("loss<3", "loss", Comparison::LessThan, 3.0);
        check("f1[>50K] <= 1e-3", "f1[>50K]", Comparison::AtMost, 1e-3);
        check("f1[<=50K] > 0.5", "f1[<=50K]", Comparison::MoreThan, 0.5);
        check("f1[a >= b]>=-1", "f1[a >= b]", Comparison::AtLeast, -1.0);
    }

    #[test]
    fn slices_fairness_and_ends_of_intervals_are_figures() {
        use Comparison::{AtLeast, AtMost};
        let number = Bound::Number;
        check("roc_auc.lower >= 0.89", whole("roc_auc"), End::Lower, AtLeast, number(0.89));
        let slice = |metric: &str, condition: &str| Subject::Slice {
            metric: metric.to_owned(),
            condition: condition.to_owned(),
        };
        let women = slice("accuracy", "sex = 'Female'");
        check("accuracy[slice: sex = 'Female'] >= 0.8", women, End::Estimate, AtLeast, number(0.8));
        let old = slice("f1[<=50K]", "age >= 60 and tags[1] > 2");
        check("f1[<=50K][slice:age >= 60 and tags[1] > 2].upper<=1", old, End::Upper, AtMost, number(1.0));
        let fairness = |name: &str, columns: &[&str]| Subject::Fairness {
            name: name.to_owned(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        };
        let parity = fairness("demographic_parity_difference", &["sex"]);
        let text = "fairness.demographic_parity_difference[sex] <= 0.1";
        check(text, parity, End::Estimate, AtMost, number(0.1));
        let both = fairness("equalized_odds_ratio", &["sex", "race"]);
        check("fairness.equalized_odds_ratio[sex,race].lower >= 0.8", both, End::Lower, AtLeast, number(0.8));
    }

    #[test]
    fn a_version_is_compared_with_an_offset_and_a_level() {
        let check = |text: &str, version: &str, offset, percent| {
            let bound = Bound::Version { version: version.to_owned(), offset, percent };
            check(text, whole("roc_auc"), End::Estimate, Comparison::AtLeast, bound);
        };
        check("roc_auc >= @champion", "champion", 0.0, None);
        check("roc_auc >= @champion-2 - 0.002 at 95%", "champion-2", -0.002, Some(95.0));
        check("roc_auc >= @3 +0.01", "3", 0.01, None);
        check("roc_auc >= @latest at 99.5 %", "latest", 0.0, Some(99.5));
        check("roc_auc >= @c - 0", "c", 0.0, None);
    }

    #[test]
    fn a_gate_is_one_measured_figure_beside_one_number() {
        let check = |text: &str, measured: &str, holds: f64, fails: f64| {
            let gate: Gate = text.parse().expect("it is a gate");
            assert_eq!(gate.measured(), measured);
            assert!(gate.holds(holds) && !gate.holds(fails) && !gate.holds(f64::NAN), "{text}");
        };
        check("roc_auc >= 0.9", "roc_auc", 0.9, 0.899);
        check("roc_auc >= @champion - 0.002 at 95%", "roc_auc - @champion at 95%", -0.002, -0.0021);
        check("log_loss < @3", "log_loss - @3", -0.1, 0.0);
        check("f1[slice: a = 1].upper > 0", "f1[slice: a = 1].upper", 0.1, 0.0);
    }

    #[test]
    fn what_is_no_gate_is_told_why() {
        let check = |text: &str, said: &str| {
            let error = text.parse::<Gate>().expect_err("it is no gate").to_string();
            assert!(error.starts_with(&format!("`{text}` is no gate: ")) && error.contains(said), "{error}");
        };
        for text in
            ["", "accuracy", "accuracy >=", ">= 0.9", "accuracy = 0.9", ".lower > 1", "[slice: a] > 1"]
        {
            check(text, "expected a figure, one of >= > <= <, and a number or @version");
        }
        check("accuracy > x", "`x` is neither a finite number nor an @version");
        check("accuracy > inf", "`inf` is neither");
        check("accuracy > @", "`@` names no version");
        check("accuracy > @Champion", "`@Champion` names no version");
        check("accuracy > @champion 0.1", "`0.1` after the version is not understood");
        check("accuracy > @champion - -0.1", "`- -0.1` after the version is not understood");
        check("accuracy > @champion at 95", "`at 95` after the version is not understood");
        check("accuracy > @champion at 5%", "`at 5%` says too little");
        check("accuracy[slice: ] > 1", "a slice needs a condition");
        check("accuracy[slice: a > 1", "a slice needs a condition");
        check("fairness.beauty[sex] > 1", "`fairness.beauty` is not known: expected one of demographic_");
        check("fairness.mae_ratio > 1", "`fairness.mae_ratio` needs columns");
        check("fairness.mae_ratio[sex,] > 1", "`fairness.mae_ratio` needs columns");
        check("f1.lower > @c", "write `f1 … @version … at 95%`");
    }

    fn comparison() -> impl Strategy<Value = Comparison> {
        prop::sample::select(Comparison::ALL.to_vec())
    }

    fn finite() -> impl Strategy<Value = f64> {
        any::<f64>().prop_filter("a bound is finite", |bound| bound.is_finite())
    }

    fn metric() -> impl Strategy<Value = String> {
        ("[a-z_]{1,12}", prop::option::of("[^\\]]{0,12}")).prop_map(|(name, class)| match class {
            Some(class) => format!("{name}[{class}]"),
            None => name,
        })
    }

    fn subject() -> impl Strategy<Value = Subject> {
        let figures = prop::sample::select(FAIRNESS_FIGURES.to_vec());
        prop_oneof![
            metric().prop_map(|metric| Subject::Whole { metric }),
            (metric(), "[^ \t\r\n].{0,20}[^\\s]")
                .prop_filter("it is trimmed", |(_, condition)| condition.trim() == condition)
                .prop_map(|(metric, condition)| Subject::Slice { metric, condition }),
            (figures, prop::collection::vec("[a-z][a-z_.]{0,8}", 1..4))
                .prop_map(|(figure, columns)| Subject::Fairness { name: figure.name.to_owned(), columns }),
        ]
    }

    fn bound() -> impl Strategy<Value = Bound> {
        let version = ("[a-z0-9][a-z0-9_-]{0,12}", finite(), prop::option::of(50.001..99.999));
        prop_oneof![
            finite().prop_map(Bound::Number),
            version.prop_map(|(version, offset, percent)| Bound::Version { version, offset, percent }),
        ]
    }

    proptest! {
        #[test]
        fn a_gate_is_read_as_it_is_written(
            subject in subject(),
            end in prop::sample::select(vec![End::Estimate, End::Lower, End::Upper]),
            comparison in comparison(),
            bound in bound(),
        ) {
            let end = if matches!(bound, Bound::Version { .. }) { End::Estimate } else { end };
            let gate = Gate { figure: Figure { subject, end }, comparison, bound };
            prop_assert_eq!(gate.to_string().parse::<Gate>().expect("it is a gate"), gate);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,60}") {
            let _: Result<Gate, InvalidGate> = text.parse();
        }
    }
}

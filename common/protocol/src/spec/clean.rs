//! `[data] clean`: the steps by which raw rows become rows to learn from.
//!
//! A step is a table with exactly one key, which names it:
//! `{ filter = "age >= 17" }`. Steps hold one after the other; what each finds
//! in the data is decided by whoever runs it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One step of cleaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CleanStep {
    /// Takes white space off both ends of texts. What is empty then is missing.
    Trim(TrimStep),
    /// Takes cells that hold one of some texts for missing.
    SetMissing(SetMissingStep),
    /// Gives columns another type.
    Cast(CastStep),
    /// Renames columns: `{ rename = { old = "new" } }`.
    Rename(BTreeMap<String, String>),
    /// Takes columns out.
    DropColumns(Vec<String>),
    /// Keeps the rows for which an SQL condition is true. A column whose name is more than letters, digits and `_` is put in double quotes.
    Filter(String),
    /// Makes columns by SQL expressions over the row: `{ derive = { net = "gain - loss" } }`. All of them see the row as it was before the step.
    Derive(BTreeMap<String, String>),
    /// Of rows that are equal, keeps the first.
    DropDuplicates(DuplicatesStep),
    /// Of rows whose texts are nearly the same, keeps the first (MinHash and locality-sensitive hashing over runs of words).
    DropNearDuplicates(NearDuplicatesStep),
    /// Does something about missing cells. Mean, median and mode are those of the training split.
    Impute(ImputeStep),
    /// Finds numbers that lie far out by what is usual in the training split.
    Outliers(OutliersStep),
    /// Puts categories that are rare in the training split together.
    FoldRare(FoldRareStep),
    /// Makes one label of those that several annotators gave, each in a column of their own, and tells how far they agree.
    Vote(VoteStep),
    /// Labels rows by SQL rules that vote, and tells how many rows each labels and where they contradict each other.
    WeakLabel(WeakLabelStep),
}

/// Takes white space off both ends of texts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrimStep {
    /// Which columns; by default all of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
}

/// Takes cells for missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetMissingStep {
    /// The texts, compared as a whole.
    pub values: Vec<String>,
    /// Which columns; by default all of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
}

/// Gives columns another type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CastStep {
    /// Which columns. Those of a CSV file are read as text for this step, whatever they hold.
    pub columns: Vec<String>,
    /// To what.
    pub to: CastTo,
    /// What becomes of a cell that cannot be cast.
    #[serde(default)]
    pub failing: Failing,
}

/// A type of cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CastTo {
    /// Whole numbers of 64 bits.
    Int,
    /// Numbers with fractions, of 64 bits.
    Float,
    /// Text.
    Text,
    /// True or false.
    Bool,
    /// A day, written as `2026-01-31`.
    Date,
    /// A moment in UTC to the microsecond, written as in ISO 8601.
    Timestamp,
}

/// What becomes of a cell, or of its row, that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Failing {
    /// Preparing ends with an error that names the cell.
    #[default]
    Fail,
    /// The cell is missing.
    Missing,
    /// The row goes into the quarantine file.
    Quarantine,
}

/// Which rows are equal.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DuplicatesStep {
    /// The columns that are compared; by default all. Two missing cells are equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
}

/// Which texts are nearly the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NearDuplicatesStep {
    /// The column of text.
    pub column: String,
    /// The share of runs of words that two texts have in common (Jaccard), from which on they are taken for the same.
    #[serde(default = "similarity")]
    pub similarity: f64,
    /// Words in a run.
    #[serde(default = "words")]
    pub words: usize,
}

/// What is done about missing cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImputeStep {
    /// Which columns.
    pub columns: Vec<String>,
    /// What takes the place of a missing cell.
    pub with: ImputeWith,
    /// The constant, for `with = "constant"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Adds a column `NAME_missing` of 1 where the cell was missing and 0 elsewhere.
    #[serde(default)]
    pub indicator: bool,
}

/// What takes the place of a missing cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImputeWith {
    /// Nothing: the row is dropped.
    Drop,
    /// `value`.
    Constant,
    /// The mean.
    Mean,
    /// The number in the middle; the mean of the two in the middle.
    Median,
    /// What comes most often; of equals, the first in order.
    Mode,
}

/// Which numbers lie far out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutliersStep {
    /// Which columns of numbers.
    pub columns: Vec<String>,
    /// By what measure.
    pub by: OutlierRule,
    /// How far: deviations from the mean (3 by default), ranges between the quartiles beyond them (1.5), or the share of rows cut off at each end (0.01).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// What becomes of them.
    pub then: OutlierAction,
}

/// By what an outlier is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutlierRule {
    /// Its distance from the mean in deviations.
    ZScore,
    /// Its distance from the quartiles in ranges between them.
    Iqr,
    /// The quantiles at both ends.
    Quantile,
}

/// What becomes of outliers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutlierAction {
    /// The row is dropped.
    Drop,
    /// The bound takes the number's place.
    Clip,
    /// A column `NAME_outlier` says 1 for them and 0 for others.
    Flag,
}

/// Which categories are put together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FoldRareStep {
    /// Which columns of text.
    pub columns: Vec<String>,
    /// A category is rare if its share of the training split's rows is below this.
    #[serde(default = "rare_share")]
    pub below: f64,
    /// What takes its place.
    #[serde(default = "other")]
    pub into: String,
}

/// One label out of several annotators'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VoteStep {
    /// The column of the label. Where nobody gave one, and where none has more votes than any other, it is missing.
    pub into: String,
    /// The annotators' columns; by default all whose names begin with that of `into` and a dot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// How they become one.
    #[serde(default)]
    pub by: VoteBy,
    /// What an annotator's vote counts, by the column or by its name behind `into` and the dot; 1 by default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, f64>,
    /// Keeps the annotators' columns. Name them in `ignore` then, or they are features.
    #[serde(default)]
    pub keep: bool,
}

/// How several labels become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VoteBy {
    /// The text with the most votes, by weight.
    #[default]
    Majority,
    /// The weighted mean, of numbers.
    Mean,
    /// The weighted median, of numbers; of two in the middle, their mean.
    Median,
}

/// Labels by rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeakLabelStep {
    /// The column of the label. A label that is there stays, and rules are judged by it; where rules are at odds with equal weights, it is missing.
    pub into: String,
    /// The rules, each a table with `when` (an SQL condition), `label`, and, if wanted, `weight` (1 by default) and `name`. All of them vote.
    pub rules: Vec<LabelRule>,
}

/// A rule that labels rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelRule {
    /// The SQL condition of the rows that it labels.
    pub when: String,
    /// With what.
    pub label: String,
    /// What its vote counts.
    #[serde(default = "one_vote")]
    pub weight: f64,
    /// What it is called; by default its condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl LabelRule {
    /// What it is called.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.when)
    }
}

impl CleanStep {
    /// The key that names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Trim(_) => "trim",
            Self::SetMissing(_) => "set_missing",
            Self::Cast(_) => "cast",
            Self::Rename(_) => "rename",
            Self::DropColumns(_) => "drop_columns",
            Self::Filter(_) => "filter",
            Self::Derive(_) => "derive",
            Self::DropDuplicates(_) => "drop_duplicates",
            Self::DropNearDuplicates(_) => "drop_near_duplicates",
            Self::Impute(_) => "impute",
            Self::Outliers(_) => "outliers",
            Self::FoldRare(_) => "fold_rare",
            Self::Vote(_) => "vote",
            Self::WeakLabel(_) => "weak_label",
        }
    }
}

impl OutlierRule {
    /// The `limit` where none is given.
    pub fn default_limit(self) -> f64 {
        match self {
            Self::ZScore => 3.0,
            Self::Iqr => 1.5,
            Self::Quantile => 0.01,
        }
    }
}

fn similarity() -> f64 {
    0.8
}

fn words() -> usize {
    3
}

fn rare_share() -> f64 {
    0.01
}

fn other() -> String {
    "other".to_owned()
}

fn one_vote() -> f64 {
    1.0
}

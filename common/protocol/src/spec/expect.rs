//! `[data] expect`: what must hold of the cleaned rows. The names are Great
//! Expectations', without `expect_` and `column_values_to_` before them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CastTo;

/// Something that is expected of the cleaned rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Expectation {
    /// No cell is missing.
    NotBeNull(OfCells),
    /// Every cell is missing.
    BeNull(OfCells),
    /// No two cells are equal; missing ones do not count.
    BeUnique(OfCells),
    /// Every cell is one of some values.
    BeInSet(InSet),
    /// No cell is one of some values.
    NotBeInSet(InSet),
    /// Every number lies between two.
    BeBetween(Between),
    /// The column has this type.
    BeOfType(OfType),
    /// A regular expression matches somewhere in every cell.
    MatchRegex(Matching),
    /// A regular expression matches in no cell.
    NotMatchRegex(Matching),
    /// The length of every text in characters lies between two numbers.
    ValueLengthsToBeBetween(Between),
    /// An SQL condition is true of every row. (Great Expectations: `unexpected_rows_expectation`.)
    SatisfySql(Satisfying),
    /// The column is there.
    ColumnToExist(OfColumn),
    /// The mean lies between two numbers.
    ColumnMeanToBeBetween(FigureBetween),
    /// The smallest number lies between two.
    ColumnMinToBeBetween(FigureBetween),
    /// The greatest number lies between two.
    ColumnMaxToBeBetween(FigureBetween),
    /// The deviation lies between two numbers.
    ColumnStdevToBeBetween(FigureBetween),
    /// The number of rows lies between two.
    TableRowCountToBeBetween(CountBetween),
    /// The number of columns lies between two.
    TableColumnCountToBeBetween(CountBetween),
}

/// What is done where an expectation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// Preparing fails.
    #[default]
    Fail,
    /// The rows go into the quarantine file.
    Quarantine,
    /// It is told, and that is all.
    Warn,
}

/// About each cell of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfCells {
    /// The column.
    pub column: String,
    /// The share of cells for which it must hold.
    #[serde(default = "all")]
    pub mostly: f64,
    /// What is done where it fails.
    #[serde(default)]
    pub then: Then,
}

/// About which values cells have. Missing cells do not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InSet {
    /// The column.
    pub column: String,
    /// The values, as texts.
    pub values: Vec<String>,
    /// The share of cells for which it must hold.
    #[serde(default = "all")]
    pub mostly: f64,
    /// What is done where it fails.
    #[serde(default)]
    pub then: Then,
}

/// About how large cells are. Missing cells do not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// The column.
    pub column: String,
    /// The least that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The greatest that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The share of cells for which it must hold.
    #[serde(default = "all")]
    pub mostly: f64,
    /// What is done where it fails.
    #[serde(default)]
    pub then: Then,
}

/// About a column's type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfType {
    /// The column.
    pub column: String,
    /// The type. `float` fits whole numbers, too.
    #[serde(rename = "type")]
    pub of: CastTo,
    /// What is done where it fails.
    #[serde(default)]
    pub then: Then,
}

/// About how texts are written. Missing cells do not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matching {
    /// The column.
    pub column: String,
    /// The regular expression, in the syntax of Rust's `regex`.
    pub regex: String,
    /// The share of cells for which it must hold.
    #[serde(default = "all")]
    pub mostly: f64,
    /// What is done where it fails.
    #[serde(default)]
    pub then: Then,
}

/// About whole rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Satisfying {
    /// The condition, over the columns of a row.
    pub sql: String,
    /// The share of rows for which it must hold.
    #[serde(default = "all")]
    pub mostly: f64,
    /// What is done where it fails.
    #[serde(default)]
    pub then: Then,
}

/// About a column as such.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfColumn {
    /// The column.
    pub column: String,
    /// What is done where it fails.
    #[serde(default)]
    pub then: Then,
}

/// About a figure of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FigureBetween {
    /// The column.
    pub column: String,
    /// The least that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The greatest that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// What is done where it fails.
    #[serde(default)]
    pub then: Then,
}

/// About how many there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountBetween {
    /// The least that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    /// The greatest that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// What is done where it fails.
    #[serde(default)]
    pub then: Then,
}

impl Expectation {
    /// The key that names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotBeNull(_) => "not_be_null",
            Self::BeNull(_) => "be_null",
            Self::BeUnique(_) => "be_unique",
            Self::BeInSet(_) => "be_in_set",
            Self::NotBeInSet(_) => "not_be_in_set",
            Self::BeBetween(_) => "be_between",
            Self::BeOfType(_) => "be_of_type",
            Self::MatchRegex(_) => "match_regex",
            Self::NotMatchRegex(_) => "not_match_regex",
            Self::ValueLengthsToBeBetween(_) => "value_lengths_to_be_between",
            Self::SatisfySql(_) => "satisfy_sql",
            Self::ColumnToExist(_) => "column_to_exist",
            Self::ColumnMeanToBeBetween(_) => "column_mean_to_be_between",
            Self::ColumnMinToBeBetween(_) => "column_min_to_be_between",
            Self::ColumnMaxToBeBetween(_) => "column_max_to_be_between",
            Self::ColumnStdevToBeBetween(_) => "column_stdev_to_be_between",
            Self::TableRowCountToBeBetween(_) => "table_row_count_to_be_between",
            Self::TableColumnCountToBeBetween(_) => "table_column_count_to_be_between",
        }
    }

    /// The column that it is about, if it is about one.
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::NotBeNull(of) | Self::BeNull(of) | Self::BeUnique(of) => Some(&of.column),
            Self::BeInSet(of) | Self::NotBeInSet(of) => Some(&of.column),
            Self::BeBetween(of) | Self::ValueLengthsToBeBetween(of) => Some(&of.column),
            Self::BeOfType(of) => Some(&of.column),
            Self::MatchRegex(of) | Self::NotMatchRegex(of) => Some(&of.column),
            Self::ColumnToExist(of) => Some(&of.column),
            Self::ColumnMeanToBeBetween(of)
            | Self::ColumnMinToBeBetween(of)
            | Self::ColumnMaxToBeBetween(of)
            | Self::ColumnStdevToBeBetween(of) => Some(&of.column),
            Self::SatisfySql(_)
            | Self::TableRowCountToBeBetween(_)
            | Self::TableColumnCountToBeBetween(_) => None,
        }
    }

    /// What is done where it fails.
    pub fn then(&self) -> Then {
        match self {
            Self::NotBeNull(of) | Self::BeNull(of) | Self::BeUnique(of) => of.then,
            Self::BeInSet(of) | Self::NotBeInSet(of) => of.then,
            Self::BeBetween(of) | Self::ValueLengthsToBeBetween(of) => of.then,
            Self::BeOfType(of) => of.then,
            Self::MatchRegex(of) | Self::NotMatchRegex(of) => of.then,
            Self::SatisfySql(of) => of.then,
            Self::ColumnToExist(of) => of.then,
            Self::ColumnMeanToBeBetween(of)
            | Self::ColumnMinToBeBetween(of)
            | Self::ColumnMaxToBeBetween(of)
            | Self::ColumnStdevToBeBetween(of) => of.then,
            Self::TableRowCountToBeBetween(of) | Self::TableColumnCountToBeBetween(of) => of.then,
        }
    }

    /// The share of cells or rows for which it must hold; `None` if it is about no single row.
    pub fn mostly(&self) -> Option<f64> {
        match self {
            Self::NotBeNull(of) | Self::BeNull(of) | Self::BeUnique(of) => Some(of.mostly),
            Self::BeInSet(of) | Self::NotBeInSet(of) => Some(of.mostly),
            Self::BeBetween(of) | Self::ValueLengthsToBeBetween(of) => Some(of.mostly),
            Self::MatchRegex(of) | Self::NotMatchRegex(of) => Some(of.mostly),
            Self::SatisfySql(of) => Some(of.mostly),
            Self::BeOfType(_)
            | Self::ColumnToExist(_)
            | Self::ColumnMeanToBeBetween(_)
            | Self::ColumnMinToBeBetween(_)
            | Self::ColumnMaxToBeBetween(_)
            | Self::ColumnStdevToBeBetween(_)
            | Self::TableRowCountToBeBetween(_)
            | Self::TableColumnCountToBeBetween(_) => None,
        }
    }
}

fn all() -> f64 {
    1.0
}

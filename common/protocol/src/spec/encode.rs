//! `[data.encode]`: how columns, texts and images become numbers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How columns and texts become a model's input. Everything is fitted to the training split alone and stored with the
/// model, so that `phalanx predict` applies the very same.
///
/// A missing number is taken for the training split's mean (`robust`, `quantile`: its median). Numbers beyond what the
/// training split has go on along the same line; `quantile` alone ends at 0 and 1. A category that the training split
/// does not have is all zeros with `one_hot`, -1 with `ordinal` and 0 with `frequency`; `hashing` treats it like any
/// other. A missing category is a category of its own if the training split has some, and else an unknown one; `hashing`,
/// `words` and `date` make zeros of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncodeSpec {
    /// Encoding of columns of numbers, and of each element of a column of vectors.
    pub numbers: NumberEncoding,
    /// Encoding of columns of categories.
    pub categories: CategoryEncoding,
    /// Encoding of single columns: `columns = { age = "robust", city = "hashing", joined = "date" }`. Columns of dates and
    /// times of a Parquet file are encoded as `date` without being named.
    pub columns: BTreeMap<String, ColumnEncoding>,
    /// All categories of `ordinal` columns in their order: `order = { grade = ["low", "medium", "high"] }`. Those of other
    /// columns come in the order of their text, integers in that of numbers.
    pub order: BTreeMap<String, Vec<String>>,
    /// Numbers that a column becomes by `hashing` or `words`: 2 to 65,536.
    pub buckets: u32,
    /// Quantiles that `quantile` keeps of a column: 2 to 10,000.
    pub quantiles: u32,
    /// What `date` makes of a column, in this order.
    pub dates: Vec<DatePart>,
    /// What a text is cut into.
    pub text: TextEncoding,
    /// Tokens that `bpe` learns, the 256 bytes among them: 257 to 65,536.
    pub vocabulary: u32,
}

/// Encoding of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NumberEncoding {
    /// Mean 0, deviation 1.
    #[default]
    Standard,
    /// From 0 for the least to 1 for the greatest.
    MinMax,
    /// Median 0, distance of the quartiles 1: outliers do not move the others.
    Robust,
    /// `sign(x) · ln(1 + |x|)`, then mean 0 and deviation 1.
    Log,
    /// The share of the training split that is smaller, from 0 to 1.
    Quantile,
    /// As it is.
    None,
}

/// Encoding of a category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CategoryEncoding {
    /// A number for each category, 1 for the one that it is; for up to 1,000 categories.
    #[default]
    OneHot,
    /// One number: 0, 1, 2, …
    Ordinal,
    /// One number: the share of the training split that has this category.
    Frequency,
    /// `buckets` numbers, ±1 in the one that a hash of the category picks; for any number of categories.
    Hashing,
}

/// Encoding of a single column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnEncoding {
    /// Of numbers: mean 0, deviation 1.
    Standard,
    /// Of numbers: from 0 for the least to 1 for the greatest.
    MinMax,
    /// Of numbers: median 0, distance of the quartiles 1.
    Robust,
    /// Of numbers: `sign(x) · ln(1 + |x|)`, then mean 0 and deviation 1.
    Log,
    /// Of numbers: the share of the training split that is smaller.
    Quantile,
    /// Of numbers: as they are.
    None,
    /// Of categories: a number for each.
    OneHot,
    /// Of categories: 0, 1, 2, …
    Ordinal,
    /// Of categories: the share of the training split that has it.
    Frequency,
    /// Of categories: one of `buckets` numbers.
    Hashing,
    /// Of sentences: their words, hashed into `buckets` numbers, the squares of which add up to 1.
    Words,
    /// Of dates and times (ISO 8601, or numbers of seconds since 1970): the numbers that `dates` names.
    Date,
}

/// What a date and time becomes. Numbers are of UTC and get mean 0 and deviation 1; a cycle is the sine and cosine of
/// the part of it that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatePart {
    /// The year.
    Year,
    /// The month, from 1.
    Month,
    /// The day of the month, from 1.
    Day,
    /// The day of the week, Monday being 0.
    Weekday,
    /// The hour, from 0.
    Hour,
    /// The cycle of the months of a year.
    MonthCycle,
    /// The cycle of the days of a month.
    DayCycle,
    /// The cycle of the days of a week.
    WeekdayCycle,
    /// The cycle of a day, to the second.
    HourCycle,
    /// Seconds since 1970.
    Elapsed,
}

/// What a text is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextEncoding {
    /// Bytes.
    #[default]
    Bytes,
    /// Tokens of one or more bytes, learnt from the training split (byte-level BPE, as GPT-2 has it). The text must be UTF-8.
    Bpe,
}

impl Default for EncodeSpec {
    fn default() -> Self {
        Self {
            numbers: NumberEncoding::default(),
            categories: CategoryEncoding::default(),
            columns: BTreeMap::new(),
            order: BTreeMap::new(),
            buckets: 64,
            quantiles: 1_000,
            dates: vec![
                DatePart::Elapsed,
                DatePart::MonthCycle,
                DatePart::DayCycle,
                DatePart::WeekdayCycle,
                DatePart::HourCycle,
            ],
            text: TextEncoding::default(),
            vocabulary: 4_096,
        }
    }
}

impl ColumnEncoding {
    /// The same for numbers, if it is one of numbers.
    pub fn of_numbers(self) -> Option<NumberEncoding> {
        match self {
            Self::Standard => Some(NumberEncoding::Standard),
            Self::MinMax => Some(NumberEncoding::MinMax),
            Self::Robust => Some(NumberEncoding::Robust),
            Self::Log => Some(NumberEncoding::Log),
            Self::Quantile => Some(NumberEncoding::Quantile),
            Self::None => Some(NumberEncoding::None),
            Self::OneHot | Self::Ordinal | Self::Frequency | Self::Hashing | Self::Words | Self::Date => None,
        }
    }
}

impl From<NumberEncoding> for ColumnEncoding {
    fn from(encoding: NumberEncoding) -> Self {
        match encoding {
            NumberEncoding::Standard => Self::Standard,
            NumberEncoding::MinMax => Self::MinMax,
            NumberEncoding::Robust => Self::Robust,
            NumberEncoding::Log => Self::Log,
            NumberEncoding::Quantile => Self::Quantile,
            NumberEncoding::None => Self::None,
        }
    }
}

impl From<CategoryEncoding> for ColumnEncoding {
    fn from(encoding: CategoryEncoding) -> Self {
        match encoding {
            CategoryEncoding::OneHot => Self::OneHot,
            CategoryEncoding::Ordinal => Self::Ordinal,
            CategoryEncoding::Frequency => Self::Frequency,
            CategoryEncoding::Hashing => Self::Hashing,
        }
    }
}

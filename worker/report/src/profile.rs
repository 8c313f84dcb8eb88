//! What the columns of a dataset version hold, for a page about the data alone. Owns nothing but its
//! values; the data stage takes the census.

use serde::{Deserialize, Serialize};

use crate::{Dataset, Histogram};

/// A dataset version on one page: where it came from, what became of its rows, and what its columns hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatasetPage {
    /// The version, and where it came from.
    pub dataset: Dataset,
    /// What is in two splits, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leakage: Vec<String>,
    /// Its columns before they were encoded, over all rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Profile>,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: String,
    /// Rows.
    pub rows: u64,
    /// Missing cells.
    pub missing: u64,
    /// How many different values there are, counted or estimated.
    pub distinct: u64,
    /// Its values.
    pub values: ProfileOf,
}

/// The values of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProfileOf {
    /// Numbers.
    Numbers {
        /// The mean.
        mean: f64,
        /// The deviation.
        deviation: f64,
        /// The 0th to the 100th percentile.
        percentiles: Vec<f64>,
        /// How many lie where.
        histogram: Histogram,
    },
    /// Texts, dates, and truth values.
    Texts {
        /// The most frequent ones and how often each comes, the most frequent first.
        top: Vec<(String, u64)>,
        /// Rows with any other.
        other: u64,
    },
    /// Something that nothing is told of.
    Other,
}

//! What a model was made of: sources, what was done to their rows, and the splits. Owns nothing but
//! its values; the data stage knows them.

use phalanx_protocol::reference::HashHex;
use serde::{Deserialize, Serialize};

/// A dataset version and where it came from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dataset {
    /// Hash of content and recipe.
    pub version: HashHex,
    /// What people call it: the job's name, or the source's.
    pub name: String,
    /// What it was made of, in order.
    pub sources: Vec<Source>,
    /// Rows of each split.
    pub splits: Vec<SplitRows>,
    /// How rows were split, in words: `stratified by income, seed 0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_by: Option<String>,
    /// What became of the rows; absent where there was nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub funnel: Option<Funnel>,
    /// What came of the expectations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<Expectation>,
    /// Its columns: features first, then the target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// `[data]` of the job file, as TOML, without paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// The version of the code that prepared it.
    pub code_version: String,
}

/// A file, table, or stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// Its path or URL, without secrets.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its hash.
    pub blake3: HashHex,
    /// Its rows, where it alone is known to have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// How many rows a split has; windows, for text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitRows {
    /// The split.
    pub split: String,
    /// Its rows.
    pub rows: u64,
}

/// What became of the rows from source to split.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Funnel {
    /// Rows that could be read.
    pub rows_read: u64,
    /// Rows that could not, and were put aside.
    pub rows_malformed: u64,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Rows that an expectation put aside.
    pub rows_unexpected: u64,
    /// Rows in the end.
    pub rows_clean: u64,
}

/// A step of cleaning.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// Its name in the job file.
    pub step: String,
    /// What it does, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Rows before it.
    pub rows_before: u64,
    /// Rows after it.
    pub rows_after: u64,
    /// Cells that it changed.
    pub cells: u64,
}

/// What came of an expectation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expectation {
    /// It, in words or as the job file has it.
    pub expectation: String,
    /// What happens where it is not met: `fail`, `quarantine`, `warn`.
    pub then: String,
    /// Whether it was met.
    pub met: bool,
    /// Cells or rows that were looked at.
    pub checked: u64,
    /// How many of them are not as expected.
    pub unexpected: u64,
    /// The figure, for one about a whole column or table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<f64>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it is there for: `feature`, `target`, `ignored`, `sensitive`.
    pub role: String,
    /// What it holds: `number`, `category`, `text`, `date`, `image`.
    pub kind: String,
    /// Missing cells in all rows.
    pub missing: u64,
    /// How it was encoded, in words: `standard`, `one-hot, 9 values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
}

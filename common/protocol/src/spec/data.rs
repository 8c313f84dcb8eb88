//! `[data]`: where samples come from, and what is predicted from what.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EncodeSpec, SplitSpec, is_default};

/// What to train on. One of `[data.csv]`, `[data.parquet]`, `[data.text]` names the source; what its columns are for is said here.
/// Columns of numbers are numbers, all others categories; `[data.encode]` says what becomes of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// The column to predict. It must be said for every source but a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What the target means. Text is classes and fractions are numbers; it must be said where the target holds integers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// Columns to train on; by default all but the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<String>>,
    /// Columns to leave out.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Columns of numbers that are codes, to be treated as categories.
    #[serde(default)]
    pub categorical: Vec<String>,
    /// Shape of one image as `[channels, height, width]`, for the one column that holds lists or bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<[usize; 3]>,
    /// A CSV file with a header line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvSpec>,
    /// A Parquet file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parquet: Option<ParquetSpec>,
    /// A plain text file, for language models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextSpec>,
    /// How columns and texts become a model's input.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encode: EncodeSpec,
    /// How rows are divided into training, validation and test splits.
    #[serde(default)]
    pub split: SplitSpec,
}

/// The one source that a valid [`DataSpec`] names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SourceSpec<'a> {
    /// `[data.csv]`
    Csv(&'a CsvSpec),
    /// `[data.parquet]`
    Parquet(&'a ParquetSpec),
    /// `[data.text]`
    Text(&'a TextSpec),
}

impl DataSpec {
    /// The source, or `None` where none or more than one is named, which
    /// [`problems`](super::JobSpec::problems) reports.
    pub fn source(&self) -> Option<SourceSpec<'_>> {
        match (&self.csv, &self.parquet, &self.text) {
            (Some(csv), None, None) => Some(SourceSpec::Csv(csv)),
            (None, Some(parquet), None) => Some(SourceSpec::Parquet(parquet)),
            (None, None, Some(text)) => Some(SourceSpec::Text(text)),
            _ => None,
        }
    }

    /// The paths that the job names.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let csv = self.csv.iter().map(|csv| csv.path.as_path());
        let parquet = self.parquet.iter().map(|parquet| parquet.path.as_path());
        let text = self.text.iter().map(|text| text.path.as_path());
        csv.chain(parquet).chain(text)
    }

    /// The paths that the job file names, to be made absolute by whoever read it.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let csv = self.csv.iter_mut().map(|csv| &mut csv.path);
        let parquet = self.parquet.iter_mut().map(|parquet| &mut parquet.path);
        let text = self.text.iter_mut().map(|text| &mut text.path);
        csv.chain(parquet).chain(text)
    }
}

/// What a target column means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// The target is one of a set of classes.
    Classification,
    /// The target is a number.
    Regression,
}

/// A CSV file with a header line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvSpec {
    /// The file, relative to the job file.
    pub path: PathBuf,
    /// Cells that mean "missing", after trimming. Your list takes the place of this one.
    #[serde(default = "missing_cells")]
    pub missing: Vec<String>,
    /// Character between cells: a tab or an ASCII sign.
    #[serde(default = "comma")]
    pub delimiter: char,
}

/// A Parquet file. A column of lists or of bytes is an image or a vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetSpec {
    /// The file, relative to the job file.
    pub path: PathBuf,
}

/// A plain text file, for language models: the model predicts each next byte, or each next token with `encode.text = "bpe"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// The file, relative to the job file.
    pub path: PathBuf,
    /// Bytes (or tokens) in one sample: the model's context, from 1 to 65,536.
    #[serde(default = "context")]
    pub context: usize,
}

fn missing_cells() -> Vec<String> {
    ["", "?", "NA", "N/A", "NaN", "nan", "null"].map(String::from).to_vec()
}

fn comma() -> char {
    ','
}

fn context() -> usize {
    128
}

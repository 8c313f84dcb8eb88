//! `[data]`: where samples come from, what is predicted, and how rows are split.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to train on. One of `[data.csv]`, `[data.parquet]`, `[data.text]` names the source; what its columns are for is said here.
/// Columns of numbers are standardised with the training split's mean and deviation; all others are one-hot encoded with its categories.
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
    /// A plain text file, read as bytes, for language models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextSpec>,
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
    /// Cells that mean "missing", after trimming. A missing number becomes the training mean, a missing category a category of its own. Your list takes the place of this one.
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

/// A plain text file, read as bytes, for language models: the model predicts each next byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// The file, relative to the job file.
    pub path: PathBuf,
    /// Bytes in one sample: the model's context, from 1 to 65,536.
    #[serde(default = "context")]
    pub context: usize,
}

/// How rows are divided. A text is divided into contiguous stretches, its end being the test split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplitSpec {
    /// Fraction of rows to train on. The three add up to 1.
    pub train: f64,
    /// Fraction of rows for validation while training.
    pub validation: f64,
    /// Fraction of rows for the final evaluation.
    pub test: f64,
    /// Seed of the division.
    pub seed: u64,
    /// Keep the proportions of the classes in each split; for targets of classes.
    pub stratify: bool,
}

impl Default for SplitSpec {
    fn default() -> Self {
        Self { train: 0.8, validation: 0.1, test: 0.1, seed: 0, stratify: false }
    }
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

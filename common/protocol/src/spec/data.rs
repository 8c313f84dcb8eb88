//! `[data]`: what is predicted from what, how rows are cleaned, and how they are split.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ArrowSpec, CleanStep, CsvSpec, EncodeSpec, Expectation, HttpSpec, ImagesSpec, JsonSpec, LabelStudioSpec,
    ParquetSpec, SourceSpec, SplitSpec, SqlSpec, TextSpec, is_default, source::is_url,
};

/// What to train on. One of the sections below names the source; what its columns are for, and how they are cleaned, is said here.
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
    /// How raw rows become rows to learn from: steps, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clean: Vec<CleanStep>,
    /// What must hold of the rows when they are clean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expectation>,
    /// Columns whose groups the target is not to depend on, such as `["sex"]`: rows of the training split are weighed so
    /// that every group has the same shares of classes (Kamiran and Calders, 2012). Each must be in `evaluate.sensitive`,
    /// which shows what comes of it. The groups of several columns are their intersections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reweigh: Vec<String>,
    /// What becomes of rows that cannot be read: lines with too many or too few cells, or that are no UTF-8 or no JSON, and images that are none.
    #[serde(default)]
    pub malformed: Malformed,
    /// CSV or TSV files with a header line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvSpec>,
    /// Parquet files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parquet: Option<ParquetSpec>,
    /// Files with a JSON object on each line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonSpec>,
    /// Arrow IPC files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrow: Option<ArrowSpec>,
    /// A plain text, for language models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextSpec>,
    /// A folder of PNG and JPEG images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImagesSpec>,
    /// Tasks exported from Label Studio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_studio: Option<LabelStudioSpec>,
    /// The rows of a query to PostgreSQL or SQLite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlSpec>,
    /// The rows of a JSON interface over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSpec>,
    /// How columns and texts become a model's input.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encode: EncodeSpec,
    /// How rows are divided into training, validation and test splits.
    #[serde(default)]
    pub split: SplitSpec,
}

/// What becomes of rows that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Malformed {
    /// Preparing ends with an error that names the place.
    #[default]
    Fail,
    /// They go into the quarantine file, each with its place and what is wrong with it.
    Quarantine,
}

impl DataSpec {
    /// The source, or `None` where none or more than one is named, which
    /// [`problems`](super::JobSpec::problems) reports.
    pub fn source(&self) -> Option<SourceSpec<'_>> {
        let mut sources = self.sources();
        sources.next().filter(|_| sources.next().is_none())
    }

    /// Every source that is named: one, if the section is right.
    pub fn sources(&self) -> impl Iterator<Item = SourceSpec<'_>> {
        [
            self.csv.as_ref().map(SourceSpec::Csv),
            self.parquet.as_ref().map(SourceSpec::Parquet),
            self.json.as_ref().map(SourceSpec::Json),
            self.arrow.as_ref().map(SourceSpec::Arrow),
            self.text.as_ref().map(SourceSpec::Text),
            self.images.as_ref().map(SourceSpec::Images),
            self.label_studio.as_ref().map(SourceSpec::LabelStudio),
            self.sql.as_ref().map(SourceSpec::Sql),
            self.http.as_ref().map(SourceSpec::Http),
        ]
        .into_iter()
        .flatten()
    }

    /// The column to predict: images have one called `label`.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref().or(self.images.as_ref().map(|_| "label"))
    }

    /// The files, folders and globs on disk that the job names.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let labels = self.images.iter().filter_map(|images| images.labels.as_deref());
        let sources = self.sources().filter_map(SourceSpec::path).chain(labels);
        sources.filter(|path| !is_url(path))
    }

    /// Everything on disk or in an object store that the job names, secrets' files among it.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self { csv, parquet, json, arrow, text, images, label_studio, sql, http, .. } = self;
        let (images, labels) = match images {
            Some(ImagesSpec { path, labels, .. }) => (Some(path), labels.as_mut()),
            None => (None, None),
        };
        let (sqlite, password) = match sql {
            Some(SqlSpec { sqlite, password_file, .. }) => (sqlite.as_mut(), password_file.as_mut()),
            None => (None, None),
        };
        let given = [
            csv.as_mut().map(|csv| &mut csv.path),
            parquet.as_mut().map(|parquet| &mut parquet.path),
            json.as_mut().map(|json| &mut json.path),
            arrow.as_mut().map(|arrow| &mut arrow.path),
            text.as_mut().map(|text| &mut text.path),
            images,
            labels,
            label_studio.as_mut().map(|tasks| &mut tasks.path),
            sqlite,
            password,
            http.as_mut().and_then(|http| http.token_file.as_mut()),
        ];
        given.into_iter().flatten()
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

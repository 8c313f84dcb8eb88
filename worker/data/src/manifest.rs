//! The manifest of a dataset version: what it holds, where it came from, and
//! which files belong to it. Written last, so what it names is there. Plain
//! values without a time or a host: apart from where the source lay and what code
//! read it, content and recipe decide all of it.

use std::collections::BTreeMap;

use phalanx_evaluate::fairness::Reweighing;
use phalanx_protocol::{
    reference::{FileRef, HashHex},
    spec::DataSpec,
};
use serde::{Deserialize, Serialize};

use crate::{
    ColumnProfile, Encoder, FeatureKind, Funnel, LeakageFinding, Outcome, Schema, SourceRecord, Split,
    TargetKind,
};

/// Bytes of rows in one shard, at most (one row, if a single one is larger).
/// Large enough to map and fetch well, small enough that one shard of each
/// split can be held in memory while they are written.
pub const SHARD_BYTES: usize = 32 << 20;

/// The layout that this code writes and reads. It is part of the version's
/// hash: change it whenever other bytes would come of the same source.
pub(crate) const FORMAT: u32 = 3;

/// The most bytes of a manifest.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// An immutable dataset version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetManifest {
    /// The layout of manifest and shards.
    pub format: u32,
    /// Hash of content and recipe: the version's name.
    pub version: HashHex,
    /// What a model must know.
    pub schema: Schema,
    /// Turns raw columns into features, with what was fitted to the training split.
    pub encoder: Encoder,
    /// The training split.
    pub train: SplitManifest,
    /// The validation split.
    pub validation: SplitManifest,
    /// The test split.
    pub test: SplitManifest,
    /// Where it came from.
    pub lineage: Lineage,
    /// The columns that were read, features first, then the target. None for text.
    pub columns: Vec<ColumnSummary>,
    /// All columns as they were before they were encoded, over all rows: for people, and to compare versions by.
    /// None for text.
    pub profile: Vec<ColumnProfile>,
    /// Sketches of the same columns, for [`Sketches::read`](crate::Sketches::read). None for text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketches: Option<FileRef>,
    /// What is in two splits, as far as that was looked for and let pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leakage: Vec<LeakageFinding>,
    /// How rows of the training split weigh, where they do not weigh the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
}

/// The rows of one split.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitManifest {
    /// How many they are; windows, for text.
    pub rows: u64,
    /// Where they lie, in order.
    pub shards: Vec<ShardRef>,
    /// The same rows as they were before they were encoded, in the same order: Parquet files of all
    /// columns but lists and bytes. None for the training split, and for text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub raw: Vec<ShardRef>,
}

/// One shard: an Arrow IPC file of one record batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardRef {
    /// The file.
    pub file: FileRef,
    /// Its rows; windows, for text.
    pub rows: u64,
}

/// Where a dataset version came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// The files that it was made of, in order.
    pub sources: Vec<SourceRecord>,
    /// The source's rows; bytes, for text.
    pub source_rows: u64,
    /// How it was read, cleaned and divided; `[data]` of the job file without paths.
    pub recipe: DataSpec,
    /// The version of the code that prepared it.
    pub code_version: String,
    /// What became of the rows on their way here, if there was anything to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub funnel: Option<Funnel>,
    /// What came of the expectations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Outcome>,
    /// Rows that were put aside: a JSON object with place and reason on each line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<ShardRef>,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSummary {
    /// Its name.
    pub name: String,
    /// Missing cells in all rows.
    pub missing: u64,
    /// Its values in the training split.
    pub values: ColumnValues,
}

/// The values of a column in the training split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ColumnValues {
    /// Numbers; for lists, over all their elements.
    Numbers {
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
        /// The mean.
        mean: f64,
        /// The deviation (of the population).
        deviation: f64,
    },
    /// Texts and how often each comes.
    Categories(BTreeMap<String, u64>),
    /// Texts that are not counted, since they are hashed.
    Texts,
}

/// How the rows of the training split weigh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// The weight of each row: numbers of 32 bits, the lowest byte first.
    pub file: FileRef,
    /// Where they come from.
    pub of: Reweighing,
}

impl DatasetManifest {
    /// The rows of a split.
    pub fn split(&self, split: Split) -> &SplitManifest {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    /// Every shard of every split.
    pub fn shards(&self) -> impl Iterator<Item = &ShardRef> {
        Split::ALL.into_iter().flat_map(|split| &self.split(split).shards)
    }

    /// Every file that it names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &FileRef> {
        let raw = Split::ALL.into_iter().flat_map(|split| &self.split(split).raw);
        let rows = self.shards().chain(raw).chain(&self.lineage.quarantine).map(|shard| &shard.file);
        rows.chain(&self.sketches).chain(self.weights.as_ref().map(|weights| &weights.file))
    }

    /// What it is, in one line for people.
    pub(crate) fn summary(&self) -> String {
        let name = |source: &SourceRecord| {
            source.path.file_name().map_or_else(String::new, |name| name.display().to_string())
        };
        let name = match self.lineage.sources.as_slice() {
            [] => String::new(),
            [only] => name(only),
            [first, rest @ ..] => format!("{} and {} more", name(first), grouped(rest.len() as u64)),
        };
        let rows = |split| grouped(self.split(split).rows);
        let features = match &self.schema.features {
            FeatureKind::Dense { width } => {
                let columns = self.columns.len().saturating_sub(1);
                format!("{} as {}", counted(columns as u64, "column"), counted(*width as u64, "number"))
            }
            FeatureKind::Image { shape: [channels, height, width], .. } => {
                format!("images of {channels}×{height}×{width}")
            }
            FeatureKind::Bytes { context } => format!("windows of {context}"),
            FeatureKind::Tokens { context } => format!("windows of {context} tokens"),
        };
        let target = match &self.schema.target {
            // There are at least two.
            TargetKind::Classes(classes) => format!(", {} classes", grouped(classes.len() as u64)),
            TargetKind::Number { .. } => ", a number to predict".to_owned(),
            TargetKind::NextByte => String::new(),
            TargetKind::NextToken { lengths } => format!(" out of {}", grouped(lengths.len() as u64)),
        };
        let is_text = matches!(self.schema.target, TargetKind::NextByte | TargetKind::NextToken { .. });
        let unit = if is_text { "byte" } else { "row" };
        let leakage: String = self.leakage.iter().map(|found| format!("; {}", found.message)).collect();
        format!(
            "{name}: {}, {features}{target}; {} to train on, {} for validation, {} for the test{leakage}",
            counted(self.lineage.source_rows, unit),
            rows(Split::Train),
            rows(Split::Validation),
            rows(Split::Test),
        )
    }

    /// The path of the manifest of `version` in the store.
    pub(crate) fn path(version: &str) -> String {
        format!("{}/manifest.json", folder(version))
    }
}

/// So many of `unit`.
fn counted(number: u64, unit: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {unit}{plural}", grouped(number))
}

/// A number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The folder of all versions in the store.
pub(crate) const FOLDER: &str = "datasets";

/// The folder of `version` in the store.
pub(crate) fn folder(version: &str) -> String {
    format!("{FOLDER}/{version}")
}

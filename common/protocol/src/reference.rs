//! References to things in the object store: what is written once and never
//! changes is named here by path, size and hash.

use serde::{Deserialize, Serialize};

use crate::id::Generation;

/// A BLAKE3 hash in lower-case hexadecimal.
pub type HashHex = String;

/// One immutable file of the object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// Path inside the store.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of the content.
    pub blake3: HashHex,
}

/// One immutable dataset version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetRef {
    /// Hash of content and recipe: the version's name.
    pub version: HashHex,
    /// The manifest file.
    pub manifest: FileRef,
    /// Rows (windows, for text) of the training split.
    pub train_rows: u64,
    /// Rows of the validation split.
    pub validation_rows: u64,
    /// Rows of the test split.
    pub test_rows: u64,
}

/// One whole checkpoint: its manifest is durable, and so are all its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRef {
    /// Steps finished.
    pub step: u64,
    /// Samples consumed.
    pub cursor: u64,
    /// The generation that wrote it.
    pub generation: Generation,
    /// Hash of the state that it holds.
    pub state_hash: HashHex,
    /// The manifest file.
    pub manifest: FileRef,
    /// Bytes of all its parts.
    pub bytes: u64,
    /// When the manifest became durable.
    pub written_at: jiff::Timestamp,
}

/// A finished model in the object store, before the registry gives it a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelArtifact {
    /// The weights (safetensors).
    pub weights: FileRef,
    /// What a reader needs beside the weights to apply them: the model's
    /// settings and the encoder that turns raw columns into its input (JSON).
    pub description: FileRef,
    /// What the model says of the test split, with the truth (Parquet); absent where that is empty.
    #[serde(default)]
    pub predictions: Option<FileRef>,
    /// All that was found out about it (`report.json`).
    #[serde(default)]
    pub report: Option<FileRef>,
    /// The same to be read (`report.html`).
    #[serde(default)]
    pub page: Option<FileRef>,
    /// The model card (`README.md`).
    #[serde(default)]
    pub card: Option<FileRef>,
}

impl ModelArtifact {
    /// The two files that a model is made of; it has no others yet.
    pub fn new(weights: FileRef, description: FileRef) -> Self {
        Self { weights, description, predictions: None, report: None, page: None, card: None }
    }

    /// Every file.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        let Self { weights, description, predictions, report, page, card } = self;
        [weights, description].into_iter().chain(predictions).chain(report).chain(page).chain(card)
    }
}

//! Manifests: written last, they name every part with its size and hash. Plain
//! values; who writes and reads them decides when.

use phalanx_protocol::{
    id::{Generation, JobId},
    reference::{FileRef, HashHex},
};
use serde::{Deserialize, Serialize};

/// What a checkpoint consists of. Its parts are safetensors files, each one
/// rank's share of the tensors; together they hold every tensor once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointManifest {
    /// The job.
    pub job: JobId,
    /// Hash of what decides its weights (`JobSpec::hash`).
    pub job_hash: HashHex,
    /// The generation that wrote it.
    pub generation: Generation,
    /// Steps finished.
    pub step: u64,
    /// Samples consumed.
    pub cursor: u64,
    /// The job's seed.
    pub seed: u64,
    /// The job's lanes.
    pub lanes: u32,
    /// The dataset version.
    pub dataset: HashHex,
    /// Hash of the state in the parts.
    pub state_hash: HashHex,
    /// The parts, by rank.
    pub parts: Vec<FileRef>,
    /// What else belongs to the state (early stopping), as JSON text.
    pub progress_json: String,
}

//! Which model a report is about, who made it with what, and how to make it again. Owns nothing but
//! its values.

use std::collections::BTreeMap;

use jiff::Timestamp;
use phalanx_protocol::{
    id::JobId,
    reference::{HashHex, ModelArtifact},
};
use serde::{Deserialize, Serialize};

/// Which model this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its name in the registry; that of the job where it was not registered.
    pub model: String,
    /// Its version; absent where it was not registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The version that was the newest when this one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// The alias that the job sets to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// What kind of task it solves.
    pub task: Task,
    /// The column that it predicts; absent where it predicts text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Its kind, as the job file has it: `mlp`, `cnn`, `gpt`.
    pub architecture: String,
    /// How many numbers it has learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// The job that made it.
    pub job: JobId,
    /// The job file, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_file: Option<String>,
    /// Hash of what in the job file decides the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_hash: Option<HashHex>,
    /// Hash of parameters, optimizer state and cursor at the end of training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_hash: Option<HashHex>,
    /// Its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ModelArtifact>,
    /// When the report was made.
    pub created_at: Timestamp,
    /// What people say about it.
    #[serde(default, skip_serializing_if = "About::is_empty")]
    pub about: About,
}

/// A kind of task. Serialised as Hugging Face names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// A class from columns of a table.
    TabularClassification,
    /// A number from columns of a table.
    TabularRegression,
    /// A class from an image.
    ImageClassification,
    /// A class from a text.
    TextClassification,
    /// Text that goes on from text.
    TextGeneration,
    /// Another one.
    Other,
}

/// What only people can say about a model: the words of its card.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct About {
    /// What it does, in a sentence or two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it is meant for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<String>,
    /// What it must not be used for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_scope: Option<String>,
    /// Where it is known to be wrong, and whom that may harm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limitations: Option<String>,
    /// Its licence, by the name that SPDX gives it in lower case: `apache-2.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authors: Option<String>,
    /// Whom to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Languages of its text, by their ISO 639-1 codes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
}

impl About {
    /// Whether nobody has said anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a model was trained.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Environment {
    /// The kind of machine, as `phalanx workers` shows it.
    pub machine: String,
    /// Where workers computed: `cpu`, `cuda:0`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Versions by the name of what has them; `phalanx` among them.
    pub versions: BTreeMap<String, String>,
    /// Features that the binary was built with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Workers at the end of training. They do not change the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// Slices of a batch, which together with the seed decide the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes: Option<u32>,
    /// What random numbers of training stand for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What numbers were computed in: `f32`, `bf16`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
}

/// How to do it again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reproduction {
    /// Commands in their order.
    pub commands: Vec<Command>,
    /// The state hash that must come out; absent where nobody promises it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_state_hash: Option<HashHex>,
    /// What is needed beside them, and when the promise does not hold, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// What it does.
    pub about: String,
    /// It, as it is typed.
    pub command: String,
}

//! What can go wrong while a job trains.

use phalanx_collective::CollectiveError;
use phalanx_data::OpenError;
use phalanx_evaluate::EvaluateError;
use phalanx_member::Setback;
use phalanx_protocol::{message::Failure, reference::HashHex};

/// A model could not be built from its settings.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The worker has no such task.
    #[error("this worker binary has no task `{task}`; it has {known}")]
    UnknownTask {
        /// What the job asks for.
        task: String,
        /// What there is.
        known: String,
    },
    /// Model and data do not fit together.
    #[error("the model `{model}` cannot be trained on this data: {reason}")]
    Unfit {
        /// The kind of model.
        model: String,
        /// Why.
        reason: String,
    },
    /// Optimizer or schedule refuses its settings.
    #[error("train.{setting}: {reason}")]
    Setting {
        /// The table of the job file.
        setting: &'static str,
        /// What burn says.
        reason: String,
    },
    /// The training split does not fill one batch.
    #[error("the training split has {rows} rows, fewer than one batch of {batch_size}")]
    TooFewRows {
        /// Rows of the training split.
        rows: u64,
        /// Rows that one step takes.
        batch_size: u32,
    },
}

/// A state could not be put into a model.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// No safetensors.
    #[error("part {part} is no safetensors file: {reason}")]
    Format {
        /// Index of the part.
        part: usize,
        /// What the reader says.
        reason: String,
    },
    /// The tensors are not those that the hash is of.
    #[error("the parts hold state {actual}, expected {expected}")]
    Hash {
        /// Hash in the manifest, or of those who hold the state.
        expected: String,
        /// Hash of the parts.
        actual: String,
    },
    /// The state is another model's.
    #[error("tensor `{name}`: expected {expected}, found {actual}")]
    Tensor {
        /// The tensor.
        name: String,
        /// Shape or presence that the model wants.
        expected: String,
        /// What the state has.
        actual: String,
    },
    /// What belongs to the state beside its tensors cannot be read.
    #[error("the checkpoint's progress cannot be read: {0}")]
    Progress(#[from] serde_json::Error),
}

/// Training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A peer was lost, or the generation is over.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// The model cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The state of the checkpoint does not fit the model.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Rows of the data set cannot be read.
    #[error("the data set cannot be read: {0}")]
    Data(#[from] OpenError),
    /// The state that other ranks handed over is not what they said, or does not fit the model.
    #[error("the state that other ranks handed over cannot be used: {0}")]
    HandedOver(#[source] SnapshotError),
    /// The loss or its gradient is no finite number any more.
    #[error("{what} at step {step}: lower train.learning_rate, or set train.clip_norm")]
    Diverged {
        /// The step, which was not made.
        step: u64,
        /// What is wrong.
        what: String,
    },
    /// A parameter was used above a boundary, and then below, too.
    #[error(
        "parameter `{path}` got another gradient after a boundary at which it had been final in the first step: \
         the model must use it on the same sides of its boundaries in every step"
    )]
    Boundary {
        /// Its path.
        path: String,
    },
    /// Too many records of the ledger wait to become durable.
    #[error("{records} records of the ledger wait for the object store, which takes none")]
    Ledger {
        /// How many.
        records: usize,
    },
    /// Predictions could not be measured.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// Early stopping watches a metric that this job does not have.
    #[error("train.early_stop.metric: the validation split has no `{metric}`: {reason}")]
    NoSuchMetric {
        /// What the job file names.
        metric: String,
        /// Why it has no value, or what there is.
        reason: String,
    },
    /// Another rank sent something that cannot be read.
    #[error("rank {rank} sent a message that cannot be read")]
    Message {
        /// That rank.
        rank: usize,
    },
    /// The checkpoint could not be read.
    #[error("the state cannot be restored: {}", .0.reason())]
    Restore(Failure),
    /// Ranks that should hold the same state do not.
    #[error("the ranks do not hold the same state at step {step}")]
    Differs {
        /// Steps finished.
        step: u64,
        /// The hash that each rank has of it; `None` where it holds none.
        hashes: Vec<Option<HashHex>>,
    },
    /// The model or its training panicked.
    #[error("the model or its training panicked: {0}")]
    Panic(String),
    /// A GPU, or NCCL between GPUs, failed.
    #[error("{reason}")]
    Gpu {
        /// How.
        reason: String,
    },
    /// A thread could not be started.
    #[error("the {thread}'s thread could not be started: {error}")]
    Thread {
        /// What it is for.
        thread: &'static str,
        /// What the system says.
        #[source]
        error: std::io::Error,
    },
    /// The loader panicked.
    #[error("the loader panicked: {0}")]
    Loader(String),
}

impl TrainError {
    /// What it means for the state of the rank that has met it.
    pub(crate) fn setback(&self) -> Setback<'_> {
        match self {
            Self::Collective(_) | Self::Message { .. } | Self::Ledger { .. } | Self::Data(_) => {
                Setback::Interrupted
            }
            Self::Differs { hashes, .. } => Setback::Differs(hashes),
            // What was loaded in part, or failed here.
            Self::Build(_)
            | Self::Snapshot(_)
            | Self::HandedOver(_)
            | Self::Diverged { .. }
            | Self::Boundary { .. }
            | Self::Evaluate(_)
            | Self::NoSuchMetric { .. }
            | Self::Restore(_)
            | Self::Panic(_)
            | Self::Gpu { .. }
            | Self::Thread { .. }
            | Self::Loader(_) => Setback::Broken,
        }
    }
}

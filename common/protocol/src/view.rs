//! What the HTTP interface serves and `--json` prints. Field names are stable.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    id::{Generation, JobId, WorkerId},
    message::{Confusion, Metrics},
    reference::{CheckpointRef, DatasetRef, HashHex, ModelArtifact},
    rpc::Standby,
    spec::{JobSpec, WorkersSpec},
};

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits for workers.
    Queued,
    /// Its data set is being prepared.
    Preparing,
    /// Its workers are connecting.
    Forming,
    /// It trains.
    Training,
    /// The test split is being measured.
    Evaluating,
    /// Its model is being registered.
    Registering,
    /// It is saving its state in order to stop.
    Stopping,
    /// It has stopped for a reason that can be mended; `resume` goes on.
    Paused,
    /// It was cancelled; `resume` goes on.
    Cancelled,
    /// It is done.
    Done,
    /// It failed.
    Failed,
}

impl JobState {
    /// Whether nothing more happens unless somebody asks for it.
    pub fn is_over(self) -> bool {
        match self {
            Self::Paused | Self::Cancelled | Self::Done | Self::Failed => true,
            Self::Queued
            | Self::Preparing
            | Self::Forming
            | Self::Training
            | Self::Evaluating
            | Self::Registering
            | Self::Stopping => false,
        }
    }

    /// The state's name, as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Forming => "forming",
            Self::Training => "training",
            Self::Evaluating => "evaluating",
            Self::Registering => "registering",
            Self::Stopping => "stopping",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// A job, as users see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: JobState,
    /// Why it is there: what it waits for, why it paused or failed.
    pub reason: Option<String>,
    /// Steps finished.
    pub step: u64,
    /// Steps planned; 0 until the data set is known.
    pub total_steps: u64,
    /// The epoch that the next sample belongs to, from 0.
    pub epoch: u64,
    /// Samples consumed.
    pub cursor: u64,
    /// Loss of the last step.
    pub loss: Option<f64>,
    /// Samples a second.
    pub samples_per_second: Option<f64>,
    /// The learning rate of the last step.
    pub learning_rate: Option<f64>,
    /// Metrics of the test split.
    pub metrics: Metrics,
    /// Metrics of the last validation.
    pub validation: Metrics,
    /// Confusion matrix of the test split.
    pub confusion: Option<Confusion>,
    /// Workers that serve it now; none unless a generation is under way.
    pub workers: Vec<WorkerId>,
    /// How fast its ranks are, by rank; those of which that is not known yet are left out.
    pub ranks: Vec<RankView>,
    /// Members of its generation, or of its last one if none is under way; 0 if it never had one.
    pub world_size: u32,
    /// Its lanes: the most workers that it can have.
    pub lanes: u32,
    /// Samples of one step.
    pub batch_size: u32,
    /// Whether it keeps a ledger, which `phalanx audit` checks.
    pub ledger: bool,
    /// Its generation.
    pub generation: Generation,
    /// Hash of parameters, optimizer state and cursor at the end, or at the newest checkpoint.
    pub state_hash: Option<HashHex>,
    /// Whole checkpoints, the newest last.
    pub checkpoints: Vec<CheckpointRef>,
    /// The outage of the object store that its checkpoints, and whatever else it writes or reads, wait for.
    pub store_away: Option<StoreAway>,
    /// The dataset version.
    pub dataset: Option<DatasetRef>,
    /// The model version that it made.
    pub model: Option<ModelVersionRef>,
    /// The finished model's files, registered or not.
    pub artifact: Option<ModelArtifact>,
    /// Text that the model generated.
    pub sample: Option<String>,
    /// The newest messages for people, numbered.
    pub messages: Vec<Message>,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it first trained.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
}

/// An object store that does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreAway {
    /// Since when.
    pub since: Timestamp,
    /// What the last try ended in that was told.
    pub why: String,
}

/// How fast a rank is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankView {
    /// The rank.
    pub rank: u32,
    /// Its worker.
    pub worker: WorkerId,
    /// Seconds of a step in which it works itself: the median over the last heartbeats.
    pub step_seconds: f64,
    /// The share of a step that passes in the reduction, from 0 to 1. Most of it is the wait for the slowest rank.
    pub waiting: f64,
    /// How many times as long as the median of the ranks it takes for a lane; `None` before that can be told.
    pub slowdown: Option<f64>,
    /// Whether it is a straggler: slower than the median for long.
    pub straggler: bool,
}

/// Something that happened to a job, told to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Number within the job, from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub text: String,
    /// Whether it tells a measurement, of which there are many: the others are kept for longer.
    pub measurement: bool,
}

/// A model version's name and number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersionRef {
    /// The model.
    pub name: String,
    /// The version, from 1.
    pub version: u64,
}

/// A job's loss. Each curve has at most [`CURVE_POINTS_MAX`] points: a longer one is thinned evenly.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Curve {
    /// Training loss: step and loss.
    pub train: Vec<(u64, f64)>,
    /// Validation loss: step and loss.
    pub validation: Vec<(u64, f64)>,
}

/// The most points kept of one curve.
pub const CURVE_POINTS_MAX: usize = 1_000;

/// A worker, as users see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its number.
    pub id: WorkerId,
    /// Its host.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// Where its collective listens.
    pub data_addr: std::net::SocketAddr,
    /// Its kind of processor.
    pub kind: String,
    /// The version of its binary.
    pub version: String,
    /// The job it serves.
    pub job: Option<JobId>,
    /// Its rank there.
    pub rank: Option<u32>,
    /// When it attached.
    pub attached_at: Timestamp,
    /// Whether it is about to leave.
    pub draining: bool,
    /// Whether it gets no more work, because it has computed wrongly twice.
    pub quarantined: bool,
    /// Where Prometheus finds its metrics.
    pub metrics_addr: Option<std::net::SocketAddr>,
}

/// A model of the registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelView {
    /// Its name.
    pub name: String,
    /// Versions, the newest last.
    pub versions: Vec<ModelVersion>,
    /// Aliases and the version that each names.
    pub aliases: BTreeMap<String, u64>,
    /// The newest changes of aliases, the newest last; a thousand are kept.
    pub alias_history: Vec<AliasChange>,
}

/// A version of a model; it never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// The model.
    pub name: String,
    /// The version, from 1.
    pub version: u64,
    /// The job that made it.
    pub job: JobId,
    /// That job's file.
    pub spec: JobSpec,
    /// Metrics of the test split.
    pub metrics: Metrics,
    /// Confusion matrix of the test split.
    pub confusion: Option<Confusion>,
    /// What it was trained on.
    pub dataset: DatasetRef,
    /// The version that was the newest when this one was made.
    pub parent: Option<u64>,
    /// Hash of parameters, optimizer state and cursor at its end.
    pub state_hash: HashHex,
    /// Its files.
    pub artifact: ModelArtifact,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// One change of an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasChange {
    /// The alias.
    pub alias: String,
    /// The version it named before.
    pub from: Option<u64>,
    /// The version it names since.
    pub to: u64,
    /// When.
    pub at: Timestamp,
    /// Who: a job's id or `user`.
    pub by: String,
}

/// Body of `POST /v1/jobs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubmitRequest {
    /// The job, with absolute paths.
    pub spec: JobSpec,
}

/// Body of `POST /v1/jobs/{id}/resume`; without one the job goes on as before.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    /// How many workers the job takes from now on; as before if `None`.
    #[serde(default)]
    pub workers: Option<WorkersSpec>,
}

/// Body of `PUT /v1/models/{name}/aliases/{alias}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRequest {
    /// The version it shall name.
    pub version: u64,
}

/// `GET /v1/cluster`: what a client must know to work beside the coordinator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    /// Version of the coordinator.
    pub version: String,
    /// URL of the object store.
    pub store_url: String,
    /// Where workers attach.
    pub rpc_addr: std::net::SocketAddr,
}

/// A line of `POST /v1/gc`: how far a garbage collection is. The last line has `done`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GcView {
    /// Whether nothing is deleted.
    pub dry_run: bool,
    /// Files that are younger than this are left alone.
    pub older_than_seconds: u64,
    /// What was found and what became of it, by kind.
    pub garbage: BTreeMap<GarbageKind, GarbageView>,
    /// The first of the files found, by path; at most [`GARBAGE_SHOWN_MAX`], and in the last line alone.
    pub files: Vec<GarbageFile>,
    /// Whether there is more than one collection looks at: the next one finds it.
    pub more: bool,
    /// A job that prepares a data set, for whose sake dataset versions are left alone.
    pub preparing: Option<JobId>,
    /// Why not everything was deleted.
    pub problem: Option<String>,
    /// Whether it is over.
    pub done: bool,
}

/// The most files that a [`GcView`] shows.
pub const GARBAGE_SHOWN_MAX: usize = 1_000;

/// The least age in seconds of what a garbage collection deletes: anything younger may be in the making.
pub const GC_SECONDS_MIN: u64 = 3_600;

/// What a file belonged to that no record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GarbageKind {
    /// Checkpoints: parts and manifests.
    Checkpoint,
    /// Models that were finished and became no version.
    Artifact,
    /// Manifests of model versions that were given up.
    Model,
    /// Dataset versions of which no job and no model knows.
    Dataset,
    /// Files that were begun and not ended.
    Unfinished,
}

impl GarbageKind {
    /// The kind's name, as JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Artifact => "artifact",
            Self::Model => "model",
            Self::Dataset => "dataset",
            Self::Unfinished => "unfinished",
        }
    }
}

/// Garbage of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GarbageView {
    /// Files found.
    pub files: u64,
    /// Their bytes; of unfinished files those of the notes about them alone, for S3.
    pub bytes: u64,
    /// Files deleted.
    pub deleted_files: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
}

/// One file that no record names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GarbageFile {
    /// Path in the object store.
    pub path: String,
    /// Its kind.
    pub kind: GarbageKind,
    /// Its size.
    pub bytes: u64,
    /// When it was created.
    pub modified: Timestamp,
}

/// Body of every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What is wrong, for people.
    pub error: String,
    /// Set where this coordinator only stands by: nothing was done, ask the one that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<Standby>,
}

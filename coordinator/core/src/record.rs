//! What the state store holds, as plain values that JSON can hold. What is not
//! in a record is forgotten when the coordinator stops: workers that serve no
//! generation, leases, and progress since the last record.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
};

use jiff::Timestamp;
use phalanx_protocol::{
    id::{Generation, JobId, Rank, TraceParent, WorkerId},
    message::{Confusion, Finished, Hello, Metrics},
    reference::{CheckpointRef, DatasetRef, FileRef, HashHex, ModelArtifact},
    spec::{JobSpec, WorkersSpec},
    view::{AliasChange, Message, ModelVersion, ModelVersionRef},
};
use serde::{Deserialize, Serialize};

pub use crate::checkpoint::Saves;
use crate::curve::LossCurve;

/// One record of the state store. A newer record with the same key replaces the older.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// Numbers that are never used again.
    Counters(Counters),
    /// What is remembered of worker processes, in the order in which it was first noted.
    Processes(Vec<Remembered>),
    /// A job.
    Job(Box<JobRecord>),
    /// What can change about a model.
    Model(ModelHead),
    /// A model version. Put once, never replaced.
    ModelVersion(Box<ModelVersion>),
}

impl Record {
    /// The key in the state store, for example `job/mnist-3`.
    pub fn key(&self) -> String {
        match self {
            Self::Counters(_) => "counters".to_owned(),
            Self::Processes(_) => "processes".to_owned(),
            Self::Job(job) => format!("job/{}", job.id),
            Self::Model(model) => format!("model/{}", model.name),
            Self::ModelVersion(version) => format!("version/{}/{}", version.name, version.version),
        }
    }

    /// The value in the state store: JSON.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: a record is made of plain values, which JSON can hold")
    }

    /// Reads the value stored under `key`.
    ///
    /// # Errors
    ///
    /// [`UnreadableRecord`] if it is not what [`encode`](Self::encode) writes under that key.
    pub fn decode(key: &str, value: &[u8]) -> Result<Self, UnreadableRecord> {
        let unreadable = |reason: String| UnreadableRecord { key: key.to_owned(), reason };
        let record: Self = serde_json::from_slice(value).map_err(|error| unreadable(error.to_string()))?;
        if record.key() == key {
            Ok(record)
        } else {
            Err(unreadable(format!("it holds the record `{}`", record.key())))
        }
    }
}

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record `{key}` of the state store cannot be read: {reason}")]
pub struct UnreadableRecord {
    /// Its key.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Numbers that are never used again, not even after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The number of the next job, from 1.
    pub next_job: u64,
    /// Workers before this number may have been given out: they are reserved in blocks.
    pub workers_reserved: u64,
}

/// Worker numbers are reserved in blocks, so that not every worker that
/// attaches costs a write; a restart leaves the rest of a block unused.
pub(crate) const WORKER_BLOCK: u64 = 1_000;

impl Default for Counters {
    fn default() -> Self {
        Self { next_job: 1, workers_reserved: 1 }
    }
}

/// The most messages that a job keeps; older ones are forgotten.
pub(crate) const MESSAGES_MAX: usize = 64;

/// The most of them that tell a measurement, so that they do not push out what happened.
pub(crate) const MEASUREMENTS_MAX: usize = 24;

/// The most characters of a text that a worker sent; the rest is cut off.
pub(crate) const TEXT_CHARS_MAX: usize = 2_000;

/// A job, as it survives a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Its place in the order of submission.
    pub number: u64,
    /// What its submission is known by, where it might be made twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The job file.
    pub spec: Box<JobSpec>,
    /// How many workers it takes: the job file's word, and what a user has changed since.
    pub workers: WorkersSpec,
    /// The span that the job belongs to.
    pub trace: Option<TraceParent>,
    /// Its last generation; stored before anyone is told of it.
    pub generation: Generation,
    /// What becomes of it after a restart.
    pub standing: Standing,
    /// What a user wants of it as soon as its state can be saved.
    pub wish: Option<Goal>,
    /// A step of which it is not known whose state was right.
    pub dispute: Option<Dispute>,
    /// The last generation in which that was so: no state is trusted that was kept in it or before.
    pub disputed_in: Option<Generation>,
    /// How far it is.
    pub progress: ProgressRecord,
    /// Whole checkpoints, the newest last.
    pub checkpoints: Vec<CheckpointRecord>,
    /// The outage of the object store that it waits for.
    pub outage: Option<OutageRecord>,
    /// The dataset version, once known.
    pub dataset: Option<DatasetRef>,
    /// Kind of processor of its last generation.
    pub kind: Option<String>,
    /// Members of its last generation.
    pub world_size: u32,
    /// Generations in a row that ended without progress.
    pub fruitless_generations: u32,
    /// Its loss.
    pub curve: LossCurve,
    /// Metrics of the last validation.
    pub validation: Metrics,
    /// What came out of it, while the checkpoint of its last step is in the making.
    pub finished: Option<Box<Finished>>,
    /// What came out of it, once it has finished.
    pub outcome: Option<OutcomeRecord>,
    /// Stragglers whose place others took: it does not take them out again.
    pub evicted: BTreeSet<WorkerId>,
    /// The newest messages, numbered.
    pub messages: Vec<Message>,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it first trained.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
}

impl JobRecord {
    /// The fewest workers that it starts with, and the most that it takes; at least 1, at most its lanes.
    pub(crate) fn workers_range(&self) -> (usize, usize) {
        let lanes = self.spec.train.lanes.max(1);
        let workers_max = self.workers.max.unwrap_or(lanes).clamp(1, lanes);
        let workers_min = self.workers.min.unwrap_or(1).clamp(1, workers_max);
        (workers_min as usize, workers_max as usize)
    }
}

/// What becomes of a job after a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It never had workers since it was submitted or resumed: it queues.
    Waiting,
    /// Too few of its workers were left: it queues.
    Broken,
    /// It has workers, which go on meanwhile.
    Running {
        /// The members of its generation, by rank.
        members: Vec<Member>,
        /// How far its generation is.
        stage: Stage,
    },
    /// Its version is reserved, its manifest perhaps written: it is registered.
    Registering(Box<ModelVersion>),
    /// It stays paused.
    Paused {
        /// Why.
        reason: String,
        /// The version whose manifest could not be written.
        unregistered: Option<Box<ModelVersion>>,
    },
    /// It stays cancelled.
    Cancelled {
        /// What happened on the way, if anything.
        reason: Option<String>,
    },
    /// It stays done.
    Done,
    /// It stays failed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A member of a generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub worker: WorkerId,
    /// What is known of it; `None` for one that is gone.
    pub attached: Option<Known>,
}

/// What is known of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// How it introduced itself.
    pub hello: Hello,
    /// When.
    pub attached_at: Timestamp,
    /// Whether it keeps the job's state.
    pub holds_state: bool,
}

/// A worker process. Containers of one host may share its name, and each have a process 1, but
/// no address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its host's name.
    pub host: String,
    /// Its number there.
    pub pid: u32,
    /// Where other workers reach it.
    pub data_addr: SocketAddr,
}

impl Process {
    /// The one that introduces itself.
    pub(crate) fn of(hello: &Hello) -> Self {
        Self { host: hello.host.clone(), pid: hello.pid, data_addr: hello.data_addr }
    }

    /// Whether it is the one that introduces itself.
    pub(crate) fn is(&self, hello: &Hello) -> bool {
        (self.pid, self.data_addr) == (hello.pid, hello.data_addr) && self.host == hello.host
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, process {}", self.host, self.pid)
    }
}

/// What is remembered of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The process.
    pub process: Process,
    /// How often its state was wrong.
    pub errors: u32,
    /// Whether it is about to leave.
    pub draining: bool,
    /// The state that it is to give up, wherever it turns up with it.
    pub distrusted: Option<Distrusted>,
}

/// A state that is not to be trusted: that of a job, as a process has kept it in a generation or before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distrusted {
    /// The job.
    pub job: JobId,
    /// The generation.
    pub generation: Generation,
}

/// States that differed, and nobody knows yet which was right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// Steps finished.
    pub step: u64,
    /// What the state was on each worker; of one that computed it again, what it was the last time.
    pub votes: Vec<Vote>,
}

/// What the state was on one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Its number at that time.
    pub worker: WorkerId,
    /// The process.
    pub process: Process,
    /// Hash of the state.
    pub state_hash: HashHex,
}

/// How far a generation is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Rank 0 finds or writes the data set.
    Preparing,
    /// The ranks connect and load the state.
    Forming,
    /// The ranks train.
    Training {
        /// Checkpoints in the making.
        saves: Saves,
    },
    /// The ranks measure the test split.
    Evaluating {
        /// Checkpoints in the making.
        saves: Saves,
    },
    /// The ranks stop.
    Stopping {
        /// What for.
        goal: Goal,
        /// Whether they save their state first.
        save: bool,
        /// Checkpoints in the making.
        saves: Saves,
        /// Who has come to a halt.
        halted: BTreeMap<Rank, Halt>,
    },
    /// The generation is over, and the next one is about to be formed.
    Regrouping,
}

/// How a rank came to a halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Halt {
    /// It stopped as it was told.
    Stopped {
        /// Steps that it had finished.
        step: u64,
    },
    /// It was lost, or failed.
    Gone,
}

/// What a job becomes when it has stopped. A later one takes precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// A new generation, because workers join or leave.
    Regroup,
    /// Paused, because a user interrupted it.
    Pause,
    /// Cancelled.
    Cancel,
}

/// How far a job is. Stored at transitions, checkpoints and validations, not at every report.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProgressRecord {
    /// Steps finished.
    pub step: u64,
    /// The most steps ever finished; more than `step` after going back to a checkpoint.
    pub farthest_step: u64,
    /// Steps planned; 0 until the data set is known.
    pub total_steps: u64,
    /// The epoch that the next sample belongs to, from 0.
    pub epoch: u64,
    /// Samples consumed.
    pub cursor: u64,
    /// Loss of the last step; `None` if it was no finite number.
    pub loss: Option<f64>,
    /// Learning rate of the last step.
    pub learning_rate: Option<f64>,
    /// Samples a second.
    pub samples_per_second: Option<f64>,
    /// Steps finished at the last validation.
    pub validated_step: Option<u64>,
}

/// An outage of the object store. It is over when nobody waits any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutageRecord {
    /// Since when.
    pub since: Timestamp,
    /// What whoever told of it first was answered.
    pub why: String,
    /// Workers that wait.
    pub workers: BTreeSet<WorkerId>,
    /// Whether the coordinator waits, with a manifest.
    pub coordinator: bool,
}

/// A whole checkpoint and its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// The checkpoint.
    pub checkpoint: CheckpointRef,
    /// Its parts, by rank.
    pub parts: Vec<FileRef>,
}

/// What came out of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// Metrics of the test split; those that are finite numbers.
    pub metrics: Metrics,
    /// Confusion matrix of the test split.
    pub confusion: Option<Confusion>,
    /// Hash of parameters, optimizer state and cursor.
    pub state_hash: HashHex,
    /// The model's files.
    pub artifact: ModelArtifact,
    /// Text that the model generated.
    pub sample: Option<String>,
    /// The version that it became.
    pub model: Option<ModelVersionRef>,
}

/// What can change about a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelHead {
    /// The model.
    pub name: String,
    /// The number of the next version, from 1. Numbers before it are given
    /// out: registered, or reserved by a job that is registering.
    pub next_version: u64,
    /// Aliases and the version that each names.
    pub aliases: BTreeMap<String, u64>,
    /// Changes of aliases, the newest last.
    pub alias_history: Vec<AliasChange>,
}

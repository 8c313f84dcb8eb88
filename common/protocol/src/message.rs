//! What coordinator and workers tell each other about a job.
//!
//! One generation of a job, seen from the wire:
//!
//! ```text
//! coordinator                       rank 0            every rank       newcomer
//!   Prepare  ───────────────────────►                                            (the job's first generation)
//!            ◄─────────── Prepared
//!   Train    ────────────────────────────────────────►
//!            ◄──────────────────────────────────────── Formed
//!            ◄─────────── Progress, Validated, Verified
//!            ◄──────────────────────────────────────── CheckpointPart
//!            ◄──────────────────────────────────────── StoreAway, StoreBack
//!   Fetch    ─────────────────────────────────────────────────────────►          (the next one will be larger)
//!            ◄───────────────────────────────────────────────────────── Fetched
//!   Stop     ────────────────────────────────────────►   (cancel, interrupt, others join or leave)
//!            ◄──────────────────────────────────────── Stopped
//!            ◄─────────── Finished
//!            ◄──────────────────────────────────────── Failed
//!   Release  ────────────────────────────────────────►
//! ```
//!
//! Invariants:
//!
//! 1. Every directive and report names its job and generation; a report of an
//!    older generation changes nothing.
//! 2. A worker serves at most one generation at a time; a directive of a newer
//!    one ends the older.
//! 3. A checkpoint exists when the coordinator has the parts of all ranks and
//!    its manifest is durable, not before.
//! 4. A directive that is given again, as after a restart of the coordinator, changes nothing.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    id::{Generation, JobId, Rank, TraceParent, WorkerId},
    reference::{CheckpointRef, DatasetRef, FileRef, HashHex, ModelArtifact},
    spec::{JobSpec, TrainSpec},
};

pub use crate::incumbent::Incumbent;

/// Metrics by name; per-class figures as `f1[class]`.
pub type Metrics = BTreeMap<String, f64>;

/// How a worker introduces itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Host name, for people.
    pub host: String,
    /// Process id on that host.
    pub pid: u32,
    /// Where other workers reach its collective.
    pub data_addr: SocketAddr,
    /// Kind of machine that decides the bits, for example `x86-64-v4-5d0a81f7`.
    pub kind: String,
    /// Names of the custom tasks that its binary has, beside the built-in models.
    pub tasks: Vec<String>,
    /// Version of its messages, [`VERSION`](crate::rpc::VERSION) in its binary.
    pub version: String,
    /// Where Prometheus finds its metrics, if anywhere.
    pub metrics_addr: Option<SocketAddr>,
}

/// The answer to a [`Hello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attached {
    /// The worker's number.
    pub worker: WorkerId,
    /// URL of the object store.
    pub store_url: String,
    /// The cluster's time limits.
    pub timeouts: Timeouts,
}

/// Time limits, all derived from one setting so that they keep the order
/// *heartbeat < lease < abort < step*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// How often a worker is heard at least.
    pub heartbeat: Duration,
    /// A worker that is silent for this long is lost.
    pub lease: Duration,
    /// A connection between workers counts as dead when its other end acknowledges
    /// nothing for this long (TCP user timeout).
    pub abort: Duration,
    /// The longest that a rank is waited for: by its peers within a step, and by the
    /// coordinator until it has loaded what it needs and is connected, and until it has
    /// stopped as it was told.
    pub step: Duration,
}

impl Timeouts {
    /// The limits for a lease of this length.
    pub fn from_lease(lease: Duration) -> Self {
        Self { heartbeat: lease / 4, lease, abort: lease * 6, step: lease * 60 }
    }
}

impl Timeouts {
    /// The longest that a rank is waited for by the others until it exchanges with them: a
    /// step, or as many as lanes make on their own; a day at most.
    pub fn exchange(&self, train: &TrainSpec) -> Duration {
        let steps = train.diloco.as_ref().map_or(1, |diloco| diloco.local_steps);
        self.step.saturating_mul(steps).min(EXCHANGE_MAX).max(self.step)
    }
}

/// The longest limit of an exchange.
const EXCHANGE_MAX: Duration = Duration::from_secs(86_400);

impl Default for Timeouts {
    fn default() -> Self {
        Self::from_lease(Duration::from_secs(5))
    }
}

/// One member of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The worker.
    pub worker: WorkerId,
    /// Where its collective listens.
    pub data_addr: SocketAddr,
}

/// What the coordinator tells a worker to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Directive {
    /// Find or write the dataset version, and report [`Event::Prepared`].
    Prepare {
        /// The job.
        job: JobId,
        /// Its generation.
        generation: Generation,
        /// The whole job file.
        #[serde(with = "as_json")]
        spec: Box<JobSpec>,
        /// The span that this work belongs to.
        trace: Option<TraceParent>,
    },
    /// Join the generation and train, evaluate and export.
    Train(Box<Assignment>),
    /// Have the data set at hand: the worker is to join the job's next generation. Ends in
    /// [`Event::Fetched`].
    Fetch {
        /// The job.
        job: JobId,
        /// Its generation, which goes on meanwhile.
        generation: Generation,
        /// What it trains on.
        dataset: DatasetRef,
        /// The span that this work belongs to.
        trace: Option<TraceParent>,
    },
    /// Stop after the step under way. Ends in [`Event::Stopped`].
    Stop {
        /// The job.
        job: JobId,
        /// Its generation.
        generation: Generation,
        /// Whether to write a checkpoint first.
        save: bool,
    },
    /// The generation is over: every wait in it ends, its connections are closed.
    Release {
        /// The job.
        job: JobId,
        /// The generation that is over.
        generation: Generation,
        /// Whether the job may go on: the worker keeps what it holds of the job's state until
        /// it works on another one.
        keep: bool,
    },
    /// Nothing more is wanted of the worker, which asked to leave: its process ends.
    Leave,
}

/// One worker's place in a generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The job.
    pub job: JobId,
    /// Its generation.
    pub generation: Generation,
    /// This worker's rank.
    pub rank: Rank,
    /// All members; the index is the rank.
    pub peers: Vec<Peer>,
    /// The whole job file.
    #[serde(with = "as_json")]
    pub spec: Box<JobSpec>,
    /// What to train on.
    pub dataset: DatasetRef,
    /// The newest checkpoint, from which the job goes on unless a rank holds a state that is
    /// at least as new; `None` is the state that the seed makes.
    pub resume: Option<CheckpointRef>,
    /// What this worker has kept in this generation, or before it, is not to be trusted: ranks
    /// differed then, and it was wrong or nobody knew which of them was right.
    pub disputed: Option<Generation>,
    /// A step on whose state ranks have disagreed. If they come to it they compare their states,
    /// whatever `train.verify_every` says, and rank 0 reports [`Event::Verified`] where all agree.
    pub verify_at: Option<u64>,
    /// What the names mean at this moment that gates give to other versions of the model.
    pub incumbents: BTreeMap<String, Incumbent>,
    /// The span that this work belongs to.
    pub trace: Option<TraceParent>,
}

impl Assignment {
    /// Members of the generation.
    pub fn world_size(&self) -> u32 {
        u32::try_from(self.peers.len()).expect("invariant: a generation has at most LANES_MAX members")
    }
}

/// A directive and its place in the worker's queue; a worker asks for those
/// after the last it has seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Numbered {
    /// Place in the queue, from 1.
    pub number: u64,
    /// The directive.
    pub directive: Directive,
}

/// What a worker tells the coordinator about one generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The job.
    pub job: JobId,
    /// The generation that the worker serves.
    pub generation: Generation,
    /// What happened.
    pub event: Event,
}

/// What happened in a generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// Preparing the data set goes on.
    Preparing {
        /// What is done now, for people: `reading examples/data/mnist.parquet`.
        what: String,
        /// Bytes done.
        done_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// The dataset version is durable.
    Prepared {
        /// It.
        dataset: DatasetRef,
        /// Whether it was there already.
        found: bool,
        /// Rows and columns, for people.
        summary: String,
    },
    /// The data set is at hand.
    Fetched,
    /// The rank is connected with all others and holds the state.
    Formed {
        /// Steps finished in that state.
        step: u64,
        /// Where the state comes from.
        from: StateSource,
    },
    /// Steps were finished. Reported by rank 0 a few times a second.
    Progress(Progress),
    /// The validation split was measured. Reported by rank 0.
    Validated {
        /// Steps finished.
        step: u64,
        /// The metrics.
        metrics: Metrics,
    },
    /// All ranks hold the same state. Reported by rank 0.
    Verified {
        /// Steps finished.
        step: u64,
        /// Hash of the state.
        state_hash: HashHex,
    },
    /// This rank's part of a checkpoint is durable.
    CheckpointPart(Box<CheckpointPart>),
    /// The object store does not answer this worker: what it writes or reads waits, and steps go on.
    StoreAway {
        /// For how long it has not answered.
        lasting: Duration,
        /// What the last try ended in.
        why: String,
    },
    /// The object store answers this worker again.
    StoreBack,
    /// The rank has stopped as it was told.
    Stopped {
        /// Steps finished.
        step: u64,
    },
    /// Training is over and the test split is being measured. Reported by rank 0.
    Evaluating,
    /// The model is evaluated and durable. Reported by rank 0.
    Finished(Box<Finished>),
    /// The rank cannot go on.
    Failed(Failure),
}

impl Event {
    /// The steps that it says are finished.
    pub fn step(&self) -> Option<u64> {
        match self {
            Self::Formed { step, .. }
            | Self::Progress(Progress { step, .. })
            | Self::Validated { step, .. }
            | Self::Verified { step, .. }
            | Self::Stopped { step }
            | Self::Failed(Failure::Peer { step, .. } | Failure::Differs { step, .. }) => Some(*step),
            Self::CheckpointPart(part) => Some(part.step),
            Self::Finished(finished) => Some(finished.step),
            Self::Preparing { .. }
            | Self::Prepared { .. }
            | Self::Fetched
            | Self::Evaluating
            | Self::StoreAway { .. }
            | Self::StoreBack
            | Self::Failed(
                Failure::Job { .. } | Failure::CheckpointDamaged { .. } | Failure::Storage { .. },
            ) => None,
        }
    }
}

/// Where the state comes from with which a generation begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateSource {
    /// The seed makes it.
    Seed,
    /// It was read from the checkpoint.
    Checkpoint,
    /// Members held it.
    Members {
        /// How many of them took it from the others.
        healed: u32,
    },
}

/// How far training is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps finished.
    pub step: u64,
    /// The epoch that the next sample belongs to, from 0.
    pub epoch: u64,
    /// Samples consumed by the job.
    pub cursor: u64,
    /// Loss of the last step.
    pub loss: f64,
    /// The rate of the last step.
    pub learning_rate: f64,
    /// Samples a second of the whole job, over the last report's steps.
    pub samples_per_second: f64,
    /// Points of the loss curve since the last report: step and loss.
    pub curve: Vec<(u64, f64)>,
}

/// One rank's part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointPart {
    /// Steps finished.
    pub step: u64,
    /// Samples consumed.
    pub cursor: u64,
    /// The rank that wrote the part.
    pub rank: Rank,
    /// Hash of the whole state; the same on every rank.
    pub state_hash: HashHex,
    /// The part.
    pub file: FileRef,
    /// What else belongs to the state (early stopping), as JSON text; the same on every rank.
    pub progress_json: String,
}

/// The end of a job's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Steps finished; fewer than planned where training stopped early.
    pub step: u64,
    /// Samples consumed.
    pub cursor: u64,
    /// Why training ended before its planned end.
    pub stopped_early: Option<String>,
    /// Metrics of the test split.
    pub metrics: Metrics,
    /// Metrics that have no value on the test split, and why.
    pub undefined: BTreeMap<String, String>,
    /// Figures that there is nothing to compare with, and why: gates on them hold.
    pub moot: BTreeMap<String, String>,
    /// The version that was meant by each name that gates give to other versions.
    pub compared: BTreeMap<String, Option<u64>>,
    /// Confusion matrix of the test split, if it has classes.
    pub confusion: Option<Confusion>,
    /// Hash of parameters, optimizer state and cursor.
    pub state_hash: HashHex,
    /// The model.
    pub artifact: ModelArtifact,
    /// Text that the model generated, if it is one that does.
    pub sample: Option<String>,
}

/// How often each class was taken for each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// The classes.
    pub classes: Vec<String>,
    /// `counts[truth][prediction]`.
    pub counts: Vec<Vec<u64>>,
}

/// Why a rank cannot go on, which decides what becomes of the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The job itself is at fault (its data, its model): it fails for good.
    Job {
        /// What is wrong and where.
        reason: String,
    },
    /// A peer was lost or disagreed: the job goes on in another generation.
    Peer {
        /// What was seen.
        reason: String,
        /// Steps that the rank has finished; 0 where it has not begun.
        step: u64,
    },
    /// Ranks that should hold the same state do not: one of them has computed wrongly.
    Differs {
        /// Steps finished.
        step: u64,
        /// The hash that each rank has of it; `None` where it holds none.
        hashes: Vec<Option<HashHex>>,
    },
    /// A checkpoint is damaged: the one before is used.
    CheckpointDamaged {
        /// Its manifest's path.
        manifest: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store cannot be written (a full disk): the job pauses until it is resumed.
    Storage {
        /// What the store said.
        reason: String,
    },
}

impl Failure {
    /// What is wrong, for people.
    pub fn reason(&self) -> String {
        match self {
            Self::Job { reason }
            | Self::Peer { reason, .. }
            | Self::CheckpointDamaged { reason, .. }
            | Self::Storage { reason } => reason.clone(),
            Self::Differs { step, .. } => format!("the ranks do not hold the same state at step {step}"),
        }
    }
}

/// A job file travels as JSON text inside binary messages: it leaves out what is
/// not set and holds free-form settings, which a format without field names
/// cannot carry.
mod as_json {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

    use crate::spec::JobSpec;

    pub(super) fn serialize<S: Serializer>(spec: &JobSpec, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(spec).map_err(S::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<JobSpec>, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

//! Everything that can happen to a coordinator, each as one value, and what it
//! answers. Owns no state.

use std::time::Duration;

use jiff::Timestamp;
use phalanx_protocol::{
    id::{Generation, JobId, TraceParent, WorkerId},
    message::{Hello, Numbered, Report},
    pace::Pace,
    reference::FileRef,
    rpc,
    spec::{JobSpec, WorkersSpec},
    view::{JobState, ModelVersionRef},
};

/// The time, as the driver saw it when the input came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since any fixed moment, from a clock that never goes back. Leases
    /// and deadlines are measured with it.
    pub instant: Duration,
    /// The time of day, for people.
    pub wall: Timestamp,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A user hands in a job. Answered by [`Reply::Job`].
    Submit {
        /// The job, with absolute paths.
        spec: Box<JobSpec>,
        /// The span that the whole job belongs to.
        trace: Option<TraceParent>,
        /// What tells this submission from others, if it may be made twice: the second time with the same key is
        /// answered with the job of the first, and changes nothing.
        key: Option<String>,
    },
    /// A user gives a job up; its state is saved, so that it can be resumed.
    Cancel {
        /// The job.
        job: JobId,
    },
    /// A user stops a job for now: its state is saved and it pauses.
    Interrupt {
        /// The job.
        job: JobId,
    },
    /// A user lets a job that has stopped go on.
    Resume {
        /// The job.
        job: JobId,
        /// How many workers it takes from now on; what is not set stays as before.
        workers: Option<WorkersSpec>,
    },
    /// A user changes how many workers a job takes, while it waits or runs.
    Scale {
        /// The job.
        job: JobId,
        /// How many it takes from now on; what is not set stays as it is.
        workers: WorkersSpec,
    },
    /// A user moves an alias.
    SetAlias {
        /// The model.
        model: String,
        /// The alias.
        alias: String,
        /// The version that it shall name.
        version: u64,
        /// Who: `user` or a name.
        by: String,
    },
    /// A worker enters the cluster. Answered by [`Reply::Attached`].
    Attach(Box<Hello>),
    /// A worker is there and has seen its directives up to number `after`.
    /// Renews its lease. Answered by [`Reply::Directives`], which may be empty.
    Poll {
        /// The worker.
        worker: WorkerId,
        /// The last directive that it has seen; 0 for none.
        after: u64,
        /// How fast it has trained since it polled last.
        pace: Option<Pace>,
    },
    /// A worker tells what happened. Renews its lease.
    Report {
        /// The worker.
        worker: WorkerId,
        /// What it says.
        report: Box<Report>,
    },
    /// A worker is about to leave, or a user wants it to: it finishes its step, hands its work
    /// over, and is told to leave.
    Drain {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker's connection is gone. It may make another one before its lease ends.
    Disconnected {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker leaves.
    Detach {
        /// The worker.
        worker: WorkerId,
    },
    /// Time has passed: at the latest at [`Coordinator::next_deadline`](crate::Coordinator::next_deadline).
    Tick,
    /// An effect that is answered is done, or has failed.
    EffectDone(Completion),
}

/// The outcome of an effect that is answered, or what it waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum Completion {
    /// Of [`Effect::WriteCheckpointManifest`](crate::Effect::WriteCheckpointManifest).
    CheckpointManifest {
        /// The job.
        job: JobId,
        /// The generation that wrote the checkpoint.
        generation: Generation,
        /// Its step.
        step: u64,
        /// The durable manifest, or why it could not be written.
        result: Result<FileRef, WriteFailed>,
    },
    /// Of [`Effect::WriteModelManifest`](crate::Effect::WriteModelManifest).
    ModelManifest {
        /// The job.
        job: JobId,
        /// The model version.
        version: ModelVersionRef,
        /// The durable manifest, or why it could not be written.
        result: Result<FileRef, WriteFailed>,
    },
    /// Either of them waits for the object store; its own completion comes later.
    StoreAway {
        /// The job.
        job: JobId,
        /// For how long the store has not answered.
        lasting: Duration,
        /// What the last try ended in.
        why: String,
    },
    /// Neither waits for the object store any more.
    StoreBack {
        /// The job.
        job: JobId,
    },
}

/// A file that could not be written. The job pauses with this as its reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct WriteFailed {
    /// What the store said.
    pub reason: String,
}

/// The answer to an input that was taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Taken; there is nothing more to say.
    Done,
    /// The job's id.
    Job(JobId),
    /// The worker's number.
    Attached(WorkerId),
    /// The directives after the number asked for, in order.
    Directives(Vec<Numbered>),
}

/// Why an input was not taken. It has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// A worker's call, as the RPC answers it.
    #[error(transparent)]
    Call(#[from] rpc::Rejected),
    /// A worker that wants to enter, as the RPC answers it.
    #[error(transparent)]
    Attach(#[from] rpc::NotAttached),
    /// The job file breaks its rules.
    #[error("the job is wrong: {}", .problems.join("; "))]
    WrongJob {
        /// Each problem, for people.
        problems: Vec<String>,
    },
    /// Nothing has this id.
    #[error("there is no job `{0}`")]
    UnknownJob(JobId),
    /// The job cannot do that in its state.
    #[error("job {job} is {}, so it cannot be {wish}: {why}", .state.as_str())]
    WrongState {
        /// The job.
        job: JobId,
        /// Its state.
        state: JobState,
        /// What was asked for: `cancelled`, `interrupted`, `resumed`, `scaled`.
        wish: &'static str,
        /// Why not, or what to do instead.
        why: &'static str,
    },
    /// Nothing has this name.
    #[error("there is no model `{0}`")]
    UnknownModel(String),
    /// The model has no such version.
    #[error("model `{model}` has no version {version}")]
    UnknownVersion {
        /// The model.
        model: String,
        /// The version.
        version: u64,
    },
    /// A name that an alias cannot have.
    #[error(
        "`{0}` cannot be an alias: expected lower-case letters, digits, `-` and `_`, and not a number alone"
    )]
    WrongAlias(String),
    /// The bound of [`Config`](crate::Config) on jobs is reached.
    #[error("there are {limit} unfinished jobs already, as many as this coordinator takes: try again later")]
    Full {
        /// The bound.
        limit: usize,
    },
}

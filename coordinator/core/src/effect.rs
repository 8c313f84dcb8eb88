//! What a coordinator wants done, each as one value. Owns no state.

use phalanx_protocol::{
    id::{Generation, JobId, WorkerId},
    reference::{CheckpointRef, FileRef},
    view::ModelVersion,
};
use phalanx_storage::manifest::CheckpointManifest;

use crate::{Leftovers, record::Record};

/// Something to be done.
///
/// The driver does the effects of one call in their order, and those of a call
/// before those of the next. Records that follow each other may be stored in
/// one transaction. A driver that cannot store a record tries again or stops
/// for good: what the machine holds in memory is then ahead of what is durable,
/// and nothing after the record may be done, nor the call be answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Put this record into the state store. It must be durable before anything
    /// after it is done, and before the call is answered.
    Persist(Record),
    /// A directive was put into the worker's queue: answer the call in which it
    /// waits for directives, if there is one, from
    /// [`Coordinator::directives_after`](crate::Coordinator::directives_after).
    Send {
        /// The worker.
        worker: WorkerId,
    },
    /// Write the manifest (JSON) to `path`, created once. Need not be done
    /// before the call is answered, and may wait for the store. Answered by
    /// [`Completion::CheckpointManifest`](crate::Completion::CheckpointManifest).
    WriteCheckpointManifest {
        /// The job.
        job: JobId,
        /// The generation that wrote the checkpoint.
        generation: Generation,
        /// What the manifest holds.
        manifest: Box<CheckpointManifest>,
        /// Where it goes.
        path: String,
    },
    /// Delete a checkpoint that newer ones have replaced: the manifest first,
    /// then its parts. Not answered; what is left over after a failure does no harm.
    DeleteCheckpoint {
        /// The job.
        job: JobId,
        /// The checkpoint.
        checkpoint: CheckpointRef,
        /// Its parts.
        parts: Vec<FileRef>,
    },
    /// Delete what a job that has come to an end has left beside its checkpoints. Not answered;
    /// what is left over after a failure does no harm.
    DeleteLeftovers(Box<Leftovers>),
    /// Write a model version (JSON) to `path`, created once; that it is there
    /// already with this content is a success, since the effect is repeated
    /// after a restart. Answered by
    /// [`Completion::ModelManifest`](crate::Completion::ModelManifest).
    WriteModelManifest {
        /// The job that made it.
        job: JobId,
        /// What the manifest holds.
        version: Box<ModelVersion>,
        /// Where it goes.
        path: String,
    },
    /// The job looks different now: whoever follows it wants a new view.
    JobChanged(JobId),
}

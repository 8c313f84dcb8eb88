//! From records back to a coordinator.

use phalanx_protocol::id::JobId;

/// Records that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A model version without its model.
    #[error("the state store has version {version} of model `{model}`, but not the model")]
    OrphanVersion {
        /// The model.
        model: String,
        /// The version.
        version: u64,
    },
    /// A job whose number was not given out.
    #[error("the state store has job {job} with number {number}, but the next number is {next}")]
    UncountedJob {
        /// The job.
        job: JobId,
        /// Its number.
        number: u64,
        /// The counter.
        next: u64,
    },
}

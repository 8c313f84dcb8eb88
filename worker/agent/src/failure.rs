//! What an error means for the job: which of the protocol's failures it is. One
//! place, so that the same cause always has the same consequence.
//!
//! | cause | failure | the job |
//! | --- | --- | --- |
//! | its data, its model, a loss that is no number, a panic | `Job` | fails |
//! | a peer is lost or disagrees, a GPU fails, a machine lacks threads or maps | `Peer` | goes on in another generation |
//! | ranks hold different states | `Differs` | goes on with the state of the majority |
//! | a checkpoint cannot be read as what it should be | `CheckpointDamaged` | goes on from the one before |
//! | the store is full or refuses | `Storage` | pauses |
//! | the store is away | none | waits for it (`patience`) |

use std::any::Any;

use phalanx_collective::CollectiveError;
use phalanx_data::{OpenError, PrepareError};
use phalanx_protocol::message::Failure;
use phalanx_storage::StorageError;
use phalanx_train::{TrainError, panic_text};

/// Why a rank's training ended without an ending of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainerFailed {
    /// Training says so.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// It panicked.
    #[error("the model or its training panicked: {0}")]
    Panic(String),
    /// Its thread could not be started.
    #[error("the trainer's thread could not be started: {0}")]
    Thread(String),
}

impl TrainerFailed {
    /// From what `catch_unwind` caught.
    pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Self {
        Self::Panic(panic_text(panic))
    }

    /// What it means for a job that went on from the checkpoint with this manifest.
    pub(crate) fn into_failure(self, resumed_from: Option<&str>) -> Failure {
        let reason = self.to_string();
        match self {
            Self::Train(error) => train(&error, resumed_from),
            Self::Panic(_) => Failure::Job { reason },
            Self::Thread(_) => peer(reason),
        }
    }
}

/// What an end of training means for a job that could go on from the checkpoint with this manifest.
pub(crate) fn train(error: &TrainError, resumed_from: Option<&str>) -> Failure {
    let reason = error.to_string();
    match error {
        // The group cannot carry what the job asks for, on no worker.
        TrainError::Collective(CollectiveError::Argument { .. }) => Failure::Job { reason },
        TrainError::Collective(_)
        | TrainError::Message { .. }
        | TrainError::HandedOver(_)
        | TrainError::Gpu { .. }
        | TrainError::Thread { .. } => peer(reason),
        TrainError::Restore(failure) => failure.clone(),
        TrainError::Data(error) => open(error),
        TrainError::Ledger { .. } => Failure::Storage { reason },
        TrainError::Differs { step, hashes } => Failure::Differs { step: *step, hashes: hashes.clone() },
        TrainError::Snapshot(_) => match resumed_from {
            Some(manifest) => Failure::CheckpointDamaged { manifest: manifest.to_owned(), reason },
            None => peer(reason),
        },
        TrainError::Panic(_)
        | TrainError::Build(_)
        | TrainError::Diverged { .. }
        | TrainError::Boundary { .. }
        | TrainError::Evaluate(_)
        | TrainError::NoSuchMetric { .. }
        | TrainError::Loader(_) => Failure::Job { reason },
    }
}

/// A failure of a rank that has not made a step.
pub(crate) fn peer(reason: String) -> Failure {
    Failure::Peer { reason, step: 0 }
}

/// A data set could not be prepared.
pub(crate) fn prepare(error: &PrepareError) -> Failure {
    match error {
        PrepareError::Storage(error) => storage(error),
        other => Failure::Job { reason: other.to_string() },
    }
}

/// A data set could not be opened.
pub(crate) fn open(error: &OpenError) -> Failure {
    match error {
        OpenError::Storage(error) => storage(error),
        // This machine's limits, or its end; another one may have others.
        OpenError::Map { .. } | OpenError::Ending { .. } => peer(error.to_string()),
        other => Failure::Job { reason: other.to_string() },
    }
}

/// The store did not take or give a file of a data set. One that is absent or damaged,
/// only a new preparation can mend; everything else may pass.
pub(crate) fn storage(error: &StorageError) -> Failure {
    let reason = error.to_string();
    match error {
        StorageError::Damaged { path, .. } => Failure::Job {
            reason: format!(
                "{reason}; delete `{path}` from the store and run the job again: it is made anew"
            ),
        },
        StorageError::NotFound(_) | StorageError::Url { .. } | StorageError::Path { .. } => {
            Failure::Job { reason }
        }
        StorageError::Full(_)
        | StorageError::Away(_)
        | StorageError::Denied(_)
        | StorageError::NoBucket(_)
        | StorageError::Exists(_)
        | StorageError::Other(_) => Failure::Storage { reason },
    }
}

/// A file could not be written. Whatever keeps it from that, it is not the job's fault.
pub(crate) fn write(error: &StorageError) -> Failure {
    Failure::Storage { reason: error.to_string() }
}

/// A file of the checkpoint with this manifest could not be read.
pub(crate) fn checkpoint(manifest: &str, error: &StorageError) -> Failure {
    match error {
        StorageError::NotFound(_) | StorageError::Damaged { .. } | StorageError::Path { .. } => {
            Failure::CheckpointDamaged { manifest: manifest.to_owned(), reason: error.to_string() }
        }
        StorageError::Full(_)
        | StorageError::Away(_)
        | StorageError::Denied(_)
        | StorageError::NoBucket(_)
        | StorageError::Exists(_)
        | StorageError::Url { .. }
        | StorageError::Other(_) => Failure::Storage { reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_store_pauses_a_job_whoever_meets_it() {
        let full = || StorageError::Full("no space".to_owned());
        let failures = [storage(&full()), checkpoint("m", &full()), prepare(&PrepareError::Storage(full()))];
        assert!(failures.iter().all(|failure| matches!(failure, Failure::Storage { .. })), "{failures:?}");
    }

    #[test]
    fn a_checkpoint_is_damaged_only_where_its_content_is_wrong() {
        let damaged = StorageError::Damaged { path: "p".into(), expected: "a".into(), actual: "b".into() };
        assert!(matches!(checkpoint("m", &damaged), Failure::CheckpointDamaged { .. }));
        let away = StorageError::Away("connection refused".into());
        assert!(matches!(checkpoint("m", &away), Failure::Storage { .. }));
    }

    #[test]
    fn the_message_of_a_panic_is_kept() {
        let panic = std::panic::catch_unwind(|| panic!("shape {}", 7)).expect_err("it panics");
        let failure = TrainerFailed::from_panic(panic.as_ref()).into_failure(None);
        let Failure::Job { reason } = failure else { panic!("{failure:?}") };
        assert!(reason.ends_with("shape 7"), "{reason}");
    }
}

//! Reading a checkpoint: the manifest, then all parts at once, each checked
//! against the size and hash that name it.
//!
//! What cannot be read as what it should be is damage, and the job goes on from
//! the checkpoint before. A store that is away is not: it is waited for.

use futures::future::try_join_all;
use phalanx_protocol::{
    message::{Assignment, Failure},
    reference::CheckpointRef,
    spec::LANES_MAX,
};
use phalanx_storage::{StorageError, Store, manifest::CheckpointManifest};
use phalanx_train::Snapshot;

use crate::{failure, patience::StorePatience};

/// The most bytes in a manifest: a line for each part.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// Why there is no snapshot.
enum NotRestored {
    Away(StorageError),
    Failed(Failure),
}

impl From<Failure> for NotRestored {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The snapshot in the checkpoint that `assignment` names; waits while the store is away.
///
/// # Errors
///
/// [`Failure::CheckpointDamaged`], or [`Failure::Storage`] where the store cannot be read.
pub(crate) async fn restore(
    store: &Store,
    assignment: &Assignment,
    patience: &mut StorePatience,
) -> Result<Snapshot, Failure> {
    loop {
        let restored = patience.watch(try_to_restore(store, assignment)).await;
        let error = match restored {
            Err(NotRestored::Away(error)) => error,
            Err(NotRestored::Failed(failure)) => {
                patience.done();
                return Err(failure);
            }
            Ok(snapshot) => {
                patience.done();
                return Ok(snapshot);
            }
        };
        patience.wait(&error).await;
    }
}

async fn try_to_restore(store: &Store, assignment: &Assignment) -> Result<Snapshot, NotRestored> {
    let checkpoint = assignment.resume.as_ref();
    let checkpoint = checkpoint.expect("invariant: only an assignment with a checkpoint is restored");
    let path = &checkpoint.manifest.path;
    let damaged = |reason: String| Failure::CheckpointDamaged { manifest: path.clone(), reason };
    let unread = |error: StorageError| match error.is_transient() {
        true => NotRestored::Away(error),
        false => NotRestored::Failed(failure::checkpoint(path, &error)),
    };
    if checkpoint.manifest.bytes > MANIFEST_BYTES_MAX {
        let bytes = checkpoint.manifest.bytes;
        let why = format!("its manifest has {bytes} bytes, expected at most {MANIFEST_BYTES_MAX}");
        return Err(damaged(why).into());
    }
    let manifest = store.read(&checkpoint.manifest).await.map_err(unread)?;
    let manifest: CheckpointManifest =
        serde_json::from_slice(&manifest).map_err(|error| damaged(format!("{path}: {error}")))?;
    if let Some(reason) = contradiction(&manifest, checkpoint, assignment) {
        return Err(damaged(reason).into());
    }
    let parts = try_join_all(manifest.parts.iter().map(|part| store.read(part))).await.map_err(unread)?;
    // Hashing the whole state takes a while; calls must be answered meanwhile.
    let snapshot = tokio::task::spawn_blocking(move || Snapshot::from_parts(&manifest, &parts)).await;
    match snapshot {
        Ok(snapshot) => snapshot.map_err(|error| damaged(error.to_string()).into()),
        Err(panic) => Err(damaged(format!("reading its parts ended in a crash: {panic}")).into()),
    }
}

/// What the manifest says against whoever named it.
fn contradiction(
    manifest: &CheckpointManifest,
    checkpoint: &CheckpointRef,
    assignment: &Assignment,
) -> Option<String> {
    let expect = |what: &str, expected: &dyn std::fmt::Display, actual: &dyn std::fmt::Display| {
        let (expected, actual) = (expected.to_string(), actual.to_string());
        (expected != actual).then(|| format!("its {what}: expected {expected}, found {actual}"))
    };
    if manifest.parts.is_empty() || manifest.parts.len() > LANES_MAX as usize {
        return Some(format!("it has {} parts, expected 1 to {LANES_MAX}", manifest.parts.len()));
    }
    expect("job", &assignment.spec.hash(), &manifest.job_hash)
        .or_else(|| expect("data set", &assignment.dataset.version, &manifest.dataset))
        .or_else(|| expect("step", &checkpoint.step, &manifest.step))
        .or_else(|| expect("cursor", &checkpoint.cursor, &manifest.cursor))
        .or_else(|| expect("state", &checkpoint.state_hash, &manifest.state_hash))
}

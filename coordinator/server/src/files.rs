//! What a coordinator does in the object store: it writes manifests and deletes
//! checkpoints that newer ones have replaced. This runs beside the driver, a
//! bounded number at a time, and comes back to it as completions.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::pending;
use phalanx_core::{Completion, Effect, WriteFailed};
use phalanx_protocol::{
    reference::{CheckpointRef, FileRef},
    view::ModelVersionRef,
};
use phalanx_storage::Store;
use serde::Serialize;
use tokio::{sync::Semaphore, task::JoinSet};
use tracing::{error, info, warn};

use crate::metrics;

/// The most files written or checkpoints deleted at a time; others wait.
const CONCURRENT_MAX: usize = 16;

/// Work in the object store that is under way or waits its turn. It is as much
/// as the state machine asks for: one checkpoint a generation and one model
/// version a job.
#[derive(Debug)]
pub(crate) struct FileWork {
    store: Store,
    turns: Arc<Semaphore>,
    under_way: JoinSet<Option<Completion>>,
}

impl FileWork {
    /// No work yet.
    pub(crate) fn new(store: Store) -> Self {
        Self { store, turns: Arc::new(Semaphore::new(CONCURRENT_MAX)), under_way: JoinSet::new() }
    }

    /// Begins an effect on the object store.
    pub(crate) fn begin(&mut self, effect: Effect) {
        let (store, turns) = (self.store.clone(), Arc::clone(&self.turns));
        self.under_way.spawn(async move {
            let _turn = turns.acquire().await.expect("invariant: the semaphore is never closed");
            perform(&store, effect).await
        });
    }

    /// The next outcome that the state machine must be told; never if there is
    /// no work. Nothing is lost if this is dropped while it waits.
    pub(crate) async fn next(&mut self) -> Completion {
        loop {
            match self.under_way.join_next().await {
                Some(Ok(Some(completion))) => return completion,
                Some(Ok(None)) => {}
                Some(Err(error)) => error!(%error, "work in the object store has panicked"),
                None => return pending().await,
            }
        }
    }
}

async fn perform(store: &Store, effect: Effect) -> Option<Completion> {
    match effect {
        Effect::WriteCheckpointManifest { job, generation, manifest, path } => {
            let step = manifest.step;
            let result = write(store, &path, &manifest).await;
            if result.is_ok() {
                let bytes = manifest.parts.iter().map(|part| part.bytes).sum();
                metrics::checkpoint_written(bytes);
                info!(%job, %generation, step, bytes, "checkpoint written");
            }
            Some(Completion::CheckpointManifest { job, generation, step, result })
        }
        Effect::WriteModelManifest { job, version, path } => {
            let result = write(store, &path, &version).await;
            let version = ModelVersionRef { name: version.name, version: version.version };
            Some(Completion::ModelManifest { job, version, result })
        }
        Effect::DeleteCheckpoint { job: _, checkpoint, parts } => {
            delete(store, &checkpoint, &parts).await;
            None
        }
        Effect::Persist(_) | Effect::Send { .. } | Effect::JobChanged(_) => None,
    }
}

async fn write(store: &Store, path: &str, content: &impl Serialize) -> Result<FileRef, WriteFailed> {
    let json = serde_json::to_vec_pretty(content)
        .expect("invariant: a manifest is made of plain values, which JSON can hold");
    store.create(path, Bytes::from(json)).await.map_err(|error| {
        metrics::file_failed();
        warn!(path, %error, "a manifest could not be written");
        WriteFailed { reason: error.to_string() }
    })
}

/// Deletes the manifest first: a checkpoint without it is none, whatever is
/// left of its parts.
async fn delete(store: &Store, checkpoint: &CheckpointRef, parts: &[FileRef]) {
    for file in std::iter::once(&checkpoint.manifest).chain(parts) {
        if let Err(error) = store.delete(&file.path).await {
            metrics::file_failed();
            warn!(path = file.path, %error, "an old checkpoint was not deleted");
            return;
        }
    }
}

//! What a coordinator does in the object store: it writes manifests, and deletes
//! checkpoints that newer ones have replaced and what else a job has left over. This runs beside the driver, a
//! bounded number at a time, and comes back to it as completions.

use std::{panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt as _, future::pending};
use phalanx_core::{Completion, Effect, Leftovers, WriteFailed};
use phalanx_protocol::{id::JobId, reference::FileRef, view::ModelVersionRef};
use phalanx_storage::{Away, Outage, Patience, Store};
use serde::Serialize;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tracing::{error, info, warn};

use crate::metrics;

/// The most files written or checkpoints deleted at a time; others wait.
const CONCURRENT_MAX: usize = 16;

/// Work in the object store that is under way or waits its turn. The state
/// machine bounds the manifests that are asked for: those of a generation's
/// checkpoints in the making, and one model version a job. Deletions are as many
/// as checkpoints that were replaced and jobs that came to their end.
#[derive(Debug)]
pub(crate) struct FileWork {
    store: Store,
    turns: Arc<Semaphore>,
    under_way: JoinSet<Option<Completion>>,
    /// What work that is under way waits for. One outage of the store is two words for each manifest.
    word: mpsc::UnboundedSender<Completion>,
    words: mpsc::UnboundedReceiver<Completion>,
}

impl FileWork {
    /// No work yet.
    pub(crate) fn new(store: Store) -> Self {
        let (word, words) = mpsc::unbounded_channel();
        let turns = Arc::new(Semaphore::new(CONCURRENT_MAX));
        Self { store, turns, under_way: JoinSet::new(), word, words }
    }

    /// Begins an effect on the object store.
    pub(crate) fn begin(&mut self, effect: Effect) {
        let (store, turns, word) = (self.store.clone(), Arc::clone(&self.turns), self.word.clone());
        let panicked = panicked(&effect);
        self.under_way.spawn(async move {
            let _turn = turns.acquire().await.expect("invariant: the semaphore is never closed");
            AssertUnwindSafe(perform(&store, effect, word)).catch_unwind().await.unwrap_or(panicked)
        });
    }

    /// The next outcome that the state machine must be told; never if there is
    /// no work. Nothing is lost if this is dropped while it waits.
    pub(crate) async fn next(&mut self) -> Completion {
        loop {
            let ended = tokio::select! {
                biased;
                Some(word) = self.words.recv() => return word,
                Some(ended) = self.under_way.join_next() => ended,
                else => return pending().await,
            };
            match ended {
                Ok(Some(completion)) => return completion,
                Ok(None) => {}
                Err(error) => error!(%error, "work in the object store has panicked"),
            }
        }
    }
}

/// What the state machine is told of work that has panicked: whoever waits for
/// an outcome must get one.
fn panicked(effect: &Effect) -> Option<Completion> {
    let failed =
        WriteFailed { reason: "writing it has panicked; the coordinator's log says more".to_owned() };
    match effect {
        Effect::WriteCheckpointManifest { job, generation, manifest, .. } => {
            Some(Completion::CheckpointManifest {
                job: job.clone(),
                generation: *generation,
                step: manifest.step,
                result: Err(failed),
            })
        }
        Effect::WriteModelManifest { job, version, .. } => Some(Completion::ModelManifest {
            job: job.clone(),
            version: ModelVersionRef { name: version.name.clone(), version: version.version },
            result: Err(failed),
        }),
        Effect::DeleteCheckpoint { .. }
        | Effect::DeleteLeftovers(_)
        | Effect::Persist(_)
        | Effect::Send { .. }
        | Effect::JobChanged(_) => None,
    }
}

async fn perform(
    store: &Store,
    effect: Effect,
    word: mpsc::UnboundedSender<Completion>,
) -> Option<Completion> {
    match effect {
        Effect::WriteCheckpointManifest { job, generation, manifest, path } => {
            let step = manifest.step;
            let result = write(store, &path, &manifest, telling(&job, word)).await;
            if result.is_ok() {
                let bytes = manifest.parts.iter().map(|part| part.bytes).fold(0, u64::saturating_add);
                metrics::checkpoint_written(bytes);
                info!(%job, %generation, step, bytes, "checkpoint written");
            }
            Some(Completion::CheckpointManifest { job, generation, step, result })
        }
        Effect::WriteModelManifest { job, version, path } => {
            let result = write(store, &path, &version, telling(&job, word)).await;
            let version = ModelVersionRef { name: version.name, version: version.version };
            Some(Completion::ModelManifest { job, version, result })
        }
        Effect::DeleteCheckpoint { job: _, checkpoint, parts } => {
            // The manifest first: a checkpoint without it is none, whatever is left of its parts.
            let files = std::iter::once(&checkpoint.manifest).chain(&parts);
            delete(store, files.map(|file| file.path.as_str())).await;
            None
        }
        Effect::DeleteLeftovers(leftovers) => {
            delete_leftovers(store, &leftovers).await;
            None
        }
        Effect::Persist(_) | Effect::Send { .. } | Effect::JobChanged(_) => None,
    }
}

/// Lets the state machine know what the job's manifest waits for.
fn telling(job: &JobId, word: mpsc::UnboundedSender<Completion>) -> impl FnMut(Outage) + use<> {
    let job = job.clone();
    move |outage| {
        let completion = match outage {
            Outage::Away(Away { since, why }) => {
                warn!(%job, why, "a manifest waits for the object store");
                Completion::StoreAway { job: job.clone(), lasting: since.elapsed(), why }
            }
            Outage::Over => Completion::StoreBack { job: job.clone() },
        };
        // Nobody listens where the coordinator leads no more.
        let _ = word.send(completion);
    }
}

/// Writes a manifest, for as long as the store is away.
async fn write(
    store: &Store,
    path: &str,
    content: &impl Serialize,
    tell: impl FnMut(Outage),
) -> Result<FileRef, WriteFailed> {
    let json = serde_json::to_vec_pretty(content)
        .expect("invariant: a manifest is made of plain values, which JSON can hold");
    let json = Bytes::from(json);
    let mut patience = Patience::new(store.clone(), tell);
    patience.call(|| store.create(path, json.clone())).await.map_err(|error| {
        metrics::file_failed();
        warn!(path, %error, "a manifest could not be written");
        WriteFailed { reason: error.to_string() }
    })
}

async fn delete(store: &Store, paths: impl Iterator<Item = &str>) {
    for path in paths {
        if let Err(error) = store.delete(path).await {
            metrics::file_failed();
            warn!(path, %error, "a file that is not needed any more was not deleted");
            return;
        }
    }
}

async fn delete_leftovers(store: &Store, leftovers: &Leftovers) {
    match store.list_prefix(leftovers.folder()).await {
        Ok(files) => {
            let paths = files.iter().map(|file| file.path.as_str());
            delete(store, paths.filter(|path| leftovers.contains(path))).await;
        }
        Err(error) => {
            metrics::file_failed();
            warn!(folder = leftovers.folder(), %error, "leftovers of checkpoints were not looked for");
        }
    }
}

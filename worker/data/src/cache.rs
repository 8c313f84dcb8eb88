//! The local cache of shards: a folder of bounded size that all workers of a machine share.
//!
//! A shard is fetched into it under its hash, once and whole, by whoever comes first. When the folder has grown beyond its
//! bound, what was used longest ago is deleted, under a lock that all processes take. What was used a few seconds ago
//! stays, so that the folder may be larger by what came in meanwhile: somebody may be about to map it. A file that is mapped
//! stays readable when it is deleted.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use phalanx_storage::{StorageError, Store, is_cached, trim_cache};
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::{
    OpenError, ShardRef, figures,
    mapped::{Form, Mapped},
};

/// How often a shard that is deleted between being fetched and being mapped is fetched again.
const TRIES_MAX: usize = 3;

/// How long a shard stays at least when it has been used.
const GRACE: Duration = Duration::from_secs(5);

/// Where shards are kept on this machine.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: Arc<Path>,
    bytes_max: u64,
}

impl Cache {
    /// The default of its size: 100 GiB.
    pub const BYTES_MAX: u64 = 100 << 30;

    /// The cache in `folder`, which may hold up to `bytes_max` bytes of shards. A shard that is in use counts even if it is
    /// larger.
    pub fn new(folder: impl Into<PathBuf>, bytes_max: u64) -> Self {
        Self { folder: folder.into().into(), bytes_max }
    }

    /// The most bytes in it.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fetches a shard, unless it is there, checks it and maps it.
    pub(crate) async fn fetch(
        &self,
        store: &Store,
        shard: &ShardRef,
        form: Form,
    ) -> Result<Arc<Mapped>, OpenError> {
        for _ in 1..TRIES_MAX {
            match self.try_fetch(store, shard, form).await {
                // Somebody has made room between the two.
                Err(OpenError::Map { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
                Err(OpenError::Storage(StorageError::NotFound(_))) => {}
                fetched => return fetched,
            }
        }
        self.try_fetch(store, shard, form).await
    }

    async fn try_fetch(&self, store: &Store, shard: &ShardRef, form: Form) -> Result<Arc<Mapped>, OpenError> {
        let (was_here, started) = (is_cached(&shard.file, &self.folder), Instant::now());
        let file = store.local_file(&shard.file, &self.folder).await?;
        let mapped = form.map(shard, &file)?;
        let is_copy = file.starts_with(&*self.folder);
        figures::fetched(is_copy && !was_here, shard.file.bytes, started.elapsed());
        if is_copy && !was_here {
            self.trim().await;
        }
        Ok(Arc::new(mapped))
    }

    /// Makes the folder as small as it has to be. That it fails is no reason not to train.
    async fn trim(&self) {
        let (folder, bytes_max) = (Arc::clone(&self.folder), self.bytes_max);
        match spawn_blocking(move || trim_cache(&folder, bytes_max, GRACE)).await {
            Ok(Ok(deleted)) => figures::evicted(deleted),
            Ok(Err(error)) => warn!(%error, "the cache of shards is not made smaller"),
            // The process is ending.
            Err(_) => {}
        }
    }
}

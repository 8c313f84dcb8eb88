//! Preparing: from a source to a dataset version in the store. A thread reads,
//! fits and encodes; the store is written from here, a shard at a time, and the
//! manifest last.
//!
//! Invariants: a manifest is there only if all of its shards are; a version's
//! name is decided by content and recipe alone; preparing again, or by two at
//! once, gives the same files.

use std::{
    fs::Metadata,
    io::{self, Read as _},
    path::{Path, PathBuf},
    pin::pin,
    time::SystemTime,
};

use bytes::Bytes;
use phalanx_protocol::{
    reference::{DatasetRef, FileRef, HashHex},
    spec::DataSpec,
};
use phalanx_storage::{StorageError, Store};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
};
use tracing::{debug, info, warn};

use crate::{
    DatasetManifest, Lineage, PrepareError, ShardRef, Split, SplitManifest,
    build::{self, Outlet, given_up},
    manifest::{FORMAT, MANIFEST_BYTES_MAX, folder},
    source::{open, unreadable},
};

/// Bytes of the source between two accounts of how far its hash has come.
const HASHED_AT_ONCE: usize = 1 << 20;

/// Shards that wait to be stored.
const QUEUE: usize = 1;

/// A dataset version, ready to be trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Where it is.
    pub dataset: DatasetRef,
    /// Whether it was there already.
    pub found: bool,
    /// What it is, in one line for people.
    pub summary: String,
}

/// How far preparing has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// The fraction of the source that this stage has read, of 0 to 1.
    pub fraction: f32,
}

/// What preparing does, in this order. Text goes from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The source is hashed, to find out whether it was prepared before.
    Hash,
    /// Rows are counted and types found.
    Profile,
    /// Statistics are taken from the training split.
    Fit,
    /// Rows are encoded and stored.
    Write,
}

/// What a file's content is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// A source whose content is known.
#[derive(Debug, Clone)]
struct Hashed {
    path: PathBuf,
    stamp: Stamp,
    blake3: HashHex,
}

/// Makes a dataset version of the source that `spec` names, or finds the one that
/// was made of the same content by the same recipe before.
///
/// # Errors
///
/// What is wrong with the source and where, or what the store said
/// ([`StorageError::Full`] among it). No dataset version is there then; shards
/// that were stored are used when it is tried again.
pub async fn prepare(
    spec: &DataSpec,
    store: &Store,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Prepared, PrepareError> {
    let path = build::check_recipe(spec)?.to_owned();
    let source = hash(&path, progress).await?;
    let version = version(spec, &source);
    if let Some((manifest, file)) = find(&version, store).await? {
        debug!(version, "dataset version found");
        return Ok(prepared(&manifest, file, true));
    }

    let manifest = store_parts(spec, &source, version, store, progress).await?;
    let stamp = blocking(&path, |path| Ok::<_, PrepareError>(stamp(&metadata(path)?))).await??;
    if stamp != source.stamp {
        return Err(PrepareError::Changed { path });
    }
    let json = serde_json::to_vec_pretty(&manifest).expect("invariant: a manifest is made of plain values");
    let path = DatasetManifest::path(&manifest.version);
    let file = match store.create(&path, Bytes::from(json.clone())).await {
        Err(StorageError::Exists(_)) => match find(&manifest.version, store).await? {
            // Somebody else prepared it meanwhile, from another path or with another build.
            Some((theirs, file)) if theirs.shards().eq(manifest.shards()) => {
                return Ok(prepared(&theirs, file, true));
            }
            _ => create(store, &path, json.into()).await?,
        },
        created => created?,
    };
    info!(version = manifest.version, rows = manifest.lineage.source_rows, "dataset version prepared");
    Ok(prepared(&manifest, file, false))
}

/// Hashes the source on a thread.
async fn hash(path: &Path, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<Hashed, PrepareError> {
    let (told, mut newest) = watch::channel(0.0);
    let mut hashing = pin!(blocking(path, move |path| hash_file(path, &told)));
    let mut fraction = 0.0;
    loop {
        progress(Progress { stage: Stage::Hash, fraction });
        tokio::select! {
            hashed = &mut hashing => return hashed?,
            Ok(()) = newest.changed() => fraction = *newest.borrow_and_update(),
        }
    }
}

/// Stores the shards, and makes the manifest that names them.
async fn store_parts(
    spec: &DataSpec,
    source: &Hashed,
    version: HashHex,
    store: &Store,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<DatasetManifest, PrepareError> {
    let (shards, mut to_store) = mpsc::channel(QUEUE);
    let (told, mut newest) = watch::channel(Progress { stage: Stage::Hash, fraction: 1.0 });
    let owned = spec.clone();
    let building = spawn_blocking(move || build::build(&owned, &Outlet { shards, progress: told }));
    let mut splits = [(); 3].map(|()| SplitManifest::default());
    loop {
        let next = tokio::select! {
            biased;
            Ok(()) = newest.changed() => {
                progress(*newest.borrow_and_update());
                continue;
            }
            next = to_store.recv() => next,
        };
        let Some(shard) = next else { break };
        let path = format!("{}/{}", folder(&version), shard.file_name());
        // If this fails, the thread finds nobody who takes its next shard, and ends.
        let file = create(store, &path, shard.content).await?;
        let split = &mut splits[shard.split as usize];
        split.rows += shard.rows;
        split.shards.push(ShardRef { file, rows: shard.rows });
    }
    let built = building.await.map_err(|_| PrepareError::Crashed { path: source.path.clone() })??;
    let [train, validation, test] = splits;
    Ok(DatasetManifest {
        format: FORMAT,
        version,
        schema: built.schema,
        encoder: built.encoder,
        train,
        validation,
        test,
        lineage: Lineage {
            source: source.path.clone(),
            source_bytes: source.stamp.bytes,
            source_blake3: source.blake3.clone(),
            source_rows: built.rows,
            recipe: recipe(spec),
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        columns: built.columns,
    })
}

/// Stores a file that content and recipe decide: other bytes in its place are damage.
async fn create(store: &Store, path: &str, content: Bytes) -> Result<FileRef, StorageError> {
    match store.create(path, content.clone()).await {
        Err(StorageError::Exists(_)) => {
            warn!(path, "a damaged file is made again");
            store.delete(path).await?;
            store.create(path, content).await
        }
        created => created,
    }
}

/// The manifest of `version`, if it and all of its shards are there.
async fn find(version: &str, store: &Store) -> Result<Option<(DatasetManifest, FileRef)>, PrepareError> {
    let path = DatasetManifest::path(version);
    let content = match store.read_path(&path, MANIFEST_BYTES_MAX).await {
        Ok(content) => content,
        Err(StorageError::NotFound(_)) => return Ok(None),
        Err(other) => return Err(other.into()),
    };
    let file = reference(path, &content);
    let manifest: DatasetManifest = match serde_json::from_slice(&content) {
        Ok(manifest) => manifest,
        Err(error) => {
            warn!(path = file.path, %error, "a damaged manifest is made again");
            store.delete(&file.path).await?;
            return Ok(None);
        }
    };
    let present = store.list_prefix(&folder(version)).await?;
    let is_there = |shard: &ShardRef| {
        present.iter().any(|listed| listed.path == shard.file.path && listed.bytes == shard.file.bytes)
    };
    let is_whole = manifest.shards().all(is_there);
    Ok(is_whole.then_some((manifest, file)))
}

fn prepared(manifest: &DatasetManifest, file: FileRef, found: bool) -> Prepared {
    let rows = |split| manifest.split(split).rows;
    let dataset = DatasetRef {
        version: manifest.version.clone(),
        manifest: file,
        train_rows: rows(Split::Train),
        validation_rows: rows(Split::Validation),
        test_rows: rows(Split::Test),
    };
    Prepared { dataset, found, summary: manifest.summary() }
}

/// The name of what comes of `source` by the recipe in `spec`.
fn version(spec: &DataSpec, source: &Hashed) -> HashHex {
    let recipe = serde_json::to_vec(&recipe(spec)).expect("invariant: a recipe is made of plain values");
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"phalanx dataset").update(&FORMAT.to_le_bytes());
    hasher.update(source.blake3.as_bytes()).update(&recipe);
    hasher.finalize().to_hex().to_string()
}

/// What decides the result beside the content: all but the path.
fn recipe(spec: &DataSpec) -> DataSpec {
    let mut recipe = spec.clone();
    recipe.paths_mut().for_each(|path| *path = PathBuf::new());
    recipe
}

fn reference(path: String, content: &Bytes) -> FileRef {
    FileRef { path, bytes: content.len() as u64, blake3: blake3::hash(content).to_hex().to_string() }
}

fn hash_file(path: &Path, told: &watch::Sender<f32>) -> Result<Hashed, PrepareError> {
    let mut file = open(path)?;
    let stamp = stamp(&file.metadata().map_err(|error| unreadable(path, error))?);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; HASHED_AT_ONCE];
    loop {
        let read = file.read(&mut buffer).map_err(|error| unreadable(path, error))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        told.send((hasher.count() as f64 / stamp.bytes.max(1) as f64) as f32).map_err(given_up)?;
    }
    Ok(Hashed { path: path.to_owned(), stamp, blake3: hasher.finalize().to_hex().to_string() })
}

fn metadata(path: &Path) -> Result<Metadata, PrepareError> {
    std::fs::metadata(path).map_err(|error: io::Error| unreadable(path, error))
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp { bytes: metadata.len(), modified: metadata.modified().ok() }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> Result<T, PrepareError> {
    let owned = path.to_owned();
    let done = spawn_blocking(move || work(&owned)).await;
    done.map_err(|_| PrepareError::Crashed { path: path.to_owned() })
}

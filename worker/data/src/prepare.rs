//! Preparing: from a source to a dataset version in the store. A thread reads,
//! fits and encodes; the store is written from here, a shard at a time, and the
//! manifest last.
//!
//! Invariants: a manifest is there only if all of its shards are; a version's
//! name is decided by content and recipe alone; preparing again, or by two at
//! once, gives the same files.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use phalanx_protocol::{
    reference::{DatasetRef, FileRef, HashHex},
    spec::DataSpec,
};
use phalanx_storage::{StorageError, Store};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
};
use tracing::{debug, info, warn};

use crate::{
    DatasetManifest, Lineage, PrepareError, ShardRef, Sketches, Split, SplitManifest,
    build::{self, Outlet, Part},
    gather::gather,
    intake::{self, SourceFile, is_unchanged},
    manifest::{FORMAT, MANIFEST_BYTES_MAX, Weights, folder},
    material::Material,
    weigh::Weighed,
};

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
    build::check_recipe(spec)?;
    let scratch = scratch()?;
    let files = gather(spec, scratch.path(), progress).await?;
    let version = version(spec, &files);
    if let Some((manifest, file)) = find(&version, store).await? {
        debug!(version, "dataset version found");
        return Ok(prepared(&manifest, file, true));
    }

    let material = Material { spec: spec.clone(), files, scratch: scratch.path().to_owned() };
    let manifest = store_parts(&material, version, store, progress).await?;
    blocking(material.files, |files| files.iter().try_for_each(is_unchanged)).await??;
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

/// A folder for what is made on the way; it goes when preparing ends.
pub(crate) fn scratch() -> Result<TempDir, PrepareError> {
    TempDir::with_prefix("phalanx-data-")
        .map_err(|error| PrepareError::Scratch { path: std::env::temp_dir(), reason: error.to_string() })
}

/// Stores the shards, and makes the manifest that names them.
async fn store_parts(
    material: &Material,
    version: HashHex,
    store: &Store,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<DatasetManifest, PrepareError> {
    let (parts, mut to_store) = mpsc::channel(QUEUE);
    let (told, mut newest) = watch::channel(Progress { stage: Stage::Hash, fraction: 1.0 });
    let owned = material.clone();
    let building = spawn_blocking(move || build::build(&owned, &Outlet { parts, progress: told }));
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
        let Some(part) = next else { break };
        // If this fails, the thread finds nobody who takes its next part, and ends.
        store_part(store, &version, part, &mut splits).await?;
    }
    let crashed = |_| PrepareError::Crashed { path: intake::shown(&material.files).into() };
    let built = building.await.map_err(crashed)??;
    let (quarantined, rows) = built.quarantine.unzip();
    let quarantine = create_some(store, &version, "quarantine.jsonl", quarantined).await?;
    let (weighed, of) = built.weights.map(|Weighed { rows, of }| (rows, of)).unzip();
    let bytes = |rows: Vec<f32>| Bytes::from_iter(rows.into_iter().flat_map(f32::to_le_bytes));
    let weighed = weighed.map(bytes);
    let weights = create_some(store, &version, "train-weights.f32", weighed).await?;
    let sketches = built.sketches.as_ref().map(Sketches::to_file).transpose()?;
    let sketches = create_some(store, &version, "sketches.parquet", sketches).await?;
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
            sources: material.files.iter().map(SourceFile::record).collect(),
            source_rows: built.rows,
            recipe: recipe(&material.spec),
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            funnel: built.funnel,
            outcomes: built.outcomes,
            quarantine: quarantine.zip(rows).map(|(file, rows)| ShardRef { file, rows }),
        },
        columns: built.columns,
        profile: built.profile,
        sketches,
        leakage: built.leakage,
        weights: weights.zip(of).map(|(file, of)| Weights { file, of }),
    })
}

/// Stores rows of a split, as they are trained on or as they were, and puts them down in its manifest.
async fn store_part(
    store: &Store,
    version: &str,
    part: Part,
    splits: &mut [SplitManifest; 3],
) -> Result<(), StorageError> {
    match part {
        Part::Shard(shard) => {
            let path = format!("{}/{}", folder(version), shard.file_name());
            let file = create(store, &path, shard.content).await?;
            let split = &mut splits[shard.split as usize];
            split.rows += shard.rows;
            split.shards.push(ShardRef { file, rows: shard.rows });
        }
        Part::Raw { split, number, rows, content } => {
            let path = format!("{}/{split}-raw-{number:05}.parquet", folder(version));
            let file = create(store, &path, content).await?;
            splits[split as usize].raw.push(ShardRef { file, rows });
        }
    }
    Ok(())
}

/// Stores a file of a version that only some versions have.
async fn create_some(
    store: &Store,
    version: &str,
    name: &str,
    content: Option<Bytes>,
) -> Result<Option<FileRef>, StorageError> {
    match content {
        Some(content) => create(store, &format!("{}/{name}", folder(version)), content).await.map(Some),
        None => Ok(None),
    }
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
    let is_there =
        |file: &FileRef| present.iter().any(|listed| listed.path == file.path && listed.bytes == file.bytes);
    let is_whole = manifest.files().all(is_there);
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

/// The name of what comes of `files` by the recipe in `spec`.
fn version(spec: &DataSpec, files: &[SourceFile]) -> HashHex {
    let recipe = serde_json::to_vec(&recipe(spec)).expect("invariant: a recipe is made of plain values");
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"phalanx dataset").update(&FORMAT.to_le_bytes());
    for file in files {
        hasher.update(file.blake3.as_bytes());
        // Of images, the folder is the class.
        hasher.update(if spec.images.is_some() { label_of(file) } else { b"" });
    }
    hasher.update(&recipe);
    hasher.finalize().to_hex().to_string()
}

/// What of an image's path decides the result: its folder's name and its own.
fn label_of(file: &SourceFile) -> &[u8] {
    let name = file.name.file_name().unwrap_or_default();
    let folder = file.name.parent().and_then(Path::file_name).unwrap_or(name);
    folder.as_encoded_bytes()
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

/// Runs `work` on a thread that may block.
async fn blocking<A: Send + 'static, T: Send + 'static>(
    with: A,
    work: impl FnOnce(&A) -> T + Send + 'static,
) -> Result<T, PrepareError> {
    let done = spawn_blocking(move || work(&with)).await;
    done.map_err(|_| PrepareError::Crashed { path: "the source".into() })
}

//! A prepared data set, read: batches gathered by position from shards that are
//! mapped into memory. Where it fits into the cache, all shards are mapped when it
//! is opened; where it does not, they come and go ([`stream`](crate::stream)).
//! Which of the two it is decides nothing about the order of rows.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{StreamExt as _, TryStreamExt as _};
use phalanx_protocol::{
    reference::{DatasetRef, FileRef},
    spec::{Shuffle, TrainSpec},
};
use phalanx_storage::{StorageError, Store};

use crate::{
    Batch, DatasetManifest, EpochOrder, Features, Schema, ShardRef, Split, TargetKind, Targets,
    blocks::BlockOrder,
    cache::Cache,
    manifest::FORMAT,
    mapped::{Form, Mapped},
    order::Order,
    schema::FeatureKind,
    stream::Stream,
};

/// Shards that are fetched at the same time.
pub(crate) const FETCHES_MAX: usize = 4;

/// The most bytes of a training split that is shuffled as a whole unless the job file says otherwise.
const WHOLE_BYTES_MAX: u64 = 8 << 30;

/// A prepared data set, to be shared in an `Arc`.
#[derive(Debug)]
pub struct Dataset {
    manifest: DatasetManifest,
    width: usize,
    /// The first row beyond each shard, by split.
    ends: [Vec<u64>; 3],
    shards: Shards,
    /// The weight of each row of the training split, where they do not weigh the same.
    weights: Option<Vec<f32>>,
    /// Batches that were asked for.
    gathered: AtomicU64,
}

/// Where shards are.
#[derive(Debug)]
enum Shards {
    /// In memory, by split, in order.
    Mapped([Vec<Arc<Mapped>>; 3]),
    /// Some of them in memory.
    Streamed(Arc<Stream>),
}

/// Why a data set cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file of it is absent or damaged, or the store or the cache fails.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The manifest cannot be read.
    #[error("{path}: not a dataset manifest: {error}")]
    Manifest {
        /// Its path in the store.
        path: String,
        /// What is wrong with it.
        #[source]
        error: serde_json::Error,
    },
    /// Written by another version.
    #[error("{path}: expected a dataset of format {expected}, found {actual}; prepare it again")]
    Format {
        /// The manifest's path in the store.
        path: String,
        /// The format that this code reads.
        expected: u32,
        /// The manifest's.
        actual: u32,
    },
    /// A shard is not what the manifest says.
    #[error("{path}: not a shard of this data set: {reason}")]
    Shard {
        /// Its path in the store.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A shard cannot be mapped into memory.
    #[error("{path}: cannot be mapped into memory: {error}")]
    Map {
        /// Its path in the store.
        path: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The process is ending: nobody fetches shards any more.
    #[error("{path}: was not fetched, the process is ending")]
    Ending {
        /// Its path in the store.
        path: String,
    },
}

/// What of a manifest tells whether this code can read the rest.
#[derive(serde::Deserialize)]
struct Head {
    format: u32,
}

impl Dataset {
    /// Reads the manifest of `dataset`. If its files fit into `cache`, fetches them (if the store is not on this machine),
    /// checks them against their hashes and maps them; otherwise that is done when they are needed, on the runtime on
    /// which this is called.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; a damaged file is [`StorageError::Damaged`].
    pub async fn open(dataset: &DatasetRef, store: &Store, cache: &Cache) -> Result<Self, OpenError> {
        let path = &dataset.manifest.path;
        let content = store.read(&dataset.manifest).await?;
        let refuse = |error| OpenError::Manifest { path: path.clone(), error };
        let Head { format } = serde_json::from_slice(&content).map_err(refuse)?;
        if format != FORMAT {
            let (expected, actual) = (FORMAT, format);
            return Err(OpenError::Format { path: path.clone(), expected, actual });
        }
        let manifest: DatasetManifest = serde_json::from_slice(&content).map_err(refuse)?;
        let form = Form::of(&manifest);
        let refs = Split::ALL.map(|split| manifest.split(split).shards.clone());
        let ends = [0, 1, 2].map(|split: usize| ends(&refs[split]));
        let bytes: u64 = manifest.shards().map(|shard| shard.file.bytes).sum();
        let shards = if bytes <= cache.bytes_max() {
            Shards::Mapped(map_all(&refs, form, store, cache).await?)
        } else {
            Shards::Streamed(Stream::new(refs, form, store.clone(), cache.clone()))
        };
        let weights = match &manifest.weights {
            Some(weights) => Some(read_weights(&weights.file, manifest.train.rows, store).await?),
            None => None,
        };
        Ok(Self { width: form.width, manifest, ends, shards, weights, gathered: AtomicU64::new(0) })
    }

    /// What it holds and where it came from.
    pub fn manifest(&self) -> &DatasetManifest {
        &self.manifest
    }

    /// What a model must know of it.
    pub fn schema(&self) -> &Schema {
        &self.manifest.schema
    }

    /// Rows of a split; windows of text.
    pub fn rows(&self, split: Split) -> u64 {
        self.ends[split as usize].last().copied().unwrap_or(0)
    }

    /// How often rows were asked for: whoever trains or measures does so again and again.
    pub fn gathered(&self) -> u64 {
        self.gathered.load(Ordering::Relaxed)
    }

    /// The order in which a training as `spec` says takes the rows of the training split in epoch `epoch`: a pure function
    /// of the two and the data set.
    pub fn order(&self, spec: &TrainSpec, epoch: u64) -> EpochOrder {
        let shards = &self.manifest.train.shards;
        let bytes: u64 = shards.iter().map(|shard| shard.file.bytes).sum();
        let by_size = if bytes <= WHOLE_BYTES_MAX { Shuffle::Whole } else { Shuffle::Blocks };
        let rows = self.rows(Split::Train);
        match spec.shuffle.unwrap_or(by_size) {
            Shuffle::Whole => EpochOrder::Whole(Order::new(spec.seed, epoch, rows)),
            Shuffle::Blocks => {
                // All shards of a split but the last have as many rows.
                let block_rows = shards.first().map_or(1, |shard| shard.rows.max(1));
                EpochOrder::Blocks(BlockOrder::new(spec.seed, epoch, rows, block_rows, spec.shuffle_window))
            }
        }
    }

    /// Has shards of a split fetched, in this order, that will soon be gathered from. Does not wait.
    pub fn prefetch(&self, split: Split, shards: impl Iterator<Item = usize>) {
        match &self.shards {
            Shards::Mapped(_) => {}
            Shards::Streamed(stream) => stream.prefetch(split, shards),
        }
    }

    /// The same of the shards that hold these rows.
    pub fn prefetch_rows(&self, split: Split, rows: Range<u64>) {
        if !rows.is_empty() {
            let (first, last) = (self.place(split, rows.start).0, self.place(split, rows.end - 1).0);
            self.prefetch(split, first..=last);
        }
    }

    /// Whether the shards that an epoch in this order needs together, those of a window and of the next one, fit into the
    /// cache. Where they do not, they are fetched again and again.
    pub fn has_room_for(&self, order: &EpochOrder) -> bool {
        match (&self.shards, order) {
            (Shards::Mapped(_), _) => true,
            (Shards::Streamed(_), EpochOrder::Whole(_)) => false,
            (Shards::Streamed(stream), EpochOrder::Blocks(order)) => {
                stream.has_room_for(Split::Train, 2 * order.window_blocks())
            }
        }
    }

    /// Copies `rows` of a split, in the order given. Waits for shards that are still to be fetched, for as long as the
    /// store is away: not to be called where waiting would keep them from that.
    ///
    /// # Errors
    ///
    /// If a shard cannot be fetched or mapped; none where the data set fits into the cache.
    ///
    /// # Panics
    ///
    /// If a row is not below [`rows`](Self::rows): a bug of the caller.
    pub fn gather(&self, split: Split, rows: &[u64]) -> Result<Batch, OpenError> {
        let ending = || OpenError::Ending { path: DatasetManifest::path(&self.manifest.version) };
        self.gather_while(split, rows, &|| true)?.ok_or_else(ending)
    }

    /// [`gather`](Self::gather), but waits only while the rows are `still_wanted`; `None` if they are not before their
    /// shards are here.
    ///
    /// # Errors
    ///
    /// Those of [`gather`](Self::gather).
    ///
    /// # Panics
    ///
    /// As [`gather`](Self::gather) does.
    pub fn gather_while(
        &self,
        split: Split,
        rows: &[u64],
        still_wanted: &dyn Fn() -> bool,
    ) -> Result<Option<Batch>, OpenError> {
        self.gathered.fetch_add(1, Ordering::Relaxed);
        let mut fetched = BTreeMap::new();
        if let Shards::Streamed(stream) = &self.shards {
            for row in rows {
                let (index, _) = self.place(split, *row);
                if let Entry::Vacant(place) = fetched.entry(index) {
                    let Some(shard) = stream.get(split, index, still_wanted)? else { return Ok(None) };
                    place.insert(shard);
                }
            }
        }
        let places: Vec<(&Mapped, usize)> = rows
            .iter()
            .map(|row| {
                let (index, row) = self.place(split, *row);
                let shard = match &self.shards {
                    Shards::Mapped(shards) => &shards[split as usize][index],
                    Shards::Streamed(_) => &fetched[&index],
                };
                (shard.as_ref(), row)
            })
            .collect();
        let (features, targets) = (self.features(&places), self.targets(&places));
        let weights = self.weights.as_ref().filter(|_| split == Split::Train);
        let weights = weights.map(|weights| rows.iter().map(|row| weights[*row as usize]).collect());
        Ok(Some(Batch { rows: rows.len(), features, targets, weights }))
    }

    fn features(&self, places: &[(&Mapped, usize)]) -> Features {
        let width = self.width;
        match &self.schema().features {
            FeatureKind::Tokens { .. } => {
                Features::Tokens(copied(places, width, 0, |shard| shard.features.tokens()))
            }
            FeatureKind::Dense { .. } | FeatureKind::Image { .. } | FeatureKind::Bytes { .. } => {
                match self.manifest.encoder.is_floats() {
                    true => Features::Floats(copied(places, width, 0, |shard| shard.features.floats())),
                    false => Features::Bytes(copied(places, width, 0, |shard| shard.features.bytes())),
                }
            }
        }
    }

    fn targets(&self, places: &[(&Mapped, usize)]) -> Targets {
        let width = self.width;
        match &self.schema().target {
            TargetKind::Classes(_) => {
                Targets::Classes(places.iter().map(|(shard, row)| shard.targets.classes()[*row]).collect())
            }
            TargetKind::Number { .. } => {
                Targets::Numbers(places.iter().map(|(shard, row)| shard.targets.numbers()[*row]).collect())
            }
            TargetKind::NextByte => Targets::Bytes(copied(places, width, 1, |shard| shard.features.bytes())),
            TargetKind::NextToken { .. } => {
                Targets::Tokens(copied(places, width, 1, |shard| shard.features.tokens()))
            }
        }
    }

    /// The shard that holds a row of a split, and the row's number in it.
    fn place(&self, split: Split, row: u64) -> (usize, usize) {
        let ends = &self.ends[split as usize];
        let index = ends.partition_point(|end| *end <= row);
        assert!(index < ends.len(), "row {row} is not below {} of split {split}", self.rows(split));
        let start = index.checked_sub(1).map_or(0, |before| ends[before]);
        (index, (row - start) as usize)
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        if let Shards::Streamed(stream) = &self.shards {
            stream.close();
        }
    }
}

/// The `width` values of each row, `ahead` further than the row itself.
fn copied<'a, T: Copy + 'a>(
    places: &[(&'a Mapped, usize)],
    width: usize,
    ahead: usize,
    values: impl Fn(&'a Mapped) -> &'a [T],
) -> Vec<T> {
    let mut copies = Vec::with_capacity(places.len() * width);
    for (shard, row) in places {
        copies.extend_from_slice(&values(shard)[row * width + ahead..][..width]);
    }
    copies
}

fn ends(shards: &[ShardRef]) -> Vec<u64> {
    let add = |end: &mut u64, shard: &ShardRef| {
        *end += shard.rows;
        Some(*end)
    };
    shards.iter().scan(0, add).collect()
}

/// The weights of so many rows.
async fn read_weights(file: &FileRef, rows: u64, store: &Store) -> Result<Vec<f32>, OpenError> {
    let content = store.read(file).await?;
    let weights: Vec<f32> = content
        .as_chunks()
        .0
        .iter()
        .map(|bytes: &[u8; size_of::<f32>()]| f32::from_le_bytes(*bytes))
        .collect();
    if weights.len() as u64 != rows {
        let reason = format!("it has {} weights, expected {rows}", weights.len());
        return Err(OpenError::Shard { path: file.path.clone(), reason });
    }
    Ok(weights)
}

async fn map_all(
    refs: &[Vec<ShardRef>; 3],
    form: Form,
    store: &Store,
    cache: &Cache,
) -> Result<[Vec<Arc<Mapped>>; 3], OpenError> {
    let mut splits = [Vec::new(), Vec::new(), Vec::new()];
    for (shards, mapped) in refs.iter().zip(&mut splits) {
        // Collected: the compiler cannot see that a closure held across a wait is `Send`.
        let fetches: Vec<_> = shards.iter().map(|shard| cache.fetch(store, shard, form)).collect();
        *mapped = futures::stream::iter(fetches).buffered(FETCHES_MAX).try_collect().await?;
    }
    Ok(splits)
}

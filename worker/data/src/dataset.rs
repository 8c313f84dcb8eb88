//! A prepared data set, read: shards as files mapped into memory, and batches
//! gathered from them by position. Holds no rows of its own; several processes
//! on a machine share the same pages.

use std::{
    fs::File,
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use arrow::{
    array::AsArray as _,
    buffer::{Buffer, ScalarBuffer},
    datatypes::{Float32Type, UInt8Type, UInt32Type},
    error::ArrowError,
    ipc::{
        convert::fb_to_schema,
        reader::{FileDecoder, read_footer_length},
        root_as_footer,
    },
    record_batch::RecordBatch,
};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use memmap2::Mmap;
use phalanx_protocol::reference::DatasetRef;
use phalanx_storage::{StorageError, Store};

use crate::{
    Batch, DatasetManifest, Features, Schema, ShardRef, Split, TargetKind, Targets, manifest::FORMAT,
};

/// Shards that are fetched at the same time.
const FETCHES_MAX: usize = 4;

/// A prepared data set, to be shared in an `Arc`.
#[derive(Debug)]
pub struct Dataset {
    manifest: DatasetManifest,
    width: usize,
    floats: bool,
    /// By split, in order.
    shards: [Vec<Shard>; 3],
    /// Batches that were asked for.
    gathered: AtomicU64,
}

/// Why a data set cannot be opened.
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
}

/// A mapped shard.
#[derive(Debug)]
struct Shard {
    /// The first row that is beyond it.
    end: u64,
    /// Its first row.
    start: u64,
    features: Values,
    targets: TargetValues,
}

#[derive(Debug)]
enum Values {
    Floats(ScalarBuffer<f32>),
    Bytes(ScalarBuffer<u8>),
}

#[derive(Debug)]
enum TargetValues {
    Classes(ScalarBuffer<u32>),
    Numbers(ScalarBuffer<f32>),
    /// The features' bytes, one further.
    NextBytes,
}

impl Dataset {
    /// Fetches the files of `dataset` (into the folder `cache`, if the store is
    /// not on this machine), checks them against their hashes and maps them.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; a damaged file is [`StorageError::Damaged`].
    pub async fn open(dataset: &DatasetRef, store: &Store, cache: &Path) -> Result<Self, OpenError> {
        let path = &dataset.manifest.path;
        let content = store.read(&dataset.manifest).await?;
        let manifest: DatasetManifest = serde_json::from_slice(&content)
            .map_err(|error| OpenError::Manifest { path: path.clone(), error })?;
        if manifest.format != FORMAT {
            let (expected, actual) = (FORMAT, manifest.format);
            return Err(OpenError::Format { path: path.clone(), expected, actual });
        }
        let mut opened = Self {
            width: manifest.encoder.width(),
            floats: manifest.encoder.is_floats(),
            shards: [Vec::new(), Vec::new(), Vec::new()],
            gathered: AtomicU64::new(0),
            manifest,
        };
        for split in Split::ALL {
            let shards = &opened.manifest.split(split).shards;
            // Collected: the compiler cannot see that a closure held across a wait is `Send`.
            let fetches: Vec<_> = shards.iter().map(|shard| store.local_file(&shard.file, cache)).collect();
            let files: Vec<_> = futures::stream::iter(fetches).buffered(FETCHES_MAX).try_collect().await?;
            let mut mapped = Vec::new();
            for (shard, file) in shards.iter().zip(files) {
                let start = mapped.last().map_or(0, |shard: &Shard| shard.end);
                mapped.push(opened.map(shard, &file, start)?);
            }
            opened.shards[split as usize] = mapped;
        }
        Ok(opened)
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
        self.shards[split as usize].last().map_or(0, |shard| shard.end)
    }

    /// How often rows were asked for: whoever trains or measures does so again and again.
    pub fn gathered(&self) -> u64 {
        self.gathered.load(Ordering::Relaxed)
    }

    /// Copies `rows` of a split, in the order given.
    ///
    /// # Panics
    ///
    /// If a row is not below [`rows`](Self::rows): a bug of the caller.
    pub fn gather(&self, split: Split, rows: &[u64]) -> Batch {
        self.gathered.fetch_add(1, Ordering::Relaxed);
        let places = || rows.iter().map(|row| self.place(split, *row));
        let width = self.width;
        let features = if self.floats {
            let mut values = Vec::with_capacity(rows.len() * width);
            for (shard, row) in places() {
                if let Values::Floats(floats) = &shard.features {
                    values.extend_from_slice(&floats[row * width..][..width]);
                }
            }
            Features::Floats(values)
        } else {
            Features::Bytes(self.gather_bytes(rows.len(), places(), 0))
        };
        let targets = match &self.schema().target {
            TargetKind::Classes(_) => Targets::Classes(
                places()
                    .filter_map(|(shard, row)| shard.targets.classes().map(|classes| classes[row]))
                    .collect(),
            ),
            TargetKind::Number { .. } => Targets::Numbers(
                places()
                    .filter_map(|(shard, row)| shard.targets.numbers().map(|numbers| numbers[row]))
                    .collect(),
            ),
            TargetKind::NextByte => Targets::Bytes(self.gather_bytes(rows.len(), places(), 1)),
        };
        Batch { rows: rows.len(), features, targets }
    }

    /// The bytes of rows, `ahead` further than the rows themselves.
    fn gather_bytes<'a>(
        &self,
        count: usize,
        places: impl Iterator<Item = (&'a Shard, usize)>,
        ahead: usize,
    ) -> Vec<u8> {
        let width = self.width;
        let mut values = Vec::with_capacity(count * width);
        for (shard, row) in places {
            if let Values::Bytes(bytes) = &shard.features {
                values.extend_from_slice(&bytes[row * width + ahead..][..width]);
            }
        }
        values
    }

    /// The shard that holds a row of a split, and the row's number in it.
    fn place(&self, split: Split, row: u64) -> (&Shard, usize) {
        let shards = &self.shards[split as usize];
        let index = shards.partition_point(|shard| shard.end <= row);
        assert!(index < shards.len(), "row {row} is not below {} of split {split}", self.rows(split));
        let shard = &shards[index];
        (shard, (row - shard.start) as usize)
    }

    /// Maps the file of a shard and finds its columns.
    fn map(&self, shard: &ShardRef, file: &Path, start: u64) -> Result<Shard, OpenError> {
        let path = &shard.file.path;
        let content = map_file(file).map_err(|error| OpenError::Map { path: path.clone(), error })?;
        let refuse = |reason: String| OpenError::Shard { path: path.clone(), reason };
        let batch = read_batch(&Buffer::from(content)).map_err(|error| refuse(error.to_string()))?;
        let (features, targets) = self.columns(&batch, shard.rows).ok_or_else(|| {
            refuse(format!(
                "expected {} rows of {} values, found {:?}",
                shard.rows,
                self.width,
                batch.schema()
            ))
        })?;
        Ok(Shard { start, end: start + shard.rows, features, targets })
    }

    /// The columns of a shard of `rows` rows, if they are what the manifest says.
    fn columns(&self, batch: &RecordBatch, rows: u64) -> Option<(Values, TargetValues)> {
        let rows = usize::try_from(rows).ok()?;
        if self.schema().target == TargetKind::NextByte {
            let bytes = batch.column_by_name("bytes")?.as_primitive_opt::<UInt8Type>()?;
            let expected = rows.checked_mul(self.width)?.checked_add(1)?;
            let features = Values::Bytes(bytes.values().clone());
            return (bytes.len() == expected).then_some((features, TargetValues::NextBytes));
        }
        let lists = batch.column_by_name("features")?.as_fixed_size_list_opt()?;
        let features = if self.floats {
            Values::Floats(lists.values().as_primitive_opt::<Float32Type>()?.values().clone())
        } else {
            Values::Bytes(lists.values().as_primitive_opt::<UInt8Type>()?.values().clone())
        };
        let target = batch.column_by_name("target")?;
        let targets = match self.schema().target {
            TargetKind::Classes(_) => {
                TargetValues::Classes(target.as_primitive_opt::<UInt32Type>()?.values().clone())
            }
            TargetKind::Number { .. } => {
                TargetValues::Numbers(target.as_primitive_opt::<Float32Type>()?.values().clone())
            }
            TargetKind::NextByte => return None,
        };
        let is_whole = batch.num_rows() == rows && usize::try_from(lists.value_length()) == Ok(self.width);
        is_whole.then_some((features, targets))
    }
}

impl TargetValues {
    fn classes(&self) -> Option<&ScalarBuffer<u32>> {
        match self {
            Self::Classes(classes) => Some(classes),
            Self::Numbers(_) | Self::NextBytes => None,
        }
    }

    fn numbers(&self) -> Option<&ScalarBuffer<f32>> {
        match self {
            Self::Numbers(numbers) => Some(numbers),
            Self::Classes(_) | Self::NextBytes => None,
        }
    }
}

#[expect(unsafe_code, reason = "mapping a file is sound only as long as nobody changes it")]
fn map_file(file: &Path) -> io::Result<Bytes> {
    let file = File::open(file)?;
    // SAFETY: files of the store, and copies of them in the cache, are created
    // whole and never written to again; a deleted one stays as long as it is mapped.
    let map = unsafe { Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}

/// The one record batch of an Arrow IPC file, its columns lying in `file` itself.
fn read_batch(file: &Buffer) -> Result<RecordBatch, ArrowError> {
    /// Bytes after the footer: its length and the magic number.
    const TRAILER_BYTES: usize = 10;
    let short = || ArrowError::IpcError("the file is too short".to_owned());
    let slice = |start: usize, length: usize| {
        let end = start.checked_add(length).filter(|end| *end <= file.len()).ok_or_else(short)?;
        Ok::<_, ArrowError>(file.slice_with_length(start, end - start))
    };

    let trailer_start = file.len().checked_sub(TRAILER_BYTES).ok_or_else(short)?;
    let mut trailer = [0; TRAILER_BYTES];
    trailer.copy_from_slice(&slice(trailer_start, TRAILER_BYTES)?);
    let footer_bytes = read_footer_length(trailer)?;
    let footer = slice(trailer_start.checked_sub(footer_bytes).ok_or_else(short)?, footer_bytes)?;
    let footer = root_as_footer(&footer).map_err(|error| ArrowError::IpcError(error.to_string()))?;
    let (Some(schema), Some(batches)) = (footer.schema(), footer.recordBatches()) else {
        return Err(ArrowError::IpcError("the footer names no schema or no batches".to_owned()));
    };
    if batches.len() != 1 {
        return Err(ArrowError::IpcError(format!("expected 1 record batch, found {}", batches.len())));
    }

    let block = batches.get(0);
    let number = |value: i64| usize::try_from(value).map_err(|_| short());
    let length = number(block.metaDataLength().into())?.saturating_add(number(block.bodyLength())?);
    let data = slice(number(block.offset())?, length)?;
    // Columns that are not aligned would be copied: they are refused.
    let decoder =
        FileDecoder::new(fb_to_schema(schema).into(), footer.version()).with_require_alignment(true);
    decoder.read_record_batch(block, &data)?.ok_or_else(short)
}

//! A shard as a file mapped into memory. Holds no rows of its own; several
//! processes on a machine share the same pages.

use std::{fs::File, io, path::Path};

use arrow::{
    array::AsArray as _,
    buffer::{Buffer, ScalarBuffer},
    datatypes::{Float32Type, UInt8Type, UInt16Type, UInt32Type},
    error::ArrowError,
    ipc::{
        convert::fb_to_schema,
        reader::{FileDecoder, read_footer_length},
        root_as_footer,
    },
    record_batch::RecordBatch,
};
use bytes::Bytes;
use memmap2::Mmap;

use crate::{DatasetManifest, FeatureKind, OpenError, ShardRef, TargetKind};

/// What the rows of a data set's shards look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// Values in a row's features.
    pub(crate) width: usize,
    features: FeatureForm,
    targets: TargetForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FeatureForm {
    Floats,
    Bytes,
    Tokens,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetForm {
    Classes,
    Numbers,
    /// The features, one further.
    Next,
}

/// A mapped shard.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) features: Values,
    pub(crate) targets: TargetColumn,
}

#[derive(Debug)]
pub(crate) enum Values {
    Floats(ScalarBuffer<f32>),
    Bytes(ScalarBuffer<u8>),
    Tokens(ScalarBuffer<u16>),
}

#[derive(Debug)]
pub(crate) enum TargetColumn {
    Classes(ScalarBuffer<u32>),
    Numbers(ScalarBuffer<f32>),
    /// The features, one further.
    Next,
}

impl Form {
    /// What the shards of this data set look like.
    pub(crate) fn of(manifest: &DatasetManifest) -> Self {
        let features = match &manifest.schema.features {
            FeatureKind::Tokens { .. } => FeatureForm::Tokens,
            FeatureKind::Dense { .. } | FeatureKind::Image { .. } | FeatureKind::Bytes { .. } => {
                if manifest.encoder.is_floats() { FeatureForm::Floats } else { FeatureForm::Bytes }
            }
        };
        let targets = match &manifest.schema.target {
            TargetKind::Classes(_) => TargetForm::Classes,
            TargetKind::Number { .. } => TargetForm::Numbers,
            TargetKind::NextByte | TargetKind::NextToken { .. } => TargetForm::Next,
        };
        Self { width: manifest.encoder.width(), features, targets }
    }

    /// Maps the file of a shard and finds its columns.
    pub(crate) fn map(&self, shard: &ShardRef, file: &Path) -> Result<Mapped, OpenError> {
        let path = &shard.file.path;
        let content = map_file(file).map_err(|error| OpenError::Map { path: path.clone(), error })?;
        let refuse = |reason: String| OpenError::Shard { path: path.clone(), reason };
        let batch = read_batch(&Buffer::from(content)).map_err(|error| refuse(error.to_string()))?;
        self.columns(&batch, shard.rows).ok_or_else(|| {
            refuse(format!(
                "expected {} rows of {} values, found {:?}",
                shard.rows,
                self.width,
                batch.schema()
            ))
        })
    }

    /// The columns of a shard of `rows` rows, if they are what the manifest says.
    fn columns(&self, batch: &RecordBatch, rows: u64) -> Option<Mapped> {
        let rows = usize::try_from(rows).ok()?;
        if self.targets == TargetForm::Next {
            let features = match self.features {
                FeatureForm::Bytes => {
                    let bytes = batch.column_by_name("bytes")?.as_primitive_opt::<UInt8Type>()?;
                    Values::Bytes(bytes.values().clone())
                }
                FeatureForm::Tokens => {
                    let tokens = batch.column_by_name("tokens")?.as_primitive_opt::<UInt16Type>()?;
                    Values::Tokens(tokens.values().clone())
                }
                FeatureForm::Floats => return None,
            };
            let expected = rows.checked_mul(self.width)?.checked_add(1)?;
            return (features.len() == expected).then_some(Mapped { features, targets: TargetColumn::Next });
        }
        let lists = batch.column_by_name("features")?.as_fixed_size_list_opt()?;
        let features = match self.features {
            FeatureForm::Floats => {
                Values::Floats(lists.values().as_primitive_opt::<Float32Type>()?.values().clone())
            }
            FeatureForm::Bytes => {
                Values::Bytes(lists.values().as_primitive_opt::<UInt8Type>()?.values().clone())
            }
            FeatureForm::Tokens => return None,
        };
        let target = batch.column_by_name("target")?;
        let targets = match self.targets {
            TargetForm::Classes => {
                TargetColumn::Classes(target.as_primitive_opt::<UInt32Type>()?.values().clone())
            }
            TargetForm::Numbers => {
                TargetColumn::Numbers(target.as_primitive_opt::<Float32Type>()?.values().clone())
            }
            TargetForm::Next => return None,
        };
        let is_whole = batch.num_rows() == rows && usize::try_from(lists.value_length()) == Ok(self.width);
        is_whole.then_some(Mapped { features, targets })
    }
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Bytes(values) => values.len(),
            Self::Tokens(values) => values.len(),
        }
    }

    /// The numbers; none if they are something else.
    pub(crate) fn floats(&self) -> &[f32] {
        match self {
            Self::Floats(values) => values,
            Self::Bytes(_) | Self::Tokens(_) => &[],
        }
    }

    /// The bytes; none if they are something else.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(values) => values,
            Self::Floats(_) | Self::Tokens(_) => &[],
        }
    }

    /// The tokens; none if they are something else.
    pub(crate) fn tokens(&self) -> &[u16] {
        match self {
            Self::Tokens(values) => values,
            Self::Floats(_) | Self::Bytes(_) => &[],
        }
    }
}

impl TargetColumn {
    /// The classes; none if they are something else.
    pub(crate) fn classes(&self) -> &[u32] {
        match self {
            Self::Classes(classes) => classes,
            Self::Numbers(_) | Self::Next => &[],
        }
    }

    /// The numbers; none if they are something else.
    pub(crate) fn numbers(&self) -> &[f32] {
        match self {
            Self::Numbers(numbers) => numbers,
            Self::Classes(_) | Self::Next => &[],
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

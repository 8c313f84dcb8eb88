//! Shards: rows of one split as an uncompressed Arrow IPC file of one record
//! batch, which other tools read too, and whose columns can be used where they
//! lie when the file is mapped.
//!
//! Rows of a table: `features: fixed_size_list<float|uint8>[width]` and `target:
//! uint32|float`. Text: one column `bytes: uint8` or `tokens: uint16`, each window
//! after the other and one more, the last one to predict. Nothing is null.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, UInt8Array, UInt16Array, UInt32Array},
    datatypes::{Field, Schema as ArrowSchema},
    ipc::writer::FileWriter,
};
use bytes::Bytes;

use crate::{Features, Split, manifest::SHARD_BYTES, profile::TargetValues};

/// Bytes of an IPC file beside its rows, about.
const OVERHEAD_BYTES: usize = 4 << 10;

/// A shard, ready to be stored.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) split: Split,
    /// Its number within the split, from 0.
    pub(crate) number: u64,
    /// Its rows; windows, for text.
    pub(crate) rows: u64,
    /// The IPC file.
    pub(crate) content: Bytes,
}

/// Collects rows of one split until they fill a shard.
#[derive(Debug)]
pub(crate) struct ShardBuilder {
    split: Split,
    width: usize,
    rows_max: usize,
    number: u64,
    rows: usize,
    features: Features,
    targets: TargetValues,
}

impl Shard {
    /// The shard's path below the folder of its data set.
    pub(crate) fn file_name(&self) -> String {
        format!("{}-{:05}.arrow", self.split, self.number)
    }

    /// A shard of text.
    pub(crate) fn of_text(split: Split, number: u64, rows: u64, bytes: Vec<u8>) -> Self {
        let columns = [("bytes", Arc::new(UInt8Array::from(bytes)) as ArrayRef)];
        Self { split, number, rows, content: ipc_file(columns) }
    }

    /// A shard of tokens.
    pub(crate) fn of_tokens(split: Split, number: u64, rows: u64, tokens: Vec<u16>) -> Self {
        let columns = [("tokens", Arc::new(UInt16Array::from(tokens)) as ArrayRef)];
        Self { split, number, rows, content: ipc_file(columns) }
    }
}

impl ShardBuilder {
    /// For rows of `width` floats or bytes each, with targets of the kind of `targets`.
    pub(crate) fn new(split: Split, width: usize, features: &Features, targets: &TargetValues) -> Self {
        let (features, value_bytes) = match features {
            Features::Floats(_) => (Features::Floats(Vec::new()), 4),
            Features::Bytes(_) => (Features::Bytes(Vec::new()), 1),
            Features::Tokens(_) => (Features::Tokens(Vec::new()), 2),
        };
        let targets = match targets {
            TargetValues::Classes(_) => TargetValues::Classes(Vec::new()),
            TargetValues::Numbers(_) => TargetValues::Numbers(Vec::new()),
        };
        let rows_max = (SHARD_BYTES / (width * value_bytes + 4)).max(1);
        Self { split, width, rows_max, number: 0, rows: 0, features, targets }
    }

    /// Adds row `row` of a chunk; a shard, if it is full now.
    pub(crate) fn push(&mut self, features: &Features, targets: &TargetValues, row: usize) -> Option<Shard> {
        let values = row * self.width..(row + 1) * self.width;
        match (&mut self.features, features) {
            (Features::Floats(mine), Features::Floats(all)) => mine.extend_from_slice(&all[values]),
            (Features::Bytes(mine), Features::Bytes(all)) => mine.extend_from_slice(&all[values]),
            (Features::Tokens(mine), Features::Tokens(all)) => mine.extend_from_slice(&all[values]),
            (Features::Floats(_), Features::Bytes(_) | Features::Tokens(_))
            | (Features::Bytes(_), Features::Floats(_) | Features::Tokens(_))
            | (Features::Tokens(_), Features::Floats(_) | Features::Bytes(_)) => {
                unreachable!("invariant: one encoder gives features of one kind")
            }
        }
        match (&mut self.targets, targets) {
            (TargetValues::Classes(mine), TargetValues::Classes(all)) => mine.push(all[row]),
            (TargetValues::Numbers(mine), TargetValues::Numbers(all)) => mine.push(all[row]),
            (TargetValues::Classes(_), TargetValues::Numbers(_))
            | (TargetValues::Numbers(_), TargetValues::Classes(_)) => {
                unreachable!("invariant: one rule gives targets of one kind")
            }
        }
        self.rows += 1;
        if self.rows == self.rows_max { self.finish() } else { None }
    }

    /// The rows that no shard was made of yet.
    pub(crate) fn finish(&mut self) -> Option<Shard> {
        if self.rows == 0 {
            return None;
        }
        let features: ArrayRef = match &mut self.features {
            Features::Floats(values) => Arc::new(Float32Array::from(std::mem::take(values))),
            Features::Bytes(values) => Arc::new(UInt8Array::from(std::mem::take(values))),
            Features::Tokens(values) => Arc::new(UInt16Array::from(std::mem::take(values))),
        };
        let targets: ArrayRef = match &mut self.targets {
            TargetValues::Classes(classes) => Arc::new(UInt32Array::from(std::mem::take(classes))),
            TargetValues::Numbers(numbers) => Arc::new(Float32Array::from(std::mem::take(numbers))),
        };
        let item = Arc::new(Field::new("item", features.data_type().clone(), false));
        let width = i32::try_from(self.width).expect("invariant: rows are at most WIDTH_MAX wide");
        let features: ArrayRef = Arc::new(FixedSizeListArray::new(item, width, features, None));
        let (rows, number) = (std::mem::take(&mut self.rows) as u64, self.number);
        self.number += 1;
        let content = ipc_file([("features", features), ("target", targets)]);
        Some(Shard { split: self.split, number, rows, content })
    }
}

/// An IPC file of these columns.
fn ipc_file<const N: usize>(columns: [(&str, ArrayRef); N]) -> Bytes {
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), false));
    let schema = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
    let sizes = columns.iter().map(|(_, column)| column.to_data().get_slice_memory_size());
    let bytes = sizes.sum::<Result<usize, _>>().unwrap_or(0);
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let written = RecordBatch::try_new(Arc::clone(&schema), columns).and_then(|batch| {
        let mut writer = FileWriter::try_new(Vec::with_capacity(bytes + OVERHEAD_BYTES), &schema)?;
        writer.write(&batch)?;
        writer.into_inner()
    });
    written.expect("invariant: columns of one length and plain types can be written to memory").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_shard_is_given_out_and_the_rest_at_the_end() {
        let (features, targets) = (Features::Bytes(vec![1; 10]), TargetValues::Classes(vec![3, 4]));
        let mut builder = ShardBuilder::new(Split::Test, 5, &features, &targets);
        builder.rows_max = 2;
        assert!(builder.push(&features, &targets, 0).is_none());
        let full = builder.push(&features, &targets, 1).unwrap();
        assert_eq!((full.rows, full.file_name().as_str()), (2, "test-00000.arrow"));
        assert!(builder.finish().is_none());
        assert!(builder.push(&features, &targets, 1).is_none());
        let rest = builder.finish().unwrap();
        assert_eq!((rest.rows, rest.file_name().as_str()), (1, "test-00001.arrow"));
    }
}

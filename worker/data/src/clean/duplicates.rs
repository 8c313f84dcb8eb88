//! Rows that are equal: each becomes a hash of 128 bits, and of those that are
//! equal the first stays. Two different rows of a billion share one with a
//! probability below 10⁻²⁰.
//!
//! Hashes beyond what memory may hold go to files by their first bits, each of
//! which is then sorted by itself.

use std::{
    fs::File,
    io::{BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
};

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::{SchemaRef, UInt64Type},
    row::{RowConverter, SortField},
};
use xxhash_rust::xxh3::xxh3_128;

use crate::{PrepareError, intake::AT};

/// Rows whose hashes are kept in memory.
const IN_MEMORY_MAX: usize = 4 << 20;

/// Files of hashes: of a billion rows, each holds 100 MB.
const FILES: usize = 256;

/// Bytes of a hash and its row's place.
const RECORD_BYTES: usize = 24;

/// A row's hash, and where it stands.
type Record = (u128, u64);

/// Hashes of the rows of a batch.
pub(super) struct Hashes {
    /// Numbers of the columns that count.
    columns: Vec<usize>,
    at: usize,
    converter: RowConverter,
}

impl Hashes {
    /// Over the columns of these numbers.
    pub(super) fn new(schema: &SchemaRef, columns: Vec<usize>) -> Result<Self, String> {
        let fields = columns.iter().map(|index| SortField::new(schema.field(*index).data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(|error| error.to_string())?;
        let at = schema.index_of(AT).map_err(|error| error.to_string())?;
        Ok(Self { columns, at, converter })
    }

    /// The hash and place of each row.
    pub(super) fn of(&self, batch: &RecordBatch) -> Result<Vec<Record>, String> {
        let columns: Vec<_> = self.columns.iter().map(|index| batch.column(*index).clone()).collect();
        let rows = self.converter.convert_columns(&columns).map_err(|error| error.to_string())?;
        let at = batch.column(self.at).as_primitive::<UInt64Type>();
        debug_assert_eq!(at.len(), rows.num_rows());
        Ok(rows.iter().zip(at.values()).map(|(row, at)| (xxh3_128(row.data()), *at)).collect())
    }
}

/// Finds the places of all rows but the first of those that share a hash.
pub(super) struct Repeats {
    folder: PathBuf,
    name: &'static str,
    records: Vec<Record>,
    files: Vec<BufWriter<File>>,
}

impl Repeats {
    /// `name` tells its files in `folder` from others'.
    pub(super) fn new(folder: &Path, name: &'static str) -> Self {
        Self { folder: folder.to_owned(), name, records: Vec::new(), files: Vec::new() }
    }

    pub(super) fn add(&mut self, records: &[Record]) -> Result<(), PrepareError> {
        self.records.extend_from_slice(records);
        if self.records.len() > IN_MEMORY_MAX {
            self.spill()?;
        }
        Ok(())
    }

    /// The places, sorted.
    pub(super) fn finish(mut self) -> Result<Vec<u64>, PrepareError> {
        let mut repeats = Vec::new();
        if self.files.is_empty() {
            find(&mut self.records, &mut repeats);
        } else {
            self.spill()?;
            for file in std::mem::take(&mut self.files) {
                file.into_inner().map_err(|error| self.failed(error.error()))?;
            }
            for number in 0..FILES {
                find(&mut self.read(number)?, &mut repeats);
            }
        }
        repeats.sort_unstable();
        Ok(repeats)
    }

    fn spill(&mut self) -> Result<(), PrepareError> {
        if self.files.is_empty() {
            for number in 0..FILES {
                let file = File::create(self.path(number)).map_err(|error| self.failed(&error))?;
                self.files.push(BufWriter::with_capacity(16 << 10, file));
            }
        }
        for (hash, at) in std::mem::take(&mut self.records) {
            let mut record = [0; RECORD_BYTES];
            record[..16].copy_from_slice(&hash.to_le_bytes());
            record[16..].copy_from_slice(&at.to_le_bytes());
            let file = &mut self.files[(hash >> 120) as usize];
            file.write_all(&record).map_err(|error| PrepareError::Scratch {
                path: self.folder.clone(),
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }

    fn read(&self, number: usize) -> Result<Vec<Record>, PrepareError> {
        let path = self.path(number);
        let mut bytes = Vec::new();
        let mut file = File::open(&path).map_err(|error| self.failed(&error))?;
        file.read_to_end(&mut bytes).map_err(|error| self.failed(&error))?;
        std::fs::remove_file(&path).map_err(|error| self.failed(&error))?;
        let record = |bytes: &[u8; RECORD_BYTES]| {
            let (hash, at) = bytes.split_at(16);
            let hash = u128::from_le_bytes(hash.try_into().expect("invariant: 16 of 24 bytes"));
            (hash, u64::from_le_bytes(at.try_into().expect("invariant: the other 8 bytes")))
        };
        Ok(bytes.as_chunks::<RECORD_BYTES>().0.iter().map(record).collect())
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{}-{number}", self.name))
    }

    fn failed(&self, error: &std::io::Error) -> PrepareError {
        PrepareError::Scratch { path: self.folder.clone(), reason: error.to_string() }
    }
}

fn find(records: &mut [Record], repeats: &mut Vec<u64>) {
    records.sort_unstable();
    repeats.extend(records.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_first_of_equal_rows_are_found_in_memory_and_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let record = |row: u64| (xxh3_128(&(row % 1_000).to_le_bytes()), row);
        let records: Vec<Record> = (0..3_000).map(record).collect();
        let expected: Vec<u64> = (1_000..3_000).collect();
        for spill_at in [usize::MAX, 700] {
            let mut repeats = Repeats::new(folder.path(), "test");
            for some in records.chunks(100) {
                repeats.add(some).unwrap();
                if repeats.records.len() >= spill_at {
                    repeats.spill().unwrap();
                }
            }
            assert_eq!(repeats.finish().unwrap(), expected);
        }
    }
}

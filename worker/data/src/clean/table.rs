//! Tables on disk between steps: Arrow IPC files in a folder that goes when
//! preparing ends. Reading one back costs a copy, and it may be larger than memory.

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    ipc::{reader::FileReader, writer::FileWriter},
};

use crate::PrepareError;

/// Bytes that are written, or read, at once.
const BUFFER_BYTES: usize = 1 << 20;

/// A table on disk.
#[derive(Debug, Clone)]
pub(crate) struct CleanTable {
    pub(crate) path: PathBuf,
    pub(crate) schema: SchemaRef,
    pub(crate) rows: u64,
    /// The number of the first row of each batch.
    pub(crate) starts: Vec<usize>,
}

/// A table while it is written.
pub(super) struct TableWriter {
    table: CleanTable,
    writer: FileWriter<BufWriter<File>>,
}

impl TableWriter {
    pub(super) fn create(path: &Path, schema: &SchemaRef) -> Result<Self, PrepareError> {
        let failed = |reason: String| PrepareError::Scratch { path: path.to_owned(), reason };
        let file = File::create(path).map_err(|error| failed(error.to_string()))?;
        let writer = FileWriter::try_new(BufWriter::with_capacity(BUFFER_BYTES, file), schema);
        let writer = writer.map_err(|error| failed(error.to_string()))?;
        let table = CleanTable { path: path.to_owned(), schema: schema.clone(), rows: 0, starts: Vec::new() };
        Ok(Self { table, writer })
    }

    /// Appends rows; none are no batch.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), PrepareError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.table.starts.push(self.table.rows as usize);
        self.table.rows += batch.num_rows() as u64;
        self.writer.write(batch).map_err(|error| self.failed(&error))
    }

    pub(super) fn finish(mut self) -> Result<CleanTable, PrepareError> {
        self.writer.finish().map_err(|error| self.failed(&error))?;
        Ok(self.table)
    }

    fn failed(&self, error: &dyn std::error::Error) -> PrepareError {
        PrepareError::Scratch { path: self.table.path.clone(), reason: error.to_string() }
    }
}

/// The batches of a table of ours, in order.
pub(crate) fn read_batches(
    path: &Path,
) -> Result<impl Iterator<Item = Result<RecordBatch, PrepareError>> + Send + use<>, PrepareError> {
    let owned = path.to_owned();
    let failed = move |reason: String| PrepareError::Scratch { path: owned.clone(), reason };
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let reader = FileReader::try_new(BufReader::with_capacity(BUFFER_BYTES, file), None);
    let reader = reader.map_err(|error| failed(error.to_string()))?;
    Ok(reader.map(move |batch| batch.map_err(|error| failed(error.to_string()))))
}

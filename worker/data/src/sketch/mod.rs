//! Sketches of the columns of a table: what can be remembered of any number of rows in a few
//! kilobytes, and be merged with what is remembered of others. They are written down with a
//! dataset version, over all of its rows as they were before they were encoded, so that somebody
//! can tell later whether other rows are like them.
//!
//! They are in the binary format of Apache DataSketches, in a Parquet file with a row for each
//! column of the data. Nothing here throws dice: the same batches in the same order give the same bytes.

mod column;
mod file;
mod kll;

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field},
};
use bytes::Bytes;
use phalanx_storage::Store;

use self::column::Frequent;
pub use self::column::{ColumnSketch, Distinct, FrequentValue};
use crate::{DatasetManifest, OpenError, census::Census};

/// Sketches of all columns of a table.
#[derive(Debug, Clone, Default)]
pub struct Sketches {
    columns: Vec<ColumnSketch>,
}

impl Sketches {
    /// Of the rows of a batch.
    pub fn of(batch: &RecordBatch) -> Self {
        Census::of(batch).sketches()
    }

    /// Those that were written down with a dataset version; none of a text.
    ///
    /// # Errors
    ///
    /// If the file is absent or damaged.
    pub async fn read(manifest: &DatasetManifest, store: &Store) -> Result<Self, OpenError> {
        let Some(file) = &manifest.sketches else { return Ok(Self::default()) };
        let content = store.read(file).await?;
        file::read(content).map_err(|reason| OpenError::Shard { path: file.path.clone(), reason })
    }

    /// Adds those of later rows. Columns that were not there before are added behind the others.
    pub fn merge(&mut self, later: Self) {
        for column in later.columns {
            match self.columns.iter_mut().find(|ours| ours.name == column.name) {
                Some(ours) => ours.merge(column),
                None => self.columns.push(column),
            }
        }
    }

    /// All columns, in the order of the table.
    pub fn columns(&self) -> &[ColumnSketch] {
        &self.columns
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&ColumnSketch> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub(crate) fn new(columns: Vec<ColumnSketch>) -> Self {
        Self { columns }
    }

    /// As they are written down.
    pub(crate) fn to_file(&self) -> Result<Bytes, crate::PrepareError> {
        file::write(&self.columns)
    }
}

/// The sketch of a column without rows yet.
pub(crate) fn empty(field: &Field) -> ColumnSketch {
    let (numbers, frequent) = match field.data_type() {
        DataType::Float64 => (true, None),
        DataType::Int64 => (true, Some(Frequent::whole())),
        DataType::Utf8 | DataType::Boolean | DataType::Date32 | DataType::Timestamp(..) => {
            (false, Some(Frequent::texts()))
        }
        _ => (false, None),
    };
    ColumnSketch::new(field.name().clone(), field.data_type().to_string(), numbers, frequent)
}

//! The clean table as a source of the encoder: batches on disk, whose hidden columns
//! tell where each row stood in the files that it came from.

use std::path::{Path, PathBuf};

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::{SchemaRef, UInt64Type},
    error::ArrowError,
};

use super::{
    Chunk, ColumnType, Places, Selected,
    parquet::{BatchChunks, chunk_rows, column_type},
};
use crate::{
    clean::{CleanTable, read_batches},
    error::PrepareError,
    intake::{AT, SourceFile, is_hidden, line_of, shown},
};

/// A clean table.
#[derive(Debug)]
pub(crate) struct ArrowTable {
    /// What it was made of, for messages.
    path: PathBuf,
    /// Where it lies.
    file: PathBuf,
    rows: u64,
    schema: SchemaRef,
    /// The columns that are not hidden.
    names: Vec<String>,
    places: fn(&RecordBatch, u64) -> Places,
}

impl ArrowTable {
    /// `table`, which was made of `files`.
    pub(crate) fn new(table: &CleanTable, files: &[SourceFile]) -> Self {
        let names = table.schema.fields().iter().map(|field| field.name().clone());
        let places = match files {
            [only] if only.has_lines => |batch: &RecordBatch, _| Places::Lines(lines(batch)),
            [_] => |batch: &RecordBatch, _| Places::Rows(lines(batch)),
            _ => |_: &RecordBatch, first| Places::RowsFrom(first),
        };
        Self {
            path: shown(files).into(),
            file: table.path.clone(),
            rows: table.rows,
            schema: table.schema.clone(),
            names: names.filter(|name| !is_hidden(name)).collect(),
            places,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn column_type(&self, index: usize) -> ColumnType {
        // Hidden columns stand behind all others.
        column_type(self.schema.field(index).data_type())
    }

    /// Reads the rows once.
    pub(crate) fn chunks(
        &self,
        selected: &[Selected],
    ) -> Result<impl Iterator<Item = Result<Chunk, PrepareError>> + Send + use<>, PrepareError> {
        let rows = chunk_rows(&self.schema, selected);
        let batches = read_batches(&self.file)?;
        let pieces = batches.flat_map(move |batch| -> Box<dyn Iterator<Item = _> + Send> {
            match batch {
                Ok(batch) => {
                    let starts = (0..batch.num_rows()).step_by(rows);
                    Box::new(
                        starts.map(move |start| Ok(batch.slice(start, rows.min(batch.num_rows() - start)))),
                    )
                }
                Err(error) => Box::new(std::iter::once(Err(ArrowError::ExternalError(Box::new(error))))),
            }
        });
        Ok(BatchChunks {
            path: self.path.clone(),
            rows: self.rows,
            rows_read: 0,
            selected: selected.iter().map(|column| (*column, self.names[column.index].clone())).collect(),
            reader: pieces,
            places: self.places,
            done: false,
        })
    }
}

/// The line of each row.
fn lines(batch: &RecordBatch) -> Vec<u64> {
    let at = batch.column_by_name(AT).map(|at| at.as_primitive::<UInt64Type>());
    at.map_or_else(Vec::new, |at| at.values().iter().map(|at| line_of(*at)).collect())
}

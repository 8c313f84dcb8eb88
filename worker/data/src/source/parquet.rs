//! Parquet files, read batch by batch with the `parquet` crate. Columns of
//! numbers become numbers, text and truth values become text, and lists are
//! left to [`list`](super::list).

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use arrow::{
    array::{ArrayRef, AsArray as _, StringArray},
    compute::cast,
    datatypes::{DataType, Float64Type, SchemaRef},
    error::ArrowError,
    record_batch::RecordBatch,
};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder},
};

use super::{
    CHUNK_BYTES, CHUNK_ROWS, Cells, Chunk, Chunks, ColumnType, Places, ReadAs, Selected, check_names,
    list::{self, ListError},
    open, unreadable,
};
use crate::{
    error::{PrepareError, shown},
    intake::careful,
};

/// Rows in a chunk with lists of a length that is not known before.
const LIST_CHUNK_ROWS: usize = 256;

/// A Parquet file, its footer read.
#[derive(Debug)]
pub(crate) struct ParquetTable {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
    names: Vec<String>,
}

/// One pass over batches of rows.
pub(super) struct BatchChunks<R> {
    /// The file, for messages.
    pub(super) path: PathBuf,
    /// Rows in all.
    pub(super) rows: u64,
    pub(super) rows_read: u64,
    /// The columns to read, with their names.
    pub(super) selected: Vec<(Selected, String)>,
    pub(super) reader: R,
    /// Where the rows of a batch stand, of which the first is the one of this number.
    pub(super) places: fn(&RecordBatch, u64) -> Places,
    pub(super) done: bool,
}

/// Rows that are in memory as chunks of these columns, each with its name.
pub(crate) fn batches_as_chunks(
    path: PathBuf,
    batches: Vec<RecordBatch>,
    selected: Vec<(Selected, String)>,
) -> Chunks {
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    Box::new(BatchChunks {
        path,
        rows,
        rows_read: 0,
        selected,
        reader: batches.into_iter().map(Ok::<_, ArrowError>),
        places: |_, first| Places::RowsFrom(first),
        done: false,
    })
}

impl ParquetTable {
    /// Opens a file and reads its footer.
    pub(crate) fn open(path: &Path) -> Result<Self, PrepareError> {
        let file = open(path)?;
        if file.metadata().map_err(|error| unreadable(path, error))?.len() == 0 {
            return Err(PrepareError::Empty { path: path.to_owned(), expected: "a Parquet file" });
        }
        let metadata = ArrowReaderMetadata::load(&file, Default::default());
        let metadata = metadata.map_err(|error| damaged(path, &error))?;
        let names: Vec<String> = metadata.schema().fields().iter().map(|f| f.name().clone()).collect();
        check_names(path, &names)?;
        Ok(Self { path: path.to_owned(), file, metadata, names })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn column_type(&self, index: usize) -> ColumnType {
        column_type(self.schema().field(index).data_type())
    }

    /// Reads the rows once.
    pub(crate) fn chunks(
        &self,
        selected: &[Selected],
    ) -> Result<impl Iterator<Item = Result<Chunk, PrepareError>> + Send + use<>, PrepareError> {
        let file = self.file.try_clone().map_err(|error| unreadable(&self.path, error))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let columns = ProjectionMask::roots(builder.parquet_schema(), selected.iter().map(|c| c.index));
        let rows = u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
        let builder = builder.with_projection(columns).with_batch_size(chunk_rows(self.schema(), selected));
        Ok(BatchChunks {
            path: self.path.clone(),
            rows,
            rows_read: 0,
            selected: selected.iter().map(|column| (*column, self.names[column.index].clone())).collect(),
            places: |_, first| Places::RowsFrom(first),
            reader: builder.build().map_err(|error| damaged(&self.path, &error))?,
            done: false,
        })
    }

    fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }
}

impl<R> BatchChunks<R> {
    fn convert(&mut self, batch: &RecordBatch) -> Result<Chunk, PrepareError> {
        let places = (self.places)(batch, self.rows_read + 1);
        let (mut columns, mut lists) = (Vec::new(), None);
        for (selected, name) in &mut self.selected {
            let name = &*name;
            let column = batch.column_by_name(name).ok_or_else(|| PrepareError::Parquet {
                path: self.path.clone(),
                reason: format!("column `{name}` is not where the footer says"),
            })?;
            let converted = match &mut selected.read_as {
                ReadAs::Given if is_text(column.data_type()) => text(column).map(Cells::Text),
                ReadAs::Given => numbers(column),
                ReadAs::Text => text(column).map(Cells::Text),
                ReadAs::Lists(form) => {
                    let read = list::read(column, *form).map_err(|error| match error {
                        ListError::Arrow(error) => damaged(&self.path, &error),
                        ListError::Row(row, problem) => PrepareError::Cell {
                            path: self.path.clone(),
                            place: places.at(row),
                            column: name.clone(),
                            problem,
                        },
                    })?;
                    form.width = Some(read.width);
                    lists = Some(read);
                    continue;
                }
            };
            columns.push(converted.map_err(|error| damaged(&self.path, &error))?);
        }
        self.rows_read += batch.num_rows() as u64;
        let read = (self.rows_read as f64 / self.rows.max(1) as f64).min(1.0) as f32;
        Ok(Chunk { rows: batch.num_rows(), places, columns, lists, read })
    }
}

impl<R: Iterator<Item = Result<RecordBatch, ArrowError>>> Iterator for BatchChunks<R> {
    type Item = Result<Chunk, PrepareError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let chunk = match careful(&mut self.reader)? {
            Ok(batch) => self.convert(&batch),
            Err(error) => Err(damaged(&self.path, &error)),
        };
        self.done = chunk.is_err();
        Some(chunk)
    }
}

/// What a column's type says of it.
pub(super) fn column_type(data_type: &DataType) -> ColumnType {
    match data_type {
        _ if is_text(data_type) => ColumnType::Text,
        _ if data_type.is_integer() => ColumnType::Integers,
        _ if data_type.is_numeric() => ColumnType::Floats,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => ColumnType::Times,
        _ => match list::integers_in_lists(data_type) {
            Some(integers) => ColumnType::Lists { integers },
            None => ColumnType::Other(data_type.to_string()),
        },
    }
}

/// Rows of a chunk of such columns.
pub(super) fn chunk_rows(schema: &SchemaRef, selected: &[Selected]) -> usize {
    let rows = selected.iter().map(|column| match column.read_as {
        ReadAs::Given | ReadAs::Text => CHUNK_ROWS,
        ReadAs::Lists(form) => {
            let fixed = list::fixed_width(schema.field(column.index).data_type());
            fixed.or(form.width).map_or(LIST_CHUNK_ROWS, |width| CHUNK_BYTES / width.max(1))
        }
    });
    rows.min().unwrap_or(CHUNK_ROWS).clamp(1, CHUNK_ROWS)
}

/// Whether a type is read as text.
fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

fn numbers(column: &ArrayRef) -> Result<Cells, ArrowError> {
    Ok(Cells::Numbers(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone()))
}

fn text(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    let floats = column.data_type().is_floating();
    let column = cast(column, &DataType::Utf8)?;
    let cells = column.as_string::<i32>();
    // White space that is no ASCII begins with a byte beyond it.
    let is_bare = |cell: &str| {
        let ends = [cell.as_bytes().first(), cell.as_bytes().last()];
        ends.into_iter().flatten().all(|byte| (b'!'..0x7f).contains(byte))
    };
    if !floats && cells.iter().flatten().all(is_bare) {
        return Ok(cells.clone());
    }
    // A float that is no number is a missing category, not one called `NaN`.
    let is_there = |cell: &&str| !floats || super::parse_number(cell).is_some();
    Ok(cells.iter().map(|cell| cell.map(str::trim).filter(is_there)).collect())
}

fn damaged(path: &Path, error: &dyn std::error::Error) -> PrepareError {
    PrepareError::Parquet { path: path.to_owned(), reason: shown(&error.to_string()) }
}

//! Rows with their plain columns, read for a finished model: those of a new file, encoded and as they
//! stand there, the target among them; and those that a dataset version has kept.

use std::path::{Path, PathBuf};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, Float64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};
use tempfile::TempDir;

use crate::{
    Batch, Encoder, PrepareError, RawRows, Targets,
    encoder::{Rules, TableRules},
    plan::find,
    source::{
        Cells, Chunks, ColumnType, ParquetTable, ReadAs, Selected, Table, batches_as_chunks, parse_number,
    },
};

/// What names the columns that a model needs, in messages.
const MODEL: &str = "the model";

/// Batches of a file's rows, in their order, up to the error that ends them.
pub struct RowReader {
    encoder: Encoder,
    path: PathBuf,
    chunks: Chunks,
    names: Vec<String>,
    /// Columns before the plain ones.
    features: usize,
    /// Where clean rows lie, if they had to be cleaned.
    _scratch: Option<TempDir>,
}

/// Reads the rows of a CSV or Parquet file for the model that `encoder` belongs to. A model of text
/// has no columns: [`read_features`](crate::read_features) reads its files, truth and all.
///
/// # Errors
///
/// If the file cannot be read, or lacks a column that the model needs. What is wrong with a row is
/// found when it is read.
pub fn read_rows(encoder: &Encoder, path: &Path) -> Result<RowReader, PrepareError> {
    let mut scratch = None;
    let lists = |column: &str, form| -> Result<(Table, Vec<Selected>), PrepareError> {
        let table = Table::Parquet(ParquetTable::open(path)?);
        let index = find(&table, column, MODEL)?;
        Ok((table, vec![Selected { index, read_as: ReadAs::Lists(form) }]))
    };
    let (table, mut selected) = match &encoder.rules {
        Rules::Table(rules) => {
            let (table, folder) = encoder.table(rules, path)?;
            scratch = folder;
            let selected = needed(rules, |name| find(&table, name, MODEL))?;
            (table, selected)
        }
        Rules::Image(rules) => lists(&rules.column, rules.form())?,
        Rules::Vector(rules) => lists(&rules.column, rules.form())?,
        Rules::Text { .. } | Rules::Tokens(_) => {
            return Err(PrepareError::Empty { path: path.to_owned(), expected: "columns of a table" });
        }
    };
    // A column of lists is none of a chunk's plain ones.
    let features = if matches!(encoder.rules, Rules::Table(_)) { selected.len() } else { 0 };
    let mut names = Vec::new();
    for (index, name) in table.names().iter().enumerate() {
        match table.column_type(index) {
            ColumnType::Lists { .. } | ColumnType::Other(_) => continue,
            ColumnType::Times => selected.push(Selected { index, read_as: ReadAs::Text }),
            ColumnType::Untyped | ColumnType::Text | ColumnType::Integers | ColumnType::Floats => {
                selected.push(Selected { index, read_as: ReadAs::Given });
            }
        }
        names.push(name.clone());
    }
    table.check_types(&selected)?;
    let chunks = table.chunks(&selected)?;
    let (encoder, path) = (encoder.clone(), path.to_owned());
    Ok(RowReader { encoder, path, chunks, names, features, _scratch: scratch })
}

/// The columns that a model of a table needs, of which `find` knows the places.
fn needed<E>(rules: &TableRules, find: impl Fn(&str) -> Result<usize, E>) -> Result<Vec<Selected>, E> {
    let select = |column: &crate::encoder::ColumnRule| {
        Ok(Selected { index: find(&column.name)?, read_as: column.encoding.read_as() })
    };
    rules.columns.iter().map(select).collect()
}

impl Iterator for RowReader {
    type Item = Result<(Batch, RecordBatch), PrepareError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut chunk = match self.chunks.next()? {
            Ok(chunk) => chunk,
            Err(error) => return Some(Err(error)),
        };
        let rows = chunk.rows;
        let plain = chunk.columns.split_off(self.features.min(chunk.columns.len()));
        let columns: Vec<ArrayRef> = plain.iter().map(Cells::array).collect();
        let fields = self.names.iter().zip(&columns);
        let fields = fields.map(|(name, column)| Field::new(name, column.data_type().clone(), true));
        let plain = RecordBatch::try_new(Schema::new(fields.collect::<Vec<_>>()).into(), columns);
        let changed = |_: ArrowError| PrepareError::Changed { path: self.path.clone() };
        Some(plain.map_err(changed).and_then(|plain| {
            let features = self.encoder.encode(&mut chunk, &self.path)?;
            Ok((Batch::new(rows, features, Targets::None), plain))
        }))
    }
}

impl std::fmt::Debug for RowReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowReader").field("names", &self.names).finish_non_exhaustive()
    }
}

impl RawRows {
    /// Rows that [`read_rows`] has given. A column of texts that are all numbers holds numbers: a CSV file does not
    /// say.
    pub fn of_file(batches: Vec<RecordBatch>) -> Self {
        let width = batches.first().map_or(0, RecordBatch::num_columns);
        let columns: Vec<Option<Vec<ArrayRef>>> =
            (0..width).map(|index| as_numbers(&batches, index)).collect();
        let typed = batches.iter().enumerate().map(|(nth, batch)| {
            let column = |index: usize| match columns.get(index).and_then(Option::as_ref) {
                Some(numbers) => ArrayRef::clone(&numbers[nth]),
                None => ArrayRef::clone(batch.column(index)),
            };
            let columns: Vec<ArrayRef> = (0..batch.num_columns()).map(column).collect();
            let schema = batch.schema();
            let fields = schema.fields().iter().zip(&columns);
            let fields =
                fields.map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true));
            RecordBatch::try_new(Schema::new(fields.collect::<Vec<_>>()).into(), columns)
        });
        // Columns are as long as those that they take the place of.
        match typed.collect::<Result<Vec<_>, _>>() {
            Ok(typed) => Self::of_batches(typed),
            Err(_) => Self::of_batches(batches),
        }
    }

    /// These rows as the input of another model, whose columns they have, in batches.
    ///
    /// # Errors
    ///
    /// If they lack a column, a cell is none that the model knows what to do with, or it reads no columns.
    pub fn encoded(&self, encoder: &Encoder) -> Result<Vec<Batch>, PrepareError> {
        let path = || PathBuf::from("the rows that were kept");
        let Rules::Table(rules) = &encoder.rules else {
            return Err(PrepareError::Empty { path: path(), expected: "lists, texts or images" });
        };
        let names = self.columns();
        let absent = |column: &str| PrepareError::ColumnAbsent {
            path: path(),
            role: MODEL,
            column: column.to_owned(),
            nearest: None,
            columns: names.join(", "),
        };
        let place = |name: &str| names.iter().position(|known| known == name).ok_or_else(|| absent(name));
        let selected = needed(rules, place)?;
        let selected = selected.into_iter().map(|column| (column, names[column.index].clone())).collect();
        let chunks = batches_as_chunks(path(), self.batches().to_vec(), selected);
        let batch = |chunk: Result<crate::source::Chunk, PrepareError>| {
            let mut chunk = chunk?;
            Ok(Batch::new(chunk.rows, encoder.encode(&mut chunk, &path())?, Targets::None))
        };
        chunks.map(batch).collect()
    }
}

/// A column of texts as numbers, batch by batch, if all that are there are numbers.
fn as_numbers(batches: &[RecordBatch], index: usize) -> Option<Vec<ArrayRef>> {
    let mut all: Vec<ArrayRef> = Vec::with_capacity(batches.len());
    let mut some = false;
    for batch in batches {
        let column = batch.column(index);
        if *column.data_type() != DataType::Utf8 {
            return None;
        }
        let number = |cell: Option<&str>| cell.map_or(Some(None), |cell| parse_number(cell).map(Some));
        let numbers = column.as_string::<i32>().iter().map(number).collect::<Option<Vec<_>>>()?;
        some |= numbers.iter().any(Option::is_some);
        all.push(std::sync::Arc::new(Float64Array::from(numbers)));
    }
    some.then_some(all)
}

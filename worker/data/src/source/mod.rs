//! Tables: files of rows, read in chunks of bounded size, as often as passes
//! over them are needed. A table is a file and what is known of its columns
//! before any row is read; it holds no rows.

mod clean;
mod csv;
mod list;
mod parquet;
mod text;

use std::{
    borrow::Cow,
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::array::{Array as _, ArrayRef, Float64Array, StringArray};

pub(crate) use self::{
    clean::ArrowTable,
    csv::{CsvTable, Dialect, ROW_BYTES_MAX, ragged},
    list::{ListForm, ListValues, Lists},
    parquet::{ParquetTable, batches_as_chunks},
    text::TextFile,
};
use crate::error::{ColumnProblem, Place, PrepareError};

/// Rows in a chunk, at most.
pub(crate) const CHUNK_ROWS: usize = 1_024;

/// Bytes in a chunk, about, at most; a single row may be larger.
pub(crate) const CHUNK_BYTES: usize = 4 << 20;

/// The most columns of a table.
pub(crate) const COLUMNS_MAX: usize = 10_000;

/// A file of rows with named columns.
#[derive(Debug)]
pub(crate) enum Table {
    Csv(CsvTable),
    Parquet(ParquetTable),
    Clean(ArrowTable),
}

/// Some rows of a table.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// How many rows.
    pub(crate) rows: usize,
    /// Where they stand in the file.
    pub(crate) places: Places,
    /// The columns that were selected, in that order.
    pub(crate) columns: Vec<Cells>,
    /// The column of lists, if one was selected.
    pub(crate) lists: Option<Lists>,
    /// The fraction of the file that is read when this chunk is.
    pub(crate) read: f32,
}

/// Chunks in the order of the file, or the error that ends it.
pub(crate) type Chunks = Box<dyn Iterator<Item = Result<Chunk, PrepareError>> + Send>;

/// Where rows stand in their file.
#[derive(Debug)]
pub(crate) enum Places {
    /// The line of each.
    Lines(Vec<u64>),
    /// The first one's number, from 1; the others follow.
    RowsFrom(u64),
    /// The number of each.
    Rows(Vec<u64>),
}

/// The cells of one column of a chunk. Null is a missing cell.
#[derive(Debug)]
pub(crate) enum Cells {
    /// Trimmed text: any cell of a CSV file.
    Text(StringArray),
    /// Numbers; NaN counts as missing too.
    Numbers(Float64Array),
}

/// What a file says about the type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnType {
    /// Nothing: its cells must be looked at.
    Untyped,
    /// Text and truth values.
    Text,
    /// Integers.
    Integers,
    /// Fractions.
    Floats,
    /// Dates, or dates and times. Read as text, they are in ISO 8601.
    Times,
    /// Lists or bytes.
    Lists {
        /// Whether all values are integers.
        integers: bool,
    },
    /// A type, by name, that cannot be read.
    Other(String),
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untyped => "cells of text",
            Self::Text => "text",
            Self::Integers => "integers",
            Self::Floats => "fractions",
            Self::Times => "dates",
            Self::Lists { integers: true } => "lists of integers",
            Self::Lists { integers: false } => "lists of fractions",
            Self::Other(name) => name,
        })
    }
}

/// A column to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selected {
    /// Its number in the table.
    pub(crate) index: usize,
    /// As what it is read.
    pub(crate) read_as: ReadAs,
}

/// As what a column is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ReadAs {
    /// As the numbers or the text that it is.
    Given,
    /// As text, whatever it is.
    Text,
    /// As lists of one length.
    Lists(ListForm),
}

impl Table {
    /// Opens a file of either kind, told apart by its first bytes.
    pub(crate) fn detect(path: &Path, dialect: &Dialect) -> Result<Self, PrepareError> {
        let mut magic = [0; 4];
        let read = open(path)?.read(&mut magic).map_err(|error| unreadable(path, error))?;
        match magic[..read] == *b"PAR1" {
            true => Ok(Self::Parquet(ParquetTable::open(path)?)),
            false => Ok(Self::Csv(CsvTable::open(path, dialect)?)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Csv(table) => table.path(),
            Self::Parquet(table) => table.path(),
            Self::Clean(table) => table.path(),
        }
    }

    /// The columns' names, in order.
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::Csv(table) => table.names(),
            Self::Parquet(table) => table.names(),
            Self::Clean(table) => table.names(),
        }
    }

    /// What is known of the type of a column.
    pub(crate) fn column_type(&self, index: usize) -> ColumnType {
        match self {
            Self::Csv(_) => ColumnType::Untyped,
            Self::Parquet(table) => table.column_type(index),
            Self::Clean(table) => table.column_type(index),
        }
    }

    /// Fails if a column cannot be read as it is selected.
    pub(crate) fn check_types(&self, selected: &[Selected]) -> Result<(), PrepareError> {
        for column in selected {
            let column_type = self.column_type(column.index);
            let expected = match (&column_type, column.read_as) {
                // Fractions would be cut to whole pixels.
                (ColumnType::Lists { integers: false }, ReadAs::Lists(form)) if form.bytes => {
                    "lists of integers"
                }
                (ColumnType::Lists { .. }, ReadAs::Lists(_)) => continue,
                (_, ReadAs::Lists(_)) => "lists or bytes",
                (ColumnType::Lists { .. } | ColumnType::Other(_), ReadAs::Given) => "numbers",
                (ColumnType::Lists { .. } | ColumnType::Other(_), ReadAs::Text) => "text",
                (_, ReadAs::Given | ReadAs::Text) => continue,
            };
            let (path, name) = (self.path().to_owned(), self.names()[column.index].clone());
            let problem = ColumnProblem::Unfit { expected, found: column_type.to_string() };
            return Err(PrepareError::Column { path, column: name, problem });
        }
        Ok(())
    }

    /// Reads the rows once.
    pub(crate) fn chunks(&self, selected: &[Selected]) -> Result<Chunks, PrepareError> {
        match self {
            Self::Csv(table) => Ok(Box::new(table.chunks(selected)?)),
            Self::Parquet(table) => Ok(Box::new(table.chunks(selected)?)),
            Self::Clean(table) => Ok(Box::new(table.chunks(selected)?)),
        }
    }
}

impl Places {
    /// Where a row of the chunk stands.
    pub(crate) fn at(&self, row: usize) -> Place {
        match self {
            Self::Lines(lines) => Place::Line(lines[row]),
            Self::Rows(rows) => Place::Row(rows[row]),
            Self::RowsFrom(first) => Place::Row(first + row as u64),
        }
    }
}

impl Cells {
    /// The cells, without what they are made of.
    pub(crate) fn array(&self) -> ArrayRef {
        match self {
            Self::Text(cells) => Arc::new(cells.clone()),
            Self::Numbers(cells) => Arc::new(cells.clone()),
        }
    }

    /// The number in a row, `None` if it is missing; the cell if it is no finite number.
    pub(crate) fn number(&self, row: usize) -> Result<Option<f64>, Cow<'_, str>> {
        match self {
            Self::Text(cells) if cells.is_null(row) => Ok(None),
            Self::Text(cells) => {
                let cell = cells.value(row);
                parse_number(cell).map(Some).ok_or(Cow::Borrowed(cell))
            }
            Self::Numbers(cells) if cells.is_null(row) || cells.value(row).is_nan() => Ok(None),
            Self::Numbers(cells) => {
                let number = cells.value(row);
                if is_finite(number) { Ok(Some(number)) } else { Err(Cow::Owned(number.to_string())) }
            }
        }
    }

    /// The text in a row, `None` if it is missing.
    pub(crate) fn text(&self, row: usize) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(cells) => cells.is_valid(row).then(|| Cow::Borrowed(cells.value(row))),
            Self::Numbers(cells) => cells.is_valid(row).then(|| Cow::Owned(cells.value(row).to_string())),
        }
    }
}

/// The finite number that `cell` is, if it is one.
pub(crate) fn parse_number(cell: &str) -> Option<f64> {
    cell.parse().ok().filter(|number| is_finite(*number))
}

/// Whether a number is finite here: features and targets end as `f32`.
pub(crate) fn is_finite(number: f64) -> bool {
    (number as f32).is_finite()
}

/// Opens a file that must be one.
pub(crate) fn open(path: &Path) -> Result<File, PrepareError> {
    let failed = |error| unreadable(path, error);
    // Opening a pipe would wait for its other end: ask first.
    match std::fs::metadata(path).map_err(failed)?.is_file() {
        true => File::open(path).map_err(failed),
        false => Err(PrepareError::NotAFile { path: path.to_owned() }),
    }
}

/// The error of reading `path`.
pub(crate) fn unreadable(path: &Path, error: io::Error) -> PrepareError {
    let path: PathBuf = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => PrepareError::NotFound { path },
        _ => PrepareError::Unreadable { path, error },
    }
}

/// Fails if there are too many names, or two equal ones.
pub(crate) fn check_names(path: &Path, names: &[String]) -> Result<(), PrepareError> {
    let (actual, max) = (names.len(), COLUMNS_MAX);
    if actual > max {
        return Err(PrepareError::TooManyColumns { path: path.to_owned(), actual, max });
    }
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(PrepareError::Column {
            path: path.to_owned(),
            column: pair[0].clone(),
            problem: ColumnProblem::Duplicate,
        }),
    }
}

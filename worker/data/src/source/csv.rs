//! CSV files: a header line, then rows of as many cells. Every cell is trimmed
//! text; what it means is decided by whoever has seen the whole column.
//!
//! Quoting and line ends are the `csv` crate's (RFC 4180 and what is common
//! beside it). It has no bound on a row's length; [`Bounded`] gives it one.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use arrow::array::StringBuilder;
use csv::{ByteRecord, ReaderBuilder, Trim};
use serde::{Deserialize, Serialize};

use super::{CHUNK_BYTES, CHUNK_ROWS, Cells, Chunk, Places, Selected, check_names, open, unreadable};
use crate::error::{LineProblem, PrepareError};

/// The most bytes of one row. An open quote makes the rest of a file one row.
pub(crate) const ROW_BYTES_MAX: usize = 1 << 20;

/// How cells are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dialect {
    /// Between cells; an ASCII character.
    pub(crate) delimiter: char,
    /// Cells that mean "missing", after trimming.
    pub(crate) missing: Vec<String>,
}

/// A CSV file, its header read.
#[derive(Debug)]
pub(crate) struct CsvTable {
    path: PathBuf,
    bytes: u64,
    dialect: Dialect,
    names: Vec<String>,
}

/// One pass over a CSV file.
struct CsvChunks {
    path: PathBuf,
    bytes: u64,
    missing: Vec<String>,
    names: Vec<String>,
    selected: Vec<usize>,
    reader: csv::Reader<Bounded>,
    done: bool,
}

/// Lets through so many bytes until it is reset.
struct Bounded {
    file: File,
    left: usize,
}

impl CsvTable {
    /// Opens a file and reads its header.
    pub(crate) fn open(path: &Path, dialect: &Dialect) -> Result<Self, PrepareError> {
        let file = open(path)?;
        let bytes = file.metadata().map_err(|error| unreadable(path, error))?.len();
        let mut reader = reader(file, dialect)?;
        let mut header = ByteRecord::new();
        if !read_row(&mut reader, &mut header, path)? {
            let expected = "a header line and rows";
            return Err(PrepareError::Empty { path: path.to_owned(), expected });
        }
        let names = (0..header.len()).map(|index| text(&header, index, path).map(str::to_owned));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        check_names(path, &names)?;
        Ok(Self { path: path.to_owned(), bytes, dialect: dialect.clone(), names })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Reads the rows once. Whatever a column is read as, it is text.
    pub(crate) fn chunks(
        &self,
        selected: &[Selected],
    ) -> Result<impl Iterator<Item = Result<Chunk, PrepareError>> + Send + use<>, PrepareError> {
        let mut reader = reader(open(&self.path)?, &self.dialect)?;
        read_row(&mut reader, &mut ByteRecord::new(), &self.path)?;
        Ok(CsvChunks {
            path: self.path.clone(),
            bytes: self.bytes,
            missing: self.dialect.missing.clone(),
            names: self.names.clone(),
            selected: selected.iter().map(|column| column.index).collect(),
            reader,
            done: false,
        })
    }
}

impl CsvChunks {
    fn read(&mut self) -> Result<Chunk, PrepareError> {
        let mut columns: Vec<StringBuilder> =
            self.selected.iter().map(|_| StringBuilder::with_capacity(CHUNK_ROWS, 0)).collect();
        let (mut lines, mut bytes, mut row) = (Vec::new(), 0, ByteRecord::new());
        while lines.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
            if !read_row(&mut self.reader, &mut row, &self.path)? {
                self.done = true;
                break;
            }
            if row.len() != self.names.len() {
                let problem = ragged(&self.names, row.len());
                return Err(PrepareError::Line { path: self.path.clone(), line: line(&row), problem });
            }
            for (column, index) in columns.iter_mut().zip(&self.selected) {
                let cell = text(&row, *index, &self.path)?;
                column.append_option((!self.missing.iter().any(|missing| missing == cell)).then_some(cell));
            }
            lines.push(line(&row));
            bytes += row.as_slice().len();
        }
        let read = self.reader.position().byte() as f64 / self.bytes.max(1) as f64;
        Ok(Chunk {
            rows: lines.len(),
            places: Places::Lines(lines),
            columns: columns.iter_mut().map(|column| Cells::Text(column.finish())).collect(),
            lists: None,
            read: read.min(1.0) as f32,
        })
    }
}

impl Iterator for CsvChunks {
    type Item = Result<Chunk, PrepareError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let chunk = self.read();
        self.done |= chunk.is_err();
        match chunk {
            Ok(chunk) if chunk.rows == 0 => None,
            other => Some(other),
        }
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.left = self.left.checked_sub(read).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}

fn reader(file: File, dialect: &Dialect) -> Result<csv::Reader<Bounded>, PrepareError> {
    let delimiter = u8::try_from(dialect.delimiter).ok().filter(u8::is_ascii);
    let delimiter = delimiter.ok_or_else(|| PrepareError::Recipe {
        reason: format!("`delimiter` must be an ASCII character, found `{}`", dialect.delimiter),
    })?;
    let mut builder = ReaderBuilder::new();
    // The header is read like any row, and rows are counted here: for messages of our own.
    builder
        .delimiter(delimiter)
        .trim(Trim::All)
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(BUFFER_BYTES);
    Ok(builder.from_reader(Bounded { file, left: 0 }))
}

/// Bytes that are read from a file at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Reads the next row into `row`; false at the end.
fn read_row(
    reader: &mut csv::Reader<Bounded>,
    row: &mut ByteRecord,
    path: &Path,
) -> Result<bool, PrepareError> {
    // The reader's buffer may end anywhere in the row.
    reader.get_mut().left = ROW_BYTES_MAX + BUFFER_BYTES;
    let started = reader.position().line();
    reader.read_byte_record(row).map_err(|error| match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => PrepareError::Line {
            path: path.to_owned(),
            line: started,
            problem: LineProblem::TooLong { max: ROW_BYTES_MAX },
        },
        csv::ErrorKind::Io(error) => unreadable(path, error),
        // Of the other kinds none can be: bytes are read, of rows of any length.
        other => unreadable(path, io::Error::other(format!("{other:?}"))),
    })
}

/// What is wrong with a row of so many cells, in a file whose columns are `names`.
pub(crate) fn ragged(names: &[String], actual: usize) -> LineProblem {
    LineProblem::Ragged { expected: names.len(), actual, absent: names.get(actual).cloned() }
}

/// A cell as text.
fn text<'a>(row: &'a ByteRecord, index: usize, path: &Path) -> Result<&'a str, PrepareError> {
    std::str::from_utf8(&row[index]).map_err(|_| PrepareError::Line {
        path: path.to_owned(),
        line: line(row),
        problem: LineProblem::NotUtf8 { column: index + 1 },
    })
}

/// The line on which a row begins.
fn line(row: &ByteRecord) -> u64 {
    row.position().map_or(0, csv::Position::line)
}

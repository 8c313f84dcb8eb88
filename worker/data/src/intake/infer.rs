//! What a column of text holds: numbers if all of its cells are, else text. It is
//! asked of every cell, so that the answer does not change with the next row.

use arrow::{
    array::{ArrayRef, Float64Builder, Int64Builder, StringBuilder},
    datatypes::{DataType, Field},
};
use std::sync::Arc;

use super::{Reading, SourceFile, arrow_type, file_of, place};
use crate::{
    PrepareError,
    error::{CellProblem, shown},
    source::is_finite,
};

/// What was seen of a column.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    ints: u64,
    floats: u64,
    texts: u64,
    /// Where the first text stands among the cells, and what it is.
    first_text: Option<(u64, String)>,
}

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell<'a> {
    Missing,
    Int(i64),
    Float(f64),
    Text(&'a str),
}

impl<'a> Cell<'a> {
    /// What `text` is, which is there.
    pub(super) fn of(text: &'a str) -> Self {
        let number_like =
            text.bytes().next().is_some_and(|first| matches!(first, b'0'..=b'9' | b'-' | b'+' | b'.'));
        if !number_like {
            // Infinity and NaN are no numbers here.
            return Self::Text(text);
        }
        if let Ok(int) = text.parse() {
            return Self::Int(int);
        }
        match text.parse() {
            Ok(float) if is_finite(float) => Self::Float(float),
            Ok(_) | Err(_) => Self::Text(text),
        }
    }
}

impl Seen {
    pub(super) fn add(&mut self, cell: Cell<'_>, at: u64) {
        match cell {
            Cell::Missing => {}
            Cell::Int(_) => self.ints += 1,
            Cell::Float(_) => self.floats += 1,
            Cell::Text(text) => {
                self.texts += 1;
                if self.first_text.is_none() {
                    self.first_text = Some((at, shown(text)));
                }
            }
        }
    }

    /// Adds what was seen of later rows.
    pub(super) fn merge(&mut self, later: Self) {
        self.ints += later.ints;
        self.floats += later.floats;
        self.texts += later.texts;
        self.first_text = self.first_text.take().or(later.first_text);
    }

    /// The column as a field; an error if it holds numbers for the most part, and texts.
    pub(super) fn field(
        &self,
        name: &str,
        files: &[SourceFile],
        reading: &Reading,
    ) -> Result<Field, PrepareError> {
        let named = |names: &[String]| names.iter().any(|named| named == name);
        let numbers = self.ints + self.floats;
        let known = reading.types.get(name).map(|known| arrow_type(*known));
        let data_type = match (&self.first_text, known) {
            (Some((at, found)), Some(DataType::Int64 | DataType::Float64)) => {
                let (path, place) = place(files, *at);
                let problem = CellProblem::NotANumber { found: found.clone() };
                return Err(PrepareError::Cell { path, place, column: name.to_owned(), problem });
            }
            // Numbers may have got fractions, or lost them.
            (None, Some(DataType::Int64 | DataType::Float64)) if self.floats > 0 => DataType::Float64,
            (None, Some(known @ (DataType::Int64 | DataType::Float64))) => known,
            (_, Some(_)) => DataType::Utf8,
            _ if named(&reading.as_text) => DataType::Utf8,
            (Some((at, found)), None) if numbers > self.texts && reading.is_read(name) => {
                let (path, place) = place(files, *at);
                let problem = CellProblem::MixedTypes { found: found.clone() };
                return Err(PrepareError::Cell { path, place, column: name.to_owned(), problem });
            }
            (Some(_), None) => DataType::Utf8,
            (None, None) if self.floats > 0 => DataType::Float64,
            (None, None) if self.ints > 0 => DataType::Int64,
            (None, None) => DataType::Utf8,
        };
        Ok(Field::new(name, data_type, true))
    }
}

/// Takes the cells of a column whose type is known.
#[derive(Debug)]
pub(super) enum Builder {
    Ints(Int64Builder),
    Floats(Float64Builder),
    Texts(StringBuilder),
}

impl Builder {
    pub(super) fn new(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int64 => Self::Ints(Int64Builder::new()),
            DataType::Float64 => Self::Floats(Float64Builder::new()),
            _ => Self::Texts(StringBuilder::new()),
        }
    }

    /// Takes a cell of text; `None` if it does not fit, so that the file must have changed.
    pub(super) fn text(&mut self, text: Option<&str>) -> Option<()> {
        match (self, text) {
            (Self::Texts(texts), text) => texts.append_option(text),
            (Self::Ints(ints), None) => ints.append_null(),
            (Self::Floats(floats), None) => floats.append_null(),
            (Self::Ints(ints), Some(text)) => ints.append_value(text.parse().ok()?),
            (Self::Floats(floats), Some(text)) => floats.append_value(text.parse().ok()?),
        }
        Some(())
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Ints(ints) => Arc::new(ints.finish()),
            Self::Floats(floats) => Arc::new(floats.finish()),
            Self::Texts(texts) => Arc::new(texts.finish()),
        }
    }
}

/// The error of a cell that was a number when the file was looked through.
pub(super) fn changed(files: &[SourceFile], at: u64) -> PrepareError {
    PrepareError::Changed { path: files[file_of(at)].name.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_a_number_only_if_it_is_finite_and_whole_if_it_is_written_so() {
        assert_eq!(Cell::of("12"), Cell::Int(12));
        assert_eq!(Cell::of("-1.5e3"), Cell::Float(-1_500.0));
        assert_eq!(Cell::of("1.0"), Cell::Float(1.0));
        assert_eq!(Cell::of("99999999999999999999"), Cell::Float(1e20));
        for text in ["inf", "NaN", "1e999", "12a", "-", ""] {
            assert_eq!(Cell::of(text), Cell::Text(text));
        }
    }
}

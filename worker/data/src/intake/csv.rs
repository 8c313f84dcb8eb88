//! CSV files in pieces. What a row is, and where one ends, is as the `csv` crate
//! has it: a quote counts where a cell begins with it, and nowhere else.

use csv::{ByteRecord, ReaderBuilder};
use phalanx_protocol::spec::CsvSpec;

use arrow::{array::ArrayRef, datatypes::Field};

use super::{
    Reading, Rejects, SourceFile, at,
    infer::{Builder, Cell, Seen, changed},
    lines::{Cut, Lines, Pieces},
    shown,
};
use crate::{
    PrepareError,
    error::LineProblem,
    ordered::{ordered, threads},
    source::{ROW_BYTES_MAX, check_names, ragged},
};

/// CSV files whose columns are known.
#[derive(Debug)]
pub(super) struct CsvForm {
    delimiter: u8,
    missing: Missing,
    names: Vec<String>,
    /// Whether somebody reads each column: what others hold need not be text.
    is_read: Vec<bool>,
    fields: Vec<Field>,
    /// For each file, which of its columns is which of ours; `None` if they are the same.
    orders: Vec<Option<Vec<usize>>>,
}

/// Cells that mean that there is none.
#[derive(Debug)]
struct Missing {
    texts: Vec<String>,
    longest: usize,
}

/// Finds the ends of rows.
struct ByRow {
    delimiter: u8,
}

/// Where in a row a byte is.
#[derive(Clone, Copy, PartialEq)]
enum In {
    CellStart,
    Cell,
    Quotes,
    QuoteInQuotes,
}

impl Cut for ByRow {
    fn last_end(&self, bytes: &[u8]) -> usize {
        if !bytes.contains(&b'"') {
            return bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        }
        let (mut state, mut end) = (In::CellStart, 0);
        for (index, &byte) in bytes.iter().enumerate() {
            state = match (state, byte) {
                (In::Quotes, b'"') => In::QuoteInQuotes,
                (In::Quotes, _) => In::Quotes,
                (In::CellStart | In::QuoteInQuotes, b'"') => In::Quotes,
                (_, b'\n') => {
                    end = index + 1;
                    In::CellStart
                }
                (_, b'\r') => In::CellStart,
                (_, byte) if byte == self.delimiter => In::CellStart,
                _ => In::Cell,
            };
        }
        end
    }
}

/// The pieces of all files; the header is in the first of each.
pub(super) fn pieces<'a>(
    form: &CsvForm,
    files: &'a [SourceFile],
) -> impl Iterator<Item = Result<Lines, PrepareError>> + Send + use<'a> {
    cut(form.delimiter, files)
}

fn cut(
    delimiter: u8,
    files: &[SourceFile],
) -> impl Iterator<Item = Result<Lines, PrepareError>> + Send + use<'_> {
    let of_file = move |(number, file)| Pieces::new(ByRow { delimiter }, number, file);
    files.iter().enumerate().flat_map(of_file)
}

impl CsvForm {
    /// Reads the headers, and looks at every cell to find the columns' types.
    pub(super) fn open(
        spec: &CsvSpec,
        files: &[SourceFile],
        reading: &Reading,
    ) -> Result<(Self, Vec<Field>), PrepareError> {
        let delimiter = u8::try_from(spec.delimiter).ok().filter(u8::is_ascii);
        let delimiter = delimiter.ok_or_else(|| PrepareError::Recipe {
            reason: format!("`delimiter` must be an ASCII character, found `{}`", spec.delimiter),
        })?;
        let names = header(delimiter, &files[0])?;
        let mut orders = vec![None];
        for file in &files[1..] {
            orders.push(order(&names, &header(delimiter, file)?, &files[0], file)?);
        }
        let missing = Missing::new(&spec.missing);
        let is_read = names.iter().map(|name| reading.is_read(name)).collect();
        let mut form = Self { delimiter, missing, names, is_read, fields: Vec::new(), orders };
        let mut all = vec![Seen::default(); form.names.len()];
        ordered(
            threads(),
            cut(delimiter, files),
            |lines| form.look(&lines, files, reading),
            |seen| {
                all.iter_mut().zip(seen).for_each(|(all, seen)| all.merge(seen));
                Ok(())
            },
            || PrepareError::Crashed { path: shown(files).into() },
        )?;
        let fields = form.names.iter().zip(&all).map(|(name, seen)| seen.field(name, files, reading));
        form.fields = fields.collect::<Result<_, _>>()?;
        let fields = form.fields.clone();
        Ok((form, fields))
    }

    /// What the cells of a piece are.
    fn look(
        &self,
        lines: &Lines,
        files: &[SourceFile],
        reading: &Reading,
    ) -> Result<Vec<Seen>, PrepareError> {
        let mut seen = vec![Seen::default(); self.names.len()];
        // Whoever reads the piece later puts the rows aside.
        let mut rejects = Rejects { files, malformed: reading.malformed, rows: Vec::new() };
        self.rows(lines, &mut rejects, |at, column, text| {
            seen[column].add(text.map_or(Cell::Missing, Cell::of), at);
            Some(())
        })?;
        Ok(seen)
    }

    /// Reads a piece: its columns, and where each row stands.
    pub(super) fn parse(
        &self,
        lines: &Lines,
        rejects: &mut Rejects<'_>,
    ) -> Result<(Vec<ArrayRef>, Vec<u64>), PrepareError> {
        let mut columns: Vec<Builder> =
            self.fields.iter().map(|field| Builder::new(field.data_type())).collect();
        let at = self.rows(lines, rejects, |_, column, text| columns[column].text(text))?;
        Ok((columns.iter_mut().map(Builder::finish).collect(), at))
    }

    /// Hands each cell of each good row to `cell`, and tells where the rows stand.
    fn rows(
        &self,
        lines: &Lines,
        rejects: &mut Rejects<'_>,
        mut cell: impl FnMut(u64, usize, Option<&str>) -> Option<()>,
    ) -> Result<Vec<u64>, PrepareError> {
        let order = self.orders[lines.file].as_deref();
        let is_text = std::str::from_utf8(&lines.bytes).is_ok();
        let mut reader = reader(self.delimiter, lines.bytes.as_slice());
        let (mut row, mut places) = (ByteRecord::new(), Vec::new());
        let mut is_header = lines.first_line == 1;
        while reader.read_byte_record(&mut row).expect("invariant: bytes of any kind are rows of any length")
        {
            let line = lines.first_line - 1 + row.position().map_or(1, csv::Position::line);
            let place = at(lines.file, line);
            if std::mem::take(&mut is_header) {
                continue;
            }
            let column = |index: usize| order.map_or(index, |order| order[index]);
            if let Some(problem) = self.problem(&row, is_text, column) {
                let error = PrepareError::Line { path: rejects.path(place), line, problem };
                rejects.add(place, &raw(&row, self.delimiter), error)?;
                continue;
            }
            for (index, bytes) in row.iter().enumerate() {
                let text = String::from_utf8_lossy(bytes);
                let text = Some(text.trim()).filter(|text| !self.missing.is(text));
                cell(place, column(index), text).ok_or_else(|| changed(rejects.files, place))?;
            }
            places.push(place);
        }
        Ok(places)
    }

    /// What is wrong with a row, whose cells belong to the columns that `column` tells.
    fn problem(
        &self,
        row: &ByteRecord,
        is_text: bool,
        column: impl Fn(usize) -> usize,
    ) -> Option<LineProblem> {
        if row.as_slice().len() > ROW_BYTES_MAX {
            return Some(LineProblem::TooLong { max: ROW_BYTES_MAX });
        }
        if row.len() != self.names.len() {
            return Some(ragged(&self.names, row.len()));
        }
        let is_strange = |(index, cell): &(usize, &[u8])| {
            self.is_read[column(*index)] && std::str::from_utf8(cell).is_err()
        };
        let strange = row.iter().enumerate().find(|cell| !is_text && is_strange(cell));
        strange.map(|(index, _)| LineProblem::NotUtf8 { column: index + 1 })
    }
}

impl Missing {
    fn new(texts: &[String]) -> Self {
        let longest = texts.iter().map(String::len).max().unwrap_or(0);
        Self { texts: texts.to_vec(), longest }
    }

    fn is(&self, cell: &str) -> bool {
        cell.len() <= self.longest && self.texts.iter().any(|missing| missing == cell)
    }
}

fn reader(delimiter: u8, bytes: &[u8]) -> csv::Reader<&[u8]> {
    ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(bytes)
}

/// The names of a file's columns.
fn header(delimiter: u8, file: &SourceFile) -> Result<Vec<String>, PrepareError> {
    let empty = || PrepareError::Empty { path: file.name.clone(), expected: "a header line and rows" };
    let first = Pieces::new(ByRow { delimiter }, 0, file).next().ok_or_else(empty)??;
    let mut row = ByteRecord::new();
    let read = reader(delimiter, &first.bytes).read_byte_record(&mut row);
    if !read.expect("invariant: bytes of any kind are rows of any length") {
        return Err(empty());
    }
    let line = row.position().map_or(1, csv::Position::line);
    let name = |(index, cell): (usize, &[u8])| match std::str::from_utf8(cell) {
        Ok(name) => Ok(name.trim().to_owned()),
        Err(_) => {
            let problem = LineProblem::NotUtf8 { column: index + 1 };
            Err(PrepareError::Line { path: file.name.clone(), line, problem })
        }
    };
    let names = row.iter().enumerate().map(name).collect::<Result<Vec<_>, _>>()?;
    check_names(&file.name, &names)?;
    Ok(names)
}

/// Which of `names` each of the columns `found` in a later file is.
fn order(
    names: &[String],
    found: &[String],
    first: &SourceFile,
    file: &SourceFile,
) -> Result<Option<Vec<usize>>, PrepareError> {
    if names == found {
        return Ok(None);
    }
    let drift =
        |reason: String| PrepareError::Drift { path: file.name.clone(), first: first.name.clone(), reason };
    if let Some(absent) = names.iter().find(|name| !found.contains(name)) {
        return Err(drift(format!("there is no column `{absent}`")));
    }
    let index = |name: &String| {
        let known = names.iter().position(|known| known == name);
        known.ok_or_else(|| drift(format!("there is a column `{name}` more")))
    };
    found.iter().map(index).collect::<Result<Vec<_>, _>>().map(Some)
}

/// A row as text again, for people.
fn raw(row: &ByteRecord, delimiter: u8) -> Vec<u8> {
    row.iter().collect::<Vec<_>>().join(&delimiter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str) -> Vec<Vec<String>> {
        let cells =
            |row: ByteRecord| row.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
        reader(b',', text.as_bytes()).byte_records().map(|row| cells(row.unwrap())).collect()
    }

    proptest! {
        #[test]
        fn the_rows_of_two_pieces_are_those_of_the_whole(text in "[ab,\"\n\r ]{0,80}") {
            let end = ByRow { delimiter: b',' }.last_end(text.as_bytes());
            let pieces = [rows(&text[..end]), rows(&text[end..])].concat();
            prop_assert_eq!(pieces, rows(&text));
        }
    }

    #[test]
    fn rows_end_where_the_csv_crate_ends_them() {
        let check = |text: &str, expected: usize| {
            assert_eq!(ByRow { delimiter: b',' }.last_end(text.as_bytes()), expected, "{text:?}");
        };
        check("a,b\nc", 4);
        check("a,\"b\nc\"\nd", 8);
        check("a,\"b\n", 0);
        // A quote within a cell is a sign like any other.
        check("a,5\" pipe\nb", 10);
        check("a,\"x\"\"y\n\"\nb", 10);
        check("\"a\"b,\"\n\"\n", 9);
    }
}

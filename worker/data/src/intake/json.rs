//! Files with a JSON object on each line. Objects within objects are columns
//! called `outer.inner`, lists are kept as JSON text, and truth values are the
//! texts `true` and `false`. A text that looks like a number stays a text.

use std::{borrow::Cow, collections::HashMap};

use arrow::{array::ArrayRef, datatypes::Field};
use serde_json::{Map, Value};

use super::{
    Reading, Rejects, SourceFile, at,
    infer::{Builder, Cell, Seen, changed},
    lines::{ByLine, Lines, Pieces},
    shown,
};
use crate::{
    PrepareError,
    error::{LineProblem, shown as cut},
    ordered::{ordered, threads},
    source::{ROW_BYTES_MAX, check_names, is_finite},
};

/// How deep objects may lie in objects.
const DEPTH_MAX: usize = 16;

/// JSON lines whose columns are known.
#[derive(Debug)]
pub(super) struct JsonForm {
    fields: Vec<Field>,
    indices: HashMap<String, usize>,
}

pub(super) fn pieces(
    files: &[SourceFile],
) -> impl Iterator<Item = Result<Lines, PrepareError>> + Send + use<'_> {
    files.iter().enumerate().flat_map(|(number, file)| Pieces::new(ByLine, number, file))
}

/// Columns in the order in which they first come, and what was seen of each.
#[derive(Debug, Default)]
struct Columns {
    names: Vec<String>,
    indices: HashMap<String, usize>,
    seen: Vec<Seen>,
}

impl Columns {
    fn seen(&mut self, name: &str) -> &mut Seen {
        let index = match self.indices.get(name) {
            Some(index) => *index,
            None => {
                self.names.push(name.to_owned());
                self.seen.push(Seen::default());
                self.indices.insert(name.to_owned(), self.names.len() - 1);
                self.names.len() - 1
            }
        };
        &mut self.seen[index]
    }
}

impl JsonForm {
    /// Looks at every object to find the columns and their types.
    pub(super) fn open(files: &[SourceFile], reading: &Reading) -> Result<(Self, Vec<Field>), PrepareError> {
        let mut all = Columns::default();
        let look = |lines: Lines| {
            let mut columns = Columns::default();
            let mut rejects = Rejects { files, malformed: reading.malformed, rows: Vec::new() };
            rows(&lines, &mut rejects, |at, object| {
                cells(object, "", 0, &mut |name, value| {
                    columns.seen(name).add(value.cell(), at);
                    Some(())
                })
            })?;
            Ok(columns)
        };
        let fold = |columns: Columns| {
            for (name, seen) in columns.names.iter().zip(columns.seen) {
                all.seen(name).merge(seen);
            }
            check_names(&files[0].name, &all.names)
        };
        let lost = || PrepareError::Crashed { path: shown(files).into() };
        ordered(threads(), pieces(files), look, fold, lost)?;
        if all.names.is_empty() {
            return Err(PrepareError::Empty {
                path: shown(files).into(),
                expected: "a JSON object on each line",
            });
        }
        let fields = all.names.iter().zip(&all.seen).map(|(name, seen)| seen.field(name, files, reading));
        let fields = fields.collect::<Result<Vec<_>, _>>()?;
        Ok((Self { fields: fields.clone(), indices: all.indices }, fields))
    }

    /// Reads a piece: its columns, and where each row stands.
    pub(super) fn parse(
        &self,
        lines: &Lines,
        rejects: &mut Rejects<'_>,
    ) -> Result<(Vec<ArrayRef>, Vec<u64>), PrepareError> {
        let mut columns: Vec<Builder> =
            self.fields.iter().map(|field| Builder::new(field.data_type())).collect();
        let mut found: Vec<Option<String>> = vec![None; columns.len()];
        let places = rows(lines, rejects, |_, object| {
            found.iter_mut().for_each(|cell| *cell = None);
            cells(object, "", 0, &mut |name, value| {
                found[*self.indices.get(name)?] = value.text().map(Cow::into_owned);
                Some(())
            })?;
            columns.iter_mut().zip(&found).try_for_each(|(column, cell)| column.text(cell.as_deref()))
        })?;
        Ok((columns.iter_mut().map(Builder::finish).collect(), places))
    }
}

/// A value that is no object.
struct Leaf<'a>(&'a Value);

impl<'a> Leaf<'a> {
    fn cell(&self) -> Cell<'a> {
        match self.0 {
            Value::Null => Cell::Missing,
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => Cell::Int(int),
                (None, Some(float)) if is_finite(float) => Cell::Float(float),
                (None, _) => Cell::Text("a number too large"),
            },
            Value::String(text) => Cell::Text(text),
            Value::Bool(true) => Cell::Text("true"),
            Value::Bool(false) => Cell::Text("false"),
            Value::Array(_) | Value::Object(_) => Cell::Text("a list"),
        }
    }

    fn text(&self) -> Option<Cow<'a, str>> {
        match self.0 {
            Value::Null => None,
            Value::String(text) => Some(Cow::Borrowed(text)),
            other => Some(Cow::Owned(other.to_string())),
        }
    }
}

/// Hands every value in an object to `cell`, with its name; `None` if that does.
fn cells(
    object: &Map<String, Value>,
    outer: &str,
    depth: usize,
    cell: &mut impl FnMut(&str, Leaf<'_>) -> Option<()>,
) -> Option<()> {
    for (name, value) in object {
        let name = if outer.is_empty() { Cow::Borrowed(name) } else { Cow::Owned(format!("{outer}.{name}")) };
        match value {
            Value::Object(inner) if depth < DEPTH_MAX => cells(inner, &name, depth + 1, cell)?,
            value => cell(&name, Leaf(value))?,
        }
    }
    Some(())
}

/// Hands each object of a piece to `row`, and tells where they stand. Blank lines are none.
fn rows(
    lines: &Lines,
    rejects: &mut Rejects<'_>,
    mut row: impl FnMut(u64, &Map<String, Value>) -> Option<()>,
) -> Result<Vec<u64>, PrepareError> {
    let mut places = Vec::new();
    for (line, bytes) in (lines.first_line..).zip(lines.bytes.split(|byte| *byte == b'\n')) {
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            continue;
        }
        let place = at(lines.file, line);
        match object(bytes) {
            Ok(object) => row(place, &object).ok_or_else(|| changed(rejects.files, place))?,
            Err(problem) => {
                let error = PrepareError::Line { path: rejects.path(place), line, problem };
                rejects.add(place, bytes, error)?;
                continue;
            }
        }
        places.push(place);
    }
    Ok(places)
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, LineProblem> {
    if bytes.len() > ROW_BYTES_MAX {
        return Err(LineProblem::TooLong { max: ROW_BYTES_MAX });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| LineProblem::NotUtf8 { column: error.valid_up_to() + 1 })?;
    serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        // It ends with the place, whose line is that within the object.
        let reason = cut(said.split(" at line ").next().unwrap_or_default());
        LineProblem::NotJson { column: error.column(), reason }
    })
}

//! The intake: the raw rows of any source, as Arrow batches in the order of the
//! source. Nothing is changed here but types: what text means numbers is read as
//! such, and all integers, fractions and texts have one type each.
//!
//! Every row carries where it stands in the hidden column [`AT`]. Pieces of a
//! source are cut off on one thread and read on several; where they end is decided
//! by the source alone.

mod csv;
mod fetch;
mod files;
mod images;
mod infer;
mod ipc;
mod json;
mod lines;
mod plain;
mod typed;

use std::{collections::BTreeMap, io::Read as _, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, UInt64Array},
    datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef},
};
use phalanx_protocol::spec::{
    CastTo, CleanStep, ColumnEncoding, CsvSpec, DataSpec, Malformed, Objective, SourceSpec,
};

pub use self::files::SourceRecord;
use self::{csv::CsvForm, images::ImagesForm, json::JsonForm, typed::TypedForm};
pub(crate) use self::{
    fetch::fetch,
    files::{SourceFile, hash_file, is_unchanged, locate},
    images::is_image,
    plain::{RATIO_MAX, copy_plain, is_bomb, is_packed, open_plain},
    typed::{careful, normal, normal_field},
};
use crate::{
    PrepareError,
    error::{ColumnProblem, Place},
    ordered::{ordered, threads},
    source::unreadable,
};

/// The hidden column that says where a row stands: see [`place`].
pub(crate) const AT: &str = "__at";

/// The hidden column that says to which split a row belongs, once that is known.
pub(crate) const SPLIT: &str = "__split";

/// Bits of [`AT`] that are the line; the others are the number of the file.
const LINE_BITS: u32 = 40;

/// A source whose columns are known.
#[derive(Debug)]
pub(crate) struct Input {
    /// Its files, in order.
    pub(crate) files: Vec<SourceFile>,
    /// Its columns, [`AT`] being the last.
    pub(crate) schema: SchemaRef,
    form: Form,
    malformed: Malformed,
}

#[derive(Debug)]
enum Form {
    Csv(CsvForm),
    Json(JsonForm),
    Typed(TypedForm),
    Images(ImagesForm),
}

/// A part of a source that is cut off and not read yet.
enum Piece {
    Lines(lines::Lines),
    Batch { first: u64, batch: RecordBatch },
    Images { range: std::ops::Range<usize> },
}

/// Some rows.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Their columns, [`AT`] among them.
    pub(crate) batch: RecordBatch,
    /// Rows that were put aside.
    pub(crate) rejects: Vec<Reject>,
}

/// A row that was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reject {
    /// Where it stands.
    pub(crate) at: u64,
    /// Why.
    pub(crate) reason: String,
    /// The row, for people.
    pub(crate) row: String,
}

/// What a job file says of how cells are read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) malformed: Malformed,
    /// Columns that are text whatever they hold.
    pub(crate) as_text: Vec<String>,
    /// Columns that nobody reads.
    pub(crate) ignored: Vec<String>,
    /// The columns that are read, where not all are.
    pub(crate) read: Option<Vec<String>>,
    /// The types of columns that are known before.
    pub(crate) types: BTreeMap<String, CastTo>,
}

impl Reading {
    pub(crate) fn new(spec: &DataSpec) -> Self {
        let mut as_text = spec.categorical.clone();
        let is_category = |encoding: &ColumnEncoding| encoding.of_numbers().is_none();
        let categories = spec.encode.columns.iter().filter(|(_, encoding)| is_category(encoding));
        as_text.extend(categories.map(|(name, _)| name.clone()));
        // A cell as it is written decides where its row goes.
        let divides = [&spec.split.group, &spec.split.key, &spec.split.column];
        as_text.extend(divides.into_iter().flatten().cloned());
        if spec.objective == Some(Objective::Classification) {
            as_text.extend(spec.target().map(str::to_owned));
        }
        for step in &spec.clean {
            match step {
                CleanStep::Cast(cast) => as_text.extend(cast.columns.iter().cloned()),
                CleanStep::SetMissing(missing) => as_text.extend(missing.columns.iter().flatten().cloned()),
                CleanStep::Trim(_)
                | CleanStep::Rename(_)
                | CleanStep::DropColumns(_)
                | CleanStep::Filter(_)
                | CleanStep::Derive(_)
                | CleanStep::DropDuplicates(_)
                | CleanStep::DropNearDuplicates(_)
                | CleanStep::Impute(_)
                | CleanStep::Outliers(_)
                | CleanStep::FoldRare(_)
                | CleanStep::Vote(_)
                | CleanStep::WeakLabel(_) => {}
            }
        }
        let read = |features: &Vec<String>| {
            let divides = spec.split.columns().map(|(_, column)| column);
            features
                .iter()
                .map(String::as_str)
                .chain(divides)
                .chain(spec.target())
                .map(str::to_owned)
                .collect()
        };
        Self {
            malformed: spec.malformed,
            as_text,
            ignored: spec.ignore.clone(),
            read: spec.features.as_ref().map(read),
            types: BTreeMap::new(),
        }
    }
}

impl Reading {
    /// For rows whose columns have these types.
    pub(crate) fn of_types(types: &BTreeMap<String, CastTo>) -> Self {
        Self {
            malformed: Malformed::Fail,
            as_text: Vec::new(),
            ignored: Vec::new(),
            read: None,
            types: types.clone(),
        }
    }

    /// Whether somebody reads the column `name`.
    fn is_read(&self, name: &str) -> bool {
        let named = |names: &Vec<String>| names.iter().any(|named| named == name);
        !named(&self.ignored) && self.read.as_ref().is_none_or(named)
    }
}

impl Input {
    /// Finds out what columns `files` have, which is to look at every cell where files do not say so themselves.
    pub(crate) fn open(spec: &DataSpec, files: Vec<SourceFile>) -> Result<Self, PrepareError> {
        let reading = Reading::new(spec);
        let (form, fields) = match spec.source() {
            Some(SourceSpec::Csv(csv)) => {
                let (form, fields) = CsvForm::open(csv, &files, &reading)?;
                (Form::Csv(form), fields)
            }
            Some(
                SourceSpec::Json(_) | SourceSpec::Sql(_) | SourceSpec::Http(_) | SourceSpec::LabelStudio(_),
            ) => {
                let (form, fields) = JsonForm::open(&files, &reading)?;
                (Form::Json(form), fields)
            }
            Some(SourceSpec::Parquet(_) | SourceSpec::Arrow(_)) => {
                let (form, fields) = TypedForm::open(&files)?;
                (Form::Typed(form), fields)
            }
            Some(SourceSpec::Images(folder)) => {
                let (form, fields) = ImagesForm::open(folder, spec.shape, &files)?;
                (Form::Images(form), fields)
            }
            Some(SourceSpec::Text(_)) | None => {
                let reason = "expected a source with columns".to_owned();
                return Err(PrepareError::Recipe { reason });
            }
        };
        Ok(Self { schema: with_at(fields, &files)?, files, form, malformed: reading.malformed })
    }

    /// Opens one file, whose kind is told by its first bytes; `csv` says how a CSV file is written.
    pub(crate) fn detect(file: SourceFile, csv: &CsvSpec, reading: &Reading) -> Result<Self, PrepareError> {
        let mut start = [0; 6];
        let read = open_plain(&file)?.read(&mut start).map_err(|error| unreadable(&file.name, error))?;
        let files = vec![file];
        let (form, fields) = match &start[..read] {
            [b'P', b'A', b'R', b'1', ..] | b"ARROW1" => {
                let (form, fields) = TypedForm::open(&files)?;
                (Form::Typed(form), fields)
            }
            [b'{', ..] => {
                let (form, fields) = JsonForm::open(&files, reading)?;
                (Form::Json(form), fields)
            }
            _ => {
                let (form, fields) = CsvForm::open(csv, &files, reading)?;
                (Form::Csv(form), fields)
            }
        };
        Ok(Self { schema: with_at(fields, &files)?, files, form, malformed: reading.malformed })
    }

    /// Reads every row once: `work` is done on several threads, and `fold` in the order of the rows.
    pub(crate) fn read<R: Send>(
        &self,
        work: impl Fn(Rows) -> Result<R, PrepareError> + Sync,
        fold: impl FnMut(R) -> Result<(), PrepareError>,
    ) -> Result<(), PrepareError> {
        let lost = || PrepareError::Crashed { path: shown(&self.files).into() };
        ordered(threads(), self.pieces(), |piece| work(self.parse(piece)?), fold, lost)
    }

    fn pieces(&self) -> Box<dyn Iterator<Item = Result<Piece, PrepareError>> + Send + '_> {
        match &self.form {
            Form::Csv(form) => Box::new(csv::pieces(form, &self.files).map(|lines| lines.map(Piece::Lines))),
            Form::Json(_) => Box::new(json::pieces(&self.files).map(|lines| lines.map(Piece::Lines))),
            Form::Typed(form) => Box::new(
                form.batches(&self.files)
                    .map(|batch| batch.map(|(first, batch)| Piece::Batch { first, batch })),
            ),
            Form::Images(form) => Box::new(form.pieces().map(|range| Ok(Piece::Images { range }))),
        }
    }

    fn parse(&self, piece: Piece) -> Result<Rows, PrepareError> {
        let mut rejects = Rejects { files: &self.files, malformed: self.malformed, rows: Vec::new() };
        let (mut columns, at) = match (&self.form, piece) {
            (Form::Csv(form), Piece::Lines(lines)) => form.parse(&lines, &mut rejects)?,
            (Form::Json(form), Piece::Lines(lines)) => form.parse(&lines, &mut rejects)?,
            (Form::Images(form), Piece::Images { range }) => form.parse(range, &mut rejects)?,
            (Form::Typed(_), Piece::Batch { first, batch }) => {
                let at = (first..).take(batch.num_rows()).collect();
                (TypedForm::parse(&batch).map_err(|error| damaged(&self.files, first, &error))?, at)
            }
            (Form::Csv(_) | Form::Json(_) | Form::Images(_) | Form::Typed(_), _) => {
                unreachable!("a source is cut into pieces of its own kind")
            }
        };
        columns.push(Arc::new(UInt64Array::from(at)) as ArrayRef);
        let batch = RecordBatch::try_new(self.schema.clone(), columns);
        let batch = batch.map_err(|error| PrepareError::Damaged {
            path: shown(&self.files).into(),
            reason: crate::error::shown(&error.to_string()),
        })?;
        Ok(Rows { batch, rejects: rejects.rows })
    }
}

/// Rows that cannot be read: an error, or put aside.
struct Rejects<'a> {
    files: &'a [SourceFile],
    malformed: Malformed,
    rows: Vec<Reject>,
}

impl Rejects<'_> {
    /// Takes note of a row that cannot be read because of `error`.
    fn add(&mut self, at: u64, row: &[u8], error: PrepareError) -> Result<(), PrepareError> {
        match self.malformed {
            Malformed::Fail => Err(error),
            Malformed::Quarantine => {
                let reason = error.reason();
                self.rows.push(Reject { at, reason, row: String::from_utf8_lossy(row).into_owned() });
                Ok(())
            }
        }
    }

    fn path(&self, at: u64) -> std::path::PathBuf {
        self.files[file_of(at)].name.clone()
    }
}

/// Where the row on `line` of a file stands, as one number: they grow in the order of the source.
pub(crate) fn at(file: usize, line: u64) -> u64 {
    (file as u64) << LINE_BITS | (line & ((1 << LINE_BITS) - 1))
}

/// The file of a row.
pub(crate) fn file_of(at: u64) -> usize {
    (at >> LINE_BITS) as usize
}

/// The line of a row in its file, or its number there, from 1.
pub(crate) fn line_of(at: u64) -> u64 {
    at & ((1 << LINE_BITS) - 1)
}

/// Where a row stands, for messages: its file, and the line or row.
pub(crate) fn place(files: &[SourceFile], at: u64) -> (std::path::PathBuf, Place) {
    let Some(file) = files.get(file_of(at)) else { return (shown(files).into(), Place::Row(line_of(at))) };
    let place = if file.has_lines { Place::Line(line_of(at)) } else { Place::Row(line_of(at)) };
    (file.name.clone(), place)
}

/// Files for people.
pub(crate) fn shown(files: &[SourceFile]) -> String {
    match files {
        [] => "no file".to_owned(),
        [only] => only.name.display().to_string(),
        [first, rest @ ..] => format!("{} and {} more", first.name.display(), rest.len()),
    }
}

/// Fields with [`AT`] behind them.
fn with_at(mut fields: Vec<Field>, files: &[SourceFile]) -> Result<SchemaRef, PrepareError> {
    if let Some(field) = fields.iter().find(|field| is_hidden(field.name())) {
        let (path, column) = (shown(files).into(), field.name().clone());
        return Err(PrepareError::Column { path, column, problem: ColumnProblem::Reserved });
    }
    fields.push(Field::new(AT, DataType::UInt64, false));
    Ok(Arc::new(ArrowSchema::new(fields)))
}

/// Whether a column is of bytes.
pub(crate) fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
    )
}

/// Whether a column is one of ours.
pub(crate) fn is_hidden(name: &str) -> bool {
    name == AT || name == SPLIT
}

/// The Arrow type that a column of a job file's type has.
pub(crate) fn arrow_type(of: CastTo) -> DataType {
    match of {
        CastTo::Int => DataType::Int64,
        CastTo::Float => DataType::Float64,
        CastTo::Text => DataType::Utf8,
        CastTo::Bool => DataType::Boolean,
        CastTo::Date => DataType::Date32,
        CastTo::Timestamp => DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
    }
}

fn damaged(files: &[SourceFile], at: u64, error: &dyn std::error::Error) -> PrepareError {
    let path: &Path = files.get(file_of(at)).map_or(Path::new("the source"), |file| &file.name);
    PrepareError::Damaged { path: path.to_owned(), reason: crate::error::shown(&error.to_string()) }
}

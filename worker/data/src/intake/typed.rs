//! Parquet and Arrow IPC files, whose columns have types of their own. Integers,
//! fractions and texts of all sizes become one type each, and a fraction that is
//! no number is missing.

use std::{
    fs::File,
    io::Read as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, RecordBatch},
    compute::cast,
    datatypes::{DataType, Field, Float64Type, SchemaRef, TimeUnit},
    error::ArrowError,
};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::{SourceFile, at, damaged, ipc::IpcBatches};
use crate::{
    PrepareError,
    error::shown,
    source::{check_names, open, unreadable},
};

/// Rows of a batch.
const BATCH_ROWS: usize = 8_192;

/// The most rows of a batch in a file: more cannot be meant, even where they take no bytes.
const ROWS_MAX: usize = u32::MAX as usize;

/// Files with types whose columns are known.
#[derive(Debug)]
pub(super) struct TypedForm {
    names: Vec<String>,
}

/// The batches of one file.
pub(crate) enum AnyBatches {
    Parquet(ParquetRecordBatchReader),
    Ipc(IpcBatches),
}

impl TypedForm {
    /// Reads the schemas, which must be alike.
    pub(super) fn open(files: &[SourceFile]) -> Result<(Self, Vec<Field>), PrepareError> {
        let fields = |file: &SourceFile| {
            let schema = AnyBatches::open(file)?.schema();
            let fields: Vec<Field> = schema.fields().iter().map(|field| normal_field(field)).collect();
            check_names(&file.name, &fields.iter().map(|field| field.name().clone()).collect::<Vec<_>>())?;
            Ok::<_, PrepareError>(fields)
        };
        let first = fields(&files[0])?;
        for file in &files[1..] {
            let drift = |reason: String| PrepareError::Drift {
                path: file.name.clone(),
                first: files[0].name.clone(),
                reason,
            };
            let found = fields(file)?;
            for field in &first {
                let name = field.name();
                let other = found.iter().find(|other| other.name() == name);
                let other = other.ok_or_else(|| drift(format!("there is no column `{name}`")))?;
                if other.data_type() != field.data_type() {
                    let (expected, actual) = (field.data_type(), other.data_type());
                    return Err(drift(format!("column `{name}` is of type {actual}, expected {expected}")));
                }
            }
            if let Some(more) =
                found.iter().find(|other| !first.iter().any(|field| field.name() == other.name()))
            {
                return Err(drift(format!("there is a column `{}` more", more.name())));
            }
        }
        let names = first.iter().map(|field| field.name().clone()).collect();
        Ok((Self { names }, first))
    }

    /// All rows as they are in the files, in small batches, each with where its first row stands.
    pub(super) fn batches<'a>(
        &'a self,
        files: &'a [SourceFile],
    ) -> impl Iterator<Item = Result<(u64, RecordBatch), PrepareError>> + Send + use<'a> {
        files.iter().enumerate().flat_map(move |(number, file)| {
            let mut first = at(number, 1);
            let mut opened = Some(AnyBatches::open(file));
            let (mut batches, mut rest) = (None, None);
            std::iter::from_fn(move || {
                match opened.take() {
                    Some(Ok(reader)) => batches = Some(reader),
                    Some(Err(error)) => return Some(Err(error)),
                    None => {}
                }
                let next = match rest.take() {
                    Some(rest) => Ok(rest),
                    None => batches.as_mut()?.next()?.and_then(|batch| self.arranged(&batch)),
                };
                let from = first;
                Some(match next {
                    Ok(batch) => {
                        let rows = batch.num_rows().min(BATCH_ROWS);
                        first += rows as u64;
                        let left = batch.num_rows() - rows;
                        rest = (left > 0).then(|| batch.slice(rows, left));
                        Ok((from, batch.slice(0, rows)))
                    }
                    Err(error) => {
                        batches = None;
                        Err(damaged(files, from, &error))
                    }
                })
            })
        })
    }

    /// The columns in the order of the first file.
    fn arranged(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        if batch.num_rows() > ROWS_MAX {
            return Err(ArrowError::IpcError(format!("a batch of {} rows", batch.num_rows())));
        }
        let indices = self.names.iter().map(|name| batch.schema().index_of(name));
        batch.project(&indices.collect::<Result<Vec<_>, _>>()?)
    }

    /// A batch's columns in the types that they have here.
    pub(super) fn parse(batch: &RecordBatch) -> Result<Vec<ArrayRef>, ArrowError> {
        batch.columns().iter().map(normal).collect()
    }
}

impl AnyBatches {
    /// Opens a Parquet or Arrow IPC file, told apart by its first bytes.
    pub(crate) fn open(file: &SourceFile) -> Result<Self, PrepareError> {
        let mut magic = [0; 6];
        let read = open(&file.path)?.read(&mut magic).map_err(|error| unreadable(&file.name, error))?;
        if read == 0 {
            let expected = "a Parquet or Arrow file";
            return Err(PrepareError::Empty { path: file.name.clone(), expected });
        }
        let handle = open(&file.path)?;
        // Readers of damaged files may panic where they should give an error.
        let opened = catch_unwind(AssertUnwindSafe(|| match &magic[..read] {
            [b'P', b'A', b'R', b'1', ..] => Self::parquet(handle),
            b"ARROW1" => IpcBatches::file(handle).map(Self::Ipc),
            _ => IpcBatches::stream(handle).map(Self::Ipc),
        }));
        let reason = match opened {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the reader gave up".to_owned(),
        };
        Err(PrepareError::Damaged { path: file.name.clone(), reason: shown(&reason) })
    }

    fn parquet(handle: File) -> Result<Self, ArrowError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(handle)?;
        Ok(Self::Parquet(builder.with_batch_size(BATCH_ROWS).build()?))
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        match self {
            Self::Parquet(reader) => arrow::array::RecordBatchReader::schema(reader),
            Self::Ipc(batches) => batches.schema(),
        }
    }
}

impl Iterator for AnyBatches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Parquet(reader) => careful(reader),
            Self::Ipc(batches) => careful(batches),
        }
    }
}

/// The next batch of a reader, which may panic over a damaged file: nothing more is asked of it then.
pub(crate) fn careful(
    reader: &mut impl Iterator<Item = Result<RecordBatch, ArrowError>>,
) -> Option<Result<RecordBatch, ArrowError>> {
    let next = catch_unwind(AssertUnwindSafe(|| reader.next()));
    next.unwrap_or_else(|_| Some(Err(ArrowError::ParseError("the reader gave up".to_owned()))))
}

/// A field with the type that its column has here.
pub(crate) fn normal_field(field: &Field) -> Field {
    Field::new(field.name(), normal_type(field.data_type()), true)
}

fn normal_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::UInt64 => DataType::Float64,
        integer if integer.is_integer() => DataType::Int64,
        number if number.is_numeric() => DataType::Float64,
        DataType::Dictionary(_, value) => normal_type(value),
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, None),
        other => other.clone(),
    }
}

/// A column in the type that it has here.
pub(crate) fn normal(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let wanted = normal_type(column.data_type());
    let column = if *column.data_type() == wanted { column.clone() } else { cast(column, &wanted)? };
    if wanted != DataType::Float64 {
        return Ok(column);
    }
    let floats = column.as_primitive::<Float64Type>();
    if !floats.values().iter().any(|value| value.is_nan()) {
        return Ok(column);
    }
    let known = floats.iter().map(|value| value.filter(|value| !value.is_nan()));
    Ok(Arc::new(known.collect::<arrow::array::Float64Array>()))
}

//! Clean rows written down for others: as CSV, Parquet or JSON lines, with the
//! split of each row in a column of its own, or as tasks for Label Studio.

use std::{
    io::{self, Write},
    sync::Arc,
};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch, StringArray},
    compute::filter_record_batch,
    datatypes::{DataType, Field, Float64Type, Int64Type, Schema as ArrowSchema},
};
use parquet::arrow::ArrowWriter;
use serde_json::{Map, Value, json};

use crate::{Split, clean::cell_text};

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportFormat {
    /// With a header line; a missing cell is empty.
    Csv,
    /// One Parquet file.
    Parquet,
    /// A JSON object on each line; a missing cell is null.
    JsonLines,
    /// The list of tasks that Label Studio imports. The label of a row, if it has one, is its annotation.
    LabelStudio {
        /// The column of the label, after which the control is called.
        target: String,
        /// Whether labels that are numbers are written as such; else they are choices like any other.
        numbers: bool,
    },
}

/// Writes rows.
pub struct Exporter<W: Write + Send> {
    only: Option<Split>,
    rows: u64,
    out: Out<W>,
}

enum Out<W: Write + Send> {
    Csv(csv::Writer<W>, bool),
    Json(W),
    Tasks {
        to: W,
        target: String,
        numbers: bool,
    },
    /// The writer, until the first rows tell the columns.
    ParquetUnopened(Option<W>),
    Parquet(ArrowWriter<W>),
}

impl<W: Write + Send> std::fmt::Debug for Exporter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl<W: Write + Send> Exporter<W> {
    /// Writes to `to`, rows of one split alone if one is named.
    pub fn new(format: ExportFormat, only: Option<Split>, to: W) -> Self {
        let out = match format {
            ExportFormat::Csv => Out::Csv(csv::Writer::from_writer(to), false),
            ExportFormat::JsonLines => Out::Json(to),
            ExportFormat::LabelStudio { target, numbers } => Out::Tasks { to, target, numbers },
            ExportFormat::Parquet => Out::ParquetUnopened(Some(to)),
        };
        Self { only, rows: 0, out }
    }

    /// Writes rows, each of which is of a split or left out of all, or of rows that are not divided.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn write(&mut self, batch: &RecordBatch, splits: &[Option<Split>]) -> io::Result<()> {
        let batch = if splits.is_empty() {
            batch.clone()
        } else {
            let is_chosen = |split: &Option<Split>| Some(self.only.is_none_or(|only| *split == Some(only)));
            let chosen: BooleanArray = splits.iter().map(is_chosen).collect();
            filter_record_batch(&with_split(batch, splits)?, &chosen).map_err(io::Error::other)?
        };
        let written = self.rows;
        self.rows += batch.num_rows() as u64;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        match &mut self.out {
            Out::Csv(out, begun) => {
                if !std::mem::replace(begun, true) {
                    out.write_record(batch.schema().fields().iter().map(|field| field.name().clone()))?;
                }
                for row in 0..batch.num_rows() {
                    let cell = |column: &ArrayRef| cell_text(column, row).unwrap_or_default();
                    out.write_record(batch.columns().iter().map(cell))?;
                }
            }
            Out::Json(out) => {
                for row in 0..batch.num_rows() {
                    writeln!(out, "{}", Value::Object(object(&batch, row)))?;
                }
            }
            Out::Tasks { to, target, numbers } => {
                for (number, row) in (written..).zip(0..batch.num_rows()) {
                    let before = if number == 0 { "[" } else { "," };
                    write!(to, "{before}\n{}", task(object(&batch, row), target, *numbers, number + 1))?;
                }
            }
            Out::ParquetUnopened(to) => {
                let to = to.take().ok_or_else(|| io::Error::other("the file could not be begun"))?;
                let mut writer = ArrowWriter::try_new(to, batch.schema(), None).map_err(io::Error::other)?;
                writer.write(&batch).map_err(io::Error::other)?;
                self.out = Out::Parquet(writer);
            }
            Out::Parquet(writer) => writer.write(&batch).map_err(io::Error::other)?,
        }
        Ok(())
    }

    /// Ends the file: how many rows it has.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn finish(self) -> io::Result<u64> {
        match self.out {
            Out::Csv(mut out, _) => out.flush()?,
            Out::Json(mut out) => out.flush()?,
            Out::Tasks { mut to, .. } => {
                to.write_all(if self.rows == 0 { b"[]\n" } else { b"\n]\n" })?;
                to.flush()?;
            }
            Out::ParquetUnopened(_) => {}
            Out::Parquet(writer) => drop(writer.close().map_err(io::Error::other)?),
        }
        Ok(self.rows)
    }
}

/// The rows with a column `split`, unless they have one of this name.
fn with_split(batch: &RecordBatch, splits: &[Option<Split>]) -> io::Result<RecordBatch> {
    if batch.schema().index_of("split").is_ok() {
        return Ok(batch.clone());
    }
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("split", DataType::Utf8, true));
    let mut columns = batch.columns().to_vec();
    let names: StringArray = splits.iter().map(|split| split.map(Split::as_str)).collect();
    columns.push(Arc::new(names));
    RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).map_err(io::Error::other)
}

fn object(batch: &RecordBatch, row: usize) -> Map<String, Value> {
    let mut object = Map::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let value = match column.data_type() {
            _ if column.is_null(row) => Value::Null,
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
            DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
            DataType::Boolean => column.as_boolean().value(row).into(),
            _ => cell_text(column, row).into(),
        };
        object.insert(field.name().clone(), value);
    }
    object
}

/// A row as a task: its label is an annotation, and all else the data that is to be labelled.
fn task(mut data: Map<String, Value>, target: &str, numbers: bool, id: u64) -> Value {
    let label = data.remove(target).filter(|label| !label.is_null());
    // The tag of the data that a control belongs to is not known here; most labelling interfaces have one of text.
    let shown = data.iter().find(|(_, value)| value.is_string()).or_else(|| data.iter().next());
    let to_name = shown.map_or("data", |(name, _)| name.as_str()).to_owned();
    let annotation = label.map(|label| {
        let (kind, value) = match (numbers, label) {
            (true, Value::Number(number)) => ("number", json!({ "number": number })),
            (_, Value::String(choice)) => ("choices", json!({ "choices": [choice] })),
            (_, other) => ("choices", json!({ "choices": [other.to_string()] })),
        };
        json!({ "result": [{ "from_name": target, "to_name": to_name, "type": kind, "value": value }] })
    });
    json!({ "id": id, "data": data, "annotations": annotation.into_iter().collect::<Vec<_>>() })
}

//! Changes at work on batches of one table: each cell by itself, in the order of
//! the rows, and how many became others.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Float64Type, SchemaRef},
};
use phalanx_protocol::spec::{CastTo, VoteBy};

use super::{
    Change,
    ballots::{Ballots, Cells},
    cells::{Value, numbers},
    sql::Sql,
};
use crate::intake::{arrow_type, normal};

/// A change for a table whose columns are known.
#[derive(Debug, Clone)]
pub(crate) struct Changer {
    pub(super) change: Change,
    /// What is made by SQL, by its name.
    pub(super) sql: Vec<(String, Sql)>,
    /// The columns before.
    pub(super) before: SchemaRef,
    /// The columns afterwards.
    pub(crate) after: SchemaRef,
}

impl Changer {
    /// The change, without the table.
    pub(super) fn change(&self) -> &Change {
        &self.change
    }

    /// Changes some rows: the rows, and how many cells became others.
    pub(crate) fn apply(&self, batch: &RecordBatch) -> Result<(RecordBatch, u64), String> {
        let names = self.before.fields().iter().map(|field| field.name().as_str());
        let mut columns: BTreeMap<&str, ArrayRef> = names.zip(batch.columns().iter().cloned()).collect();
        let touched = match &self.change {
            Change::Trim { columns: names } => {
                each_text(&mut columns, names, |cell| Some(cell.trim()).filter(|cell| !cell.is_empty()))
            }
            Change::SetMissing { columns: names, values } => each_text(&mut columns, names, |cell| {
                (!values.iter().any(|value| value == cell)).then_some(cell)
            }),
            Change::Cast { columns: names, to } => {
                let mut touched = 0;
                for name in names {
                    let (changed, lost) = cast_cells(&columns[name.as_str()], *to)?;
                    touched += lost.iter().filter(|lost| **lost).count() as u64;
                    columns.insert(name, changed);
                }
                touched
            }
            Change::Rename(names) => {
                let moved: Vec<(&str, ArrayRef)> =
                    names.iter().map(|(old, new)| (new.as_str(), columns[old.as_str()].clone())).collect();
                columns.extend(moved);
                0
            }
            Change::DropColumns(_) => 0,
            Change::Derive(_) => {
                for (name, sql) in &self.sql {
                    let values = sql.values(batch).map_err(|reason| format!("`{name}`: {reason}"))?;
                    columns.insert(name, normal(&values).map_err(|error| error.to_string())?);
                }
                (self.sql.len() * batch.num_rows()) as u64
            }
            Change::Fill { column, value, indicator } => {
                let before = columns[column.as_str()].clone();
                let touched = fill(&mut columns, column, value.as_ref())?;
                let flags = (0..before.len()).map(|row| i64::from(before.is_null(row)));
                let made = indicator.then(|| (format!("{column}_missing"), flags.collect()));
                return self.finish(columns, made, touched);
            }
            Change::Clip { column, low, high } => {
                let cells = numbers(&columns[column.as_str()]).ok_or("expected numbers")?;
                let clipped = cells.unary::<_, Float64Type>(|cell| cell.clamp(*low, *high));
                columns.insert(column, Arc::new(clipped));
                cells.iter().flatten().filter(|cell| cell < low || cell > high).count() as u64
            }
            Change::Flag { column, low, high } => {
                let cells = numbers(&columns[column.as_str()]).ok_or("expected numbers")?;
                let flag =
                    |cell: Option<f64>| i64::from(cell.is_some_and(|cell| cell < *low || cell > *high));
                let flags: Int64Array = cells.iter().map(flag).collect();
                let touched = flags.values().iter().sum::<i64>() as u64;
                return self.finish(columns, Some((format!("{column}_outlier"), flags)), touched);
            }
            Change::Fold { column, kept, into } => fold(&mut columns, column, kept, into),
            Change::Vote { into, .. } | Change::WeakLabel { into, .. } => {
                let labels =
                    self.ballots(batch)?.map(|ballots| ballots.labels()).ok_or("expected ballots")?;
                let labelled = (labels.len() - labels.null_count()) as u64;
                columns.insert(into, labels);
                labelled
            }
        };
        self.finish(columns, None, touched)
    }

    /// What is said of some rows, for a change that makes labels.
    pub(super) fn ballots(&self, batch: &RecordBatch) -> Result<Option<Ballots>, String> {
        let column =
            |name: &str| batch.column_by_name(name).ok_or_else(|| format!("there is no column `{name}`"));
        match &self.change {
            Change::Vote { columns, weights, by, .. } => {
                let columns = columns.iter().map(|name| column(name));
                let cells = match by {
                    VoteBy::Majority => {
                        Cells::Labels(columns.map(|cells| texts(cells?)).collect::<Result<_, _>>()?)
                    }
                    VoteBy::Mean | VoteBy::Median => {
                        let numbers =
                            columns.map(|cells| numbers(cells?).ok_or("expected numbers".to_owned()));
                        Cells::Numbers(numbers.collect::<Result<_, _>>()?, *by)
                    }
                };
                Ok(Some(Ballots { cells, weights: weights.clone(), given: None }))
            }
            Change::WeakLabel { into, rules } => {
                let given = batch.column_by_name(into).map(texts).transpose()?;
                let mut cells = Vec::with_capacity(rules.len());
                for ((name, condition), rule) in self.sql.iter().zip(rules) {
                    let holds = condition.holds(batch).map_err(|reason| format!("`{name}`: {reason}"))?;
                    let label = |holds: bool| holds.then_some(rule.label.as_str());
                    cells.push(holds.values().iter().map(label).collect::<StringArray>());
                }
                let weights = rules.iter().map(|rule| rule.weight).collect();
                Ok(Some(Ballots { cells: Cells::Labels(cells), weights, given }))
            }
            Change::Trim { .. }
            | Change::SetMissing { .. }
            | Change::Cast { .. }
            | Change::Rename(_)
            | Change::DropColumns(_)
            | Change::Derive(_)
            | Change::Fill { .. }
            | Change::Clip { .. }
            | Change::Flag { .. }
            | Change::Fold { .. } => Ok(None),
        }
    }

    /// The columns in their order.
    fn finish(
        &self,
        columns: BTreeMap<&str, ArrayRef>,
        made: Option<(String, Int64Array)>,
        touched: u64,
    ) -> Result<(RecordBatch, u64), String> {
        let column = |field: &Arc<Field>| match &made {
            Some((name, column)) if name == field.name() => Arc::new(column.clone()) as ArrayRef,
            _ => columns[field.name().as_str()].clone(),
        };
        let columns = self.after.fields().iter().map(column).collect();
        let batch = RecordBatch::try_new(self.after.clone(), columns).map_err(|error| error.to_string())?;
        Ok((batch, touched))
    }
}

/// `column` in another type, and which of its cells do not fit: they are missing in the result.
pub(super) fn cast_cells(column: &ArrayRef, to: CastTo) -> Result<(ArrayRef, Vec<bool>), String> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let cast = cast_with_options(column, &arrow_type(to), &options).map_err(|error| error.to_string())?;
    let fraction = |row: usize| match column.data_type() {
        // A cast would cut the fraction off.
        DataType::Float64 if to == CastTo::Int => {
            let cells = column.as_primitive::<Float64Type>();
            cells.is_valid(row) && cells.value(row).fract() != 0.0
        }
        _ => false,
    };
    let lost: Vec<bool> =
        (0..column.len()).map(|row| column.is_valid(row) && (cast.is_null(row) || fraction(row))).collect();
    if !lost.contains(&true) {
        return Ok((cast, lost));
    }
    let mask: arrow::array::BooleanArray = lost.iter().map(|lost| Some(*lost)).collect();
    Ok((arrow::compute::nullif(&cast, &mask).map_err(|error| error.to_string())?, lost))
}

/// Cells as labels.
fn texts(cells: &ArrayRef) -> Result<StringArray, String> {
    let texts = arrow::compute::cast(cells, &DataType::Utf8).map_err(|error| error.to_string())?;
    Ok(texts.as_string::<i32>().clone())
}

/// Puts `value` in the place of missing cells, and counts them.
fn fill(columns: &mut BTreeMap<&str, ArrayRef>, name: &str, value: Option<&Value>) -> Result<u64, String> {
    let Some(value) = value else { return Ok(0) };
    let slot = columns.get_mut(name).ok_or("expected the column")?;
    let missing = slot.null_count() as u64;
    let cells: ArrayRef = match (value, slot.data_type()) {
        (Value::Float(_), DataType::Int64) => Arc::new(numbers(slot).ok_or("expected numbers")?),
        _ => slot.clone(),
    };
    *slot = value.fill(&cells).ok_or_else(|| format!("column `{name}` is of type {}", cells.data_type()))?;
    Ok(missing)
}

/// Changes texts cell by cell, and counts those that became others.
fn each_text(
    columns: &mut BTreeMap<&str, ArrayRef>,
    names: &[String],
    change: impl for<'c> Fn(&'c str) -> Option<&'c str>,
) -> u64 {
    let mut touched = 0;
    for name in names {
        let Some(column) = columns.get_mut(name.as_str()) else { continue };
        let cells = column.as_string::<i32>();
        let differs = cells.iter().flatten().filter(|cell| change(cell) != Some(*cell)).count() as u64;
        if differs > 0 {
            touched += differs;
            *column = Arc::new(cells.iter().map(|cell| cell.and_then(&change)).collect::<StringArray>());
        }
    }
    touched
}

/// Puts `into` in the place of all texts but those that are `kept`, and counts them.
fn fold(columns: &mut BTreeMap<&str, ArrayRef>, name: &str, kept: &[String], into: &str) -> u64 {
    let Some(column) = columns.get_mut(name) else { return 0 };
    let stays = |cell: &str| kept.binary_search_by(|kept| kept.as_str().cmp(cell)).is_ok();
    let cells = column.as_string::<i32>();
    let touched = cells.iter().flatten().filter(|cell| !stays(cell)).count() as u64;
    if touched > 0 {
        let folded = cells.iter().map(|cell| cell.map(|cell| if stays(cell) { cell } else { into }));
        *column = Arc::new(folded.collect::<StringArray>());
    }
    touched
}

//! Steps that were fitted to a table, one after the other on a batch of rows.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _, BooleanArray, RecordBatch, UInt8Array},
    compute::filter_record_batch,
    datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, UInt64Type},
};
use phalanx_protocol::spec::{CastTo, Failing};

use super::{
    cells,
    change::Change,
    changer::{Changer, cast_cells},
    sieve::Sieve,
};
use crate::{
    PrepareError,
    error::{CellProblem, shown},
    intake::{AT, Reject, Rows, SPLIT, SourceFile, is_hidden, place},
};

/// Steps over batches of one table.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    steps: Vec<(usize, Kind)>,
    /// The columns afterwards.
    pub(crate) schema: SchemaRef,
}

#[derive(Debug, Clone)]
enum Kind {
    Change(Changer),
    Sieve(Sieve),
    /// Looks for cells that cannot be cast; the change that follows casts them.
    Cast {
        columns: Vec<String>,
        to: CastTo,
        failing: Failing,
    },
    /// Tells each row's split.
    Split(Arc<Splits>),
}

/// What stands for no split.
pub(crate) const NO_SPLIT: u8 = u8::MAX;

/// The split of each row of a table, in its order.
#[derive(Debug)]
pub(crate) struct Splits {
    /// By row: 0, 1 and 2 for training, validation and test, or [`NO_SPLIT`].
    pub(crate) of_rows: Vec<u8>,
    /// The number of the first row of each batch.
    pub(crate) starts: Vec<usize>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The step's number in the job file, from 0.
    pub(crate) step: usize,
    pub(crate) rows_before: u64,
    pub(crate) rows_after: u64,
    pub(crate) cells: u64,
    /// Whether this is the first, and the last, of the parts that the step has.
    pub(crate) is_first: bool,
    pub(crate) is_last: bool,
}

impl Pipeline {
    /// No steps yet.
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { steps: Vec::new(), schema }
    }

    /// Whether it leaves rows as they are.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The changes among the steps, which a row to predict goes through.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> {
        self.steps.iter().filter_map(|(_, kind)| match kind {
            Kind::Change(changer) => Some(changer.change().clone()),
            Kind::Sieve(_) | Kind::Cast { .. } | Kind::Split(_) => None,
        })
    }

    /// Adds a change, as a part of step `step`.
    pub(crate) fn change(&mut self, step: usize, change: Change) -> Result<(), String> {
        let changer = change.over(&self.schema)?;
        self.schema = changer.after.clone();
        self.steps.push((step, Kind::Change(changer)));
        Ok(())
    }

    /// Adds a sieve.
    pub(crate) fn sieve(&mut self, step: usize, sieve: Sieve) {
        self.steps.push((step, Kind::Sieve(sieve)));
    }

    /// Adds a cast, and what is done where it fails.
    pub(crate) fn cast(
        &mut self,
        step: usize,
        columns: &[String],
        to: CastTo,
        failing: Failing,
    ) -> Result<(), String> {
        let change = Change::Cast { columns: columns.to_vec(), to };
        let changer = change.over(&self.schema)?;
        if failing != Failing::Missing {
            self.steps.push((step, Kind::Cast { columns: columns.to_vec(), to, failing }));
        }
        self.schema = changer.after.clone();
        self.steps.push((step, Kind::Change(changer)));
        Ok(())
    }

    /// Adds the column that says each row's split.
    pub(crate) fn split(&mut self, splits: Arc<Splits>) {
        let mut fields: Vec<Field> =
            self.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.push(Field::new(SPLIT, DataType::UInt8, false));
        self.schema = Arc::new(ArrowSchema::new(fields));
        self.steps.push((usize::MAX, Kind::Split(splits)));
    }

    /// All steps on the batch of this number: the rows that are left, and what each step did.
    pub(crate) fn apply(
        &self,
        number: usize,
        rows: Rows,
        files: &[SourceFile],
    ) -> Result<(Rows, Vec<Tally>), PrepareError> {
        let Rows { mut batch, mut rejects } = rows;
        let mut tallies = Vec::with_capacity(self.steps.len());
        for (step, kind) in &self.steps {
            let failed = |reason: String| PrepareError::Step { step: format!("clean[{step}]"), reason };
            let rows_before = batch.num_rows() as u64;
            let mut cells = 0;
            match kind {
                Kind::Change(changer) => (batch, cells) = changer.apply(&batch).map_err(failed)?,
                Kind::Sieve(sieve) => batch = keep(&batch, &sieve.keeps(&batch).map_err(failed)?),
                Kind::Cast { columns, to, failing } => {
                    for name in columns {
                        batch = castable(batch, name, *to, *failing, files, &mut rejects)?;
                    }
                }
                Kind::Split(splits) => {
                    batch = with_split(&batch, splits, number)
                        .ok_or_else(|| PrepareError::Changed { path: crate::intake::shown(files).into() })?;
                }
            }
            let rows_after = batch.num_rows() as u64;
            if *step != usize::MAX {
                tallies.push(Tally {
                    step: *step,
                    rows_before,
                    rows_after,
                    cells,
                    is_first: true,
                    is_last: true,
                });
            }
        }
        for index in 1..tallies.len() {
            if tallies[index].step == tallies[index - 1].step {
                (tallies[index].is_first, tallies[index - 1].is_last) = (false, false);
            }
        }
        Ok((Rows { batch, rejects }, tallies))
    }
}

/// The rows for which `keeps` is true.
pub(super) fn keep(batch: &RecordBatch, keeps: &BooleanArray) -> RecordBatch {
    if keeps.true_count() == batch.num_rows() {
        return batch.clone();
    }
    filter_record_batch(batch, keeps).expect("invariant: a filter has a value for each row")
}

/// Some rows put aside for a reason.
pub(super) fn reject(batch: &RecordBatch, row: usize, reason: String) -> Reject {
    let at = batch.column_by_name(AT).map_or(0, |at| at.as_primitive::<UInt64Type>().value(row));
    let mut cells = serde_json::Map::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if !is_hidden(field.name()) {
            cells.insert(field.name().clone(), cells::text(column, row).into());
        }
    }
    Reject { at, reason, row: serde_json::Value::Object(cells).to_string() }
}

/// Fails at a cell that cannot be cast, or puts its row aside.
fn castable(
    batch: RecordBatch,
    name: &str,
    to: CastTo,
    failing: Failing,
    files: &[SourceFile],
    rejects: &mut Vec<Reject>,
) -> Result<RecordBatch, PrepareError> {
    let Some(column) = batch.column_by_name(name) else { return Ok(batch) };
    let (_, lost) = cast_cells(column, to)
        .map_err(|reason| PrepareError::Step { step: format!("cast of `{name}`"), reason })?;
    if !lost.contains(&true) {
        return Ok(batch);
    }
    let found = |row: usize| shown(&cells::text(column, row).unwrap_or_default());
    let problem =
        |row: usize| CellProblem::NotCast { to: format!("{to:?}").to_lowercase(), found: found(row) };
    if failing == Failing::Fail {
        let row = lost.iter().position(|lost| *lost).unwrap_or_default();
        let at = batch.column_by_name(AT).map_or(0, |at| at.as_primitive::<UInt64Type>().value(row));
        let (path, place) = place(files, at);
        return Err(PrepareError::Cell { path, place, column: name.to_owned(), problem: problem(row) });
    }
    for row in (0..batch.num_rows()).filter(|row| lost[*row]) {
        rejects.push(reject(&batch, row, format!("column `{name}`: {}", problem(row))));
    }
    let keeps: BooleanArray = lost.iter().map(|lost| Some(!lost)).collect();
    Ok(keep(&batch, &keeps))
}

/// The rows with their splits; `None` if they are not those that were divided.
fn with_split(batch: &RecordBatch, splits: &Splits, number: usize) -> Option<RecordBatch> {
    let start = *splits.starts.get(number)?;
    let of_rows = splits.of_rows.get(start..start + batch.num_rows())?;
    let mut fields: Vec<Field> =
        batch.schema_ref().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new(SPLIT, DataType::UInt8, false));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(UInt8Array::from(of_rows.to_vec())) as ArrayRef);
    RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).ok()
}

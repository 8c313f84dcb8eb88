//! All steps of a job file, from the source to the clean table. Steps are gathered
//! until one must see all rows; then what was gathered is written down, once, and what
//! the step must know is learnt from that.

use std::{path::Path, sync::Arc};

use arrow::datatypes::SchemaRef;
use phalanx_protocol::spec::{CleanStep, DataSpec, DuplicatesStep, NearDuplicatesStep};
use serde::{Deserialize, Serialize};

use super::{
    Change, CleanTable, Outcome, Quarantine,
    ballots::Count,
    batches::Batches,
    change::{column, text_column},
    duplicates::{Hashes, Repeats},
    expect,
    fit::fit,
    label::{self, Labelling},
    learn::{self, Learnt, Needs},
    near::{self, Near, ROWS_MAX},
    pipeline::{NO_SPLIT, Pipeline, Splits, Tally},
    read_batches,
    sieve::Sieve,
    table::TableWriter,
};
use crate::{
    LabelReport, PrepareError, Split,
    intake::{AT, Input, Rows, SPLIT, is_hidden},
};

/// Divides the rows of a table into splits.
pub(crate) type Divide<'a> = &'a dyn Fn(&CleanTable) -> Result<Vec<Option<Split>>, PrepareError>;

/// What became of the rows, step by step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Funnel {
    /// Rows of the source that could be read.
    pub rows_read: u64,
    /// Rows that could not be read and were put aside.
    pub rows_malformed: u64,
    /// The steps, in order.
    pub steps: Vec<StepReport>,
    /// Rows that an expectation put aside.
    pub rows_unexpected: u64,
    /// Rows of the clean table.
    pub rows_clean: u64,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepReport {
    /// Its name in the job file.
    pub step: String,
    /// Rows before it.
    pub rows_before: u64,
    /// Rows after it.
    pub rows_after: u64,
    /// Cells that it changed.
    pub cells: u64,
    /// What was learnt for it from the training split, by column.
    #[serde(default, skip_serializing_if = "Learnt::is_empty")]
    pub learnt: Learnt,
    /// What annotators or rules said, and how far they agree; of a step that makes labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelReport>,
}

/// What cleaning has made.
#[derive(Debug)]
pub(crate) struct Cleaned {
    pub(crate) table: CleanTable,
    /// The columns before.
    pub(crate) raw: SchemaRef,
    pub(crate) funnel: Funnel,
    /// What a row to predict goes through.
    pub(crate) changes: Vec<Change>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) quarantine: Quarantine,
}

/// Cleans a source as `spec` says; what is made on the way is in `scratch`.
pub(crate) fn clean(
    input: &Input,
    spec: &DataSpec,
    scratch: &Path,
    divide: Divide<'_>,
) -> Result<Cleaned, PrepareError> {
    let mut cleaning = Cleaning::new(input, spec, scratch);
    cleaning.steps(&spec.clean, divide)?;
    cleaning.write(|_| Ok(()), |()| Ok(()))?;
    let outcomes = cleaning.expect(spec)?;
    let Batches::Table(table) = cleaning.batches else {
        unreachable!("the last step has written a table");
    };
    cleaning.funnel.rows_clean = table.rows;
    let Cleaning { funnel, changes, quarantine, .. } = cleaning;
    Ok(Cleaned { table, raw: input.schema.clone(), funnel, changes, outcomes, quarantine })
}

/// Makes `changes` to all rows of a source, and nothing else. Columns may be absent, and so may `target`, by the
/// name that it has at first.
pub(crate) fn clean_with(
    input: &Input,
    changes: &[Change],
    target: &str,
    scratch: &Path,
) -> Result<CleanTable, PrepareError> {
    let mut cleaning = Cleaning::new(input, &DataSpec::default(), scratch);
    let mut target = target;
    for change in changes {
        let failed = |reason| PrepareError::Step { step: "clean, as for training".to_owned(), reason };
        if let Some(left) = change.within(&cleaning.pipeline.schema, target) {
            cleaning.pipeline.change(usize::MAX, left).map_err(failed)?;
        }
        if let Change::Rename(names) = change {
            target = names.get(target).map_or(target, String::as_str);
        }
    }
    cleaning.write(|_| Ok(()), |()| Ok(()))?;
    match cleaning.batches {
        Batches::Table(table) => Ok(table),
        Batches::Source(_) => unreachable!("a table has been written"),
    }
}

struct Cleaning<'a> {
    input: &'a Input,
    scratch: &'a Path,
    /// What has been written down last.
    batches: Batches<'a>,
    /// What is to be done to it.
    pipeline: Pipeline,
    changes: Vec<Change>,
    funnel: Funnel,
    quarantine: Quarantine,
    tables: usize,
    divided: bool,
}

impl<'a> Cleaning<'a> {
    fn new(input: &'a Input, spec: &DataSpec, scratch: &'a Path) -> Self {
        let report = |step: &CleanStep| StepReport {
            step: step.name().to_owned(),
            rows_before: 0,
            rows_after: 0,
            cells: 0,
            learnt: Learnt::new(),
            labels: None,
        };
        Self {
            input,
            scratch,
            batches: Batches::Source(input),
            pipeline: Pipeline::new(input.schema.clone()),
            changes: Vec::new(),
            funnel: Funnel { steps: spec.clean.iter().map(report).collect(), ..Funnel::default() },
            quarantine: Quarantine::new(&scratch.join("quarantine.jsonl")),
            tables: 0,
            divided: false,
        }
    }

    fn steps(&mut self, steps: &[CleanStep], divide: Divide<'_>) -> Result<(), PrepareError> {
        let mut number = 0;
        while number < steps.len() {
            let step = &steps[number];
            let failed = failed(number, step);
            match learn::needs(step) {
                Needs::Nothing => learn::add(&mut self.pipeline, number, step).map_err(failed)?,
                Needs::AllRows => match step {
                    CleanStep::DropDuplicates(duplicates) => self.duplicates(number, duplicates, &failed)?,
                    CleanStep::DropNearDuplicates(near) => self.near_duplicates(number, near, &failed)?,
                    CleanStep::Vote(vote) => {
                        let labelling = label::vote(vote, &self.pipeline.schema).map_err(&failed)?;
                        self.label(number, labelling, &failed)?;
                    }
                    CleanStep::WeakLabel(weak) => self.label(number, label::weak_label(weak), &failed)?,
                    _ => unreachable!("no other step must know all rows"),
                },
                Needs::Training => {
                    self.divide(divide)?;
                    let together = together(&steps[number..]);
                    self.learn(number, &steps[number..number + together])?;
                    number += together - 1;
                }
            }
            number += 1;
        }
        Ok(())
    }

    fn duplicates(
        &mut self,
        number: usize,
        step: &DuplicatesStep,
        failed: &dyn Fn(String) -> PrepareError,
    ) -> Result<(), PrepareError> {
        let schema = self.pipeline.schema.clone();
        let columns: Vec<usize> = match &step.columns {
            Some(names) => {
                names.iter().map(|name| column(&schema, name)).collect::<Result<_, _>>().map_err(failed)?
            }
            None => {
                (0..schema.fields().len()).filter(|index| !is_hidden(schema.field(*index).name())).collect()
            }
        };
        let hashes = Hashes::new(&schema, columns).map_err(failed)?;
        let mut repeats = Repeats::new(self.scratch, "duplicates");
        let of = |rows: &Rows| {
            hashes
                .of(&rows.batch)
                .map_err(|reason| PrepareError::Step { step: "drop_duplicates".to_owned(), reason })
        };
        self.write(of, |records| repeats.add(&records))?;
        self.pipeline.sieve(number, Sieve::NotAt(Arc::new(repeats.finish()?)));
        Ok(())
    }

    fn near_duplicates(
        &mut self,
        number: usize,
        step: &NearDuplicatesStep,
        failed: &dyn Fn(String) -> PrepareError,
    ) -> Result<(), PrepareError> {
        use arrow::array::AsArray as _;
        let schema = self.pipeline.schema.clone();
        let index = text_column(&schema, &step.column).map_err(failed)?;
        let at = schema.index_of(AT).map_err(|error| failed(error.to_string()))?;
        let (mut near, mut repeats) = (Near::new(step), Vec::new());
        let signatures = |rows: &Rows| {
            let texts = rows.batch.column(index).as_string::<i32>();
            let places = rows.batch.column(at).as_primitive::<arrow::datatypes::UInt64Type>();
            let signature = |text: Option<&str>| text.and_then(|text| near::signature(text, step.words));
            Ok(places.values().iter().copied().zip(texts.iter().map(signature)).collect::<Vec<_>>())
        };
        self.write(signatures, |signatures| {
            for (at, signature) in signatures {
                if signature.is_some_and(|signature| near.is_repeat(signature)) {
                    repeats.push(at);
                }
            }
            match near.kept() > ROWS_MAX {
                true => Err(failed(format!(
                    "there are more than {ROWS_MAX} different texts; `filter` them before"
                ))),
                false => Ok(()),
            }
        })?;
        self.pipeline.sieve(number, Sieve::NotAt(Arc::new(repeats)));
        Ok(())
    }

    /// Counts what is said of all rows, and labels them by it.
    fn label(
        &mut self,
        number: usize,
        labelling: Labelling,
        failed: &dyn Fn(String) -> PrepareError,
    ) -> Result<(), PrepareError> {
        let changer = labelling.change.clone().over(&self.pipeline.schema).map_err(failed)?;
        let step = self.funnel.steps[number].step.clone();
        let look = |rows: &Rows| {
            let ballots = changer.ballots(&rows.batch);
            let ballots = ballots.map_err(|reason| PrepareError::Step { step: step.clone(), reason })?;
            Ok(ballots.map(|ballots| ballots.count()))
        };
        let mut count = Count::default();
        self.write(look, |more| more.map_or(Ok(()), |more| count.add(more)).map_err(failed))?;
        self.funnel.steps[number].labels = Some(labelling.report(&count));
        self.pipeline.change(number, labelling.change).map_err(failed)
    }

    /// Divides the rows as they are now, once.
    fn divide(&mut self, divide: Divide<'_>) -> Result<(), PrepareError> {
        if self.divided {
            return Ok(());
        }
        self.write(|_| Ok(()), |()| Ok(()))?;
        if let Batches::Table(table) = &self.batches {
            let of_rows =
                divide(table)?.into_iter().map(|split| split.map_or(NO_SPLIT, |split| split as u8)).collect();
            self.pipeline.split(Arc::new(Splits { of_rows, starts: table.starts.clone() }));
        }
        self.divided = true;
        Ok(())
    }

    /// Learns what some steps must know that do not depend on each other, and adds them.
    fn learn(&mut self, first: usize, steps: &[CleanStep]) -> Result<(), PrepareError> {
        let mut asks = Vec::new();
        let mut ends = Vec::new();
        for (number, step) in (first..).zip(steps) {
            asks.extend(learn::asks(step, &self.pipeline.schema).map_err(failed(number, step))?);
            ends.push(asks.len());
        }
        let (answers, rows) = fit(&self.batches, &self.pipeline, &self.input.files, &asks)?;
        let mut from = 0;
        for ((number, step), end) in (first..).zip(steps).zip(ends) {
            let learnt = learn::add_learnt(&mut self.pipeline, number, step, &answers[from..end], rows);
            self.funnel.steps[number].learnt = learnt.map_err(failed(number, step))?;
            from = end;
        }
        Ok(())
    }

    /// Writes down the rows as they are now, and hands what `look` sees of them to `fold`, in their order.
    fn write<R: Send>(
        &mut self,
        look: impl Fn(&Rows) -> Result<R, PrepareError> + Sync,
        mut fold: impl FnMut(R) -> Result<(), PrepareError>,
    ) -> Result<(), PrepareError> {
        let (input, pipeline) = (self.input, &self.pipeline);
        let from_source = matches!(self.batches, Batches::Source(_));
        let unchanged = pipeline.is_empty() && !from_source;
        let path = self.scratch.join(format!("table-{}.arrow", self.tables));
        let mut writer = if unchanged { None } else { Some(TableWriter::create(&path, &pipeline.schema)?) };
        let work = |number: usize, rows: Rows| {
            let read = (rows.batch.num_rows() as u64, rows.rejects.len() as u64);
            let (rows, tallies) = pipeline.apply(number, rows, &input.files)?;
            let seen = look(&rows)?;
            Ok((rows, tallies, seen, read))
        };
        let (funnel, quarantine) = (&mut self.funnel, &mut self.quarantine);
        self.batches.read(work, |(rows, tallies, seen, (read, malformed))| {
            if from_source {
                funnel.rows_read += read;
                funnel.rows_malformed += malformed;
            }
            tallies.iter().for_each(|tally| funnel.add(tally));
            quarantine.add(&rows.rejects, &input.files)?;
            if let Some(writer) = &mut writer {
                writer.write(&rows.batch)?;
            }
            fold(seen)
        })?;
        let Some(writer) = writer else { return Ok(()) };
        let table = writer.finish()?;
        if table.rows == 0 {
            return Err(PrepareError::NothingLeft { rows: self.funnel.rows_read });
        }
        self.changes.extend(self.pipeline.changes());
        self.pipeline = Pipeline::new(table.schema.clone());
        if let Batches::Table(before) = std::mem::replace(&mut self.batches, Batches::Table(table)) {
            // It has been read for the last time; what cannot be deleted goes with the folder.
            let _ = std::fs::remove_file(before.path);
        }
        self.tables += 1;
        Ok(())
    }

    /// Looks whether the rows are as they should be, and puts those aside that are not to be kept, unless all is
    /// refused.
    fn expect(&mut self, spec: &DataSpec) -> Result<Vec<Outcome>, PrepareError> {
        let checked =
            expect::check(&spec.expect, &self.batches, &self.pipeline, &self.input.files, self.scratch)?;
        if !checked.rejects.is_empty() && expect::refuse(&checked.outcomes).is_ok() {
            self.funnel.rows_unexpected = checked.rejects.len() as u64;
            self.quarantine.add(&checked.rejects, &self.input.files)?;
            let places = checked.rejects.iter().map(|reject| reject.at).collect();
            self.pipeline.sieve(usize::MAX, Sieve::NotAt(Arc::new(places)));
            self.write(|_| Ok(()), |()| Ok(()))?;
        }
        Ok(checked.outcomes)
    }
}

impl Funnel {
    /// Adds what a step did to a batch. A step of several parts has the rows before the first and after the last.
    fn add(&mut self, tally: &Tally) {
        let Some(report) = self.steps.get_mut(tally.step) else { return };
        report.cells += tally.cells;
        if tally.is_first {
            report.rows_before += tally.rows_before;
        }
        if tally.is_last {
            report.rows_after += tally.rows_after;
        }
    }
}

/// How many of some steps, of which the first asks for figures, can learn in the same passes: no one changes
/// what another asks for, and none drops a row.
fn together(steps: &[CleanStep]) -> usize {
    let mut changed: Vec<&String> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let columns = match (learn::needs(step), learn::changed_columns(step)) {
            (Needs::Training, Some(columns)) => columns,
            _ => return number.max(1),
        };
        if columns.iter().any(|column| changed.contains(&column)) {
            return number;
        }
        changed.extend(columns);
    }
    steps.len()
}

/// The error of a step.
fn failed(number: usize, step: &CleanStep) -> impl Fn(String) -> PrepareError + use<> {
    let step = format!("clean[{number}] ({})", step.name());
    move |reason| PrepareError::Step { step: step.clone(), reason }
}

/// The split of each row of a table, if they have been divided.
pub(crate) fn splits(table: &CleanTable) -> Result<Option<Vec<Option<Split>>>, PrepareError> {
    use arrow::{array::AsArray as _, datatypes::UInt8Type};
    if table.schema.index_of(SPLIT).is_err() {
        return Ok(None);
    }
    let mut splits = Vec::with_capacity(table.rows as usize);
    for batch in read_batches(&table.path)? {
        let batch = batch?;
        let of_rows = batch.column_by_name(SPLIT).map(|column| column.as_primitive::<UInt8Type>());
        let numbers = of_rows.iter().flat_map(|of_rows| of_rows.values());
        splits.extend(numbers.map(|number| Split::ALL.get(*number as usize).copied()));
    }
    Ok(Some(splits))
}

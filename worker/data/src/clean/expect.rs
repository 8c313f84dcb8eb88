//! Expectations: what must hold of the clean rows. One pass looks at every row for
//! all of them; missing cells count only where an expectation is about them.

use std::{collections::HashSet, path::Path};

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    datatypes::{DataType, SchemaRef, UInt64Type},
};
use phalanx_protocol::spec::{CastTo, Expectation, Then};
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{
    batches::Batches,
    cells::{self, numbers},
    change::{column, number_column, text_column},
    duplicates::{Hashes, Repeats},
    fit::Figures,
    pipeline::{Pipeline, reject},
    sql::Sql,
};
use crate::{
    PrepareError,
    error::shown,
    intake::{AT, Reject, SourceFile, arrow_type, is_hidden, place},
};

/// Cells that are shown of those that are not as expected.
const EXAMPLES_MAX: usize = 5;

/// What came of an expectation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The expectation.
    pub expectation: Expectation,
    /// Whether it was met.
    pub met: bool,
    /// Cells or rows that were looked at.
    pub checked: u64,
    /// How many of them are not as expected.
    pub unexpected: u64,
    /// The figure, for one about a whole column or table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<f64>,
    /// Some that are not as expected: their places, and what is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

/// What came of all of them.
pub(super) struct Checked {
    pub(super) outcomes: Vec<Outcome>,
    /// Rows to be put aside, each once, in their order.
    pub(super) rejects: Vec<Reject>,
}

/// An expectation over a table whose columns are known.
struct Check<'a> {
    expectation: &'a Expectation,
    test: Test,
}

/// Whether each row of a batch is looked at, and whether it is right.
type Judge = dyn Fn(&RecordBatch) -> Result<Vec<Verdict>, String> + Send + Sync;

enum Test {
    /// Of each row for itself.
    Rows(Box<Judge>),
    /// No two cells are equal.
    Unique(Hashes, usize),
    /// A figure of a column.
    Figure(usize),
    /// Known without any row.
    Known(bool, Option<f64>),
    /// The number of rows.
    RowCount,
}

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Passed,
    Right,
    Wrong,
}

/// What a batch adds to a check.
enum Partial {
    Rows { checked: u64, wrong: Vec<(u64, String)>, rejects: Vec<Reject> },
    Hashes(Vec<(u128, u64)>),
    Figures(Figures),
    Nothing,
}

/// Looks at all rows for all expectations.
pub(super) fn check(
    expectations: &[Expectation],
    batches: &Batches<'_>,
    pipeline: &Pipeline,
    files: &[SourceFile],
    scratch: &Path,
) -> Result<Checked, PrepareError> {
    if expectations.is_empty() {
        return Ok(Checked { outcomes: Vec::new(), rejects: Vec::new() });
    }
    let checks = expectations.iter().enumerate().map(|(number, expectation)| {
        let failed = |reason| PrepareError::Step {
            step: format!("expect[{number}] ({})", expectation.name()),
            reason,
        };
        Ok(Check { expectation, test: Test::new(expectation, &pipeline.schema).map_err(failed)? })
    });
    let checks = checks.collect::<Result<Vec<_>, PrepareError>>()?;
    let mut sums: Vec<Sum> = checks.iter().map(|_| Sum::new(scratch)).collect();
    let mut rows_all = 0;
    let work = |number, rows| {
        let (rows, _) = pipeline.apply(number, rows, files)?;
        let partials = checks.iter().map(|check| check.look(&rows.batch));
        Ok((partials.collect::<Result<Vec<_>, _>>()?, rows.batch.num_rows() as u64))
    };
    batches.read(work, |(partials, rows)| {
        rows_all += rows;
        sums.iter_mut().zip(partials).try_for_each(|(sum, partial)| sum.add(partial, files))
    })?;
    let mut rejects: Vec<Reject> = Vec::new();
    let mut outcomes = Vec::new();
    for (check, sum) in checks.iter().zip(sums) {
        let (outcome, rejected) = check.outcome(sum, rows_all, batches, files)?;
        rejects.extend(rejected);
        outcomes.push(outcome);
    }
    rejects.sort_by_key(|reject| reject.at);
    let mut seen = HashSet::new();
    rejects.retain(|reject| seen.insert(reject.at));
    Ok(Checked { outcomes, rejects })
}

/// An error if an expectation was not met that must be.
pub(crate) fn refuse(outcomes: &[Outcome]) -> Result<(), PrepareError> {
    let failing = |outcome: &&Outcome| !outcome.met && outcome.expectation.then() == Then::Fail;
    let reasons: Vec<String> = outcomes.iter().filter(failing).map(Outcome::sentence).collect();
    if reasons.is_empty() { Ok(()) } else { Err(PrepareError::Expectations { reasons }) }
}

impl Outcome {
    /// What came of it, in one line for people.
    pub fn sentence(&self) -> String {
        let name = self.expectation.name();
        let about = self.expectation.column().map(|column| format!(" `{column}`")).unwrap_or_default();
        let found = match (self.met, self.observed) {
            (true, None) => "as expected".to_owned(),
            (true, Some(observed)) => format!("as expected: {observed}"),
            (false, Some(observed)) => format!("not as expected: {observed}"),
            (false, None) if self.checked == 0 => "not as expected".to_owned(),
            (false, None) => {
                let some = self.examples.join("; ");
                format!("{} of {} are not as expected: {some}", self.unexpected, self.checked)
            }
        };
        format!("{name}{about}: {found}")
    }
}

/// What was seen for a check.
struct Sum {
    checked: u64,
    wrong: u64,
    examples: Vec<String>,
    rejects: Vec<Reject>,
    repeats: Repeats,
    figures: Figures,
}

impl Sum {
    fn new(scratch: &Path) -> Self {
        let repeats = Repeats::new(scratch, "unique");
        let figures = Figures::default();
        Self { checked: 0, wrong: 0, examples: Vec::new(), rejects: Vec::new(), repeats, figures }
    }

    fn add(&mut self, partial: Partial, files: &[SourceFile]) -> Result<(), PrepareError> {
        match partial {
            Partial::Rows { checked, wrong, rejects } => {
                self.checked += checked;
                self.wrong += wrong.len() as u64;
                let left = EXAMPLES_MAX.saturating_sub(self.examples.len());
                self.examples
                    .extend(wrong.into_iter().take(left).map(|(at, found)| example(files, at, &found)));
                self.rejects.extend(rejects);
            }
            Partial::Hashes(hashes) => {
                self.checked += hashes.len() as u64;
                self.repeats.add(&hashes)?;
            }
            Partial::Figures(figures) => {
                self.checked += figures.count;
                self.figures = std::mem::take(&mut self.figures).join(figures);
            }
            Partial::Nothing => {}
        }
        Ok(())
    }
}

fn example(files: &[SourceFile], at: u64, found: &str) -> String {
    let (path, place) = place(files, at);
    format!("{}, {place}: `{found}`", path.display())
}

impl Check<'_> {
    fn look(&self, batch: &RecordBatch) -> Result<Partial, PrepareError> {
        let failed =
            |reason| PrepareError::Step { step: format!("expect ({})", self.expectation.name()), reason };
        Ok(match &self.test {
            Test::Rows(test) => {
                let verdicts = test(batch).map_err(failed)?;
                let checked = verdicts.iter().filter(|verdict| **verdict != Verdict::Passed).count() as u64;
                let wrong: Vec<usize> =
                    (0..batch.num_rows()).filter(|row| verdicts[*row] == Verdict::Wrong).collect();
                let rejects = match self.expectation.then() {
                    Then::Quarantine => wrong.iter().map(|row| reject(batch, *row, self.reason())).collect(),
                    Then::Fail | Then::Warn => Vec::new(),
                };
                let at = batch.column_by_name(AT).map(|at| at.as_primitive::<UInt64Type>());
                let cell = |row: usize| {
                    let column = self.expectation.column().and_then(|name| batch.column_by_name(name));
                    column
                        .and_then(|column| cells::text(column, row))
                        .map(|text| shown(&text))
                        .unwrap_or_default()
                };
                let wrong = wrong.iter().map(|row| (at.map_or(0, |at| at.value(*row)), cell(*row))).collect();
                Partial::Rows { checked, wrong, rejects }
            }
            Test::Unique(hashes, index) => {
                let there = batch.column(*index);
                let all = hashes.of(batch).map_err(failed)?;
                Partial::Hashes(
                    all.into_iter()
                        .enumerate()
                        .filter(|(row, _)| there.is_valid(*row))
                        .map(|(_, hash)| hash)
                        .collect(),
                )
            }
            Test::Figure(index) => {
                let cells =
                    numbers(batch.column(*index)).ok_or_else(|| failed("expected numbers".to_owned()))?;
                Partial::Figures(Figures::of(cells.iter().flatten()))
            }
            Test::Known(..) | Test::RowCount => Partial::Nothing,
        })
    }

    /// Why a row is put aside.
    fn reason(&self) -> String {
        let about = self.expectation.column().map(|column| format!(" `{column}`")).unwrap_or_default();
        format!("{}{about}", self.expectation.name())
    }

    fn outcome(
        &self,
        sum: Sum,
        rows: u64,
        batches: &Batches<'_>,
        files: &[SourceFile],
    ) -> Result<(Outcome, Vec<Reject>), PrepareError> {
        let Sum { checked, mut wrong, mut examples, mut rejects, repeats, figures } = sum;
        let (mut met, mut observed) = (None, None);
        match &self.test {
            Test::Rows(_) => {}
            Test::Unique(..) => {
                let places = repeats.finish()?;
                wrong = places.len() as u64;
                rejects = places_as_rejects(&places, batches, &self.reason(), &mut examples, self, files)?;
            }
            Test::Figure(_) => {
                observed = self.figure(&figures);
                met = Some(observed.is_some_and(|observed| self.bounds_hold(observed)));
            }
            Test::Known(known, figure) => (met, observed) = (Some(*known), *figure),
            Test::RowCount => {
                observed = Some(rows as f64);
                met = Some(self.bounds_hold(rows as f64));
            }
        }
        let share = self.expectation.mostly().unwrap_or(1.0);
        // What is right to within rounding of the share is right.
        let enough = (checked - wrong.min(checked)) as f64 + 1e-9 >= share * checked as f64;
        let met = met.unwrap_or(enough);
        if met {
            rejects.clear();
        }
        let expectation = self.expectation.clone();
        Ok((Outcome { expectation, met, checked, unexpected: wrong, observed, examples }, rejects))
    }

    fn figure(&self, figures: &Figures) -> Option<f64> {
        let figure = match self.expectation {
            Expectation::ColumnMinToBeBetween(_) => figures.min,
            Expectation::ColumnMaxToBeBetween(_) => figures.max,
            Expectation::ColumnStdevToBeBetween(_) => figures.deviation(),
            _ => figures.mean,
        };
        (figures.count > 0).then_some(figure)
    }

    fn bounds_hold(&self, figure: f64) -> bool {
        let (min, max) = match self.expectation {
            Expectation::TableRowCountToBeBetween(of) | Expectation::TableColumnCountToBeBetween(of) => {
                (of.min.map(|min| min as f64), of.max.map(|max| max as f64))
            }
            Expectation::ColumnMeanToBeBetween(of)
            | Expectation::ColumnMinToBeBetween(of)
            | Expectation::ColumnMaxToBeBetween(of)
            | Expectation::ColumnStdevToBeBetween(of) => (of.min, of.max),
            _ => (None, None),
        };
        between(figure, min, max)
    }
}

/// The rows at some places, to be shown and put aside.
fn places_as_rejects(
    places: &[u64],
    batches: &Batches<'_>,
    reason: &str,
    examples: &mut Vec<String>,
    check: &Check<'_>,
    files: &[SourceFile],
) -> Result<Vec<Reject>, PrepareError> {
    let mut rejects = Vec::new();
    if places.is_empty() {
        return Ok(rejects);
    }
    let column = check.expectation.column().unwrap_or_default();
    let work = |_, rows: crate::intake::Rows| {
        let batch = rows.batch;
        let at = batch.column_by_name(AT).map(|at| at.as_primitive::<UInt64Type>().clone());
        let is_one =
            |row: &usize| at.as_ref().is_some_and(|at| places.binary_search(&at.value(*row)).is_ok());
        let cell = |row| {
            batch.column_by_name(column).and_then(|column| cells::text(column, row)).unwrap_or_default()
        };
        let found = (0..batch.num_rows())
            .filter(is_one)
            .map(|row| (reject(&batch, row, reason.to_owned()), cell(row)));
        Ok(found.collect::<Vec<_>>())
    };
    batches.read(work, |found| {
        for (reject, cell) in found {
            if examples.len() < EXAMPLES_MAX {
                examples.push(example(files, reject.at, &shown(&cell)));
            }
            if check.expectation.then() == Then::Quarantine {
                rejects.push(reject);
            }
        }
        Ok(())
    })?;
    Ok(rejects)
}

impl Test {
    fn new(expectation: &Expectation, schema: &SchemaRef) -> Result<Self, String> {
        Ok(match expectation {
            Expectation::NotBeNull(of) => nulls(column(schema, &of.column)?, false),
            Expectation::BeNull(of) => nulls(column(schema, &of.column)?, true),
            Expectation::BeUnique(of) => {
                let index = column(schema, &of.column)?;
                Self::Unique(Hashes::new(schema, vec![index])?, index)
            }
            Expectation::BeInSet(of) => in_set(column(schema, &of.column)?, &of.values, true),
            Expectation::NotBeInSet(of) => in_set(column(schema, &of.column)?, &of.values, false),
            Expectation::BeBetween(of) => {
                let (index, min, max) = (number_column(schema, &of.column)?, of.min, of.max);
                Self::Rows(Box::new(move |batch: &RecordBatch| {
                    let cells = numbers(batch.column(index)).ok_or("expected numbers")?;
                    Ok(cells.iter().map(|cell| verdict(cell.map(|cell| between(cell, min, max)))).collect())
                }))
            }
            Expectation::BeOfType(of) => {
                let found = schema.field(column(schema, &of.column)?).data_type();
                let wider = of.of == CastTo::Float && *found == DataType::Int64;
                Self::Known(wider || *found == arrow_type(of.of), None)
            }
            Expectation::MatchRegex(of) => matching(text_column(schema, &of.column)?, &of.regex, true)?,
            Expectation::NotMatchRegex(of) => matching(text_column(schema, &of.column)?, &of.regex, false)?,
            Expectation::ValueLengthsToBeBetween(of) => {
                let (index, min, max) = (text_column(schema, &of.column)?, of.min, of.max);
                texts(index, move |text| between(text.chars().count() as f64, min, max))
            }
            Expectation::SatisfySql(of) => {
                let condition = Sql::condition(&of.sql, schema)?;
                Self::Rows(Box::new(move |batch: &RecordBatch| {
                    Ok(condition
                        .holds(batch)?
                        .iter()
                        .map(|holds| verdict(Some(holds == Some(true))))
                        .collect())
                }))
            }
            Expectation::ColumnToExist(of) => {
                Self::Known(schema.index_of(&of.column).is_ok_and(|_| !is_hidden(&of.column)), None)
            }
            Expectation::ColumnMeanToBeBetween(of)
            | Expectation::ColumnMinToBeBetween(of)
            | Expectation::ColumnMaxToBeBetween(of)
            | Expectation::ColumnStdevToBeBetween(of) => Self::Figure(number_column(schema, &of.column)?),
            Expectation::TableRowCountToBeBetween(_) => Self::RowCount,
            Expectation::TableColumnCountToBeBetween(of) => {
                let columns = schema.fields().iter().filter(|field| !is_hidden(field.name())).count() as f64;
                let holds = between(columns, of.min.map(|min| min as f64), of.max.map(|max| max as f64));
                Self::Known(holds, Some(columns))
            }
        })
    }
}

fn verdict(right: Option<bool>) -> Verdict {
    match right {
        None => Verdict::Passed,
        Some(true) => Verdict::Right,
        Some(false) => Verdict::Wrong,
    }
}

fn between(figure: f64, min: Option<f64>, max: Option<f64>) -> bool {
    min.is_none_or(|min| figure >= min) && max.is_none_or(|max| figure <= max)
}

fn nulls(index: usize, expected: bool) -> Test {
    Test::Rows(Box::new(move |batch: &RecordBatch| {
        let column = batch.column(index);
        Ok((0..column.len()).map(|row| verdict(Some(column.is_null(row) == expected))).collect())
    }))
}

fn in_set(index: usize, values: &[String], expected: bool) -> Test {
    let values: HashSet<String> = values.iter().cloned().collect();
    Test::Rows(Box::new(move |batch: &RecordBatch| {
        let column = batch.column(index);
        let right = |row| cells::text(column, row).map(|text| values.contains(&text) == expected);
        Ok((0..column.len()).map(|row| verdict(right(row))).collect())
    }))
}

fn matching(index: usize, regex: &str, expected: bool) -> Result<Test, String> {
    let regex = Regex::new(regex).map_err(|error| format!("`regex`: {error}"))?;
    Ok(texts(index, move |text| regex.is_match(text) == expected))
}

fn texts(index: usize, right: impl Fn(&str) -> bool + Send + Sync + 'static) -> Test {
    Test::Rows(Box::new(move |batch: &RecordBatch| {
        let cells = batch.column(index).as_string::<i32>();
        Ok(cells.iter().map(|cell| verdict(cell.map(&right))).collect())
    }))
}

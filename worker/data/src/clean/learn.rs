//! From a step to what it does: at once where the job file says all, and after
//! asking for figures of the training split where it does not.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, SchemaRef};
use phalanx_protocol::spec::{
    CleanStep, FoldRareStep, ImputeStep, ImputeWith, OutlierAction, OutlierRule, OutliersStep,
};

use super::{
    cells::Value,
    change::{Change, column, number_column, text_column, text_columns},
    fit::{Answer, Ask},
    pipeline::Pipeline,
    sieve::Sieve,
    sql::Sql,
};

/// What a step must know before it can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing but the job file.
    Nothing,
    /// Which rows are duplicates, or what is said of each.
    AllRows,
    /// Figures of the training split.
    Training,
}

/// What was learnt for a step, for people: what it is of, and what it is.
pub(super) type Learnt = BTreeMap<String, String>;

/// What must be known for `step`.
pub(super) fn needs(step: &CleanStep) -> Needs {
    match step {
        CleanStep::Trim(_)
        | CleanStep::SetMissing(_)
        | CleanStep::Cast(_)
        | CleanStep::Rename(_)
        | CleanStep::DropColumns(_)
        | CleanStep::Filter(_)
        | CleanStep::Derive(_) => Needs::Nothing,
        CleanStep::DropDuplicates(_)
        | CleanStep::DropNearDuplicates(_)
        | CleanStep::Vote(_)
        | CleanStep::WeakLabel(_) => Needs::AllRows,
        CleanStep::Impute(step) => match step.with {
            ImputeWith::Drop | ImputeWith::Constant => Needs::Nothing,
            ImputeWith::Mean | ImputeWith::Median | ImputeWith::Mode => Needs::Training,
        },
        CleanStep::Outliers(_) | CleanStep::FoldRare(_) => Needs::Training,
    }
}

/// The columns that a step which asks for figures changes; `None` if it may drop rows, so that no figure
/// of a later step can be taken before it.
pub(super) fn changed_columns(step: &CleanStep) -> Option<&[String]> {
    match step {
        CleanStep::Impute(step) => Some(&step.columns),
        CleanStep::Outliers(step) if step.then != OutlierAction::Drop => Some(&step.columns),
        CleanStep::FoldRare(step) => Some(&step.columns),
        _ => None,
    }
}

/// Adds a step that needs to know nothing.
pub(super) fn add(pipeline: &mut Pipeline, number: usize, step: &CleanStep) -> Result<(), String> {
    let schema = pipeline.schema.clone();
    match step {
        CleanStep::Trim(step) => {
            let columns = step.columns.clone().unwrap_or_else(|| text_columns(&schema));
            pipeline.change(number, Change::Trim { columns })
        }
        CleanStep::SetMissing(step) => {
            let columns = step.columns.clone().unwrap_or_else(|| text_columns(&schema));
            pipeline.change(number, Change::SetMissing { columns, values: step.values.clone() })
        }
        CleanStep::Cast(step) => pipeline.cast(number, &step.columns, step.to, step.failing),
        CleanStep::Rename(names) => pipeline.change(number, Change::Rename(names.clone())),
        CleanStep::DropColumns(names) => pipeline.change(number, Change::DropColumns(names.clone())),
        CleanStep::Filter(condition) => {
            pipeline.sieve(number, Sieve::Condition(Sql::condition(condition, &schema)?));
            Ok(())
        }
        CleanStep::Derive(expressions) => pipeline.change(number, Change::Derive(expressions.clone())),
        CleanStep::Impute(step) => impute(pipeline, number, step, |_, _| Ok(None)),
        CleanStep::DropDuplicates(_)
        | CleanStep::DropNearDuplicates(_)
        | CleanStep::Outliers(_)
        | CleanStep::FoldRare(_)
        | CleanStep::Vote(_)
        | CleanStep::WeakLabel(_) => unreachable!("it needs to know something: see `needs`"),
    }
}

/// The figures that a step asks for.
pub(super) fn asks(step: &CleanStep, schema: &SchemaRef) -> Result<Vec<(String, Ask)>, String> {
    let of = |columns: &[String], ask: Ask| columns.iter().map(|name| (name.clone(), ask.clone())).collect();
    match step {
        CleanStep::Impute(ImputeStep { columns, with, .. }) => {
            let (ask, numbers) = match with {
                ImputeWith::Mean => (Ask::Moments, true),
                ImputeWith::Median => (Ask::Quantiles(vec![0.5]), true),
                ImputeWith::Mode => (Ask::Counts, false),
                ImputeWith::Drop | ImputeWith::Constant => return Ok(Vec::new()),
            };
            for name in columns {
                if numbers {
                    number_column(schema, name)?
                } else {
                    column(schema, name)?
                };
            }
            Ok(of(columns, ask))
        }
        CleanStep::Outliers(step) => {
            step.columns.iter().try_for_each(|name| number_column(schema, name).map(drop))?;
            let limit = step.limit.unwrap_or(step.by.default_limit());
            let ask = match step.by {
                OutlierRule::ZScore => Ask::Moments,
                OutlierRule::Iqr => Ask::Quantiles(vec![0.25, 0.75]),
                OutlierRule::Quantile => Ask::Quantiles(vec![limit, 1.0 - limit]),
            };
            Ok(of(&step.columns, ask))
        }
        CleanStep::FoldRare(step) => {
            step.columns.iter().try_for_each(|name| text_column(schema, name).map(drop))?;
            Ok(of(&step.columns, Ask::Counts))
        }
        _ => Ok(Vec::new()),
    }
}

/// Adds a step whose figures are known, those of `rows` rows of the training split.
pub(super) fn add_learnt(
    pipeline: &mut Pipeline,
    number: usize,
    step: &CleanStep,
    answers: &[Answer],
    rows: u64,
) -> Result<Learnt, String> {
    let mut learnt = Learnt::new();
    match step {
        CleanStep::Impute(step) => {
            let answer = |name: &str, data_type: &DataType| {
                let index = step.columns.iter().position(|column| column == name);
                let value = index.and_then(|index| value(&answers[index], data_type));
                let value = value.ok_or_else(|| {
                    format!("every cell of `{name}` is missing in the training split; name it in `ignore`")
                })?;
                learnt.insert(name.to_owned(), value.to_string());
                Ok(Some(value))
            };
            impute(pipeline, number, step, answer)?;
        }
        CleanStep::Outliers(step) => {
            for (name, answer) in step.columns.iter().zip(answers) {
                let (low, high) = bounds(step, answer)
                    .ok_or_else(|| format!("`{name}` has no numbers in the training split"))?;
                learnt.insert(name.clone(), format!("{low} to {high}"));
                let column = name.clone();
                match step.then {
                    OutlierAction::Drop => pipeline.sieve(number, Sieve::Within { column, low, high }),
                    OutlierAction::Clip => pipeline.change(number, Change::Clip { column, low, high })?,
                    OutlierAction::Flag => pipeline.change(number, Change::Flag { column, low, high })?,
                }
            }
        }
        CleanStep::FoldRare(FoldRareStep { columns, below, into }) => {
            for (name, answer) in columns.iter().zip(answers) {
                let Answer::Counts(counts) = answer else { continue };
                let kept = counts.common(*below, rows);
                learnt.insert(name.clone(), format!("{} kept", kept.len()));
                pipeline.change(number, Change::Fold { column: name.clone(), kept, into: into.clone() })?;
            }
        }
        _ => unreachable!("only these steps ask for figures: see `needs`"),
    }
    Ok(learnt)
}

/// The value that takes the place of missing cells.
fn value(answer: &Answer, data_type: &DataType) -> Option<Value> {
    match answer {
        Answer::Moments(figures) => (figures.count > 0).then_some(Value::Float(figures.mean)),
        Answer::Quantiles(quantiles) => {
            let median = *quantiles.as_ref()?.first()?;
            let whole = *data_type == DataType::Int64 && median.fract() == 0.0;
            Some(if whole { Value::Int(median as i64) } else { Value::Float(median) })
        }
        Answer::Counts(counts) => counts.mode(),
    }
}

/// The least and the greatest number that is no outlier.
fn bounds(step: &OutliersStep, answer: &Answer) -> Option<(f64, f64)> {
    let limit = step.limit.unwrap_or(step.by.default_limit());
    match answer {
        Answer::Moments(figures) => {
            let far = limit * figures.deviation();
            (figures.count > 0).then_some((figures.mean - far, figures.mean + far))
        }
        Answer::Quantiles(quantiles) => {
            let &[low, high] = quantiles.as_ref()?.as_slice() else { return None };
            let far = if step.by == OutlierRule::Iqr { limit * (high - low) } else { 0.0 };
            Some((low - far, high + far))
        }
        Answer::Counts(_) => None,
    }
}

/// Adds an `impute`, whose value for a column `learnt` tells where the job file does not.
fn impute(
    pipeline: &mut Pipeline,
    number: usize,
    step: &ImputeStep,
    mut learnt: impl FnMut(&str, &DataType) -> Result<Option<Value>, String>,
) -> Result<(), String> {
    for name in &step.columns {
        let data_type = pipeline.schema.field(column(&pipeline.schema, name)?).data_type().clone();
        let value = match (step.with, &step.value) {
            (ImputeWith::Drop, _) => None,
            (ImputeWith::Constant, text) => {
                let text = text.as_deref().unwrap_or_default();
                let value = Value::parse(text, &data_type);
                Some(value.ok_or_else(|| {
                    format!("`{text}` is no value for `{name}`, which is of type {data_type}")
                })?)
            }
            (ImputeWith::Mean | ImputeWith::Median | ImputeWith::Mode, _) => learnt(name, &data_type)?,
        };
        if value.is_some() || step.indicator {
            let indicator = step.indicator;
            pipeline.change(number, Change::Fill { column: name.clone(), value, indicator })?;
        }
    }
    if step.with == ImputeWith::Drop {
        pipeline.sieve(number, Sieve::There(step.columns.clone()));
    }
    Ok(())
}

//! From a step that makes labels to the change that it is: whose votes are counted, and with
//! what weight.

use arrow::datatypes::SchemaRef;
use phalanx_protocol::spec::{VoteStep, WeakLabelStep};

use super::{ballots::Count, change::Change};
use crate::{LabelReport, intake::is_hidden, plan::listed};

/// The most annotators. Each two of them are compared.
const ANNOTATORS_MAX: usize = 200;

/// Labels that are to be made.
pub(super) struct Labelling {
    /// Makes them.
    pub(super) change: Change,
    into: String,
    names: Vec<String>,
    weights: Vec<f64>,
    rules: bool,
}

impl Labelling {
    /// What came of it.
    pub(super) fn report(&self, count: &Count) -> LabelReport {
        count.report(&self.into, &self.names, &self.weights, self.rules)
    }
}

/// Those of several annotators.
pub(super) fn vote(step: &VoteStep, schema: &SchemaRef) -> Result<Labelling, String> {
    let of_annotator = format!("{}.", step.into);
    let visible = || schema.fields().iter().map(|field| field.name()).filter(|name| !is_hidden(name));
    let columns = match &step.columns {
        Some(columns) => columns.clone(),
        None => visible().filter(|name| name.starts_with(&of_annotator)).cloned().collect(),
    };
    if columns.is_empty() {
        let there = listed(&visible().cloned().collect::<Vec<_>>());
        return Err(format!("no column begins with `{of_annotator}`; name `columns`: there are {there}"));
    }
    if columns.len() > ANNOTATORS_MAX {
        return Err(format!("expected at most {ANNOTATORS_MAX} annotators, found {}", columns.len()));
    }
    let short = |column: &str| column.strip_prefix(&of_annotator).unwrap_or(column).to_owned();
    if let Some(unknown) =
        step.weights.keys().find(|key| !columns.iter().any(|name| name == *key || short(name) == **key))
    {
        return Err(format!("`weights` names `{unknown}`, which is none of {}", listed(&columns)));
    }
    let weight =
        |column: &String| step.weights.get(column).or_else(|| step.weights.get(&short(column))).copied();
    let weights: Vec<f64> = columns.iter().map(|column| weight(column).unwrap_or(1.0)).collect();
    let (into, by, keep) = (step.into.clone(), step.by, step.keep);
    Ok(Labelling {
        change: Change::Vote {
            columns: columns.clone(),
            weights: weights.clone(),
            into: into.clone(),
            by,
            keep,
        },
        into,
        names: columns,
        weights,
        rules: false,
    })
}

/// Those of rules.
pub(super) fn weak_label(step: &WeakLabelStep) -> Labelling {
    Labelling {
        change: Change::WeakLabel { into: step.into.clone(), rules: step.rules.clone() },
        into: step.into.clone(),
        names: step.rules.iter().map(|rule| rule.name().to_owned()).collect(),
        weights: step.rules.iter().map(|rule| rule.weight).collect(),
        rules: true,
    }
}

//! Rows that a measure keeps because it needs their order: the columns of
//! `columns`, owned, appended to batch by batch. Owns the rows.
//!
//! Nothing is dropped or rounded: measures of order are exact, at 4 bytes a score,
//! 4 (or, for two kinds, 1) a truth and 8 a weight, if there are any.

use serde::{Deserialize, Serialize};

use crate::columns::{ClassColumns, NumberColumns, Weights};

/// Weights that are kept only from the first one on that was given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct KeptWeights(Option<Vec<f64>>);

impl KeptWeights {
    /// Appends those of `new` rows to those of `kept` ones.
    fn extend(&mut self, kept: usize, new: usize, weights: Option<&[f64]>) {
        if self.0.is_none() && weights.is_none() {
            return;
        }
        let all = self.0.get_or_insert_with(|| vec![1.0; kept]);
        match weights {
            Some(weights) => all.extend(weights),
            None => all.extend(std::iter::repeat_n(1.0, new)),
        }
    }
}

/// Rows of [`ClassColumns`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClassRows {
    probabilities: Vec<f32>,
    truths: Vec<u32>,
    weights: KeptWeights,
}

impl ClassRows {
    pub(crate) fn extend(&mut self, columns: &ClassColumns<'_>) {
        self.weights.extend(self.truths.len(), columns.truths().len(), columns.weights().given());
        self.probabilities.extend(columns.probabilities());
        self.truths.extend(columns.truths());
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.weights.extend(self.truths.len(), other.truths.len(), other.weights.0.as_deref());
        self.probabilities.extend(&other.probabilities);
        self.truths.extend(&other.truths);
    }

    /// The rows; `None` where there are none.
    pub(crate) fn columns<'a>(&'a self, classes: &'a [String]) -> Option<ClassColumns<'a>> {
        ClassColumns::new(classes, &self.probabilities, &self.truths, self.weights.0.as_deref()).ok()
    }
}

/// Rows of [`NumberColumns`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NumberRows {
    predictions: Vec<f64>,
    truths: Vec<f64>,
    weights: KeptWeights,
}

impl NumberRows {
    pub(crate) fn extend(&mut self, columns: &NumberColumns<'_>) {
        self.weights.extend(self.truths.len(), columns.truths().len(), columns.weights().given());
        self.predictions.extend(columns.predictions());
        self.truths.extend(columns.truths());
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.weights.extend(self.truths.len(), other.truths.len(), other.weights.0.as_deref());
        self.predictions.extend(&other.predictions);
        self.truths.extend(&other.truths);
    }

    /// The rows; `None` where there are none.
    pub(crate) fn columns(&self) -> Option<NumberColumns<'_>> {
        NumberColumns::new(&self.predictions, &self.truths, self.weights.0.as_deref()).ok()
    }
}

/// Scores and truths, for each label of [`LabelColumns`](crate::LabelColumns).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LabelRows {
    pub(crate) scores: Vec<f32>,
    pub(crate) truths: Vec<bool>,
    rows: usize,
    weights: KeptWeights,
}

impl LabelRows {
    pub(crate) fn extend(&mut self, rows: usize, scores: &[f32], truths: &[bool], weights: Option<&[f64]>) {
        self.weights.extend(self.rows, rows, weights);
        self.scores.extend(scores);
        self.truths.extend(truths);
        self.rows += rows;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.extend(other.rows, &other.scores, &other.truths, other.weights.0.as_deref());
    }

    pub(crate) fn weights(&self) -> Weights<'_> {
        Weights::new(self.rows, self.weights.0.as_deref())
            .expect("invariant: the weights of each batch were checked, and there is one for each row")
    }
}

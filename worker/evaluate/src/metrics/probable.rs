//! Metrics that are means over rows of what their probabilities are worth: log-loss,
//! Brier score, top-k accuracy, hinge loss. The accumulators own their sums.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    columns::{ClassColumns, Weights},
    error::EvaluateError,
    sum::{ExactSum, WeightSum, mean, sum},
    undefined::{Undefined, Value, finite},
};

/// Sums over rows of losses of probabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProbabilitySums {
    classes: usize,
    rows: u64,
    /// The weight of the rows of each class.
    actual: Vec<WeightSum>,
    log_loss: ExactSum,
    /// Of two classes, that of the second alone.
    squared_error: ExactSum,
    /// For each k that was asked for, the weight of the rows whose class is among the k most probable.
    top: BTreeMap<usize, WeightSum>,
}

impl ProbabilitySums {
    pub(crate) fn new(classes: usize, top: impl IntoIterator<Item = usize>) -> Self {
        Self {
            classes,
            rows: 0,
            actual: vec![WeightSum::default(); classes],
            log_loss: ExactSum::default(),
            squared_error: ExactSum::default(),
            top: top.into_iter().map(|k| (k, WeightSum::default())).collect(),
        }
    }

    pub(crate) fn update(&mut self, columns: &ClassColumns<'_>) {
        for (row, (truth, probabilities)) in columns.truths().iter().zip(columns.rows()).enumerate() {
            let (truth, weight) = (*truth as usize, columns.weights().at(row));
            self.rows += 1;
            self.actual[truth].add(weight);
            self.log_loss.add(weight * surprise(probabilities[truth].into()));
            self.squared_error.add(weight * squared_error(probabilities, truth));
            if !self.top.is_empty() {
                let rank = rank(probabilities, truth);
                self.top.iter_mut().filter(|(k, _)| rank < **k).for_each(|(_, hits)| hits.add(weight));
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.actual.iter_mut().zip(&other.actual).for_each(|(mine, theirs)| mine.merge(theirs));
        self.log_loss.merge(&other.log_loss);
        self.squared_error.merge(&other.squared_error);
        for (k, hits) in &mut self.top {
            if let Some(theirs) = other.top.get(k) {
                hits.merge(theirs);
            }
        }
    }

    /// The metric called `name`; `None` where none of this module's is called so.
    pub(crate) fn figure(&self, name: &str, parameter: Option<f64>) -> Option<Value> {
        let all = || sum(self.actual.iter().map(WeightSum::value));
        Some(match name {
            "log_loss" => self.many_classes().and_then(|()| mean(self.log_loss.value(), all())),
            "brier_score" => self.many_classes().and_then(|()| mean(self.squared_error.value(), all())),
            "d2_log_loss" => self.saved(&self.log_loss, |share| share * surprise_of_frequency(share)),
            "d2_brier_score" => {
                let halved = if self.classes == 2 { 0.5 } else { 1.0 };
                self.saved(&self.squared_error, |share| halved * share * (1.0 - share))
            }
            "top_k_accuracy" => {
                let hits = self.top.get(&(parameter.unwrap_or(2.0) as usize))?;
                mean(hits.value(), all())
            }
            _ => return None,
        })
    }

    fn many_classes(&self) -> Result<(), Undefined> {
        if self.classes < 2 { Err(Undefined::OneClass) } else { Ok(()) }
    }

    /// The share of the loss that is saved against predicting each class's share of rows:
    /// a class of share s adds `of_share(s)` to the mean loss of that.
    fn saved(&self, loss: &ExactSum, of_share: impl Fn(f64) -> f64) -> Value {
        self.many_classes()?;
        if self.rows < 2 {
            return Err(Undefined::OneRow);
        }
        let actual: Vec<f64> = self.actual.iter().map(WeightSum::value).collect();
        let all = sum(actual.iter().copied());
        if actual.iter().filter(|weight| **weight > 0.0).count() == 1 {
            return Err(Undefined::Constant { what: "truths" });
        }
        let constant = sum(actual.iter().map(|weight| of_share(weight / all)));
        finite(1.0 - mean(loss.value(), all)? / constant)
    }
}

/// `-ln p`. Probabilities are clipped to `[ε, 1 - ε]` with the ε of their own type, so
/// that one confident mistake does not make a mean infinite.
pub(crate) fn surprise(probability: f64) -> f64 {
    let least = f64::from(f32::EPSILON);
    -probability.clamp(least, 1.0 - least).ln()
}

fn surprise_of_frequency(share: f64) -> f64 {
    if share > 0.0 { -share.ln() } else { 0.0 }
}

/// The squared distance of a row's probabilities from the truth; of two classes, that of
/// the second alone, as the Brier score has it.
pub(crate) fn squared_error(probabilities: &[f32], truth: usize) -> f64 {
    let error = |class: usize| {
        let error = f64::from(probabilities[class]) - f64::from(u8::from(class == truth));
        error * error
    };
    if probabilities.len() == 2 { error(1) } else { (0..probabilities.len()).map(error).sum() }
}

/// How many classes are more probable than the true one; of equal ones, the first is.
pub(crate) fn rank(probabilities: &[f32], truth: usize) -> usize {
    let ahead = |(class, probability): (usize, &f32)| {
        *probability > probabilities[truth] || (*probability == probabilities[truth] && class < truth)
    };
    probabilities.iter().enumerate().filter(|row| ahead(*row)).count()
}

/// The mean hinge loss of decisions, which are scores of any sign and size: how far each
/// row is from a margin of 1 (Crammer & Singer 2001 for more than two classes).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HingeLoss {
    loss: ExactSum,
    weight: WeightSum,
}

impl HingeLoss {
    /// Takes in rows of two classes, one decision each: above 0 for the second.
    pub fn update_binary(&mut self, columns: &crate::BinaryColumns<'_>) {
        for (row, (score, truth)) in columns.scores().iter().zip(columns.truths()).enumerate() {
            let decision = f64::from(*score);
            self.add(if *truth { decision } else { -decision }, columns.weights().at(row));
        }
    }

    /// Takes in rows of `classes` classes, a decision for each: row by row.
    ///
    /// # Errors
    ///
    /// Where there are fewer than three classes, a length does not fit, a decision is not
    /// finite, a truth is no class, or a weight is none.
    pub fn update_classes(
        &mut self,
        classes: usize,
        decisions: &[f32],
        truths: &[u32],
        weights: Option<&[f64]>,
    ) -> Result<(), EvaluateError> {
        if classes < 3 {
            return Err(EvaluateError::ClassCount { actual: classes });
        }
        let (rows, expected) = (truths.len(), truths.len().saturating_mul(classes));
        if decisions.len() != expected {
            return Err(EvaluateError::PredictionCount { rows, expected, actual: decisions.len() });
        }
        let weights = Weights::new(rows, weights)?;
        if let Some(at) = decisions.iter().position(|decision| !decision.is_finite()) {
            return Err(EvaluateError::ScoreNotFinite { row: at / classes, actual: decisions[at].into() });
        }
        if let Some(row) = truths.iter().position(|truth| *truth as usize >= classes) {
            return Err(EvaluateError::TruthOutOfRange { row, actual: truths[row], classes });
        }
        for (row, (truth, decisions)) in truths.iter().zip(decisions.chunks_exact(classes)).enumerate() {
            let others = decisions.iter().enumerate().filter(|(class, _)| *class != *truth as usize);
            let best = others.map(|(_, decision)| f64::from(*decision)).fold(f64::NEG_INFINITY, f64::max);
            self.add(f64::from(decisions[*truth as usize]) - best, weights.at(row));
        }
        Ok(())
    }

    fn add(&mut self, margin: f64, weight: f64) {
        self.loss.add(weight * (1.0 - margin).max(0.0));
        self.weight.add(weight);
    }

    /// Adds what another has taken in.
    pub fn merge(&mut self, other: &Self) {
        self.loss.merge(&other.loss);
        self.weight.merge(&other.weight);
    }

    /// The mean loss.
    pub fn finish(&self) -> Value {
        mean(self.loss.value(), self.weight.value())
    }
}

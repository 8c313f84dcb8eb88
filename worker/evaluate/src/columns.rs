//! What is measured, as checked slices: every measure in this crate, and whoever
//! builds on it, takes rows in one of these forms. Owns nothing; what is behind the
//! slices stays the caller's.
//!
//! Making one checks all of it once, so that nothing behind it has to. Rows of
//! weight 0 are as if they were not there, but for the number of rows.

use std::collections::BTreeSet;

use phalanx_protocol::spec::CLASSES_MAX;

use crate::{error::EvaluateError, metrics::classes::most_probable};

/// How far a row's probabilities may be from 1 in sum. The rounding of `f32` over
/// [`CLASSES_MAX`] classes stays far below; scores that are no probabilities do not.
const PROBABILITY_SUM_SLACK: f64 = 1e-3;

/// The weight of each row, a finite number of at least 0; 1 where none are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights<'a>(Option<&'a [f64]>);

impl<'a> Weights<'a> {
    /// No weights: each row counts 1.
    pub const NONE: Self = Self(None);

    /// Weights of `rows` rows.
    ///
    /// # Errors
    ///
    /// Where there are more or fewer than rows, or where one is negative or not finite.
    pub fn new(rows: usize, weights: Option<&'a [f64]>) -> Result<Self, EvaluateError> {
        let Some(given) = weights else { return Ok(Self(None)) };
        if given.len() != rows {
            return Err(EvaluateError::WeightCount { rows, actual: given.len() });
        }
        match given.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            Some(row) => Err(EvaluateError::InvalidWeight { row, actual: given[row] }),
            None => Ok(Self(weights)),
        }
    }

    /// That of row `row`.
    pub fn at(self, row: usize) -> f64 {
        self.0.map_or(1.0, |weights| weights[row])
    }

    /// The weights, where they were given.
    pub fn given(self) -> Option<&'a [f64]> {
        self.0
    }
}

/// Rows that are positive or not, with a score each: the higher, the more likely
/// positive. Scores are finite, of any size and sign.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinaryColumns<'a> {
    scores: &'a [f32],
    truths: &'a [bool],
    weights: Weights<'a>,
}

impl<'a> BinaryColumns<'a> {
    /// Takes columns of one length.
    ///
    /// # Errors
    ///
    /// Where lengths differ, there is no row, a score is not finite, or a weight is none.
    pub fn new(
        scores: &'a [f32],
        truths: &'a [bool],
        weights: Option<&'a [f64]>,
    ) -> Result<Self, EvaluateError> {
        check_count(truths.len(), 1, scores.len())?;
        check_scores(scores, 1)?;
        Ok(Self { scores, truths, weights: Weights::new(truths.len(), weights)? })
    }

    /// The scores, row by row.
    pub fn scores(&self) -> &'a [f32] {
        self.scores
    }

    /// Whether each row is positive.
    pub fn truths(&self) -> &'a [bool] {
        self.truths
    }

    /// The rows' weights.
    pub fn weights(&self) -> Weights<'a> {
        self.weights
    }
}

/// Rows that are of one of several classes, with a probability for each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassColumns<'a> {
    classes: &'a [String],
    probabilities: &'a [f32],
    truths: &'a [u32],
    weights: Weights<'a>,
    threshold: Option<f64>,
}

impl<'a> ClassColumns<'a> {
    /// Takes the classes' names, row by row a probability for each class, and each
    /// row's class as an index into `classes`. Of two classes the second is positive.
    ///
    /// # Errors
    ///
    /// Where lengths do not fit, there is no row, a probability or the sum of a row's is
    /// none, a truth is no class, or a weight is none.
    pub fn new(
        classes: &'a [String],
        probabilities: &'a [f32],
        truths: &'a [u32],
        weights: Option<&'a [f64]>,
    ) -> Result<Self, EvaluateError> {
        if !(1..=CLASSES_MAX).contains(&classes.len()) {
            return Err(EvaluateError::ClassCount { actual: classes.len() });
        }
        check_names(classes)?;
        check_count(truths.len(), classes.len(), probabilities.len())?;
        for (row, truth) in truths.iter().enumerate() {
            if *truth as usize >= classes.len() {
                return Err(EvaluateError::TruthOutOfRange { row, actual: *truth, classes: classes.len() });
            }
        }
        let weights = Weights::new(truths.len(), weights)?;
        let columns = Self { classes, probabilities, truths, weights, threshold: None };
        for (row, probabilities) in columns.rows().enumerate() {
            check_probabilities(classes, row, probabilities)?;
        }
        Ok(columns)
    }

    /// The same, where of two classes the second is chosen from this probability of it on, and not
    /// where it is the more probable one. Of more classes a threshold changes nothing.
    #[must_use]
    pub fn deciding_at(self, threshold: Option<f64>) -> Self {
        Self { threshold, ..self }
    }

    /// The class that a row with these probabilities is taken for.
    pub fn decision(&self, probabilities: &[f32]) -> usize {
        decision(probabilities, self.threshold)
    }

    /// The classes.
    pub fn classes(&self) -> &'a [String] {
        self.classes
    }

    /// All probabilities, row by row.
    pub fn probabilities(&self) -> &'a [f32] {
        self.probabilities
    }

    /// Each row's probabilities, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &'a [f32]> + Clone + use<'a> {
        self.probabilities.chunks_exact(self.classes.len())
    }

    /// Each row's class, as an index into the classes.
    pub fn truths(&self) -> &'a [u32] {
        self.truths
    }

    /// The rows' weights.
    pub fn weights(&self) -> Weights<'a> {
        self.weights
    }
}

/// Rows that have a number each, and one that was predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NumberColumns<'a> {
    predictions: &'a [f64],
    truths: &'a [f64],
    weights: Weights<'a>,
}

impl<'a> NumberColumns<'a> {
    /// Takes columns of one length, in the target's own unit.
    ///
    /// # Errors
    ///
    /// Where lengths differ, there is no row, a number is not finite, or a weight is none.
    pub fn new(
        predictions: &'a [f64],
        truths: &'a [f64],
        weights: Option<&'a [f64]>,
    ) -> Result<Self, EvaluateError> {
        check_count(truths.len(), 1, predictions.len())?;
        for (row, (truth, prediction)) in truths.iter().zip(predictions).enumerate() {
            if !truth.is_finite() {
                return Err(EvaluateError::TruthNotFinite { row, actual: *truth });
            }
            if !prediction.is_finite() {
                return Err(EvaluateError::PredictionNotFinite { row, actual: *prediction });
            }
        }
        Ok(Self { predictions, truths, weights: Weights::new(truths.len(), weights)? })
    }

    /// What was predicted.
    pub fn predictions(&self) -> &'a [f64] {
        self.predictions
    }

    /// What is true.
    pub fn truths(&self) -> &'a [f64] {
        self.truths
    }

    /// The rows' weights.
    pub fn weights(&self) -> Weights<'a> {
        self.weights
    }

    /// Each row's truth, prediction and weight.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (f64, f64, f64)> + Clone + use<'a> {
        let (truths, predictions, weights) = (self.truths, self.predictions, self.weights);
        (0..truths.len()).map(move |row| (truths[row], predictions[row], weights.at(row)))
    }
}

/// Rows that have any number of labels (or, for ranking, relevant items), with a score for each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelColumns<'a> {
    labels: &'a [String],
    scores: &'a [f32],
    truths: &'a [bool],
    weights: Weights<'a>,
}

impl<'a> LabelColumns<'a> {
    /// Takes the labels' names, and row by row a score and a truth for each label.
    ///
    /// # Errors
    ///
    /// Where lengths do not fit, there is no row, a score is not finite, or a weight is none.
    pub fn new(
        labels: &'a [String],
        scores: &'a [f32],
        truths: &'a [bool],
        weights: Option<&'a [f64]>,
    ) -> Result<Self, EvaluateError> {
        if !(1..=CLASSES_MAX).contains(&labels.len()) {
            return Err(EvaluateError::ClassCount { actual: labels.len() });
        }
        check_names(labels)?;
        let rows = truths.len() / labels.len();
        check_count(rows, labels.len(), truths.len())?;
        check_count(rows, labels.len(), scores.len())?;
        check_scores(scores, labels.len())?;
        Ok(Self { labels, scores, truths, weights: Weights::new(rows, weights)? })
    }

    /// The labels.
    pub fn labels(&self) -> &'a [String] {
        self.labels
    }

    /// All scores, row by row.
    pub fn scores(&self) -> &'a [f32] {
        self.scores
    }

    /// Whether a row has a label, row by row.
    pub fn truths(&self) -> &'a [bool] {
        self.truths
    }

    /// The rows' weights.
    pub fn weights(&self) -> Weights<'a> {
        self.weights
    }

    /// Each row's scores, truths and weight.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'a [f32], &'a [bool], f64)> + use<'a> {
        let weights = self.weights;
        let rows =
            self.scores.chunks_exact(self.labels.len()).zip(self.truths.chunks_exact(self.labels.len()));
        rows.enumerate().map(move |(row, (scores, truths))| (scores, truths, weights.at(row)))
    }
}

/// The class that a row with these probabilities is taken for: of two classes with a threshold the
/// second from that probability on, else the most probable one, and the first of those, if there are
/// several.
pub(crate) fn decision(probabilities: &[f32], threshold: Option<f64>) -> usize {
    match (probabilities, threshold) {
        ([_, positive], Some(threshold)) => usize::from(f64::from(*positive) >= threshold),
        (probabilities, _) => most_probable(probabilities),
    }
}

fn check_names(names: &[String]) -> Result<(), EvaluateError> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(class) => Err(EvaluateError::DuplicateClass { class: class.clone() }),
        None => Ok(()),
    }
}

fn check_count(rows: usize, per_row: usize, actual: usize) -> Result<(), EvaluateError> {
    let expected = rows.saturating_mul(per_row);
    if actual != expected {
        return Err(EvaluateError::PredictionCount { rows, expected, actual });
    }
    if rows == 0 { Err(EvaluateError::NoRows) } else { Ok(()) }
}

fn check_scores(scores: &[f32], per_row: usize) -> Result<(), EvaluateError> {
    match scores.iter().position(|score| !score.is_finite()) {
        Some(at) => Err(EvaluateError::ScoreNotFinite { row: at / per_row, actual: scores[at].into() }),
        None => Ok(()),
    }
}

fn check_probabilities(classes: &[String], row: usize, probabilities: &[f32]) -> Result<(), EvaluateError> {
    let outside = |probability: &f32| !(0.0..=1.0).contains(probability);
    if let Some(class) = probabilities.iter().position(outside) {
        let (class, actual) = (classes[class].clone(), probabilities[class]);
        return Err(EvaluateError::NoProbability { row, class, actual });
    }
    let sum: f64 = probabilities.iter().copied().map(f64::from).sum();
    if (sum - 1.0).abs() > PROBABILITY_SUM_SLACK {
        return Err(EvaluateError::ProbabilitySum { row, actual: sum });
    }
    Ok(())
}

//! What is measured: predictions with their truths, and the checks that make
//! them fit to be measured. Owns no state.

use std::collections::BTreeSet;

use phalanx_protocol::spec::CLASSES_MAX;

/// How far a row's probabilities may be from 1 in sum. The rounding of `f32` over
/// [`CLASSES_MAX`] classes stays far below; scores that are no probabilities do not.
const PROBABILITY_SUM_SLACK: f64 = 1e-3;

/// Predictions with their truths, in sample order, so that the result does not
/// depend on how many workers took part.
#[derive(Debug, Clone, PartialEq)]
pub enum Predictions {
    /// Of a target that is one of several classes.
    Classes(ClassScores),
    /// Of a target that is a number.
    Numbers(Numbers),
    /// Of each next byte of a text.
    NextBytes(NextBytes),
}

/// A probability of each class for each row.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassScores {
    /// The classes; where there are two, the second is the positive one.
    pub classes: Vec<String>,
    /// Row by row, one probability a class: `truths.len() × classes.len()` of them.
    pub probabilities: Vec<f32>,
    /// The class that each row has, as an index into `classes`.
    pub truths: Vec<u32>,
}

/// A number for each row.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// What the model says, in the target's own unit.
    pub predictions: Vec<f64>,
    /// What is true.
    pub truths: Vec<f64>,
}

/// How surprised a language model was by a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NextBytes {
    /// The sum of `-ln p(byte)` over the text.
    pub loss_nats: f64,
    /// Bytes predicted.
    pub bytes: u64,
}

/// Predictions that cannot be measured.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// There is nothing to measure.
    #[error("there is no row to evaluate: expected at least one")]
    NoRows,
    /// There are as many predictions as there should not be.
    #[error("{rows} rows need {expected} predictions, found {actual}")]
    PredictionCount {
        /// Rows that have a truth.
        rows: usize,
        /// Predictions that those rows need.
        expected: usize,
        /// Predictions that there are.
        actual: usize,
    },
    /// More classes than are measured, or none.
    #[error("{actual} classes cannot be evaluated: expected 1 to {CLASSES_MAX}")]
    ClassCount {
        /// Classes that there are.
        actual: usize,
    },
    /// Two classes have one name, so their metrics would, too.
    #[error("two classes are called `{class}`: every class needs a name of its own")]
    DuplicateClass {
        /// That name.
        class: String,
    },
    /// A truth is none of the classes.
    #[error("row {row}: the true class has index {actual}, but there are {classes} classes")]
    TruthOutOfRange {
        /// The row, from 0.
        row: usize,
        /// Its truth.
        actual: u32,
        /// Classes that there are.
        classes: usize,
    },
    /// A truth is NaN or infinite.
    #[error("row {row}: the truth is {actual}, expected a finite number")]
    TruthNotFinite {
        /// The row, from 0.
        row: usize,
        /// Its truth.
        actual: f64,
    },
    /// A predicted number is NaN or infinite.
    #[error("row {row}: the model predicts {actual}, expected a finite number")]
    PredictionNotFinite {
        /// The row, from 0.
        row: usize,
        /// What is predicted.
        actual: f64,
    },
    /// A probability is NaN or outside 0 to 1.
    #[error("row {row}: the model gives class `{class}` the probability {actual}, expected 0 to 1")]
    NoProbability {
        /// The row, from 0.
        row: usize,
        /// The class.
        class: String,
        /// What is predicted.
        actual: f32,
    },
    /// A row's probabilities are not those of classes that exclude each other.
    #[error("row {row}: the probabilities sum to {actual}, expected 1")]
    ProbabilitySum {
        /// The row, from 0.
        row: usize,
        /// Their sum.
        actual: f64,
    },
    /// The loss over a text is not one.
    #[error("the loss over {bytes} bytes is {actual} nats, expected a finite number of at least 0")]
    InvalidLoss {
        /// Bytes predicted.
        bytes: u64,
        /// The summed loss.
        actual: f64,
    },
}

impl ClassScores {
    /// Each row's probabilities, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.probabilities.chunks_exact(self.classes.len())
    }

    /// The true class of each row, in order.
    pub(crate) fn truths(&self) -> impl Iterator<Item = usize> {
        self.truths.iter().map(|truth| *truth as usize)
    }

    pub(crate) fn check(&self) -> Result<(), EvaluateError> {
        let classes = self.classes.len();
        if !(1..=CLASSES_MAX).contains(&classes) {
            return Err(EvaluateError::ClassCount { actual: classes });
        }
        let mut names = BTreeSet::new();
        if let Some(class) = self.classes.iter().find(|class| !names.insert(class.as_str())) {
            return Err(EvaluateError::DuplicateClass { class: class.clone() });
        }
        check_count(self.truths.len(), classes, self.probabilities.len())?;
        for (row, (truth, probabilities)) in self.truths.iter().zip(self.rows()).enumerate() {
            if *truth as usize >= classes {
                return Err(EvaluateError::TruthOutOfRange { row, actual: *truth, classes });
            }
            self.check_row(row, probabilities)?;
        }
        Ok(())
    }

    fn check_row(&self, row: usize, probabilities: &[f32]) -> Result<(), EvaluateError> {
        let outside = |probability: &f32| !(0.0..=1.0).contains(probability);
        if let Some(class) = probabilities.iter().position(outside) {
            let (class, actual) = (self.classes[class].clone(), probabilities[class]);
            return Err(EvaluateError::NoProbability { row, class, actual });
        }
        let sum: f64 = probabilities.iter().copied().map(f64::from).sum();
        if (sum - 1.0).abs() > PROBABILITY_SUM_SLACK {
            return Err(EvaluateError::ProbabilitySum { row, actual: sum });
        }
        Ok(())
    }
}

impl Numbers {
    pub(crate) fn check(&self) -> Result<(), EvaluateError> {
        check_count(self.truths.len(), 1, self.predictions.len())?;
        for (row, (truth, prediction)) in self.truths.iter().zip(&self.predictions).enumerate() {
            if !truth.is_finite() {
                return Err(EvaluateError::TruthNotFinite { row, actual: *truth });
            }
            if !prediction.is_finite() {
                return Err(EvaluateError::PredictionNotFinite { row, actual: *prediction });
            }
        }
        Ok(())
    }
}

impl NextBytes {
    pub(crate) fn check(&self) -> Result<(), EvaluateError> {
        if self.bytes == 0 {
            return Err(EvaluateError::NoRows);
        }
        if !(self.loss_nats.is_finite() && self.loss_nats >= 0.0) {
            return Err(EvaluateError::InvalidLoss { bytes: self.bytes, actual: self.loss_nats });
        }
        Ok(())
    }
}

fn check_count(rows: usize, per_row: usize, actual: usize) -> Result<(), EvaluateError> {
    let expected = rows.saturating_mul(per_row);
    if actual != expected {
        return Err(EvaluateError::PredictionCount { rows, expected, actual });
    }
    if rows == 0 { Err(EvaluateError::NoRows) } else { Ok(()) }
}

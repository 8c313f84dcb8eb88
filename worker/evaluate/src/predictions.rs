//! The predictions of a trained model over one split, as training gathers them.
//! Owns no state.

use crate::{
    columns::{ClassColumns, NumberColumns, decision},
    error::EvaluateError,
    sum::sum,
};

/// Predictions with their truths, in sample order.
#[derive(Debug, Clone, PartialEq)]
pub enum Predictions {
    /// Of a target that is one of several classes.
    Classes(ClassScores),
    /// Of a target that is a number.
    Numbers(Numbers),
    /// Of each next byte of a text.
    NextBytes(NextBytes),
}

impl Predictions {
    /// How many rows were predicted; windows of a text.
    pub fn rows(&self) -> usize {
        match self {
            Self::Classes(scores) => scores.truths.len(),
            Self::Numbers(numbers) => numbers.truths.len(),
            Self::NextBytes(text) => text.loss_nats.len(),
        }
    }
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
    /// From which probability on a row is taken for the second of two classes; where it is the more
    /// probable one, without.
    pub threshold: Option<f64>,
}

/// A number for each row.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// What the model says, in the target's own unit.
    pub predictions: Vec<f64>,
    /// What is true.
    pub truths: Vec<f64>,
}

/// How surprised a language model was by each window of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct NextBytes {
    /// The sum of `-ln p(byte)` over each window.
    pub loss_nats: Vec<f64>,
    /// Bytes predicted in each.
    pub bytes: Vec<u32>,
}

impl ClassScores {
    /// The same as columns, checked, without weights.
    ///
    /// # Errors
    ///
    /// Those of [`ClassColumns::new`].
    pub fn columns(&self) -> Result<ClassColumns<'_>, EvaluateError> {
        let columns = ClassColumns::new(&self.classes, &self.probabilities, &self.truths, None)?;
        Ok(columns.deciding_at(self.threshold))
    }

    /// Each row's probabilities.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> + Clone {
        self.probabilities.chunks_exact(self.classes.len().max(1))
    }

    /// The class that each row is taken for.
    pub fn decisions(&self) -> Vec<u32> {
        self.rows().map(|row| decision(row, self.threshold) as u32).collect()
    }

    /// The probability of one class in each row.
    pub fn of_class(&self, class: usize) -> Vec<f64> {
        self.rows().map(|row| row.get(class).copied().map_or(0.0, f64::from)).collect()
    }

    /// Which rows are of a class.
    pub fn are(&self, class: usize) -> Vec<bool> {
        self.truths.iter().map(|truth| *truth as usize == class).collect()
    }
}

impl Numbers {
    /// The same as columns, checked, without weights.
    ///
    /// # Errors
    ///
    /// Those of [`NumberColumns::new`].
    pub fn columns(&self) -> Result<NumberColumns<'_>, EvaluateError> {
        NumberColumns::new(&self.predictions, &self.truths, None)
    }
}

impl NextBytes {
    /// The sums over all windows: nats, and bytes. The same bits in whatever order windows come.
    ///
    /// # Errors
    ///
    /// Where no byte was predicted, windows do not fit, or a loss is none.
    pub(crate) fn total(&self) -> Result<(f64, u64), EvaluateError> {
        if self.loss_nats.len() != self.bytes.len() {
            let (rows, actual) = (self.bytes.len(), self.loss_nats.len());
            return Err(EvaluateError::PredictionCount { rows, expected: rows, actual });
        }
        for (nats, bytes) in self.loss_nats.iter().zip(&self.bytes) {
            if !(nats.is_finite() && *nats >= 0.0) {
                return Err(EvaluateError::InvalidLoss { bytes: u64::from(*bytes), actual: *nats });
            }
        }
        let bytes: u64 = self.bytes.iter().copied().map(u64::from).sum();
        match bytes {
            0 => Err(EvaluateError::NoRows),
            bytes => Ok((sum(self.loss_nats.iter().copied()), bytes)),
        }
    }
}

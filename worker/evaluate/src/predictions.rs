//! The predictions of a trained model over one split, as training gathers them.
//! Owns no state.

use crate::{
    columns::{ClassColumns, NumberColumns},
    error::EvaluateError,
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

impl ClassScores {
    /// The same as columns, checked, without weights.
    ///
    /// # Errors
    ///
    /// Those of [`ClassColumns::new`].
    pub fn columns(&self) -> Result<ClassColumns<'_>, EvaluateError> {
        ClassColumns::new(&self.classes, &self.probabilities, &self.truths, None)
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

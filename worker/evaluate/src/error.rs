//! What cannot be measured at all, and why. Owns no state.

use phalanx_protocol::spec::CLASSES_MAX;

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
    /// There are as many weights as there should not be.
    #[error("{rows} rows need as many weights, found {actual}")]
    WeightCount {
        /// Rows that there are.
        rows: usize,
        /// Weights that there are.
        actual: usize,
    },
    /// A weight is NaN, infinite, or negative.
    #[error("row {row}: the weight is {actual}, expected a finite number of at least 0")]
    InvalidWeight {
        /// The row, from 0.
        row: usize,
        /// Its weight.
        actual: f64,
    },
    /// A score is NaN or infinite.
    #[error("row {row}: the score is {actual}, expected a finite number")]
    ScoreNotFinite {
        /// The row, from 0.
        row: usize,
        /// Its score.
        actual: f64,
    },
    /// What an item is worth is NaN, infinite, or negative.
    #[error("item {row}: the gain is {actual}, expected a finite number of at least 0")]
    InvalidGain {
        /// The item, from 0.
        row: usize,
        /// Its gain.
        actual: f32,
    },
    /// A name is none of a metric that fits what is measured.
    #[error("the metric `{name}` {reason}")]
    NoSuchMetric {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What is merged was set up differently.
    #[error("only parts of one measurement can be merged: {what} differ")]
    Unlike {
        /// What differs.
        what: &'static str,
    },
}

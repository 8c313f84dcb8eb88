//! What a model is worth: metrics of its predictions.
//!
//! In reading order: what is measured (`predictions`), the measures of each kind of
//! target (`classes` with `roc`, `numbers`, `next_bytes`), and all of them behind
//! one call ([`evaluate`]).
//!
//! Whether to trust that is another matter, and has a module for each question, on top of any
//! metric of weighted rows ([`RowMetric`]): how far may a figure be off ([`interval`]), do
//! probabilities mean what they say ([`calibration`]), from which score on to act
//! ([`threshold`]), where does the model do badly ([`slices`]), to whom ([`fairness`]), what
//! does it rest on ([`importance`]) and withstand ([`robustness`]), would more rows help
//! ([`learning_curve`]), is it the same with other rows ([`folds`], [`cross_validation`]), is it
//! better than another ([`compare`]), and does it pass ([`verdict`]). Every figure of theirs is a
//! field that serialises, and everything random comes from a seed.
//!
//! The conventions are scikit-learn's (1.9): names, macro averages, a ratio of
//! nothing to nothing is 0, clipped probabilities in the log-loss. A differential
//! test holds them to it. Per-class figures are named `f1[class]`; the names are
//! those of [`METRICS`](phalanx_protocol::spec::METRICS), less `loss`, which is
//! training's.
//!
//! Architecture invariants: this crate is pure. It knows no tensors, no files, no
//! workers and no clock; the same predictions in the same order give the same
//! bits, and nothing it is given makes it panic.

mod average;
pub mod calibration;
mod classes;
pub mod compare;
pub mod cross_validation;
mod distributions;
mod evaluation;
pub mod fairness;
pub mod folds;
pub mod importance;
mod input;
pub mod interval;
pub mod learning_curve;
mod next_bytes;
mod numbers;
mod predictions;
mod random;
mod ranking;
pub mod robustness;
mod roc;
mod row_metric;
pub mod slices;
mod sum;
pub mod threshold;
pub mod verdict;

pub use classes::most_probable;
pub use evaluation::{Evaluation, evaluate};
pub use input::{InputError, ROWS_MAX};
pub use predictions::{ClassScores, EvaluateError, NextBytes, Numbers, Predictions};
pub use row_metric::{
    CELLS_MAX, CellMetric, DifferenceMetric, MeanMetric, RocAucMetric, RowMetric, RowsMetric, Weighed,
};

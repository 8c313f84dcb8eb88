//! What a model is worth: metrics of its predictions.
//!
//! In reading order: exact sums (`sum`), what is measured (`columns`, and
//! `predictions` as training gathers them), the measures of each kind of target
//! (`metrics`), and all of them behind one call ([`evaluate`]).
//!
//! Whether to trust that is another matter, and has a module for each question, on top of any
//! metric of weighted rows ([`RowMetric`]): how far may a figure be off ([`interval`]), do
//! probabilities mean what they say ([`calibration`]), from which score on to act
//! ([`threshold`]; both together are the model's [`decision`]), where does the model do badly ([`slices`]), to whom ([`fairness`]), what
//! does it rest on ([`importance`]) and withstand ([`robustness`]), would more rows help
//! ([`learning_curve`]), is it the same with other rows ([`folds`], [`cross_validation`]), is it
//! better than another ([`compare`]), and does it pass ([`verdict`]). Every figure of theirs is a
//! field that serialises, and everything random comes from a seed.
//!
//! The conventions are scikit-learn's (1.9): names, macro averages, a ratio of
//! nothing to nothing is 0, clipped probabilities in the log-loss. A differential
//! test holds them to it. Figures of one class are named `f1[class]`; all names are
//! in [`METRICS`](phalanx_protocol::spec::METRICS), and `loss` there is training's.
//!
//! Architecture invariants: this crate is pure. It knows no tensors, no files, no
//! workers and no clock; the same rows give the same bits, in whatever order and
//! in however many parts they come, and nothing it is given makes it panic.

mod average;
pub mod calibration;
mod columns;
pub mod compare;
pub mod cross_validation;
pub mod decision;
mod distributions;
mod error;
mod evaluation;
pub mod fairness;
pub mod folds;
pub mod importance;
mod input;
pub mod interval;
pub mod learning_curve;
pub mod metrics;
mod named;
mod predictions;
mod random;
mod ranking;
pub mod robustness;
mod row_metric;
mod rows;
pub mod slices;
mod sum;
pub mod threshold;
mod undefined;
pub mod verdict;

pub use columns::{BinaryColumns, ClassColumns, LabelColumns, NumberColumns, Weights};
pub use error::EvaluateError;
pub use evaluation::{Evaluation, evaluate, evaluate_also, focus};
pub use input::{InputError, ROWS_MAX};
pub use metrics::classes::most_probable;
pub use named::{NamedError, named_metric};
pub use predictions::{ClassScores, NextBytes, Numbers, Predictions};
pub use row_metric::{
    CELLS_MAX, CellMetric, DifferenceMetric, ManyMetric, MeanMetric, RocAucMetric, RowMetric, RowsMetric,
    SliceMetric, SumsMetric, Together, Weighed,
};
pub use sum::ExactSum;
pub use undefined::{Undefined, Value};

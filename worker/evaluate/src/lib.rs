//! What a model is worth: metrics of its predictions.
//!
//! In reading order: exact sums (`sum`), what is measured (`columns`, and
//! `predictions` as training gathers them), the measures of each kind of target
//! (`metrics`), and all of them behind one call ([`evaluate`]).
//!
//! The conventions are scikit-learn's (1.9): names, averages, a ratio of
//! nothing to nothing is 0, clipped probabilities in the log-loss. A differential
//! test holds them to it. Figures of one class are named `f1[class]`; all names are
//! in [`METRICS`](phalanx_protocol::spec::METRICS), and `loss` there is training's.
//!
//! Architecture invariants: this crate is pure. It knows no tensors, no files, no
//! workers and no clock; the same rows give the same bits, in whatever order and
//! in however many parts they come, and nothing it is given makes it panic.

mod columns;
mod error;
mod evaluation;
pub mod metrics;
mod predictions;
mod rows;
mod sum;
mod undefined;

pub use columns::{BinaryColumns, ClassColumns, LabelColumns, NumberColumns, Weights};
pub use error::EvaluateError;
pub use evaluation::{Evaluation, evaluate, evaluate_also};
pub use metrics::classes::most_probable;
pub use predictions::{ClassScores, NextBytes, Numbers, Predictions};
pub use sum::ExactSum;
pub use undefined::{Undefined, Value};

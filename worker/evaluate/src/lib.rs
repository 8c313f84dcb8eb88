//! What a model is worth: metrics of its predictions.
//!
//! In reading order: what is measured (`predictions`), the measures of each kind of
//! target (`classes` with `roc`, `numbers`, `next_bytes`), and all of them behind
//! one call ([`evaluate`]).
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

mod classes;
mod evaluation;
mod next_bytes;
mod numbers;
mod predictions;
mod roc;
mod sum;

pub use classes::most_probable;
pub use evaluation::{Evaluation, evaluate};
pub use predictions::{ClassScores, EvaluateError, NextBytes, Numbers, Predictions};

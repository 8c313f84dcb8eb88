//! Which rows each model of a cross-validation learns from, and which it is tested on. Owns no
//! state; the same settings, seed and rows give the same folds for good.
//!
//! `kinds` has the ways that look at one row at a time, `grouped` those that keep groups together.
//! Where the definition is deterministic they agree with scikit-learn's.

mod grouped;
mod kinds;

use serde::{Deserialize, Serialize};

pub use grouped::{group_folds, leave_one_group_out, stratified_group_folds};
pub use kinds::{TimeSeries, k_folds, stratified_folds, time_series_folds};

use crate::input::{self, InputError};

/// The most folds of one split.
pub const FOLDS_MAX: usize = 1_000;

/// The rows of one model, by number and in rising order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    /// Rows to learn from.
    pub train: Vec<u32>,
    /// Rows to test on.
    pub test: Vec<u32>,
}

/// The folds of several repetitions, one after the other: `split` gets a seed of its own for each.
///
/// # Errors
///
/// Where there are no repetitions or more than [`FOLDS_MAX`], and as `split` says.
pub fn repeated_folds(
    repeats: usize,
    seed: u64,
    split: impl Fn(u64) -> Result<Vec<Fold>, InputError>,
) -> Result<Vec<Fold>, InputError> {
    input::within("repeats", repeats, 1, FOLDS_MAX)?;
    let mut all = Vec::new();
    for repeat in 0..repeats {
        all.extend(split(crate::random::Random::new(seed, repeat as u64).bits())?);
        input::within("folds", all.len(), 1, FOLDS_MAX)?;
    }
    Ok(all)
}

/// The folds where each row is tested in the one that `of_row` names.
fn by_test_fold(of_row: &[u32], folds: usize) -> Vec<Fold> {
    let rows = |fold: u32, tested: bool| {
        of_row.iter().zip(0..).filter(|(of, _)| (**of == fold) == tested).map(|(_, row)| row).collect()
    };
    (0..folds as u32).map(|fold| Fold { train: rows(fold, false), test: rows(fold, true) }).collect()
}

//! The mean of numbers whose count is known. Owns no state.

use crate::sum::sum;

/// The mean of `terms`, of which there are `count`; NaN of none.
pub(crate) fn mean(count: usize, terms: impl IntoIterator<Item = f64>) -> f64 {
    sum(terms) / count as f64
}

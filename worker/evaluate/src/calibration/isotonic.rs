//! Probabilities mended by any function that never falls. Owns what is fitted.

use serde::{Deserialize, Serialize};

use crate::input::{self, InputError};

/// The most points that are kept, so that a model's record stays small; of more, every so many.
const POINTS_MAX: usize = 10_000;

/// A function that never falls (Zadrozny & Elkan 2002): straight lines between points, and level
/// outside. It needs some thousand rows, and makes ties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Isotonic {
    /// Scores, in rising order.
    pub scores: Vec<f64>,
    /// The probability at each.
    pub probabilities: Vec<f64>,
}

/// The function nearest to what happened on the validation split, by squared distance (pool adjacent
/// violators).
///
/// # Errors
///
/// Where columns differ in length or a score is not finite.
pub fn fit_isotonic(scores: &[f64], happened: &[bool]) -> Result<Isotonic, InputError> {
    input::some_rows(scores.len())?;
    input::as_long("outcomes", scores.len(), happened.len())?;
    input::finite("score", scores)?;
    let mut rows: Vec<(f64, bool)> = scores.iter().copied().zip(happened.iter().copied()).collect();
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut blocks: Vec<Block> = Vec::new();
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        let hits = tied.iter().filter(|(_, happened)| *happened).count() as u64;
        let mut block = Block { first: tied[0].0, last: tied[0].0, rows: tied.len() as u64, hits };
        while let Some(before) = blocks.pop_if(|before| !before.is_below(&block)) {
            let (rows, hits) = (before.rows + block.rows, before.hits + block.hits);
            block = Block { first: before.first, last: block.last, rows, hits };
        }
        blocks.push(block);
    }
    // Each block has two points at most.
    let step = blocks.len().div_ceil(POINTS_MAX / 2);
    let mut fitted = Isotonic { scores: Vec::new(), probabilities: Vec::new() };
    for block in blocks.iter().step_by(step) {
        let ends = if block.first == block.last { &[block.first][..] } else { &[block.first, block.last] };
        for end in ends {
            fitted.scores.push(*end);
            fitted.probabilities.push(block.share());
        }
    }
    Ok(fitted)
}

impl Isotonic {
    /// The probability that belongs to this score; NaN of NaN.
    pub fn apply(&self, score: f64) -> f64 {
        let at = self.scores.partition_point(|known| *known < score);
        let point = |at: usize| Some((*self.scores.get(at)?, *self.probabilities.get(at)?));
        match (at.checked_sub(1).and_then(point), point(at)) {
            _ if score.is_nan() => f64::NAN,
            (Some((start, from)), Some((end, to))) => from + (to - from) * ((score - start) / (end - start)),
            (Some((_, level)), None) | (None, Some((_, level))) => level,
            (None, None) => f64::NAN,
        }
    }
}

/// Neighbouring scores with one probability.
struct Block {
    first: f64,
    last: f64,
    rows: u64,
    hits: u64,
}

impl Block {
    fn share(&self) -> f64 {
        self.hits as f64 / self.rows as f64
    }

    /// Whether its share is below another's, in whole numbers.
    fn is_below(&self, other: &Self) -> bool {
        u128::from(self.hits) * u128::from(other.rows) < u128::from(other.hits) * u128::from(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_out_of_order_are_pooled() {
        let fitted = fit_isotonic(&[0.125, 0.25, 0.5, 1.0], &[false, true, false, true]).unwrap();
        assert_eq!(fitted.scores, [0.125, 0.25, 0.5, 1.0]);
        assert_eq!(fitted.probabilities, [0.0, 0.5, 0.5, 1.0]);
        assert_eq!(
            [0.0, 0.1875, 0.375, 0.75, 2.0].map(|score| fitted.apply(score)),
            [0.0, 0.25, 0.5, 0.75, 1.0]
        );
        assert!(fitted.apply(f64::NAN).is_nan());
    }

    proptest! {
        #[test]
        fn it_never_falls(rows in prop::collection::vec((0_u8..30, any::<bool>()), 1..80)) {
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let happened: Vec<bool> = rows.iter().map(|row| row.1).collect();
            let fitted = fit_isotonic(&scores, &happened).unwrap();
            let told: Vec<f64> = (0..300).map(|at| fitted.apply(f64::from(at) / 10.0)).collect();
            prop_assert!(told.is_sorted_by(|a, b| *a <= *b + 1e-12), "{:?}", told);
        }
    }
}

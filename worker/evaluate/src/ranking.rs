//! Rows in the order of their scores, sorted once for many resamples. Owns that order.

/// Rows by falling score; those of one score are neighbours.
pub(crate) struct Ranking {
    /// Row numbers, and whether the row has the score of the one before it.
    rows: Vec<(u32, bool)>,
}

impl Ranking {
    /// The order of `rows`, whose scores are finite. Rows outside `scores` are left out.
    pub(crate) fn of_rows(scores: &[f64], rows: &[u32]) -> Self {
        let mut scored: Vec<(f64, u32)> =
            rows.iter().filter_map(|row| Some((*scores.get(*row as usize)?, *row))).collect();
        scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut before = None;
        let ranked = scored.into_iter().map(|(score, row)| {
            // -0 and +0 are one score.
            let tied = before.replace(score).is_some_and(|before| before == score);
            (row, tied)
        });
        Self { rows: ranked.collect() }
    }

    /// Runs of rows with one score, by falling score.
    pub(crate) fn ties(&self) -> impl Iterator<Item = &[(u32, bool)]> {
        self.rows.chunk_by(|_, next| next.1)
    }

    /// The area under the ROC curve where each row counts as often as its weight says;
    /// `None` where all have one kind. Ties count half, in whole numbers.
    pub(crate) fn roc_auc(&self, positives: &[bool], weights: &[u32]) -> Option<f64> {
        let (mut above, mut below, mut half_wins) = (0_u64, 0_u64, 0_u128);
        let (mut tied_positives, mut tied_negatives) = (0_u64, 0_u64);
        let mut close = |positives: &mut u64, negatives: &mut u64| {
            half_wins += u128::from(*negatives) * u128::from(2 * above + *positives);
            above += std::mem::take(positives);
            below += std::mem::take(negatives);
        };
        for (row, tied) in &self.rows {
            let row = *row as usize;
            let weight = u64::from(weights.get(row).copied().unwrap_or(0));
            if !tied {
                close(&mut tied_positives, &mut tied_negatives);
            }
            if positives.get(row).copied().unwrap_or(false) {
                tied_positives += weight;
            } else {
                tied_negatives += weight;
            }
        }
        close(&mut tied_positives, &mut tied_negatives);
        let pairs = u128::from(above) * u128::from(below);
        (pairs > 0).then(|| half_wins as f64 / (2 * pairs) as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Ranking;

    proptest! {
        #[test]
        fn a_weight_is_the_row_so_many_times(
            rows in prop::collection::vec((0_u8..9, any::<bool>(), 0_u32..4), 0..40),
        ) {
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0) / 8.0).collect();
            let positives: Vec<bool> = rows.iter().map(|row| row.1).collect();
            let weights: Vec<u32> = rows.iter().map(|row| row.2).collect();
            let all: Vec<u32> = (0..rows.len() as u32).collect();
            let of = |kind| {
                let repeated = |row: &(u8, bool, u32)| std::iter::repeat_n(row.0, row.2 as usize);
                rows.iter().filter(move |row| row.1 == kind).flat_map(repeated)
            };
            let pairs: Vec<(u8, u8)> = of(true).flat_map(|p| of(false).map(move |n| (p, n))).collect();
            let wins: f64 = pairs.iter().map(|(p, n)| f64::from(p > n) + 0.5 * f64::from(p == n)).sum();
            let expected = (!pairs.is_empty()).then(|| wins / pairs.len() as f64);
            prop_assert_eq!(Ranking::of_rows(&scores, &all).roc_auc(&positives, &weights), expected);
        }
    }
}

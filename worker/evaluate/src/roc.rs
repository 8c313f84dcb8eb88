//! The area under the ROC curve: how often a positive row scores higher than a
//! negative one. Owns no state.

/// The area for rows of (score, whether it is positive), where scores are numbers of
/// at least 0; `None` where all rows are of one kind.
///
/// Among equal scores the curve is a straight line, so that a tie counts half. This
/// is the statistic of Mann and Whitney over the product of the two counts
/// (Hanley & McNeil 1982), counted here in whole numbers: only the division rounds.
pub(crate) fn roc_auc(rows: impl Iterator<Item = (f32, bool)>) -> Option<f64> {
    // The bits of numbers from +0 up are in the numbers' own order, and adding +0
    // makes +0 of -0. With the kind as the lowest bit, one sort of integers serves.
    let mut keys: Vec<u64> =
        rows.map(|(score, positive)| u64::from((score + 0.0).to_bits()) << 1 | u64::from(positive)).collect();
    keys.sort_unstable();
    let (mut positives, mut negatives, mut half_wins) = (0_u128, 0_u128, 0_u128);
    for tied in keys.chunk_by(|a, b| a >> 1 == b >> 1) {
        let positives_here = tied.iter().map(|key| u128::from(key & 1)).sum::<u128>();
        let negatives_here = tied.len() as u128 - positives_here;
        half_wins += positives_here * (2 * negatives + negatives_here);
        positives += positives_here;
        negatives += negatives_here;
    }
    let pairs = positives * negatives;
    (pairs > 0).then(|| half_wins as f64 / (2 * pairs) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::roc_auc;

    fn check(rows: &[(f32, bool)], expected: Option<f64>) {
        assert_eq!(roc_auc(rows.iter().copied()), expected, "{rows:?}");
    }

    #[test]
    fn a_perfect_order_has_area_one_and_its_reverse_zero() {
        check(&[(0.1, false), (0.4, false), (0.6, true), (0.9, true)], Some(1.0));
        check(&[(0.1, true), (0.4, true), (0.6, false), (0.9, false)], Some(0.0));
    }

    #[test]
    fn ties_count_half() {
        check(&[(0.5, false), (0.5, true)], Some(0.5));
        check(&[(0.0, false), (-0.0, true)], Some(0.5));
        check(&[(0.5, false), (0.5, true), (0.2, false), (0.9, true)], Some(0.875));
    }

    #[test]
    fn one_kind_alone_has_no_area() {
        check(&[], None);
        check(&[(0.3, true)], None);
        check(&[(0.3, false), (0.7, false)], None);
    }

    proptest! {
        #[test]
        fn it_is_the_share_of_pairs_in_the_right_order(
            rows in prop::collection::vec((0_u8..20, any::<bool>()), 0..60),
        ) {
            let of = |kind| rows.iter().filter(move |row| row.1 == kind).map(|row| row.0);
            let pairs: Vec<(u8, u8)> = of(true).flat_map(|p| of(false).map(move |n| (p, n))).collect();
            let wins: f64 = pairs.iter().map(|(p, n)| f64::from(p > n) + 0.5 * f64::from(p == n)).sum();
            let expected = (!pairs.is_empty()).then(|| wins / pairs.len() as f64);
            let scores = rows.iter().map(|(score, kind)| (f32::from(*score) / 20.0, *kind));
            prop_assert_eq!(roc_auc(scores), expected);
        }
    }
}

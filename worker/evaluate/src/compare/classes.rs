//! Tests of two classifiers on the same rows: McNemar's of who is right, DeLong's of the
//! ROC-AUC. Owns no state.

use serde::{Deserialize, Serialize};

use crate::{
    distributions::{chi_squared_tail, normal_quantile, normal_two_sided, sign_test},
    input::{self, InputError},
    interval::{IntervalError, covariance, placements},
};

/// Who is right where the other is wrong (McNemar 1947).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Rows that both predict rightly.
    pub both_right: u64,
    /// Rows that only the first predicts rightly.
    pub only_a_right: u64,
    /// Rows that only the second predicts rightly.
    pub only_b_right: u64,
    /// Rows that both predict wrongly.
    pub both_wrong: u64,
    /// How often chance alone makes the rows of one of them so many more, exactly.
    pub exact_p: f64,
    /// χ² with one degree of freedom, corrected for continuity; 0 where they never differ.
    pub chi_squared: f64,
    /// How often chance makes χ² as large.
    pub chi_squared_p: f64,
}

/// McNemar's test of which rows each of two models predicts rightly.
///
/// # Errors
///
/// Where there is no row, or the two differ in length.
pub fn mcnemar(a_right: &[bool], b_right: &[bool]) -> Result<McNemar, InputError> {
    input::some_rows(a_right.len())?;
    input::as_long("predictions of the other", a_right.len(), b_right.len())?;
    let count = |a: bool, b: bool| {
        a_right.iter().zip(b_right).filter(|(is_a, is_b)| **is_a == a && **is_b == b).count() as u64
    };
    let (only_a, only_b) = (count(true, false), count(false, true));
    let differing = only_a + only_b;
    let chi_squared =
        if differing == 0 { 0.0 } else { (only_a.abs_diff(only_b) as f64 - 1.0).powi(2) / differing as f64 };
    Ok(McNemar {
        both_right: count(true, true),
        only_a_right: only_a,
        only_b_right: only_b,
        both_wrong: count(false, false),
        exact_p: sign_test(only_a, differing),
        chi_squared,
        chi_squared_p: chi_squared_tail(chi_squared, 1.0),
    })
}

/// How two ROC-AUCs of the same rows differ (DeLong, DeLong & Clarke-Pearson 1988).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeLongTest {
    /// The first one's.
    pub roc_auc_a: f64,
    /// The second one's.
    pub roc_auc_b: f64,
    /// The second less the first.
    pub difference: f64,
    /// The difference's standard deviation from sample to sample.
    pub standard_error: f64,
    /// The lower end of the difference's interval.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// How often the interval holds the true difference.
    pub level: f64,
    /// How often chance alone makes a difference as large.
    pub p: f64,
}

/// DeLong's test of two columns of scores.
///
/// # Errors
///
/// Where rows do not fit, all are of one kind, or the level is none.
pub fn delong_test(
    scores_a: &[f64],
    scores_b: &[f64],
    positives: &[bool],
    level: f64,
) -> Result<DeLongTest, IntervalError> {
    input::open_share("level", level)?;
    let (a, b) = (placements(scores_a, positives)?, placements(scores_b, positives)?);
    let differ = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| b - a).collect() };
    let (pos, neg) = (differ(&a.positives, &b.positives), differ(&a.negatives, &b.negatives));
    let variance = covariance(&pos, &pos) / pos.len() as f64 + covariance(&neg, &neg) / neg.len() as f64;
    let (difference, standard_error) = (b.auc - a.auc, variance.sqrt());
    let reach = normal_quantile(0.5 + level / 2.0) * standard_error;
    let p = match (standard_error > 0.0, difference == 0.0) {
        (true, _) => normal_two_sided(difference / standard_error),
        (false, true) => 1.0,
        (false, false) => 0.0,
    };
    Ok(DeLongTest {
        roc_auc_a: a.auc,
        roc_auc_b: b.auc,
        difference,
        standard_error,
        lower: difference - reach,
        upper: difference + reach,
        level,
        p,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_never_differ_are_not_told_apart() {
        let same = mcnemar(&[true, false], &[true, false]).unwrap();
        assert_eq!((same.exact_p, same.chi_squared, same.chi_squared_p), (1.0, 0.0, 1.0));
        let scores = [0.1, 0.9, 0.4];
        let same = delong_test(&scores, &scores, &[false, true, true], 0.95).unwrap();
        assert_eq!((same.difference, same.p), (0.0, 1.0));
    }

    #[test]
    fn ten_rows_to_none_are_no_chance() {
        let test = mcnemar(&[false; 10], &[true; 10]).unwrap();
        assert_eq!((test.only_b_right, test.chi_squared), (10, 8.1));
        assert!((test.exact_p - 2.0 / 1024.0).abs() < 1e-15, "{test:?}");
    }
}

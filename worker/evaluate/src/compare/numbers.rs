//! Tests of two regressions on the same rows, by what each row's error is: Student's of the
//! mean, Wilcoxon's of the ranks. Owns no state.

use serde::{Deserialize, Serialize};

use crate::{
    distributions::{normal_two_sided, t_quantile, t_two_sided},
    input::{self, InputError},
    interval::deviation,
};

/// The most differences whose signed ranks are counted exactly; above, and with ties, the
/// normal distribution serves (as in SciPy).
const EXACT_MAX: usize = 50;

/// Student's test of the mean difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedT {
    /// The mean of the second less the first.
    pub difference: f64,
    /// Its standard deviation from sample to sample.
    pub standard_error: f64,
    /// The lower end of its interval.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// How often the interval holds the true difference.
    pub level: f64,
    /// How often chance alone makes a mean as far from 0.
    pub p: f64,
}

/// Student's paired test of one figure a row, such as the absolute error.
///
/// # Errors
///
/// Where there are fewer than two rows, the two differ in length, a figure is not finite, or
/// the level is none.
pub fn paired_t(a: &[f64], b: &[f64], level: f64) -> Result<PairedT, InputError> {
    input::open_share("level", level)?;
    let differences = differences(a, b)?;
    input::within("rows", differences.len(), 2, input::ROWS_MAX)?;
    let count = differences.len() as f64;
    let difference = crate::average::mean(differences.len(), differences.iter().copied());
    let standard_error = deviation(&differences) / count.sqrt();
    let reach = t_quantile(0.5 + level / 2.0, count - 1.0) * standard_error;
    let p = match (standard_error > 0.0, difference == 0.0) {
        (true, _) => t_two_sided(difference / standard_error, count - 1.0),
        (false, true) => 1.0,
        (false, false) => 0.0,
    };
    let (lower, upper) = (difference - reach, difference + reach);
    Ok(PairedT { difference, standard_error, lower, upper, level, p })
}

/// Wilcoxon's signed-rank test (1945), in which a few huge errors weigh no more than others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Wilcoxon {
    /// The sum of ranks of rows where the second is larger.
    pub ranks_above: f64,
    /// The sum of ranks of rows where it is smaller.
    pub ranks_below: f64,
    /// Rows that differ; the others are left out.
    pub differing: u64,
    /// Whether the ranks were counted exactly.
    pub exact: bool,
    /// How often chance alone makes the sums so different.
    pub p: f64,
}

/// Wilcoxon's test of one figure a row, such as the absolute error.
///
/// # Errors
///
/// Where there is no row, the two differ in length, or a figure is not finite.
pub fn wilcoxon(a: &[f64], b: &[f64]) -> Result<Wilcoxon, InputError> {
    let mut differences = differences(a, b)?;
    let all = differences.len();
    differences.retain(|difference| *difference != 0.0);
    differences.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    let count = differences.len();
    let (mut above, mut below, mut ties) = (0.0, 0.0, 0.0);
    let mut rank = 0.0;
    for tied in differences.chunk_by(|a, b| a.abs() == b.abs()) {
        let size = tied.len() as f64;
        let mean = rank + (size + 1.0) / 2.0;
        let positive = tied.iter().filter(|difference| **difference > 0.0).count() as f64;
        above += positive * mean;
        below += (size - positive) * mean;
        ties += size * size * size - size;
        rank += size;
    }
    let exact = count > 0 && count <= EXACT_MAX && ties == 0.0 && count == all;
    let p = if count == 0 {
        1.0
    } else if exact {
        exact_p(count, above.min(below) as usize)
    } else {
        let n = count as f64;
        let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
        normal_two_sided((above.min(below) - n * (n + 1.0) / 4.0) / variance.sqrt())
    };
    Ok(Wilcoxon { ranks_above: above, ranks_below: below, differing: count as u64, exact, p })
}

/// Twice the share of all ways to give `count` ranks a sign in which one sign has at most `sum`.
fn exact_p(count: usize, sum: usize) -> f64 {
    // ways[s]: in how many of the ways with the ranks so far the sum is s; exact in f64 to 2⁵³.
    let mut ways = vec![0.0; count * (count + 1) / 2 + 1];
    ways[0] = 1.0;
    for rank in 1..=count {
        for total in (rank..ways.len()).rev() {
            ways[total] += ways[total - rank];
        }
    }
    let tail: f64 = ways.iter().take(sum + 1).sum();
    (2.0 * tail / 2.0_f64.powi(count as i32)).min(1.0)
}

fn differences(a: &[f64], b: &[f64]) -> Result<Vec<f64>, InputError> {
    input::some_rows(a.len())?;
    input::as_long("figures of the other", a.len(), b.len())?;
    input::finite("figure", a)?;
    input::finite("figure", b)?;
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
    input::finite("difference", &differences)?;
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_errors_are_not_told_apart() {
        let errors = [0.5, 1.0, 2.0];
        let test = wilcoxon(&errors, &errors).unwrap();
        assert_eq!((test.differing, test.p), (0, 1.0));
        assert_eq!(paired_t(&errors, &errors, 0.95).unwrap().p, 1.0);
    }

    #[test]
    fn a_single_pair_has_no_mean_to_test() {
        let error = paired_t(&[1.0], &[2.0], 0.95).unwrap_err().to_string();
        assert_eq!(error, "`rows` is 1, expected 2 to 4294967295");
        assert_eq!(wilcoxon(&[1.0], &[2.0]).unwrap().p, 1.0);
    }
}

//! Sums whose error does not grow with the number of terms. Owns no state.

/// The sum of `terms`, compensated (Neumaier 1974): its error is that of one
/// rounding, plus one of second order.
pub(crate) fn sum(terms: impl IntoIterator<Item = f64>) -> f64 {
    let (mut total, mut lost) = (0.0_f64, 0.0_f64);
    for term in terms {
        let next = total + term;
        lost += if total.abs() >= term.abs() { (total - next) + term } else { (term - next) + total };
        total = next;
    }
    // Past the largest number there is nothing left to compensate, and infinity less itself is NaN.
    if total.is_finite() { total + lost } else { total }
}

/// The mean of `terms`, of which there are `count`.
pub(crate) fn mean(count: usize, terms: impl IntoIterator<Item = f64>) -> f64 {
    sum(terms) / count as f64
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn small_terms_survive_beside_large_ones() {
        assert_eq!(sum([1.0, 1e100, 1.0, -1e100]), 2.0);
    }

    #[test]
    fn a_million_tenths_are_a_hundred_thousand() {
        assert_eq!(sum(std::iter::repeat_n(0.1, 1_000_000)), 100_000.0);
    }

    #[test]
    fn a_sum_that_overflows_is_infinite_and_not_nan() {
        assert_eq!(sum([f64::MAX, f64::MAX, -1.0]), f64::INFINITY);
    }
}

//! A sample of a stream of numbers, for quantiles in bounded memory: all of them, as long as they are few; then each with
//! the same chance (J. S. Vitter, "Random Sampling with a Reservoir", 1985, algorithm R). What is drawn is a pure
//! function of how many came before, so that the same column gives the same sample each time.

use crate::order::mixed;

/// Numbers that are kept of one column. Up to so many, quantiles are exact; beyond, they are off by about 0.1 % of the rows.
const KEPT_MAX: usize = 1 << 18;

/// Numbers that are kept of all columns together: 256 MiB.
const KEPT_TOGETHER: usize = 32 << 20;

/// The fewest numbers that are kept of a column, however many columns there are.
const KEPT_MIN: usize = 2_000;

/// A sample of a stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    kept: Vec<f64>,
    seen: u64,
    max: usize,
}

impl Sample {
    /// Of one column among `columns`.
    pub(crate) fn of_columns(columns: usize) -> Self {
        Self::of((KEPT_TOGETHER / columns.max(1)).clamp(KEPT_MIN, KEPT_MAX))
    }

    /// Of at most `max` numbers.
    pub(crate) fn of(max: usize) -> Self {
        Self { kept: Vec::new(), seen: 0, max }
    }

    /// Takes a number into account.
    pub(crate) fn add(&mut self, value: f64) {
        self.seen += 1;
        if self.kept.len() < self.max {
            self.kept.push(value);
            return;
        }
        let place = mixed(self.seen) % self.seen;
        if let Some(kept) = usize::try_from(place).ok().and_then(|place| self.kept.get_mut(place)) {
            *kept = value;
        }
    }

    /// Adds what another one has seen of later numbers, all of which it has kept.
    pub(crate) fn append(&mut self, later: Self) {
        later.kept.into_iter().for_each(|value| self.add(value));
    }

    /// What is needed to ask for quantiles.
    pub(crate) fn sorted(mut self) -> Sorted {
        self.kept.sort_by(f64::total_cmp);
        Sorted(self.kept)
    }
}

/// A sample in order.
#[derive(Debug, Clone)]
pub(crate) struct Sorted(Vec<f64>);

impl Sorted {
    /// The number below which the share `q` (of 0 to 1) lies, between two numbers the point on the line from one to the
    /// other, as numpy's `percentile` has it; 0 if there is no number.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else { return 0.0 };
        let place = q.clamp(0.0, 1.0) * last as f64;
        let low = place.floor() as usize;
        let (a, b) = (self.0[low], self.0[(low + 1).min(last)]);
        a + (b - a) * (place - low as f64)
    }

    /// `count` quantiles from the least number to the greatest; fewer if there are fewer numbers, and one at the least.
    pub(crate) fn quantiles(&self, count: usize) -> Vec<f64> {
        match count.min(self.0.len()) {
            0 | 1 => vec![self.quantile(0.0)],
            // Rounding must not let the line fall.
            count => {
                let mut highest = f64::NEG_INFINITY;
                let at = |place: usize| self.quantile(place as f64 / (count - 1) as f64);
                (0..count)
                    .map(|place| {
                        highest = highest.max(at(place));
                        highest
                    })
                    .collect()
            }
        }
    }

    /// The borders of `bins` ranges of equally many numbers; equal borders are one.
    pub(crate) fn borders(&self, bins: usize) -> Vec<f64> {
        let mut borders: Vec<f64> = (1..bins).map(|bin| self.quantile(bin as f64 / bins as f64)).collect();
        borders.dedup();
        borders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(max: usize, values: impl Iterator<Item = f64>) -> Sorted {
        let mut sample = Sample::of(max);
        values.for_each(|value| sample.add(value));
        sample.sorted()
    }

    #[test]
    fn few_numbers_give_exact_quantiles() {
        let sorted = sample(100, [3.0, 1.0, 2.0, 10.0].into_iter());
        let check = |q, expected| assert_eq!(sorted.quantile(q), expected, "{q}");
        check(0.0, 1.0);
        check(0.5, 2.5);
        check(0.75, 4.75);
        check(1.0, 10.0);
        assert_eq!(sorted.quantiles(3), [1.0, 2.5, 10.0]);
        assert_eq!(sorted.quantiles(100), [1.0, 2.0, 3.0, 10.0]);
        assert_eq!(sorted.borders(4), [1.75, 2.5, 4.75]);
        assert_eq!(sample(100, [7.0; 9].into_iter()).borders(3), [7.0]);
        assert_eq!(sample(100, [].into_iter()).quantiles(5), [0.0]);
    }

    #[test]
    fn many_numbers_give_near_ones_and_the_same_each_time() {
        let numbers = || (0..100_000).map(f64::from);
        let sorted = sample(10_000, numbers());
        for q in [0.0, 0.1, 0.5, 0.9, 1.0] {
            let found = sorted.quantile(q) / 100_000.0;
            assert!((found - q).abs() < 0.02, "{found} for {q}");
        }
        assert_eq!(sorted.0, sample(10_000, numbers()).0);
    }
}

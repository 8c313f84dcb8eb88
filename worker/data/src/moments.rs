//! Sums from which mean and deviation come: in `f64` for numbers, exact for
//! bytes. The deviation is that of the population, as scikit-learn's
//! `StandardScaler` has it.

use crate::{encoder::Scale, manifest::ColumnValues};

/// Mean and deviation of numbers, one by one (B. P. Welford, "Note on a method
/// for calculating corrected sums of squares and products", 1962).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

/// Mean and deviation of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByteMoments {
    count: u64,
    sum: u64,
    squares: u64,
    min: u8,
    max: u8,
}

impl Moments {
    pub(crate) fn add(&mut self, value: f64) {
        (self.min, self.max) = match self.count {
            0 => (value, value),
            _ => (self.min.min(value), self.max.max(value)),
        };
        self.count += 1;
        let distance = value - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (value - self.mean);
    }

    /// Adds those of later values.
    pub(crate) fn merge(&mut self, later: Self) {
        *self = Self::joined(&[*self, later]);
    }

    pub(crate) fn scale(&self) -> Scale {
        Scale { mean: self.mean, deviation: above_zero(self.deviation()) }
    }

    /// The least and the greatest; zeros if there is none.
    pub(crate) fn range(&self) -> (f64, f64) {
        (self.min, self.max)
    }

    pub(crate) fn values(&self) -> ColumnValues {
        let deviation = self.deviation();
        ColumnValues::Numbers { min: self.min, max: self.max, mean: self.mean, deviation }
    }

    /// The moments of all values together; each part by itself is about one element of a list.
    pub(crate) fn joined(parts: &[Self]) -> Self {
        let all = parts.iter().filter(|part| part.count > 0).copied();
        all.reduce(|a, b| {
            let (count, distance) = (a.count + b.count, b.mean - a.mean);
            let (left, right) = (a.count as f64, b.count as f64);
            Self {
                count,
                mean: a.mean + distance * right / count as f64,
                squares: a.squares + b.squares + distance * distance * left * right / count as f64,
                min: a.min.min(b.min),
                max: a.max.max(b.max),
            }
        })
        .unwrap_or_default()
    }

    fn deviation(&self) -> f64 {
        (self.squares / self.count.max(1) as f64).sqrt()
    }
}

impl ByteMoments {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let value = u64::from(*byte);
            self.sum += value;
            self.squares += value * value;
            self.min = self.min.min(*byte);
            self.max = self.max.max(*byte);
        }
        self.count += bytes.len() as u64;
    }

    /// Adds those of later bytes.
    pub(crate) fn merge(&mut self, later: Self) {
        *self = Self::joined(&[*self, later]);
    }

    /// Of the bytes scaled to 0..1.
    pub(crate) fn scale(&self) -> Scale {
        let (mean, deviation) = self.mean_and_deviation();
        Scale { mean: mean / 255.0, deviation: above_zero(deviation / 255.0) }
    }

    pub(crate) fn values(&self) -> ColumnValues {
        let (mean, deviation) = self.mean_and_deviation();
        ColumnValues::Numbers { min: self.min.into(), max: self.max.into(), mean, deviation }
    }

    /// The moments of all values together.
    pub(crate) fn joined(parts: &[Self]) -> Self {
        parts.iter().fold(Self::default(), |a, b| Self {
            count: a.count + b.count,
            sum: a.sum + b.sum,
            squares: a.squares + b.squares,
            min: a.min.min(b.min),
            max: a.max.max(b.max),
        })
    }

    fn mean_and_deviation(&self) -> (f64, f64) {
        let count = u128::from(self.count.max(1));
        let (sum, squares) = (u128::from(self.sum), u128::from(self.squares));
        // The sum's square is at most the count times the sum of squares (Cauchy).
        let spread = count * squares - sum * sum;
        (self.sum as f64 / count as f64, (spread as f64).sqrt() / count as f64)
    }
}

impl Default for ByteMoments {
    fn default() -> Self {
        Self { count: 0, sum: 0, squares: 0, min: u8::MAX, max: 0 }
    }
}

/// A deviation to divide by: 1 where all values are equal.
fn above_zero(deviation: f64) -> f64 {
    if deviation > 0.0 { deviation } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (mean, (squares / values.len() as f64).sqrt())
    }

    fn moments(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|value| moments.add(*value));
        moments
    }

    #[test]
    fn equal_values_are_divided_by_one() {
        assert_eq!(moments(&[0.1; 7]).scale(), Scale { mean: 0.1, deviation: 1.0 });
        assert_eq!(moments(&[]).scale(), Scale { mean: 0.0, deviation: 1.0 });
        let mut bytes = ByteMoments::default();
        bytes.add(&[255; 9]);
        assert_eq!(bytes.scale(), Scale { mean: 1.0, deviation: 1.0 });
    }

    proptest! {
        #[test]
        fn moments_are_what_a_naive_computation_gives(values in prop::collection::vec(-1e6..1e6, 1..200)) {
            let (mean, deviation) = naive(&values);
            let found = moments(&values);
            prop_assert!((found.mean - mean).abs() <= 1e-9 * 1e6);
            prop_assert!((found.deviation() - deviation).abs() <= 1e-9 * 1e6);
            let (left, right) = values.split_at(values.len() / 3);
            let joined = Moments::joined(&[moments(left), moments(right)]);
            prop_assert!((joined.mean - mean).abs() <= 1e-9 * 1e6);
            prop_assert!((joined.deviation() - deviation).abs() <= 1e-9 * 1e6);
            prop_assert_eq!((joined.min, joined.max), (found.min, found.max));
        }

        #[test]
        fn bytes_are_summed_exactly(bytes in prop::collection::vec(any::<u8>(), 1..300)) {
            let values: Vec<f64> = bytes.iter().map(|byte| f64::from(*byte)).collect();
            let (mean, deviation) = naive(&values);
            let mut found = ByteMoments::default();
            found.add(&bytes);
            prop_assert!((found.mean_and_deviation().0 - mean).abs() < 1e-10);
            prop_assert!((found.mean_and_deviation().1 - deviation).abs() < 1e-10);
        }
    }
}

//! From the values on resamples to the ends of an interval. Owns no state; draws nothing.

use super::{Bootstrap, Interval, IntervalError, Method};
use crate::distributions::{normal_cdf, normal_quantile};

/// A figure on the rows as they are and on each resample.
#[derive(Debug, Clone, PartialEq)]
pub struct Replicates {
    /// On the rows as they are.
    pub estimate: f64,
    /// On the resamples, in their order; those without a value left out.
    pub values: Vec<f64>,
    /// How many were left out.
    pub undefined: u32,
}

impl Replicates {
    /// Of an estimate and what came of each resample.
    ///
    /// # Errors
    ///
    /// Where the figure has no value on the rows as they are, or on more than half the resamples.
    pub(crate) fn new(estimate: Option<f64>, drawn: Vec<Option<f64>>) -> Result<Self, IntervalError> {
        let estimate = estimate.filter(|value| value.is_finite()).ok_or(IntervalError::Undefined)?;
        let resamples = drawn.len();
        let values: Vec<f64> = drawn.into_iter().flatten().filter(|value| value.is_finite()).collect();
        if 2 * values.len() < resamples || values.is_empty() {
            let defined = values.len() as u32;
            return Err(IntervalError::TooFewDefined { defined, resamples: resamples as u32 });
        }
        let undefined = (resamples - values.len()) as u32;
        Ok(Self { estimate, values, undefined })
    }

    /// The standard deviation of the values.
    pub fn standard_error(&self) -> f64 {
        deviation(&self.values)
    }

    /// The interval between two quantiles of the values.
    pub(crate) fn percentile(mut self, settings: &Bootstrap) -> Interval {
        let standard_error = self.standard_error();
        self.values.sort_unstable_by(f64::total_cmp);
        let (lower, upper) = percentile_ends(&self.values, settings.level);
        self.interval(settings, Method::Percentile, standard_error, (lower, upper))
    }

    /// The same, corrected by what the figure is without each part of the rows: `left_out` has
    /// those values, each with how many equal parts it stands for.
    pub(crate) fn bca(mut self, left_out: &[(f64, f64)], settings: &Bootstrap) -> Interval {
        let standard_error = self.standard_error();
        self.values.sort_unstable_by(f64::total_cmp);
        let ends = bca_ends(self.estimate, &self.values, left_out, settings.level);
        self.interval(settings, Method::Bca, standard_error, ends)
    }

    fn interval(
        &self,
        settings: &Bootstrap,
        method: Method,
        standard_error: f64,
        (lower, upper): (f64, f64),
    ) -> Interval {
        Interval {
            estimate: self.estimate,
            lower,
            upper,
            level: settings.level,
            standard_error,
            method,
            resamples: self.values.len() as u32 + self.undefined,
            undefined_resamples: self.undefined,
        }
    }
}

/// The ends of the percentile interval of values in rising order; NaN where there are none.
pub fn percentile_ends(sorted: &[f64], level: f64) -> (f64, f64) {
    let tail = (1.0 - level) / 2.0;
    (quantile(sorted, tail), quantile(sorted, 1.0 - tail))
}

/// The ends of the BCa interval (Efron 1987) of values in rising order, as SciPy computes
/// them. Where the correction has no value, as with values that are all the same, the
/// percentile interval's.
pub fn bca_ends(estimate: f64, sorted: &[f64], left_out: &[(f64, f64)], level: f64) -> (f64, f64) {
    let below = sorted.partition_point(|value| *value < estimate);
    let up_to = sorted.partition_point(|value| *value <= estimate);
    let bias = normal_quantile((below + up_to) as f64 / (2 * sorted.len()) as f64);
    let acceleration = acceleration(left_out);
    let end = |p: f64| {
        let shifted = bias + normal_quantile(p);
        normal_cdf(bias + shifted / (1.0 - acceleration * shifted))
    };
    let tail = (1.0 - level) / 2.0;
    let (lower, upper) = (end(tail), end(1.0 - tail));
    if bias.is_finite() && lower.is_finite() && upper.is_finite() && lower <= upper {
        (quantile(sorted, lower), quantile(sorted, upper))
    } else {
        percentile_ends(sorted, level)
    }
}

/// The skewness of the figure's influence, a sixth of it; 0 where nothing changes it.
fn acceleration(left_out: &[(f64, f64)]) -> f64 {
    let count: f64 = left_out.iter().map(|(_, times)| times).sum();
    let mean = left_out.iter().map(|(value, times)| value * times).sum::<f64>() / count;
    let moment = |power: i32| -> f64 {
        left_out.iter().map(|(value, times)| times * (mean - value).powi(power)).sum()
    };
    let acceleration = moment(3) / (6.0 * moment(2).powf(1.5));
    if acceleration.is_finite() { acceleration } else { 0.0 }
}

/// The quantile of values in rising order, between two of them on the straight line (NumPy's
/// default).
pub(crate) fn quantile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = p.clamp(0.0, 1.0) * last as f64;
    let at = (place.floor() as usize).min(last);
    let (low, high, part) = (sorted[at], sorted[(at + 1).min(last)], place - at as f64);
    // From the nearer of the two, as NumPy does: a bin's edge may lie on a row's very value.
    if part < 0.5 { low + (high - low) * part } else { high - (high - low) * (1.0 - part) }
}

/// The standard deviation of a sample; 0 of a single value.
pub(crate) fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = crate::average::mean(values.len(), values.iter().copied());
    let squares = crate::sum::sum(values.iter().map(|value| (value - mean).powi(2)));
    (squares / (values.len() - 1) as f64).sqrt()
}

//! What the folds of a cross-validation say together: the metric with its spread, two models fold by
//! fold, and the predictions for rows that the model had not seen. Owns no state.

use serde::{Deserialize, Serialize};

use crate::{
    average::mean,
    distributions::{t_quantile, t_two_sided},
    folds::FOLDS_MAX,
    input::{self, InputError},
    interval::deviation,
};

/// A metric over folds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossValidated {
    /// The metric's name.
    pub metric: String,
    /// Fold by fold.
    pub values: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// The mean's standard error, as if folds had nothing in common.
    pub standard_error: f64,
    /// The lower end of Student's interval that comes from it.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// The mean's standard error, corrected for the rows that folds share in training (Nadeau &
    /// Bengio 2003).
    pub corrected_error: f64,
    /// The lower end of the interval that comes from that: the one to believe.
    pub corrected_lower: f64,
    /// The upper end.
    pub corrected_upper: f64,
    /// How often an interval is to hold the true mean.
    pub level: f64,
}

/// Sums up the metric of each fold. `test_share` is how many rows a fold tests for each that it
/// trains on: 0.25 of five folds.
///
/// # Errors
///
/// Where there are fewer than two folds, a value is not finite, or a setting does not fit.
pub fn cross_validated(
    metric: &str,
    values: &[f64],
    test_share: f64,
    level: f64,
) -> Result<CrossValidated, InputError> {
    check(values, test_share, level)?;
    let count = values.len() as f64;
    let mean = mean(values.len(), values.iter().copied());
    let deviation = deviation(values);
    let standard_error = deviation / count.sqrt();
    let corrected_error = corrected(deviation, values.len(), test_share);
    let t = t_quantile(0.5 + level / 2.0, count - 1.0);
    Ok(CrossValidated {
        metric: metric.to_owned(),
        values: values.to_vec(),
        mean,
        deviation,
        standard_error,
        lower: mean - t * standard_error,
        upper: mean + t * standard_error,
        corrected_error,
        corrected_lower: mean - t * corrected_error,
        corrected_upper: mean + t * corrected_error,
        level,
    })
}

/// Two models on the same folds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FoldsTest {
    /// The mean of the second less the first.
    pub difference: f64,
    /// Its standard error, corrected as above.
    pub corrected_error: f64,
    /// The lower end of its interval.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// How often the interval is to hold the true difference.
    pub level: f64,
    /// How often chance alone makes a difference as large.
    pub p: f64,
}

/// The corrected resampled t-test of a metric of two models, fold by fold (Nadeau & Bengio 2003).
///
/// # Errors
///
/// As [`cross_validated`], and where the two differ in length.
pub fn compare_folds(a: &[f64], b: &[f64], test_share: f64, level: f64) -> Result<FoldsTest, InputError> {
    check(a, test_share, level)?;
    check(b, test_share, level)?;
    input::as_long("folds of the other", a.len(), b.len())?;
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
    let (freedom, difference) = (a.len() as f64 - 1.0, mean(a.len(), differences.iter().copied()));
    let corrected_error = corrected(deviation(&differences), a.len(), test_share);
    let p = match (corrected_error > 0.0, difference == 0.0) {
        (true, _) => t_two_sided(difference / corrected_error, freedom),
        (false, true) => 1.0,
        (false, false) => 0.0,
    };
    let reach = t_quantile(0.5 + level / 2.0, freedom) * corrected_error;
    let (lower, upper) = (difference - reach, difference + reach);
    Ok(FoldsTest { difference, corrected_error, lower, upper, level, p })
}

fn check(values: &[f64], test_share: f64, level: f64) -> Result<(), InputError> {
    input::within("folds", values.len(), 2, FOLDS_MAX)?;
    input::finite("metric", values)?;
    input::open_share("level", level)?;
    if test_share.is_finite() && test_share > 0.0 {
        return Ok(());
    }
    let expected = "a number above 0".to_owned();
    Err(InputError::Setting { setting: "test_share", actual: test_share.to_string(), expected })
}

fn corrected(deviation: f64, folds: usize, test_share: f64) -> f64 {
    deviation * (1.0 / folds as f64 + test_share).sqrt()
}

/// The most out-of-fold predictions: 8 GiB of them.
const PREDICTIONS_MAX: usize = 1 << 30;

/// The predictions for each row by models that had not seen it.
#[derive(Debug, Clone, PartialEq)]
pub struct OutOfFold {
    /// Row by row, `width` numbers each: the mean over repetitions. 0 where a row was never tested.
    pub predictions: Vec<f64>,
    /// How often each row was tested.
    pub times: Vec<u32>,
}

/// Puts together what each fold predicts for the rows that it tests: their numbers, and `width`
/// predictions for each, in that order.
///
/// # Errors
///
/// Where a row is none of the table, or there are more or fewer predictions than rows.
pub fn out_of_fold(rows: usize, width: usize, folds: &[(&[u32], &[f64])]) -> Result<OutOfFold, InputError> {
    input::some_rows(rows)?;
    input::within("width", width, 1, phalanx_protocol::spec::CLASSES_MAX)?;
    input::within("predictions", rows.saturating_mul(width), 1, PREDICTIONS_MAX)?;
    let (mut predictions, mut times) = (vec![0.0; rows * width], vec![0_u32; rows]);
    for (tested, predicted) in folds {
        input::below("row of a fold", tested, rows, "a row of the table")?;
        input::as_long("predictions of a fold", tested.len() * width, predicted.len())?;
        for (row, predicted) in tested.iter().zip(predicted.chunks_exact(width)) {
            let row = *row as usize;
            times[row] += 1;
            let sums = &mut predictions[row * width..(row + 1) * width];
            sums.iter_mut().zip(predicted).for_each(|(sum, predicted)| *sum += predicted);
        }
    }
    for (sums, times) in predictions.chunks_exact_mut(width).zip(&times) {
        sums.iter_mut().for_each(|sum| *sum /= f64::from((*times).max(1)));
    }
    Ok(OutOfFold { predictions, times })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_share_rows_and_so_the_corrected_interval_is_wider() {
        let found = cross_validated("f1", &[0.8, 0.82, 0.78, 0.81, 0.79], 0.25, 0.95).unwrap();
        assert!((found.mean - 0.8).abs() < 1e-12);
        assert!((found.corrected_error / found.standard_error - (1.0_f64 + 5.0 * 0.25).sqrt()).abs() < 1e-12);
        assert!(found.corrected_lower < found.lower && found.upper < found.corrected_upper);
        assert!(cross_validated("f1", &[0.8], 0.25, 0.95).is_err());
    }

    #[test]
    fn models_are_compared_fold_by_fold() {
        let a = [0.8, 0.82, 0.78, 0.81, 0.79];
        let b = a.map(|value| value + 0.02);
        assert_eq!(compare_folds(&a, &a, 0.25, 0.95).unwrap().p, 1.0);
        let found = compare_folds(&a, &b, 0.25, 0.95).unwrap();
        assert!(found.p < 1e-6 && (found.difference - 0.02).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn out_of_fold_predictions_lie_at_their_rows() {
        let folds: [(&[u32], &[f64]); 3] =
            [(&[2, 0], &[0.5, 0.5, 0.1, 0.9]), (&[1], &[0.3, 0.7]), (&[2], &[0.7, 0.3])];
        let found = out_of_fold(4, 2, &folds).unwrap();
        assert_eq!(found.predictions, [0.1, 0.9, 0.3, 0.7, 0.6, 0.4, 0.0, 0.0]);
        assert_eq!(found.times, [1, 1, 2, 0]);
        assert!(out_of_fold(2, 1, &[(&[2], &[0.5])]).is_err());
    }
}

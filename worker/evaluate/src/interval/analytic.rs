//! Intervals by formula: Wilson's of a proportion, DeLong's of the ROC-AUC, Student's of a
//! mean. Owns no state.

use super::{Interval, IntervalError, Method, replicates::deviation};
use crate::{
    distributions::{normal_quantile, t_quantile},
    input::{self, InputError},
    ranking::Ranking,
    row_metric::all_rows,
};

/// Wilson's interval of `hits` of `trials`.
///
/// # Errors
///
/// Where there are no trials, fewer than hits, or the level is none.
pub fn wilson_interval(hits: u64, trials: u64, level: f64) -> Result<Interval, InputError> {
    input::open_share("level", level)?;
    if trials == 0 {
        return Err(InputError::NoRows);
    }
    if hits > trials {
        let expected = format!("at most {trials}, as many as there are trials");
        return Err(InputError::Setting { setting: "hits", actual: hits.to_string(), expected });
    }
    let (count, share) = (trials as f64, hits as f64 / trials as f64);
    let z = normal_quantile(0.5 + level / 2.0);
    let z2 = z * z;
    let centre = (share + z2 / (2.0 * count)) / (1.0 + z2 / count);
    let reach = z / (1.0 + z2 / count) * (share * (1.0 - share) / count + z2 / (4.0 * count * count)).sqrt();
    Ok(Interval {
        // At 0 and 1 the formula is exact, and its rounding is not.
        lower: if hits == 0 { 0.0 } else { (centre - reach).max(0.0) },
        upper: if hits == trials { 1.0 } else { (centre + reach).min(1.0) },
        ..plain(share, level, (share * (1.0 - share) / count).sqrt(), Method::Wilson)
    })
}

/// The interval of the ROC-AUC by DeLong's variance, on the log-odds.
///
/// # Errors
///
/// Where rows do not fit, all are of one kind, or the level is none.
pub fn roc_auc_interval(scores: &[f64], positives: &[bool], level: f64) -> Result<Interval, IntervalError> {
    input::open_share("level", level)?;
    let placed = placements(scores, positives)?;
    let (auc, variance) = (placed.auc, placed.variance());
    let standard_error = variance.sqrt();
    let interval = plain(auc, level, standard_error, Method::DeLong);
    let z = normal_quantile(0.5 + level / 2.0);
    if auc <= 0.0 || auc >= 1.0 || standard_error == 0.0 {
        return Ok(Interval { lower: auc, upper: auc, ..interval });
    }
    let (odds, reach) = ((auc / (1.0 - auc)).ln(), z * standard_error / (auc * (1.0 - auc)));
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    Ok(Interval { lower: logistic(odds - reach), upper: logistic(odds + reach), ..interval })
}

/// Student's interval of the mean of independent `values`.
///
/// # Errors
///
/// Where there are fewer than two, one is not finite, or the level is none.
pub fn mean_interval(values: &[f64], level: f64) -> Result<Interval, InputError> {
    input::open_share("level", level)?;
    input::within("values", values.len(), 2, input::ROWS_MAX)?;
    input::finite("value", values)?;
    let count = values.len() as f64;
    let mean = crate::average::mean(values.len(), values.iter().copied());
    let standard_error = deviation(values) / count.sqrt();
    let reach = t_quantile(0.5 + level / 2.0, count - 1.0) * standard_error;
    let interval = plain(mean, level, standard_error, Method::StudentT);
    Ok(Interval { lower: mean - reach, upper: mean + reach, ..interval })
}

fn plain(estimate: f64, level: f64, standard_error: f64, method: Method) -> Interval {
    let (lower, upper) = (estimate, estimate);
    Interval { estimate, lower, upper, level, standard_error, method, resamples: 0, undefined_resamples: 0 }
}

/// Each row's share of the ROC-AUC: how often it stands in the right order with a row of the
/// other kind.
pub(crate) struct Placements {
    pub(crate) auc: f64,
    /// Of the positive rows, in row order.
    pub(crate) positives: Vec<f64>,
    /// Of the negative rows, in row order.
    pub(crate) negatives: Vec<f64>,
}

impl Placements {
    fn variance(&self) -> f64 {
        covariance(&self.positives, &self.positives) / self.positives.len() as f64
            + covariance(&self.negatives, &self.negatives) / self.negatives.len() as f64
    }
}

/// The covariance of two samples; 0 of single values.
pub(crate) fn covariance(a: &[f64], b: &[f64]) -> f64 {
    let count = a.len().min(b.len());
    if count < 2 {
        return 0.0;
    }
    let mean_a = crate::average::mean(count, a.iter().copied());
    let mean_b = crate::average::mean(count, b.iter().copied());
    let products = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b));
    crate::sum::sum(products) / (count - 1) as f64
}

/// The placements by one sort (Sun & Xu 2014).
///
/// # Errors
///
/// Where rows do not fit, or all are of one kind.
pub(crate) fn placements(scores: &[f64], positives: &[bool]) -> Result<Placements, IntervalError> {
    input::some_rows(scores.len())?;
    input::as_long("truths", scores.len(), positives.len())?;
    input::finite("score", scores)?;
    let hits = positives.iter().filter(|positive| **positive).count();
    let (count_pos, count_neg) = (hits as f64, (positives.len() - hits) as f64);
    if count_pos == 0.0 || count_neg == 0.0 {
        return Err(IntervalError::Undefined);
    }
    let mut placed = vec![0.0; scores.len()];
    let (mut pos_above, mut neg_above) = (0.0, 0.0);
    let rows = all_rows(scores.len());
    for tied in Ranking::of_rows(scores, &rows).ties() {
        let pos_here = tied.iter().filter(|(row, _)| positives[*row as usize]).count() as f64;
        let neg_here = tied.len() as f64 - pos_here;
        for (row, _) in tied {
            let row = *row as usize;
            placed[row] = if positives[row] {
                (count_neg - neg_above - neg_here / 2.0) / count_neg
            } else {
                (pos_above + pos_here / 2.0) / count_pos
            };
        }
        pos_above += pos_here;
        neg_above += neg_here;
    }
    let of = |kind: bool| -> Vec<f64> {
        placed.iter().zip(positives).filter(|(_, positive)| **positive == kind).map(|(at, _)| *at).collect()
    };
    let (positives, negatives) = (of(true), of(false));
    let auc = crate::average::mean(positives.len(), positives.iter().copied());
    Ok(Placements { auc, positives, negatives })
}

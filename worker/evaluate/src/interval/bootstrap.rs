//! Resampling: rows by weights for any metric, counts by binomials for metrics of a confusion
//! matrix. Owns no state.
//!
//! Resample number r is drawn from stream r of the seed and from nothing else, so threads may
//! take them in any order.

use rayon::prelude::*;

use super::{Bootstrap, Draw, Interval, IntervalError, replicates::Replicates};
use crate::{
    input::{self, InputError},
    random::Random,
    row_metric::{DifferenceMetric, RowMetric, Weighed, all_rows},
};

/// The most parts of the rows that BCa leaves out one at a time: single rows up to so many,
/// blocks of them above, whose influence has nearly the same skewness.
const PARTS_MAX: usize = 1_000;

/// The interval of `metric`. With `strata`, one number a row, each resample has as many rows
/// of each stratum as there are.
///
/// # Errors
///
/// Where the settings or strata do not fit, or the metric has too few values.
pub fn bootstrap(
    metric: &dyn RowMetric,
    strata: Option<&[u32]>,
    settings: &Bootstrap,
) -> Result<Interval, IntervalError> {
    let mut all = bootstrap_all(&[metric], strata, settings)?;
    all.pop().unwrap_or(Err(IntervalError::Undefined))
}

/// The intervals of several metrics of one table on the same resamples, which are drawn once.
///
/// # Errors
///
/// Where the settings or strata do not fit, or the metrics' tables differ in length. A metric
/// without an interval has an error of its own.
pub fn bootstrap_all(
    metrics: &[&dyn RowMetric],
    strata: Option<&[u32]>,
    settings: &Bootstrap,
) -> Result<Vec<Result<Interval, IntervalError>>, InputError> {
    let rows = all_rows(table_rows(metrics)?);
    let ready: Vec<Weighed<'_>> = metrics.iter().map(|metric| metric.on(&rows)).collect();
    let ones = vec![1; rows.len()];
    let estimates: Vec<Option<f64>> = ready.iter().map(|metric| metric(&ones)).collect();
    let measure = |weights: &[u32]| ready.iter().map(|metric| metric(weights)).collect::<Vec<_>>();
    let drawn = resampled_weights(rows.len(), strata, settings, measure)?;
    let intervals = ready.iter().zip(estimates).enumerate().map(|(at, (metric, estimate))| {
        let values = drawn.iter().map(|resample| resample[at]).collect();
        let replicates = Replicates::new(estimate, values)?;
        Ok(if settings.bca {
            replicates.bca(&left_out(metric, rows.len()), settings)
        } else {
            replicates.percentile(settings)
        })
    });
    Ok(intervals.collect())
}

/// The interval of how much more `of` is than `less`, on the same resamples of the same rows,
/// and the share of resamples in which it is more, ties counted half.
///
/// # Errors
///
/// As [`bootstrap`].
pub fn bootstrap_difference(
    of: &dyn RowMetric,
    less: &dyn RowMetric,
    settings: &Bootstrap,
) -> Result<(Interval, f64), IntervalError> {
    let difference = DifferenceMetric { of, less };
    let rows = all_rows(table_rows(&[of, less])?);
    let ready = difference.on(&rows);
    let drawn = resampled_weights(rows.len(), None, settings, |weights| ready(weights))?;
    let replicates = Replicates::new(ready(&vec![1; rows.len()]), drawn)?;
    let share_above = share_above(&replicates.values);
    let interval = if settings.bca {
        replicates.bca(&left_out(&ready, rows.len()), settings)
    } else {
        replicates.percentile(settings)
    };
    Ok((interval, share_above))
}

/// The interval of a metric of counts, such as the cells of a confusion matrix, in time that
/// does not grow with the number of rows.
///
/// # Errors
///
/// Where the settings do not fit, or the metric has too few values.
pub fn bootstrap_counts(
    counts: &[u64],
    metric: impl Fn(&[u64]) -> Option<f64> + Sync,
    settings: &Bootstrap,
) -> Result<Interval, IntervalError> {
    let all = bootstrap_counts_all(counts, |counts| [metric(counts)], settings)?;
    let [interval] = all;
    interval
}

/// The intervals of several metrics of the same counts.
///
/// # Errors
///
/// Where the settings do not fit. A metric without an interval has an error of its own.
pub(crate) fn bootstrap_counts_all<const N: usize>(
    counts: &[u64],
    metrics: impl Fn(&[u64]) -> [Option<f64>; N] + Sync,
    settings: &Bootstrap,
) -> Result<[Result<Interval, IntervalError>; N], InputError> {
    settings.check()?;
    let total = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    if total == 0 {
        return Err(InputError::NoRows);
    }
    let resample = |number: u32| metrics(&resampled_counts(counts, total, settings, number));
    let drawn: Vec<[Option<f64>; N]> = (0..settings.resamples).into_par_iter().map(resample).collect();
    let estimates = metrics(counts);
    let without = |cell: usize| {
        let mut fewer = counts.to_vec();
        fewer[cell] -= 1;
        (metrics(&fewer), counts[cell] as f64)
    };
    let cells = (0..counts.len()).filter(|cell| settings.bca && counts[*cell] > 0);
    let left_out: Vec<([Option<f64>; N], f64)> = cells.map(without).collect();
    Ok(std::array::from_fn(|at| {
        let replicates = Replicates::new(estimates[at], drawn.iter().map(|values| values[at]).collect())?;
        if !settings.bca {
            return Ok(replicates.percentile(settings));
        }
        let finite = |(values, times): &([Option<f64>; N], f64)| {
            Some((values[at].filter(|value| value.is_finite())?, *times))
        };
        Ok(replicates.bca(&left_out.iter().filter_map(finite).collect::<Vec<_>>(), settings))
    }))
}

/// What `measure` makes of the weights of each resample, in their order.
///
/// # Errors
///
/// Where the settings or strata do not fit.
pub(crate) fn resampled_weights<T: Send>(
    rows: usize,
    strata: Option<&[u32]>,
    settings: &Bootstrap,
    measure: impl Fn(&[u32]) -> T + Sync,
) -> Result<Vec<T>, InputError> {
    settings.check()?;
    input::some_rows(rows)?;
    if strata.is_some() && settings.draw == Draw::Poisson {
        let (actual, expected) =
            ("poisson".to_owned(), "multinomial where strata keep their sizes".to_owned());
        return Err(InputError::Setting { setting: "draw", actual, expected });
    }
    let strata = strata.map(|strata| grouped(rows, strata)).transpose()?;
    let resample = |weights: &mut Vec<u32>, number: u32| {
        draw(weights, strata.as_deref(), settings, number);
        measure(weights)
    };
    Ok((0..settings.resamples).into_par_iter().map_init(|| vec![0; rows], resample).collect())
}

fn share_above(values: &[f64]) -> f64 {
    let halves: u64 =
        values.iter().map(|value| if *value > 0.0 { 2 } else { u64::from(*value == 0.0) }).sum();
    halves as f64 / (2 * values.len()) as f64
}

fn table_rows(metrics: &[&dyn RowMetric]) -> Result<usize, InputError> {
    let rows = metrics.first().map_or(0, |metric| metric.rows());
    input::some_rows(rows)?;
    metrics.iter().try_for_each(|metric| input::as_long("rows of another metric", rows, metric.rows()))?;
    Ok(rows)
}

/// The rows of each stratum.
fn grouped(rows: usize, strata: &[u32]) -> Result<Vec<Vec<u32>>, InputError> {
    input::as_long("strata", rows, strata.len())?;
    let mut groups = std::collections::BTreeMap::<u32, Vec<u32>>::new();
    for (row, stratum) in strata.iter().enumerate() {
        groups.entry(*stratum).or_default().push(row as u32);
    }
    Ok(groups.into_values().collect())
}

fn draw(weights: &mut [u32], strata: Option<&[Vec<u32>]>, settings: &Bootstrap, number: u32) {
    let mut random = Random::new(settings.seed, u64::from(number));
    match (settings.draw, strata) {
        (Draw::Poisson, _) => weights.iter_mut().for_each(|weight| *weight = random.poisson()),
        (Draw::Multinomial, None) => {
            weights.fill(0);
            for _ in 0..weights.len() {
                weights[random.below(weights.len() as u64) as usize] += 1;
            }
        }
        (Draw::Multinomial, Some(strata)) => {
            weights.fill(0);
            for rows in strata {
                for _ in 0..rows.len() {
                    weights[rows[random.below(rows.len() as u64) as usize] as usize] += 1;
                }
            }
        }
    }
}

/// The counts of a resample: each cell a binomial of what the cells before it have left, which
/// together are the multinomial. Of counts this is as fast as Poisson's, so it is always drawn.
fn resampled_counts(counts: &[u64], total: u64, settings: &Bootstrap, number: u32) -> Vec<u64> {
    let mut random = Random::new(settings.seed, u64::from(number));
    let (mut rows, mut to_draw) = (total, total);
    let resample = |count: &u64| {
        if rows == 0 {
            return 0;
        }
        let drawn = random.binomial(to_draw, *count as f64 / rows as f64);
        rows = rows.saturating_sub(*count);
        to_draw -= drawn;
        drawn
    };
    counts.iter().map(resample).collect()
}

/// The metric without each part of the rows.
fn left_out(metric: &Weighed<'_>, rows: usize) -> Vec<(f64, f64)> {
    let parts = rows.min(PARTS_MAX);
    let without = |weights: &mut Vec<u32>, part: usize| {
        let block = rows * part / parts..rows * (part + 1) / parts;
        weights[block.clone()].fill(0);
        let value = metric(weights).filter(|value| value.is_finite());
        weights[block].fill(1);
        Some((value?, 1.0))
    };
    (0..parts).into_par_iter().map_init(|| vec![1; rows], without).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        interval::{Method, wilson_interval},
        row_metric::{CellMetric, MeanMetric, RocAucMetric, RowsMetric},
    };

    fn share(counts: &[u64]) -> Option<f64> {
        let total: u64 = counts.iter().sum();
        (total > 0).then(|| counts[1] as f64 / total as f64)
    }

    #[test]
    fn counts_rows_and_formula_agree_on_a_proportion() {
        let cells: Vec<u32> = (0..2_000).map(|row| u32::from(row % 10 < 3)).collect();
        let settings = Bootstrap { resamples: 4_000, ..Bootstrap::default() };
        let rows = bootstrap(&CellMetric::new(&cells, 2, share).unwrap(), None, &settings).unwrap();
        let counts = bootstrap_counts(&[1_400, 600], share, &settings).unwrap();
        let wilson = wilson_interval(600, 2_000, 0.95).unwrap();
        for interval in [rows, counts, wilson] {
            assert_eq!(interval.estimate, 0.3);
            assert!((interval.lower - wilson.lower).abs() < 0.002, "{interval:?}");
            assert!((interval.upper - wilson.upper).abs() < 0.002, "{interval:?}");
            assert!((interval.standard_error - (0.21 / 2_000.0_f64).sqrt()).abs() < 5e-4, "{interval:?}");
        }
    }

    #[test]
    fn any_metric_any_draw_and_any_number_of_threads_give_the_same_bits() {
        let values: Vec<f64> = (0..300).map(|row| f64::from(row * row % 37)).collect();
        let mean = MeanMetric::new(&values).unwrap();
        let rows = RowsMetric::new(values.len(), |rows: &[u32]| {
            Some(rows.iter().map(|row| values[*row as usize]).sum::<f64>() / rows.len() as f64)
        })
        .unwrap();
        for (draw, bca) in [(Draw::Multinomial, false), (Draw::Poisson, true)] {
            let settings = Bootstrap { resamples: 200, draw, bca, seed: 5, ..Bootstrap::default() };
            let interval = bootstrap(&mean, None, &settings).unwrap();
            let again = bootstrap(&rows, None, &settings).unwrap();
            assert!(
                (interval.lower - again.lower).abs() < 1e-9 && (interval.upper - again.upper).abs() < 1e-9
            );
            let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            assert_eq!(one.install(|| bootstrap(&mean, None, &settings)).unwrap(), interval);
        }
    }

    #[test]
    fn strata_keep_their_sizes() {
        let strata: Vec<u32> = (0..50).map(|row| u32::from(row >= 40)).collect();
        let of_second = |weights: &[u32]| weights[40..].iter().sum::<u32>();
        let settings = Bootstrap { resamples: 50, ..Bootstrap::default() };
        let drawn = resampled_weights(50, Some(&strata), &settings, of_second).unwrap();
        assert!(drawn.iter().all(|count| *count == 10));
        let drawn = resampled_weights(50, None, &settings, of_second).unwrap();
        assert!(drawn.iter().any(|count| *count != 10));
        let poisson = Bootstrap { draw: Draw::Poisson, ..settings };
        let error = resampled_weights(50, Some(&strata), &poisson, of_second).unwrap_err().to_string();
        assert_eq!(error, "`draw` is poisson, expected multinomial where strata keep their sizes");
    }

    #[test]
    fn resamples_without_a_value_are_counted_and_too_many_of_them_refused() {
        let scores: Vec<f64> = (0..4).map(f64::from).collect();
        let positives = [false, false, false, true];
        let settings = Bootstrap { resamples: 400, ..Bootstrap::default() };
        let auc = RocAucMetric::new(&scores, &positives).unwrap();
        let interval = bootstrap(&auc, None, &settings).unwrap();
        assert!((80..180).contains(&interval.undefined_resamples), "{interval:?}");
        assert_eq!(interval.method, Method::Percentile);
        let rare = CellMetric::new(&[0, 0, 0, 1], 2, |counts| (counts[1] > 2).then_some(1.0)).unwrap();
        assert_eq!(bootstrap(&rare, None, &settings), Err(IntervalError::Undefined));
        let rare = RowsMetric::new(4, |rows: &[u32]| (rows == [0, 1, 2, 3]).then_some(1.0)).unwrap();
        assert!(matches!(
            bootstrap(&rare, None, &settings),
            Err(IntervalError::TooFewDefined { resamples: 400, .. })
        ));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let check = |settings: Bootstrap, said: &str| {
            let error = bootstrap_counts(&[1, 1], share, &settings).unwrap_err();
            assert_eq!(error.to_string(), said);
        };
        let usual = Bootstrap::default();
        check(Bootstrap { resamples: 0, ..usual }, "`resamples` is 0, expected 1 to 100000");
        check(
            Bootstrap { level: 1.0, ..usual },
            "`level` is 1, expected a number between 0 and 1, both excluded",
        );
    }
}

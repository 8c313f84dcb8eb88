//! Metrics of numbers that need them in order: medians, quantiles, ranks. Owns no
//! state; whoever asks keeps the rows.

use serde::{Deserialize, Serialize};

use super::{
    deviances::{pinball, tweedie},
    moments::{Moments, explained},
};
use crate::{
    columns::NumberColumns,
    sum::ExactSum,
    undefined::{Undefined, Value, finite},
};

/// A metric of all rows; the number is its parameter.
type OfRows = fn(&NumberColumns<'_>, f64) -> Value;

const OF_ROWS: &[(&str, OfRows)] = &[
    ("median_absolute_error", |rows, _| {
        let errors = rows.rows().map(|(truth, prediction, weight)| ((truth - prediction).abs(), weight));
        quantile(errors, 0.5)
    }),
    ("d2_absolute_error", |rows, _| d2_pinball(rows, 0.5)),
    ("d2_pinball", d2_pinball),
    ("d2_tweedie", d2_tweedie),
    ("spearman", |rows, _| spearman(rows)),
    ("kendall", |rows, _| kendall(rows)),
];

/// The metric called `name`; `None` where none of this module's is called so.
pub(crate) fn figure(name: &str, parameter: Option<f64>) -> Option<impl Fn(&NumberColumns<'_>) -> Value> {
    let (_, metric) = OF_ROWS.iter().find(|(known, _)| *known == name)?;
    Some(move |rows: &NumberColumns<'_>| metric(rows, parameter.unwrap_or(f64::NAN)))
}

/// The weighted quantile of (value, weight): the lowest value of which at least the share
/// `share` of all weight is no higher, or the mean of that and the next where it is just
/// that share (the "averaged inverted distribution function" of Hyndman & Fan 1996).
pub(crate) fn quantile(values: impl Iterator<Item = (f64, f64)>, share: f64) -> Value {
    let mut values: Vec<(f64, f64)> = values.filter(|(_, weight)| *weight > 0.0).collect();
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let all = values.iter().map(|(_, weight)| *weight).collect::<ExactSum>().value();
    let wanted = share * all;
    let mut below = ExactSum::default();
    for (index, (value, weight)) in values.iter().enumerate() {
        below.add(*weight);
        let reached = below.value();
        if reached >= wanted {
            let next = values.get(index + 1).map_or(*value, |(next, _)| *next);
            let exactly = wanted > 0.0 && reached - wanted <= f64::EPSILON;
            return finite(if exactly { value + (next - value) / 2.0 } else { *value });
        }
    }
    values.last().map_or(Err(Undefined::NoWeight), |(largest, _)| Ok(*largest))
}

/// The share of the pinball loss of the truths' own quantile that is saved.
fn d2_pinball(rows: &NumberColumns<'_>, share: f64) -> Value {
    two(rows)?;
    let constant = quantile(rows.rows().map(|(truth, _, weight)| (truth, weight)), share)?;
    let total = |prediction: &dyn Fn(f64) -> f64| {
        let loss = |(truth, predicted, weight)| weight * pinball(truth, prediction(predicted), share);
        rows.rows().map(loss).collect::<ExactSum>().value()
    };
    explained(total(&|prediction| prediction), total(&|_| constant))
}

/// The share of the deviance of the truths' own mean that is saved.
fn d2_tweedie(rows: &NumberColumns<'_>, power: f64) -> Value {
    two(rows)?;
    let (mut weight, mut truths) = (ExactSum::default(), ExactSum::default());
    for (truth, _, of_row) in rows.rows() {
        weight.add(of_row);
        truths.add_product(of_row, truth);
    }
    if weight.value() == 0.0 {
        return Err(Undefined::NoWeight);
    }
    let counting = || rows.rows().filter(|(.., weight)| *weight > 0.0);
    // The first by size, so that the reason does not depend on the order of rows.
    let outside = counting().filter(|(truth, prediction, _)| tweedie(*truth, *prediction, power).is_err());
    if let Some((truth, prediction, _)) = outside.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
    {
        tweedie(truth, prediction, power)?;
    }
    let constant = truths.value() / weight.value();
    let mut of_predictions = ExactSum::default();
    let mut of_constant = ExactSum::default();
    for (truth, prediction, weight) in counting() {
        of_predictions.add(weight * tweedie(truth, prediction, power)?);
        of_constant.add(weight * tweedie(truth, constant, power)?);
    }
    // Asked of the truths themselves: their mean may round.
    let first = counting().next().map(|(truth, ..)| truth);
    match counting().any(|(truth, ..)| Some(truth) != first) {
        true => finite(1.0 - of_predictions.value() / of_constant.value()),
        false => Err(Undefined::Constant { what: "truths" }),
    }
}

fn two(rows: &NumberColumns<'_>) -> Result<(), Undefined> {
    if rows.truths().len() < 2 { Err(Undefined::OneRow) } else { Ok(()) }
}

fn unweighted(rows: &NumberColumns<'_>) -> Result<(), Undefined> {
    match rows.weights().given() {
        Some(_) => Err(Undefined::Weighted),
        None => two(rows),
    }
}

/// The correlation of ranks, equal values sharing theirs.
fn spearman(rows: &NumberColumns<'_>) -> Value {
    unweighted(rows)?;
    let (truths, predictions) = (ranks(rows.truths()), ranks(rows.predictions()));
    let mut moments = Moments::default();
    truths.iter().zip(&predictions).for_each(|(truth, prediction)| moments.add(*truth, *prediction, 1.0));
    moments.correlation()
}

/// The rank of each value from 1; equal ones have the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = before as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|index| ranks[*index] = rank);
        before += tied.len();
    }
    ranks
}

/// Kendall's tau-b, in the time of a sort (Knight 1966).
fn kendall(rows: &NumberColumns<'_>) -> Value {
    unweighted(rows)?;
    // Adding +0 makes +0 of -0, so that they tie.
    let mut pairs: Vec<(f64, f64)> =
        rows.rows().map(|(truth, prediction, _)| (truth + 0.0, prediction + 0.0)).collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let all = pairs_of(pairs.len());
    let same_truth: u128 = pairs.chunk_by(|a, b| a.0 == b.0).map(|tied| pairs_of(tied.len())).sum();
    let same_both: u128 = pairs.chunk_by(|a, b| a == b).map(|tied| pairs_of(tied.len())).sum();
    let mut predictions: Vec<f64> = pairs.into_iter().map(|(_, prediction)| prediction).collect();
    let discordant = sort_and_count_swaps(&mut predictions);
    let same_prediction: u128 = predictions.chunk_by(|a, b| a == b).map(|tied| pairs_of(tied.len())).sum();
    if same_truth == all {
        return Err(Undefined::Constant { what: "truths" });
    }
    if same_prediction == all {
        return Err(Undefined::Constant { what: "predictions" });
    }
    let untied = all + same_both - same_truth - same_prediction;
    let excess = untied as f64 - 2.0 * discordant as f64;
    let scale = ((all - same_truth) as f64).sqrt() * ((all - same_prediction) as f64).sqrt();
    Ok((excess / scale).clamp(-1.0, 1.0))
}

fn pairs_of(count: usize) -> u128 {
    let count = count as u128;
    count * count.saturating_sub(1) / 2
}

/// Sorts by merging, and counts the pairs that stood in the wrong order.
fn sort_and_count_swaps(values: &mut [f64]) -> u128 {
    let (mut swaps, mut width) = (0, 1);
    let mut merged = Vec::with_capacity(values.len());
    while width < values.len() {
        for run in values.chunks_mut(2 * width).filter(|run| run.len() > width) {
            let (mut left, mut right) = (0, width);
            merged.clear();
            while left < width || right < run.len() {
                if right == run.len() || (left < width && run[left] <= run[right]) {
                    merged.push(run[left]);
                    left += 1;
                } else {
                    swaps += (width - left) as u128;
                    merged.push(run[right]);
                    right += 1;
                }
            }
            run.copy_from_slice(&merged);
        }
        width *= 2;
    }
    swaps
}

/// How prediction less truth is spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Residuals {
    /// Rows.
    pub rows: u64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, over all rows.
    pub deviation: f64,
    /// The lowest one.
    pub min: f64,
    /// A twentieth is no higher.
    pub p5: f64,
    /// A quarter is no higher.
    pub p25: f64,
    /// The median.
    pub p50: f64,
    /// Three quarters are no higher.
    pub p75: f64,
    /// All but a twentieth are no higher.
    pub p95: f64,
    /// The highest one.
    pub max: f64,
}

impl Residuals {
    /// Those of `columns`, by weight.
    ///
    /// # Errors
    ///
    /// Where no row has any weight, or where a figure is too large for `f64`.
    pub fn of(columns: &NumberColumns<'_>) -> Result<Self, Undefined> {
        let residuals = || columns.rows().map(|(truth, prediction, weight)| (prediction - truth, weight));
        let (mut weight, mut first, mut second) =
            (ExactSum::default(), ExactSum::default(), ExactSum::default());
        for (residual, of_row) in residuals() {
            weight.add(of_row);
            first.add_product(of_row, residual);
            second.add_product_of_three(of_row, residual, residual);
        }
        let at = |share| quantile(residuals(), share);
        let (min, max) = (at(0.0)?, at(1.0)?);
        let squares = weight.times(&second).minus(&first.times(&first)).value();
        Ok(Self {
            rows: columns.truths().len() as u64,
            mean: finite(first.value() / weight.value())?,
            deviation: finite(squares.max(0.0).sqrt() / weight.value())?,
            min,
            p5: at(0.05)?,
            p25: at(0.25)?,
            p50: at(0.5)?,
            p75: at(0.75)?,
            p95: at(0.95)?,
            max,
        })
    }
}

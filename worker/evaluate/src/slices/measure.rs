//! A metric on each slice beside the whole. Owns no state.

use serde::{Deserialize, Serialize};

use super::Slice;
use crate::{
    distributions::normal_two_sided,
    input::{self, InputError},
    interval::{Bootstrap, Interval, Replicates, resampled_weights},
    row_metric::{RowMetric, Weighed, all_rows},
};

/// The most slices that are measured at once.
pub const SLICES_MAX: usize = 2_000;

/// Settings of slices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SliceSettings {
    /// A slice with fewer rows is flagged, not tested, and ranked behind the others.
    pub small_below: u64,
    /// The share of slices found different that may be so by chance (Benjamini & Hochberg 1995).
    pub false_discoveries: f64,
    /// How intervals are drawn.
    pub bootstrap: Bootstrap,
}

impl Default for SliceSettings {
    fn default() -> Self {
        Self { small_below: 30, false_discoveries: 0.05, bootstrap: Bootstrap::default() }
    }
}

/// A metric on one slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceResult {
    /// The condition that its rows meet.
    pub slice: String,
    /// How many they are.
    pub rows: u64,
    /// Their share of all rows.
    pub share: f64,
    /// Whether they are too few to say much.
    pub small: bool,
    /// The metric on them; absent where it has no value.
    pub value: Option<f64>,
    /// How far it may be off.
    pub interval: Option<Interval>,
    /// The metric on them less that on all rows, which includes them.
    pub difference: Option<Interval>,
    /// By how much it is worse than on all rows; below 0 where it is better.
    pub worse_by: Option<f64>,
    /// By how much it is worse at least, by the end of the difference's interval: what slices are
    /// ranked by, so that few rows with bad luck do not come first.
    pub worse_by_at_least: Option<f64>,
    /// How often chance alone makes a difference as large.
    pub p: Option<f64>,
    /// The same, corrected for the number of slices.
    pub p_adjusted: Option<f64>,
    /// Whether it differs from all rows, as `false_discoveries` has it.
    pub differs: bool,
}

/// A metric on all slices, the worst first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slices {
    /// The metric's name.
    pub metric: String,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// The metric on all rows.
    pub whole: Option<f64>,
    /// Slice by slice.
    pub slices: Vec<SliceResult>,
}

/// A metric's value on all rows, and on each slice.
type Values = (Option<f64>, Vec<Option<f64>>);

/// Measures `metric` on each of `slices`.
///
/// # Errors
///
/// Where there are more than [`SLICES_MAX`] slices or the settings do not fit.
pub fn measure_slices(
    name: &str,
    more_is_better: bool,
    metric: &dyn RowMetric,
    slices: &[Slice],
    settings: &SliceSettings,
) -> Result<Slices, InputError> {
    let rows = metric.rows();
    input::some_rows(rows)?;
    input::within("slices", slices.len(), 0, SLICES_MAX)?;
    input::open_share("false_discoveries", settings.false_discoveries)?;
    let all = all_rows(rows);
    let whole = metric.on(&all);
    let parts: Vec<Weighed<'_>> = slices.iter().map(|slice| metric.on(&slice.rows)).collect();
    let measure =
        |weights: &[u32]| (whole(weights), parts.iter().map(|part| part(weights)).collect::<Vec<_>>());
    let drawn = resampled_weights(rows, None, &settings.bootstrap, measure)?;
    let (whole, values) = measure(&vec![1; rows]);
    let interval = |estimate: Option<f64>, of: &dyn Fn(&Values) -> Option<f64>| {
        let replicates = Replicates::new(estimate, drawn.iter().map(of).collect()).ok()?;
        Some(replicates.percentile(&settings.bootstrap))
    };
    let describe = |(at, slice): (usize, &Slice)| {
        let less_whole = |value: Option<f64>, whole: Option<f64>| Some(value? - whole?);
        let difference =
            interval(less_whole(values[at], whole), &|(whole, parts)| less_whole(parts[at], *whole));
        let worse = |ends: fn(&Interval) -> [f64; 2]| {
            difference.as_ref().map(ends).map(|[more, less]| if more_is_better { -more } else { less })
        };
        let small = (slice.rows.len() as u64) < settings.small_below;
        SliceResult {
            slice: slice.condition.clone(),
            rows: slice.rows.len() as u64,
            share: slice.rows.len() as f64 / rows as f64,
            small,
            value: values[at],
            interval: interval(values[at], &|(_, parts)| parts[at]),
            worse_by: worse(|of| [of.estimate; 2]),
            worse_by_at_least: worse(|of| [of.upper, of.lower]),
            p: difference.as_ref().filter(|_| !small).map(chance),
            p_adjusted: None,
            differs: false,
            difference,
        }
    };
    let mut slices: Vec<SliceResult> = slices.iter().enumerate().map(describe).collect();
    correct(&mut slices, settings.false_discoveries);
    let badness = |slice: &SliceResult| slice.worse_by_at_least.unwrap_or(f64::NEG_INFINITY);
    slices.sort_by(|a, b| a.small.cmp(&b.small).then(badness(b).total_cmp(&badness(a))));
    Ok(Slices { metric: name.to_owned(), more_is_better, whole, slices })
}

/// How often a difference as large comes about by chance.
fn chance(difference: &Interval) -> f64 {
    match (difference.standard_error > 0.0, difference.estimate == 0.0) {
        (true, _) => normal_two_sided(difference.estimate / difference.standard_error),
        (false, true) => 1.0,
        (false, false) => 0.0,
    }
}

/// Benjamini's and Hochberg's correction.
fn correct(slices: &mut [SliceResult], false_discoveries: f64) {
    let mut tested: Vec<(f64, usize)> =
        slices.iter().enumerate().filter_map(|(at, slice)| Some((slice.p?, at))).collect();
    tested.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (count, mut most) = (tested.len() as f64, 1.0_f64);
    for (rank, (p, at)) in tested.into_iter().enumerate().rev() {
        most = most.min(p * count / (rank + 1) as f64);
        slices[at].p_adjusted = Some(most);
        slices[at].differs = most <= false_discoveries;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        row_metric::{MeanMetric, RocAucMetric},
        slices::column_slices,
    };

    #[test]
    fn the_slice_that_does_badly_comes_first_and_small_ones_last() {
        let kind = |row: usize| match row {
            0..5 => "few",
            5..400 => "bad",
            400..800 => "good",
            _ => "plain",
        };
        let values: Vec<_> = (0..1_600).map(|row| Some(kind(row))).collect();
        let right = |row: usize| match kind(row) {
            "few" => false,
            "bad" => row.is_multiple_of(2),
            "good" => true,
            _ => !row.is_multiple_of(4),
        };
        let right: Vec<f64> = (0..1_600).map(|row| f64::from(u8::from(right(row)))).collect();
        let slices = column_slices("kind", &values, 9).unwrap();
        let metric = MeanMetric::new(&right).unwrap();
        let found = measure_slices("accuracy", true, &metric, &slices, &SliceSettings::default()).unwrap();
        let order: Vec<_> = found.slices.iter().map(|slice| (slice.slice.as_str(), slice.differs)).collect();
        let expected = [
            ("kind = 'bad'", true),
            ("kind = 'plain'", false),
            ("kind = 'good'", true),
            ("kind = 'few'", false),
        ];
        assert_eq!(order, expected, "{found:#?}");
        let worst = &found.slices[0];
        assert!((worst.value.unwrap() - 198.0 / 395.0).abs() < 0.01 && worst.worse_by.unwrap() > 0.2);
        assert!(worst.p_adjusted.unwrap() >= worst.p.unwrap() && found.slices[3].p.is_none());
        let wrong: Vec<f64> = right.iter().map(|right| 1.0 - right).collect();
        let error = MeanMetric::new(&wrong).unwrap();
        let mirrored = measure_slices("error", false, &error, &slices, &SliceSettings::default()).unwrap();
        assert_eq!(mirrored.slices[0].slice, "kind = 'bad'");
    }

    #[test]
    fn a_slice_without_a_value_is_told_and_not_ranked() {
        let scores = [0.1, 0.9, 0.8, 0.4];
        let metric = RocAucMetric::new(&scores, &[false, true, true, false]).unwrap();
        let slices = [
            Slice { condition: "one kind".to_owned(), rows: vec![1, 2] },
            Slice { condition: "none".to_owned(), rows: vec![] },
            Slice { condition: "out of the table".to_owned(), rows: vec![9] },
        ];
        let found = measure_slices("roc_auc", true, &metric, &slices, &SliceSettings::default()).unwrap();
        assert!(found.slices.iter().all(|slice| slice.value.is_none() && slice.interval.is_none()));
        assert_eq!(found.whole, Some(1.0));
    }
}

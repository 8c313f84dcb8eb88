//! From a figure of each group to how far groups are apart. Owns no state.

use serde::{Deserialize, Serialize};

use crate::interval::{Bootstrap, Interval};

/// A group whose selection rate is below four fifths of the highest is taken as harmed (EEOC's
/// Uniform Guidelines, 1978).
pub const FOUR_FIFTHS: f64 = 0.8;

/// What groups are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// The highest with the lowest.
    BetweenGroups,
    /// Each with all rows.
    ToOverall,
}

/// Settings of all fairness figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fairness {
    /// What groups are compared with.
    pub against: Against,
    /// A group with fewer rows is flagged and left out of extremes.
    pub small_below: u64,
    /// Whether a rate of nothing to nothing is 0 and not absent.
    pub zero_of_nothing: bool,
    /// How intervals of differences and ratios are drawn; none without.
    pub bootstrap: Option<Bootstrap>,
}

impl Default for Fairness {
    fn default() -> Self {
        let bootstrap = Some(Bootstrap::default());
        Self { against: Against::BetweenGroups, small_below: 30, zero_of_nothing: false, bootstrap }
    }
}

impl Fairness {
    /// As fairlearn has it: every group counts, and nothing of nothing is 0.
    pub fn fairlearn() -> Self {
        Self { small_below: 0, zero_of_nothing: true, ..Self::default() }
    }

    /// The level of intervals, those by formula included.
    pub(super) fn level(&self) -> f64 {
        self.bootstrap.unwrap_or_default().level
    }
}

/// How far groups are apart in one figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disparity {
    /// The figure: a field of [`GroupRates`](super::GroupRates) or [`GroupErrors`](super::GroupErrors).
    pub of: String,
    /// The largest difference; 0 is fair.
    pub difference: Option<f64>,
    /// The smallest ratio, at most 1, which is fair; absent where the larger is 0.
    pub ratio: Option<f64>,
    /// The group with the lowest figure.
    pub lowest: Option<String>,
    /// The group with the highest.
    pub highest: Option<String>,
    /// How far the difference may be off. It cannot fall below 0, so that resamples of few rows
    /// exaggerate it: an interval that begins above 0 alone proves nothing.
    pub difference_interval: Option<Interval>,
    /// How far the ratio may be off.
    pub ratio_interval: Option<Interval>,
}

impl Disparity {
    /// Of the figure of each group, those that are left out as `None`.
    pub(super) fn new(
        of: &str,
        values: &[Option<f64>],
        overall: Option<f64>,
        against: Against,
        names: &[String],
    ) -> Self {
        let defined = || values.iter().zip(names).filter_map(|(value, name)| Some((value.as_ref()?, name)));
        let (difference, ratio) = apart(values, overall, against);
        Self {
            of: of.to_owned(),
            difference,
            ratio,
            lowest: defined().min_by(|a, b| a.0.total_cmp(b.0)).map(|(_, name)| name.clone()),
            // The first of several, as for the lowest.
            highest: defined().rev().max_by(|a, b| a.0.total_cmp(b.0)).map(|(_, name)| name.clone()),
            difference_interval: None,
            ratio_interval: None,
        }
    }

    /// The one of two that is further from fair: what equalised odds look at.
    pub(super) fn worse_of(a: Self, b: Self) -> Self {
        let difference = larger(a.difference, b.difference);
        let ratio = smaller(a.ratio, b.ratio);
        let worse = if b.difference > a.difference { b } else { a };
        Self { difference, ratio, ..worse }
    }
}

/// The largest difference and the smallest ratio.
pub(super) fn apart(
    values: &[Option<f64>],
    overall: Option<f64>,
    against: Against,
) -> (Option<f64>, Option<f64>) {
    let defined = || values.iter().flatten().copied();
    match against {
        Against::BetweenGroups => {
            let (Some(low), Some(high)) = (defined().reduce(f64::min), defined().reduce(f64::max)) else {
                return (None, None);
            };
            (Some(high - low), (high > 0.0).then(|| low / high))
        }
        Against::ToOverall => {
            let Some(overall) = overall else { return (None, None) };
            let difference = defined().map(|value| (value - overall).abs()).reduce(f64::max);
            let at_most_one = |ratio: f64| if ratio > 1.0 { 1.0 / ratio } else { ratio };
            let ratios = defined().filter(|_| overall > 0.0).map(|value| at_most_one(value / overall));
            (difference, ratios.reduce(f64::min))
        }
    }
}

/// The larger of two, or the one that is there.
pub(super) fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}

/// The smaller of two, or the one that is there.
pub(super) fn smaller(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::min)
}

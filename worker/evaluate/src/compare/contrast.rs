//! One metric of two models: the difference with its interval, and whether one is not worse
//! than the other by more than a margin. Owns no state.

use serde::{Deserialize, Serialize};

use super::Side;
use crate::{
    distributions::normal_two_sided,
    input::{self, InputError},
    interval::{Bootstrap, Interval, IntervalError, bootstrap_difference},
    row_metric::RowMetric,
};

/// How two models differ in one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contrast {
    /// The metric's name.
    pub metric: String,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// The first one's value.
    pub a: f64,
    /// The second one's.
    pub b: f64,
    /// The second less the first, from resamples that both share.
    pub difference: Interval,
    /// The share of resamples in which the second is better, ties counted half.
    pub b_better: f64,
    /// How often chance alone makes a difference as large, by its standard error.
    pub p: f64,
    /// `p`, corrected for the number of metrics that are compared (Holm 1979); the same as `p`
    /// until a [`Comparison`](super::Comparison) has all of them.
    pub p_adjusted: f64,
    /// Which is better at the interval's level, after that correction.
    pub better: Option<Side>,
}

/// The contrast of `b` with `a` by a paired bootstrap.
///
/// # Errors
///
/// Where the two are not of one table, the settings do not fit, or a metric has no value.
pub fn contrast(
    metric: &str,
    more_is_better: bool,
    a: &dyn RowMetric,
    b: &dyn RowMetric,
    settings: &Bootstrap,
) -> Result<Contrast, IntervalError> {
    let (difference, b_above) = bootstrap_difference(b, a, settings)?;
    let rows = crate::row_metric::all_rows(a.rows());
    let value = |metric: &dyn RowMetric| metric.value(&rows).ok_or(IntervalError::Undefined);
    let p = match (difference.standard_error > 0.0, difference.estimate == 0.0) {
        (true, _) => normal_two_sided(difference.estimate / difference.standard_error),
        (false, true) => 1.0,
        (false, false) => 0.0,
    };
    let mut contrast = Contrast {
        metric: metric.to_owned(),
        more_is_better,
        a: value(a)?,
        b: value(b)?,
        difference,
        b_better: if more_is_better { b_above } else { 1.0 - b_above },
        p,
        p_adjusted: p,
        better: None,
    };
    contrast.decide();
    Ok(contrast)
}

impl Contrast {
    /// Says which is better, by the corrected `p`.
    pub(super) fn decide(&mut self) {
        let sure = self.p_adjusted < 1.0 - self.difference.level && self.difference.estimate != 0.0;
        let b_better = (self.difference.estimate > 0.0) == self.more_is_better;
        self.better = sure.then_some(if b_better { Side::B } else { Side::A });
    }
}

/// Whether a model is not worse than another by more than a margin: "not worse than
/// `@champion` by more than 0.002 at 95 %".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NonInferiority {
    /// By how much the new one is better; below 0 where it is worse.
    pub gain: f64,
    /// What the true gain is at least, as often as `level` says.
    pub gain_at_least: f64,
    /// By how much it may be worse.
    pub margin: f64,
    /// How sure that must be.
    pub level: f64,
    /// Whether it is not worse by more than the margin.
    pub holds: bool,
}

/// Tests `new` against `old` by a paired bootstrap: the gain's one-sided bound at the level of
/// `settings` must be at least `-margin`.
///
/// # Errors
///
/// Where the margin is below 0, and as [`contrast`].
pub fn non_inferiority(
    new: &dyn RowMetric,
    old: &dyn RowMetric,
    more_is_better: bool,
    margin: f64,
    settings: &Bootstrap,
) -> Result<NonInferiority, IntervalError> {
    if !(margin.is_finite() && margin >= 0.0) {
        let expected = "a finite number of at least 0".to_owned();
        return Err(InputError::Setting { setting: "margin", actual: margin.to_string(), expected }.into());
    }
    let level = settings.level;
    let interval = one_sided(new, old, settings)?;
    let (gain, gain_at_least) = if more_is_better {
        (interval.estimate, interval.lower)
    } else {
        (-interval.estimate, -interval.upper)
    };
    Ok(NonInferiority { gain, gain_at_least, margin, level, holds: gain_at_least >= -margin })
}

/// The difference's interval each of whose ends alone holds at the level of `settings`.
pub(crate) fn one_sided(
    of: &dyn RowMetric,
    less: &dyn RowMetric,
    settings: &Bootstrap,
) -> Result<Interval, IntervalError> {
    // Below a half there is no interval whose one end has that level.
    if !(settings.level > 0.5 && settings.level < 1.0) {
        input::open_share("level", settings.level)?;
        let expected = "more than 0.5 for a bound on one side".to_owned();
        let actual = settings.level.to_string();
        return Err(InputError::Setting { setting: "level", actual, expected }.into());
    }
    let two_sided = Bootstrap { level: 2.0 * settings.level - 1.0, ..*settings };
    Ok(bootstrap_difference(of, less, &two_sided)?.0)
}

//! How far a figure may be off: intervals by resampling (`bootstrap`) and, where a formula
//! is standard, without (`analytic`). Owns no state; the same rows, settings and seed give
//! the same bits on any number of threads.

mod analytic;
mod bootstrap;
mod replicates;

use serde::{Deserialize, Serialize};

pub(crate) use analytic::{covariance, placements};
pub use analytic::{mean_interval, roc_auc_interval, wilson_interval};
pub use bootstrap::{bootstrap, bootstrap_all, bootstrap_counts, bootstrap_difference};
pub(crate) use bootstrap::{bootstrap_counts_all, resampled_weights};
pub use replicates::{Replicates, bca_ends, percentile_ends};
pub(crate) use replicates::{deviation, quantile};

use crate::input::{self, InputError};

/// The most resamples.
pub const RESAMPLES_MAX: u32 = 100_000;

/// How an interval came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Quantiles of the resamples' values (Efron 1979).
    Percentile,
    /// The same, corrected for bias and skewness (Efron 1987).
    Bca,
    /// Wilson's score interval of a proportion (1927).
    Wilson,
    /// DeLong's variance of the ROC-AUC (1988), on the log-odds so that it stays within 0 and 1.
    DeLong,
    /// Student's t of a mean.
    StudentT,
}

/// A figure with the interval that holds the true one as often as its level says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The figure on the rows as they are.
    pub estimate: f64,
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// How often such an interval holds the true figure.
    pub level: f64,
    /// The figure's standard deviation from sample to sample.
    pub standard_error: f64,
    /// How the interval came about.
    pub method: Method,
    /// Resamples that were drawn; 0 without.
    pub resamples: u32,
    /// Those of them on which the figure has no value, such as the ROC-AUC of one class. They
    /// are left out.
    pub undefined_resamples: u32,
}

/// How resamples are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Draw {
    /// As many rows as there are, with replacement: the textbook's way.
    Multinomial,
    /// Each row a number of times from Poisson's distribution with mean 1: rows are read in
    /// order, which is faster on millions, and the number of rows varies a little.
    Poisson,
}

/// Settings of resampling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bootstrap {
    /// How many resamples: 1 to [`RESAMPLES_MAX`].
    pub resamples: u32,
    /// How often the interval is to hold the true figure.
    pub level: f64,
    /// Whether ends are corrected for bias and skewness.
    pub bca: bool,
    /// How resamples are drawn.
    pub draw: Draw,
    /// What the random numbers stand for.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 1_000, level: 0.95, bca: false, draw: Draw::Multinomial, seed: 0 }
    }
}

impl Bootstrap {
    /// Refuses settings that no interval comes from.
    pub(crate) fn check(&self) -> Result<(), InputError> {
        input::within("resamples", self.resamples as usize, 1, RESAMPLES_MAX as usize)?;
        input::open_share("level", self.level)
    }
}

/// Rows that have no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// The rows or the settings do not fit.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The figure has no value on the rows as they are.
    #[error("the figure has no value on these rows")]
    Undefined,
    /// The figure has a value on too few resamples to speak of quantiles.
    #[error("the figure has a value on {defined} of {resamples} resamples only, expected at least half")]
    TooFewDefined {
        /// Resamples with a value.
        defined: u32,
        /// Resamples drawn.
        resamples: u32,
    },
}

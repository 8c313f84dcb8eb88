//! How differently a model treats groups of people. Owns no state.
//!
//! In reading order: who belongs to which group (`groups`), how groups are compared
//! (`disparity`), what is measured of each where the target is a class (`classes`) or a number
//! (`numbers`), and what can be done about it: weights before training (`reweighing`) and a
//! threshold for each group after it (`thresholds`).
//!
//! Names and definitions are fairlearn's (0.15), and a differential test holds them to it, but for
//! two things that [`Fairness::fairlearn`] turns off: a group with fewer rows than
//! [`Fairness::small_below`] is shown and flagged, yet does not decide an extreme, since the rates
//! of a dozen people say little; and a rate of nothing to nothing is absent, not 0, since a group
//! without positive rows has no true positive rate to be treated unfairly by.

mod classes;
mod disparity;
mod groups;
mod numbers;
mod reweighing;
mod thresholds;

pub use classes::{
    ClassFairness, GroupRates, Outcomes, Rate, ScoreFigures, class_fairness_metric, fairness_of_class,
    fairness_of_classes,
};
pub use disparity::{Against, Disparity, FOUR_FIFTHS, Fairness};
pub use groups::{GROUPS_MAX, Groups};
pub use numbers::{GroupErrors, NumbersFairness, fairness_of_numbers, numbers_fairness_metric};
pub use reweighing::{Reweighing, ReweighingCell, reweighing};
pub use thresholds::{Constraint, GroupThreshold, GroupThresholds, Thresholded, group_thresholds};

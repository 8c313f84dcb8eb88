//! The score from which on a row is taken for positive, chosen on the validation split for a
//! stated goal and applied to the test split. Owns no state.

use serde::{Deserialize, Serialize};

use crate::{
    input::{self, InputError},
    ranking::Ranking,
    row_metric::all_rows,
};

/// What a threshold is to reach. Of several that reach it equally well, the highest is taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The highest F score; `beta` says how many times recall counts as much as precision.
    FBeta {
        /// 1 for F1.
        beta: f64,
    },
    /// The highest accuracy.
    Accuracy,
    /// The highest mean of the true positive and true negative rates.
    BalancedAccuracy,
    /// The highest true positive rate less the false positive rate (Youden 1950).
    Youden,
    /// The rates of false positives and false negatives as near to each other as can be.
    EqualErrorRate,
    /// The highest precision of those with at least this recall.
    Recall {
        /// The recall.
        at_least: f64,
    },
    /// The highest recall of those with at least this precision.
    Precision {
        /// The precision.
        at_least: f64,
    },
    /// The least cost.
    Cost {
        /// What a false positive costs.
        false_positive: f64,
        /// What a false negative costs.
        false_negative: f64,
        /// What a true positive costs; below 0 where it earns.
        true_positive: f64,
        /// What a true negative costs.
        true_negative: f64,
    },
}

/// What a threshold comes to on some rows. Rates of no rows are 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AtThreshold {
    /// Rows with at least this score are taken for positive.
    pub threshold: f64,
    /// Positive rows that are taken for positive.
    pub true_positives: u64,
    /// Negative rows that are.
    pub false_positives: u64,
    /// Negative rows that are not.
    pub true_negatives: u64,
    /// Positive rows that are not.
    pub false_negatives: u64,
    /// The share of rows that are decided rightly.
    pub accuracy: f64,
    /// Of those taken for positive, how many are.
    pub precision: f64,
    /// Of the positive, how many are taken for it.
    pub recall: f64,
    /// Of the negative, how many are taken for positive.
    pub false_positive_rate: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
    /// The mean of recall and the true negative rate.
    pub balanced_accuracy: f64,
}

/// The threshold that serves a goal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChosenThreshold {
    /// The goal.
    pub goal: Goal,
    /// Whether a threshold reaches it; otherwise the one that comes nearest is taken.
    pub reached: bool,
    /// What it comes to where it was chosen.
    pub validation: AtThreshold,
}

/// Chooses on the validation split.
///
/// # Errors
///
/// Where rows do not fit, all are of one kind, or the goal has a number that is none.
pub fn choose_threshold(
    scores: &[f64],
    positives: &[bool],
    goal: Goal,
) -> Result<ChosenThreshold, InputError> {
    check(scores, positives)?;
    check_goal(goal)?;
    let rows = all_rows(scores.len());
    let ranking = Ranking::of_rows(scores, &rows);
    let total = positives.iter().filter(|positive| **positive).count() as u64;
    let negatives = positives.len() as u64 - total;
    if total == 0 || negatives == 0 {
        let (actual, expected) = (format!("{total} of {}", scores.len()), "some of both kinds".to_owned());
        return Err(InputError::Setting { setting: "positive rows", actual, expected });
    }
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut best = at(above_all(highest), 0, 0, total, negatives);
    let mut best_worth = worth(&best, goal);
    let (mut hits, mut alarms) = (0, 0);
    for tied in ranking.ties() {
        let hits_here = tied.iter().filter(|(row, _)| positives[*row as usize]).count() as u64;
        (hits, alarms) = (hits + hits_here, alarms + tied.len() as u64 - hits_here);
        let point = at(scores[tied[0].0 as usize], hits, alarms, total, negatives);
        let point_worth = worth(&point, goal);
        if point_worth > best_worth {
            (best, best_worth) = (point, point_worth);
        }
    }
    Ok(ChosenThreshold { goal, reached: best_worth.0, validation: best })
}

/// What a threshold comes to on other rows, such as the test split.
///
/// # Errors
///
/// Where rows do not fit.
pub fn at_threshold(scores: &[f64], positives: &[bool], threshold: f64) -> Result<AtThreshold, InputError> {
    check(scores, positives)?;
    let count = |selected: bool, positive: bool| {
        let both = scores.iter().zip(positives);
        both.filter(|(score, is)| (**score >= threshold) == selected && **is == positive).count() as u64
    };
    let (hits, alarms) = (count(true, true), count(true, false));
    Ok(at(threshold, hits, alarms, hits + count(false, true), alarms + count(false, false)))
}

/// A threshold that no score up to `highest` reaches.
pub(crate) fn above_all(highest: f64) -> f64 {
    highest.next_up().min(f64::MAX)
}

fn check(scores: &[f64], positives: &[bool]) -> Result<(), InputError> {
    input::some_rows(scores.len())?;
    input::as_long("truths", scores.len(), positives.len())?;
    input::finite("score", scores)
}

fn check_goal(goal: Goal) -> Result<(), InputError> {
    let number = |setting: &'static str, actual: f64, fits: bool, expected: &str| {
        if fits {
            return Ok(());
        }
        Err(InputError::Setting { setting, actual: actual.to_string(), expected: expected.to_owned() })
    };
    match goal {
        Goal::FBeta { beta } => number("beta", beta, beta > 0.0 && beta.is_finite(), "a number above 0"),
        Goal::Recall { at_least } | Goal::Precision { at_least } => input::share("at_least", at_least),
        Goal::Cost { false_positive, false_negative, true_positive, true_negative } => {
            [false_positive, false_negative, true_positive, true_negative]
                .into_iter()
                .try_for_each(|cost| number("cost", cost, cost.is_finite(), "a finite number"))
        }
        Goal::Accuracy | Goal::BalancedAccuracy | Goal::Youden | Goal::EqualErrorRate => Ok(()),
    }
}

fn at(threshold: f64, hits: u64, alarms: u64, positives: u64, negatives: u64) -> AtThreshold {
    let ratio = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let (misses, rejections) = (positives - hits, negatives - alarms);
    AtThreshold {
        threshold,
        true_positives: hits,
        false_positives: alarms,
        true_negatives: rejections,
        false_negatives: misses,
        accuracy: ratio(hits + rejections, positives + negatives),
        precision: ratio(hits, hits + alarms),
        recall: ratio(hits, positives),
        false_positive_rate: ratio(alarms, negatives),
        f1: ratio(2 * hits, positives + hits + alarms),
        balanced_accuracy: (ratio(hits, positives) + ratio(rejections, negatives)) / 2.0,
    }
}

/// Whether the goal is reached, how near it comes, and what decides between those as near.
fn worth(point: &AtThreshold, goal: Goal) -> (bool, f64, f64) {
    let [hits, alarms, misses, rejections] =
        [point.true_positives, point.false_positives, point.false_negatives, point.true_negatives]
            .map(|count| count as f64);
    match goal {
        Goal::FBeta { beta } => {
            let squared = beta * beta;
            let whole = (1.0 + squared) * hits + squared * misses + alarms;
            (true, if whole > 0.0 { (1.0 + squared) * hits / whole } else { 0.0 }, 0.0)
        }
        Goal::Accuracy => (true, point.accuracy, 0.0),
        Goal::BalancedAccuracy => (true, point.balanced_accuracy, 0.0),
        Goal::Youden => (true, point.recall - point.false_positive_rate, 0.0),
        Goal::EqualErrorRate => (true, -(point.false_positive_rate - (1.0 - point.recall)).abs(), 0.0),
        Goal::Recall { at_least } => reach(point.recall, at_least, point.precision),
        Goal::Precision { at_least } => reach(point.precision, at_least, point.recall),
        Goal::Cost { false_positive, false_negative, true_positive, true_negative } => {
            let cost = alarms * false_positive
                + misses * false_negative
                + hits * true_positive
                + rejections * true_negative;
            (true, -cost, 0.0)
        }
    }
}

/// Those that reach `at_least` by `then`; the others by how near they come.
fn reach(value: f64, at_least: f64, then: f64) -> (bool, f64, f64) {
    if value >= at_least { (true, then, value) } else { (false, value, then) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f64; 8] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
    const POSITIVES: [bool; 8] = [false, false, true, false, false, true, true, true];

    #[test]
    fn every_goal_has_its_threshold() {
        let check = |goal, threshold: f64, reached| {
            let chosen = choose_threshold(&SCORES, &POSITIVES, goal).unwrap();
            assert_eq!((chosen.validation.threshold, chosen.reached), (threshold, reached), "{goal:?}");
            let again = at_threshold(&SCORES, &POSITIVES, threshold).unwrap();
            assert_eq!(again, chosen.validation);
        };
        check(Goal::FBeta { beta: 1.0 }, 0.6, true);
        check(Goal::FBeta { beta: 3.0 }, 0.3, true);
        check(Goal::Accuracy, 0.6, true);
        check(Goal::BalancedAccuracy, 0.6, true);
        check(Goal::Youden, 0.6, true);
        check(Goal::EqualErrorRate, 0.5, true);
        check(Goal::Recall { at_least: 0.8 }, 0.3, true);
        check(Goal::Recall { at_least: 0.75 }, 0.6, true);
        check(Goal::Precision { at_least: 0.6 }, 0.3, true);
        let cost = |false_positive, false_negative| Goal::Cost {
            false_positive,
            false_negative,
            true_positive: 0.0,
            true_negative: 0.0,
        };
        check(cost(1.0, 5.0), 0.3, true);
        check(cost(5.0, 1.0), 0.6, true);
        check(cost(1.0, 0.0), 0.8_f64.next_up(), true);
    }

    #[test]
    fn a_goal_that_none_reaches_gets_the_nearest() {
        let goal = Goal::Precision { at_least: 1.0 };
        let chosen = choose_threshold(&[0.9, 0.8, 0.2], &[false, true, true], goal).unwrap();
        assert!(!chosen.reached);
        assert_eq!((chosen.validation.threshold, chosen.validation.precision), (0.2, 2.0 / 3.0));
    }

    #[test]
    fn what_has_no_threshold_is_refused() {
        let check = |scores: &[f64], positives: &[bool], goal, said: &str| {
            assert_eq!(choose_threshold(scores, positives, goal).unwrap_err().to_string(), said);
        };
        check(&[], &[], Goal::Youden, "there is no row: expected at least one");
        check(&[0.5], &[true], Goal::Youden, "`positive rows` is 1 of 1, expected some of both kinds");
        check(&[0.5], &[], Goal::Youden, "1 rows need as many truths, found 0");
        check(&[f64::NAN], &[true], Goal::Youden, "row 0: the score is NaN, expected a finite number");
        let goal = Goal::Recall { at_least: 2.0 };
        check(&SCORES, &POSITIVES, goal, "`at_least` is 2, expected 0 to 1");
        check(&SCORES, &POSITIVES, Goal::FBeta { beta: 0.0 }, "`beta` is 0, expected a number above 0");
    }
}

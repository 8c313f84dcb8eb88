//! A threshold for each group after training, so that groups are treated alike; and what that
//! costs in accuracy. Owns the thresholds.
//!
//! fairlearn's `ThresholdOptimizer` reaches a constraint exactly by throwing dice for some people.
//! Here decisions are not random: the same person gets the same answer twice. So the constraint is
//! met to a tolerance, and where groups are too small even for that, as closely as can be; which of
//! the two, [`GroupThresholds::within_tolerance`] says.
//!
//! One rate can be made alike at nearly the price that dice have. Two at once, equalised odds, cannot
//! where groups' ROC curves do not meet: a tight tolerance then leaves only thresholds that select
//! nearly all or nearly nobody, and the price shows it. A wider one (0.05) is often far cheaper.

use serde::{Deserialize, Serialize};

use super::Groups;
use crate::{
    input::{self, InputError},
    ranking::Ranking,
    threshold::above_all,
};

/// The most groups that get a threshold of their own.
const GROUPS_MAX: usize = 64;

/// The most thresholds that are looked at in one group: those of evenly spaced ranks.
const POINTS_MAX: usize = 256;

/// Targets along one rate; of two rates at once, as many along each as come to that.
const TARGETS: usize = 1_000;
const TARGETS_EACH_OF_TWO: usize = 50;

/// What is to be alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// The selection rate.
    DemographicParity,
    /// The true positive rate.
    EqualOpportunity,
    /// The true and the false positive rate.
    EqualizedOdds,
}

/// The threshold of one group, and what came of it where it was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupThreshold {
    /// The group's name.
    pub group: String,
    /// Rows with at least this score are selected.
    pub threshold: f64,
    /// The group's rows.
    pub count: u64,
    /// Whether it has too few for a threshold of its own, and keeps the common one.
    pub small: bool,
}

/// What thresholds come to on some rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Thresholded {
    /// The share of rows that are decided rightly.
    pub accuracy: f64,
    /// How far groups are apart in what is to be alike, small ones left out.
    pub difference: Option<f64>,
}

/// The thresholds of all groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupThresholds {
    /// The column, or columns.
    pub column: String,
    /// What is to be alike.
    pub constraint: Constraint,
    /// How far groups may be apart.
    pub tolerance: f64,
    /// The threshold before, of all groups.
    pub common_threshold: f64,
    /// Group by group, by name.
    pub groups: Vec<GroupThreshold>,
    /// With the common threshold, where they were chosen.
    pub before: Thresholded,
    /// With one for each group, where they were chosen.
    pub after: Thresholded,
    /// What it costs: accuracy before less accuracy after.
    pub price_in_accuracy: f64,
    /// Whether the groups are within the tolerance.
    pub within_tolerance: bool,
}

/// A threshold of a group and what it comes to there.
#[derive(Clone, Copy)]
struct Point {
    threshold: f64,
    /// What is to be alike: one rate, or two.
    rates: [f64; 2],
    right: u64,
}

/// Chooses, on the validation split, a threshold for each group with at least `small_below` rows:
/// the most accurate ones with which groups are no more than `tolerance` apart, or else those
/// with which they are least apart. `common_threshold` is what would be used without.
///
/// # Errors
///
/// Where columns differ in length, a score is no probability, there are more than 64 groups, or
/// the tolerance is no share.
pub fn group_thresholds(
    scores: &[f64],
    truths: &[bool],
    groups: &Groups,
    constraint: Constraint,
    (common_threshold, tolerance, small_below): (f64, f64, u64),
) -> Result<GroupThresholds, InputError> {
    check(scores, truths, groups)?;
    input::within("groups", groups.names().len(), 1, GROUPS_MAX)?;
    input::share("tolerance", tolerance)?;
    let mut rows_of = vec![Vec::new(); groups.names().len()];
    groups.of_row().iter().zip(0..).for_each(|(group, row)| rows_of[*group as usize].push(row));
    let is_small = |rows: &Vec<u32>| (rows.len() as u64) < small_below;
    let points: Vec<Vec<Point>> = rows_of
        .iter()
        .map(|rows| if is_small(rows) { Vec::new() } else { points(scores, truths, rows, constraint) })
        .collect();
    let chosen = search(&points, constraint, tolerance);
    let of_group = |(group, rows): (usize, &Vec<u32>)| GroupThreshold {
        group: groups.names()[group].clone(),
        threshold: chosen[group].unwrap_or(common_threshold),
        count: rows.len() as u64,
        small: is_small(rows),
    };
    let none = Thresholded { accuracy: 0.0, difference: None };
    let mut thresholds = GroupThresholds {
        column: groups.column().to_owned(),
        constraint,
        tolerance,
        common_threshold,
        groups: rows_of.iter().enumerate().map(of_group).collect(),
        before: none,
        after: none,
        price_in_accuracy: 0.0,
        within_tolerance: false,
    };
    (thresholds.before, thresholds.after) = thresholds.measure(scores, truths, groups)?;
    thresholds.price_in_accuracy = thresholds.before.accuracy - thresholds.after.accuracy;
    // The rates are ratios of whole numbers, whose difference rounds.
    let within = |difference: f64| difference <= tolerance + 1e-12;
    thresholds.within_tolerance = thresholds.after.difference.is_none_or(within);
    Ok(thresholds)
}

impl GroupThresholds {
    /// Which rows are selected. Groups are known by their names; one that was not there when
    /// thresholds were chosen has the common one.
    ///
    /// # Errors
    ///
    /// Where the columns differ in length.
    pub fn apply(&self, scores: &[f64], groups: &Groups) -> Result<Vec<bool>, InputError> {
        input::as_long("scores", groups.rows(), scores.len())?;
        let of = |name: &String| {
            let known = self.groups.iter().find(|group| group.group == *name);
            known.map_or(self.common_threshold, |group| group.threshold)
        };
        let thresholds: Vec<f64> = groups.names().iter().map(of).collect();
        let select = |(score, group): (&f64, &u32)| *score >= thresholds[*group as usize];
        Ok(scores.iter().zip(groups.of_row()).map(select).collect())
    }

    /// What the common threshold and those of the groups come to on other rows, such as the test
    /// split.
    ///
    /// # Errors
    ///
    /// Where columns differ in length, or a score is no probability.
    pub fn measure(
        &self,
        scores: &[f64],
        truths: &[bool],
        groups: &Groups,
    ) -> Result<(Thresholded, Thresholded), InputError> {
        check(scores, truths, groups)?;
        let common: Vec<bool> = scores.iter().map(|score| *score >= self.common_threshold).collect();
        let own = self.apply(scores, groups)?;
        Ok((self.thresholded(&common, truths, groups), self.thresholded(&own, truths, groups)))
    }

    fn thresholded(&self, selected: &[bool], truths: &[bool], groups: &Groups) -> Thresholded {
        // Of each group: rows, positives, true and false positives.
        let mut counts = vec![[0_u64; 4]; groups.names().len()];
        for ((selected, truth), group) in selected.iter().zip(truths).zip(groups.of_row()) {
            let count = &mut counts[*group as usize];
            count[0] += 1;
            count[1] += u64::from(*truth);
            count[2] += u64::from(*truth && *selected);
            count[3] += u64::from(!*truth && *selected);
        }
        let right = selected.iter().zip(truths).filter(|(selected, truth)| selected == truth).count();
        let counted = |name: &String| !self.groups.iter().any(|group| group.group == *name && group.small);
        let rates: Vec<[f64; 2]> = counts
            .iter()
            .zip(groups.names())
            .filter(|(_, name)| counted(name))
            .filter_map(|([rows, positives, hits, alarms], _)| {
                rates(self.constraint, *rows, *positives, *hits, *alarms)
            })
            .collect();
        let difference = (!rates.is_empty()).then(|| spread(rates.iter().copied()));
        Thresholded { accuracy: right as f64 / truths.len() as f64, difference }
    }
}

fn check(scores: &[f64], truths: &[bool], groups: &Groups) -> Result<(), InputError> {
    input::some_rows(groups.rows())?;
    input::as_long("scores", groups.rows(), scores.len())?;
    input::as_long("truths", groups.rows(), truths.len())?;
    input::probabilities("score", scores)
}

/// What is to be alike; `None` where it has no value in the group, which then constrains nothing.
fn rates(constraint: Constraint, rows: u64, positives: u64, hits: u64, alarms: u64) -> Option<[f64; 2]> {
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    Some(match constraint {
        Constraint::DemographicParity => [share(hits + alarms, rows)?, 0.0],
        Constraint::EqualOpportunity => [share(hits, positives)?, 0.0],
        Constraint::EqualizedOdds => [share(hits, positives)?, share(alarms, rows - positives)?],
    })
}

/// The largest difference in either rate.
fn spread(rates: impl Iterator<Item = [f64; 2]> + Clone) -> f64 {
    let of = |at: usize| {
        let (low, high) = rates.clone().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), rates| {
            (low.min(rates[at]), high.max(rates[at]))
        });
        high - low
    };
    of(0).max(of(1))
}

/// The thresholds of a group: none selected, and down to each of its scores.
fn points(scores: &[f64], truths: &[bool], rows: &[u32], constraint: Constraint) -> Vec<Point> {
    let count = rows.len() as u64;
    let positives = rows.iter().filter(|row| truths[**row as usize]).count() as u64;
    let (mut hits, mut alarms) = (0, 0);
    let mut points = Vec::new();
    let mut push = |threshold: f64, hits: u64, alarms: u64| {
        let right = hits + (count - positives - alarms);
        if let Some(rates) = rates(constraint, count, positives, hits, alarms) {
            points.push(Point { threshold, rates, right });
        }
    };
    let ranking = Ranking::of_rows(scores, rows);
    let highest =
        ranking.ties().next().and_then(|tied| tied.first()).map_or(1.0, |(row, _)| scores[*row as usize]);
    push(above_all(highest), 0, 0);
    let mut seen = 0;
    for tied in ranking.ties() {
        let hits_here = tied.iter().filter(|(row, _)| truths[*row as usize]).count() as u64;
        (hits, alarms) = (hits + hits_here, alarms + tied.len() as u64 - hits_here);
        // One of each block of ranks, and always the last.
        let block = |selected: u64| selected * POINTS_MAX as u64 / count;
        if block(hits + alarms) > seen || hits + alarms == count {
            seen = block(hits + alarms);
            push(scores[tied[0].0 as usize], hits, alarms);
        }
    }
    points
}

/// A point of each group; `None` where a group has none.
type Choice = Vec<Option<Point>>;

/// The threshold of each group that has points.
fn search(points: &[Vec<Point>], constraint: Constraint, tolerance: f64) -> Vec<Option<f64>> {
    let targets: Vec<[f64; 2]> = match constraint {
        Constraint::DemographicParity | Constraint::EqualOpportunity => {
            (0..=TARGETS).map(|target| [target as f64 / TARGETS as f64, 0.0]).collect()
        }
        Constraint::EqualizedOdds => {
            let along = |target: usize| target as f64 / TARGETS_EACH_OF_TWO as f64;
            let each = 0..=TARGETS_EACH_OF_TWO;
            each.clone().flat_map(|tpr| each.clone().map(move |fpr| [along(tpr), along(fpr)])).collect()
        }
    };
    let mut best: Option<(Choice, (bool, f64, u64))> = None;
    for target in targets {
        let chosen: Choice = points.iter().map(|points| choose(points, target, tolerance / 2.0)).collect();
        let apart = chosen.iter().flatten().map(|point| point.rates);
        let apart = if chosen.iter().flatten().next().is_some() { spread(apart) } else { 0.0 };
        let right = chosen.iter().flatten().map(|point| point.right).sum();
        let within = apart <= tolerance + 1e-12;
        let better = best.as_ref().is_none_or(|(_, (best_within, best_apart, best_right))| {
            match (within, *best_within) {
                (true, true) => right > *best_right,
                (true, false) => true,
                (false, true) => false,
                (false, false) => apart < *best_apart || (apart == *best_apart && right > *best_right),
            }
        });
        if better {
            best = Some((chosen, (within, apart, right)));
        }
    }
    best.map_or_else(
        || vec![None; points.len()],
        |(chosen, _)| chosen.into_iter().map(|point| point.map(|point| point.threshold)).collect(),
    )
}

/// The most accurate point within `reach` of the target, or else the nearest.
fn choose(points: &[Point], target: [f64; 2], reach: f64) -> Option<Point> {
    let far = |point: &Point| (point.rates[0] - target[0]).abs().max((point.rates[1] - target[1]).abs());
    let within = points.iter().filter(|point| far(point) <= reach);
    let most_accurate = within.max_by_key(|point| point.right);
    most_accurate.or_else(|| points.iter().min_by(|a, b| far(a).total_cmp(&far(b)))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Scores whose threshold of 0.5 selects the second group far less often.
    fn people(rows: usize) -> (Vec<f64>, Vec<bool>, Groups) {
        let mut random = Random::new(11, 0);
        let mut unit = move || random.below(1 << 30) as f64 / (1_u64 << 30) as f64;
        let names: Vec<&str> = (0..rows).map(|row| if row % 3 == 0 { "b" } else { "a" }).collect();
        let scores: Vec<f64> =
            names.iter().map(|name| if *name == "b" { 0.7 * unit() } else { 0.3 + 0.7 * unit() }).collect();
        let truths = scores.iter().map(|score| unit() < *score).collect();
        (scores, truths, Groups::of_column("group", &names).unwrap())
    }

    #[test]
    fn each_constraint_is_met_and_has_its_price() {
        let (scores, truths, groups) = people(6_000);
        for constraint in
            [Constraint::DemographicParity, Constraint::EqualOpportunity, Constraint::EqualizedOdds]
        {
            let found = group_thresholds(&scores, &truths, &groups, constraint, (0.5, 0.02, 30)).unwrap();
            assert!(found.before.difference.unwrap() > 0.2, "{found:?}");
            assert!(found.within_tolerance && found.after.difference.unwrap() <= 0.02 + 1e-12, "{found:?}");
            assert!(found.price_in_accuracy > 0.0 && found.price_in_accuracy < 0.3, "{found:?}");
            let selected = found.apply(&scores, &groups).unwrap();
            assert!(selected.iter().any(|selected| *selected), "{found:?}");
        }
    }

    #[test]
    fn small_and_unknown_groups_keep_the_common_threshold() {
        let (scores, truths, groups) = people(60);
        let settings = (0.5, 0.1, 30);
        let found =
            group_thresholds(&scores, &truths, &groups, Constraint::DemographicParity, settings).unwrap();
        assert!(found.groups[1].small && found.groups[1].threshold == 0.5, "{found:?}");
        let other = Groups::of_column("group", &["new", "b"]).unwrap();
        assert_eq!(found.apply(&[0.6, 0.4], &other).unwrap(), [true, false]);
    }
}

//! Fairness where the target is a class: what each group gets, and how far groups are apart.
//! Several classes are taken one against the rest. Owns no state.

use serde::{Deserialize, Serialize};

use super::{
    FOUR_FIFTHS, Groups,
    disparity::{Disparity, Fairness, apart, larger, smaller},
};
use crate::{
    calibration::{Binning, calibration},
    input::{self, InputError},
    interval::{bootstrap_counts_all, wilson_interval},
    ranking::Ranking,
    row_metric::CellMetric,
};

/// Bins of the calibration error within a group.
const BINS: usize = 10;

/// What is true and what was decided about each row, of one class.
#[derive(Debug, Clone, Copy)]
pub struct Outcomes<'a> {
    /// Which rows are of the class.
    pub truths: &'a [bool],
    /// Which rows the model takes for it.
    pub selected: &'a [bool],
    /// The class's probability in each row, where there is one.
    pub scores: Option<&'a [f64]>,
}

/// A share of rows, with Wilson's interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The share.
    pub value: f64,
    /// The lower end of its interval.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// Rows that it is a share of.
    pub of_rows: u64,
}

/// What the scores of a group say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScoreFigures {
    /// The area under the ROC curve; absent where all rows are of one kind.
    pub roc_auc: Option<f64>,
    /// The mean score; fair to the group where it is near the base rate.
    pub mean_score: f64,
    /// The expected calibration error within the group, in 10 bins.
    pub calibration_error: f64,
}

/// What one group gets. Rates of no rows are absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRates {
    /// Its name; `overall` for all rows.
    pub group: String,
    /// Its rows.
    pub count: u64,
    /// Whether it has too few to count in extremes.
    pub small: bool,
    /// How many are of the class.
    pub base_rate: Option<Rate>,
    /// How many are taken for it.
    pub selection_rate: Option<Rate>,
    /// How many are predicted rightly.
    pub accuracy: Option<Rate>,
    /// Of those taken for the class, how many are of it.
    pub precision: Option<Rate>,
    /// Of those of the class, how many are taken for it.
    pub true_positive_rate: Option<Rate>,
    /// Of those not of the class, how many are taken for it.
    pub false_positive_rate: Option<Rate>,
    /// Of those not of the class, how many are not taken for it.
    pub true_negative_rate: Option<Rate>,
    /// Of those of the class, how many are not taken for it.
    pub false_negative_rate: Option<Rate>,
    /// What its scores say, where there are scores.
    pub scores: Option<ScoreFigures>,
    /// Whether it is selected at least four fifths as often as the group that is selected most.
    pub four_fifths: Option<bool>,
}

/// How a model treats the groups of one column, of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassFairness {
    /// The column, or columns.
    pub column: String,
    /// The class.
    pub class: String,
    /// All rows.
    pub overall: GroupRates,
    /// Group by group, by name.
    pub groups: Vec<GroupRates>,
    /// Of selection rates.
    pub demographic_parity: Disparity,
    /// Of true and false positive rates, whichever are further apart.
    pub equalized_odds: Disparity,
    /// Of true positive rates.
    pub equal_opportunity: Disparity,
    /// Of precisions.
    pub predictive_parity: Disparity,
    /// Whether every group that counts is selected at least four fifths as often as the one that
    /// is selected most.
    pub four_fifths: Option<bool>,
}

/// Rows of a group by what is true and what was decided: true and false negatives and positives.
#[derive(Clone, Copy)]
struct Cells {
    tn: u64,
    fp: u64,
    r#fn: u64,
    tp: u64,
}

const CELLS: usize = 4;

impl Cells {
    /// Those of a group in a table with [`CELLS`] for each.
    fn of_group(counts: &[u64], group: usize) -> Self {
        let at = |cell| counts.get(group * CELLS + cell).copied().unwrap_or(0);
        Self { tn: at(0), fp: at(1), r#fn: at(2), tp: at(3) }
    }

    fn plus(self, other: Self) -> Self {
        let Self { tn, fp, r#fn, tp } = other;
        Self { tn: self.tn + tn, fp: self.fp + fp, r#fn: self.r#fn + r#fn, tp: self.tp + tp }
    }

    fn rows(self) -> u64 {
        self.tn + self.fp + self.r#fn + self.tp
    }

    /// Selection rate, true and false positive rate, and precision, each as part and whole.
    fn compared(self) -> [(u64, u64); 4] {
        let Self { tn, fp, r#fn, tp } = self;
        [(tp + fp, self.rows()), (tp, tp + r#fn), (fp, fp + tn), (tp, tp + fp)]
    }
}

/// How the groups are treated in respect of one class, called `class`.
///
/// # Errors
///
/// Where columns differ in length, a score is no probability, or the settings do not fit.
pub fn fairness_of_class(
    class: &str,
    outcomes: &Outcomes<'_>,
    groups: &Groups,
    settings: &Fairness,
) -> Result<ClassFairness, InputError> {
    check(outcomes, groups)?;
    input::open_share("level", settings.level())?;
    let counts = count(outcomes, groups);
    let names = groups.names();
    let each: Vec<Cells> = (0..names.len()).map(|group| Cells::of_group(&counts, group)).collect();
    let whole = each.iter().copied().reduce(Cells::plus).unwrap_or(Cells { tn: 0, fp: 0, r#fn: 0, tp: 0 });
    let mut rows_of = vec![Vec::new(); names.len()];
    groups.of_row().iter().zip(0..).for_each(|(group, row)| rows_of[*group as usize].push(row));
    let describe = |name: &str, cells: Cells, rows: &[u32]| describe(name, cells, outcomes, rows, settings);
    let all = crate::row_metric::all_rows(groups.rows());
    let mut described = Vec::with_capacity(names.len());
    for ((name, cells), rows) in names.iter().zip(&each).zip(&rows_of) {
        described.push(describe(name, *cells, rows)?);
    }
    let overall = GroupRates { small: false, ..describe("overall", whole, &all)? };
    let counted: Vec<bool> = described.iter().map(|group| !group.small).collect();
    let [selection, opportunity, fpr, precision] = disparities(&each, &counted, settings, names);
    let mut fairness = ClassFairness {
        column: groups.column().to_owned(),
        class: class.to_owned(),
        overall,
        groups: described,
        demographic_parity: selection,
        equalized_odds: Disparity::worse_of(opportunity.clone(), fpr),
        equal_opportunity: opportunity,
        predictive_parity: precision,
        four_fifths: None,
    };
    fairness.judge_four_fifths();
    fairness.find_intervals(&counts, &counted, settings)?;
    Ok(fairness)
}

/// The same for a target of several classes: of two classes the second, of more each one.
/// `scores` has a probability for each class, row by row.
///
/// # Errors
///
/// As [`fairness_of_class`], and where a truth or a prediction is none of the classes.
pub fn fairness_of_classes(
    classes: &[String],
    truths: &[u32],
    predictions: &[u32],
    scores: Option<&[f64]>,
    groups: &Groups,
    settings: &Fairness,
) -> Result<Vec<ClassFairness>, InputError> {
    input::within("classes", classes.len(), 2, phalanx_protocol::spec::CLASSES_MAX)?;
    input::below("truth", truths, classes.len(), "the index of a class")?;
    input::below("prediction", predictions, classes.len(), "the index of a class")?;
    if let Some(scores) = scores {
        input::as_long("rows of scores", truths.len() * classes.len(), scores.len())?;
    }
    let first = if classes.len() == 2 { 1 } else { 0 };
    let of = |class: usize| {
        let is = |values: &[u32]| values.iter().map(|value| *value as usize == class).collect::<Vec<_>>();
        let scores: Option<Vec<f64>> =
            scores.map(|scores| scores.chunks_exact(classes.len()).map(|row| row[class]).collect());
        let (truths, selected) = (is(truths), is(predictions));
        let outcomes = Outcomes { truths: &truths, selected: &selected, scores: scores.as_deref() };
        fairness_of_class(&classes[class], &outcomes, groups, settings)
    };
    (first..classes.len()).map(of).collect()
}

impl ClassFairness {
    /// The eight figures under the names that gates give them, less `fairness.` and the column.
    pub fn figures(&self) -> [(&'static str, Option<f64>, Option<crate::interval::Interval>); 8] {
        let Self { demographic_parity, equalized_odds, equal_opportunity, predictive_parity, .. } = self;
        let difference = |of: &Disparity| (of.difference, of.difference_interval);
        let ratio = |of: &Disparity| (of.ratio, of.ratio_interval);
        let of = [demographic_parity, equalized_odds, equal_opportunity, predictive_parity];
        std::array::from_fn(|at| {
            let (value, interval) = if at % 2 == 0 { difference(of[at / 2]) } else { ratio(of[at / 2]) };
            (FIGURES[at], value, interval)
        })
    }

    fn judge_four_fifths(&mut self) {
        let counted = |group: &&GroupRates| !group.small;
        let rates = self.groups.iter().filter(counted).filter_map(|group| group.selection_rate);
        let Some(highest) = rates.map(|rate| rate.value).reduce(f64::max) else { return };
        for group in &mut self.groups {
            group.four_fifths = group.selection_rate.map(|rate| rate.value >= FOUR_FIFTHS * highest);
        }
        let judged = self.groups.iter().filter(counted).filter_map(|group| group.four_fifths);
        self.four_fifths = Some(judged.into_iter().all(|passes| passes));
    }

    fn find_intervals(
        &mut self,
        counts: &[u64],
        counted: &[bool],
        settings: &Fairness,
    ) -> Result<(), InputError> {
        let Some(bootstrap) = &settings.bootstrap else { return Ok(()) };
        let measure = |counts: &[u64]| figures(counts, counted, settings);
        let mut intervals = bootstrap_counts_all(counts, measure, bootstrap)?.into_iter().map(Result::ok);
        let all = [
            &mut self.demographic_parity,
            &mut self.equalized_odds,
            &mut self.equal_opportunity,
            &mut self.predictive_parity,
        ];
        for disparity in all {
            disparity.difference_interval = intervals.next().flatten();
            disparity.ratio_interval = intervals.next().flatten();
        }
        Ok(())
    }
}

/// The names of the figures that gates may name, less `fairness.` and the column.
const FIGURES: [&str; 8] = [
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
    "equal_opportunity_difference",
    "equal_opportunity_ratio",
    "predictive_parity_difference",
    "predictive_parity_ratio",
];

/// One of the eight figures as a metric that can be resampled, where small groups are those that are
/// small among all rows.
///
/// # Errors
///
/// Where columns differ in length or the figure is none of them.
pub fn class_fairness_metric(
    figure: &str,
    outcomes: &Outcomes<'_>,
    groups: &Groups,
    settings: Fairness,
) -> Result<CellMetric<'static, impl Fn(&[u64]) -> Option<f64> + Send + Sync + use<>>, InputError> {
    check(outcomes, groups)?;
    let at = FIGURES.iter().position(|known| *known == figure).ok_or_else(|| InputError::Setting {
        setting: "figure",
        actual: figure.to_owned(),
        expected: "one of groups' classes".to_owned(),
    })?;
    let counted: Vec<bool> = groups.counts().iter().map(|rows| *rows >= settings.small_below).collect();
    let cells: Vec<u32> = outcomes
        .truths
        .iter()
        .zip(outcomes.selected)
        .zip(groups.of_row())
        .map(|((truth, selected), group)| group * CELLS as u32 + 2 * u32::from(*truth) + u32::from(*selected))
        .collect();
    let count = groups.names().len() * CELLS;
    CellMetric::new(cells, count, move |counts| figures(counts, &counted, &settings)[at])
}

/// The eight figures of a table with [`CELLS`] for each group.
fn figures(counts: &[u64], counted: &[bool], settings: &Fairness) -> [Option<f64>; 8] {
    let each: Vec<Cells> = (0..counted.len()).map(|group| Cells::of_group(counts, group)).collect();
    let [selection, tpr, fpr, precision] = figures_apart(&each, counted, settings);
    let odds = (larger(tpr.0, fpr.0), smaller(tpr.1, fpr.1));
    [selection.0, selection.1, odds.0, odds.1, tpr.0, tpr.1, precision.0, precision.1]
}

fn check(outcomes: &Outcomes<'_>, groups: &Groups) -> Result<(), InputError> {
    let rows = groups.rows();
    input::some_rows(rows)?;
    input::as_long("truths", rows, outcomes.truths.len())?;
    input::as_long("predictions", rows, outcomes.selected.len())?;
    if let Some(scores) = outcomes.scores {
        input::as_long("scores", rows, scores.len())?;
        input::probabilities("score", scores)?;
    }
    Ok(())
}

fn count(outcomes: &Outcomes<'_>, groups: &Groups) -> Vec<u64> {
    let mut counts = vec![0; groups.names().len() * CELLS];
    for ((truth, selected), group) in outcomes.truths.iter().zip(outcomes.selected).zip(groups.of_row()) {
        counts[*group as usize * CELLS + 2 * usize::from(*truth) + usize::from(*selected)] += 1;
    }
    counts
}

fn describe(
    name: &str,
    cells: Cells,
    outcomes: &Outcomes<'_>,
    rows: &[u32],
    settings: &Fairness,
) -> Result<GroupRates, InputError> {
    let Cells { tn, fp, r#fn, tp } = cells;
    let count = cells.rows();
    let rate = |part: u64, whole: u64| match wilson_interval(part, whole, settings.level()) {
        Ok(of) => Some(Rate { value: of.estimate, lower: of.lower, upper: of.upper, of_rows: whole }),
        Err(_) => settings.zero_of_nothing.then_some(Rate { value: 0.0, lower: 0.0, upper: 1.0, of_rows: 0 }),
    };
    let scores = outcomes.scores.map(|scores| score_figures(scores, outcomes.truths, rows)).transpose()?;
    Ok(GroupRates {
        group: name.to_owned(),
        count,
        small: count < settings.small_below,
        base_rate: rate(tp + r#fn, count),
        selection_rate: rate(tp + fp, count),
        accuracy: rate(tp + tn, count),
        precision: rate(tp, tp + fp),
        true_positive_rate: rate(tp, tp + r#fn),
        false_positive_rate: rate(fp, fp + tn),
        true_negative_rate: rate(tn, fp + tn),
        false_negative_rate: rate(r#fn, tp + r#fn),
        scores,
        four_fifths: None,
    })
}

fn score_figures(scores: &[f64], truths: &[bool], rows: &[u32]) -> Result<ScoreFigures, InputError> {
    let roc_auc = Ranking::of_rows(scores, rows).roc_auc(truths, &vec![1; scores.len()]);
    let of_group: Vec<f64> = rows.iter().map(|row| scores[*row as usize]).collect();
    let happened: Vec<bool> = rows.iter().map(|row| truths[*row as usize]).collect();
    let mean_score = crate::average::mean(of_group.len(), of_group.iter().copied());
    let calibration = calibration(&of_group, &happened, Binning::Uniform, BINS)?;
    Ok(ScoreFigures { roc_auc, mean_score, calibration_error: calibration.expected_error })
}

/// The rates that are compared, by [`Cells::compared`], of the groups that count and of all rows.
fn compared_rates(
    each: &[Cells],
    counted: &[bool],
    settings: &Fairness,
) -> [(Vec<Option<f64>>, Option<f64>); 4] {
    let share = |(part, whole): (u64, u64)| match whole {
        0 => settings.zero_of_nothing.then_some(0.0),
        _ => Some(part as f64 / whole as f64),
    };
    let whole = each.iter().copied().reduce(Cells::plus).map(Cells::compared);
    std::array::from_fn(|at| {
        // A group may lose its last row in a resample: then it is not there.
        let value = |(cells, counted): (&Cells, &bool)| {
            (*counted && cells.rows() > 0).then(|| share(cells.compared()[at])).flatten()
        };
        (each.iter().zip(counted).map(value).collect(), whole.and_then(|whole| share(whole[at])))
    })
}

fn figures_apart(each: &[Cells], counted: &[bool], settings: &Fairness) -> [(Option<f64>, Option<f64>); 4] {
    compared_rates(each, counted, settings).map(|(values, overall)| apart(&values, overall, settings.against))
}

fn disparities(each: &[Cells], counted: &[bool], settings: &Fairness, names: &[String]) -> [Disparity; 4] {
    let mut of = ["selection_rate", "true_positive_rate", "false_positive_rate", "precision"].into_iter();
    compared_rates(each, counted, settings).map(|(values, overall)| {
        Disparity::new(of.next().unwrap_or_default(), &values, overall, settings.against, names)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interval::Bootstrap;

    /// 40 of `a`, half selected; 40 of `b`, a quarter; 2 of `few`, none. All truths as selected.
    fn people() -> (Vec<bool>, Groups) {
        let name = |row: usize| match row {
            0..40 => "a",
            40..80 => "b",
            _ => "few",
        };
        let names: Vec<&str> = (0..82).map(name).collect();
        let selected =
            (0..82).map(|row| (row < 40 && row % 2 == 0) || (40..80).contains(&row) && row % 4 == 0);
        (selected.collect(), Groups::of_column("kind", &names).unwrap())
    }

    #[test]
    fn small_groups_are_shown_and_decide_no_extreme() {
        let (selected, groups) = people();
        let outcomes = Outcomes { truths: &selected, selected: &selected, scores: None };
        let found = fairness_of_class("yes", &outcomes, &groups, &Fairness::default()).unwrap();
        let parity = &found.demographic_parity;
        assert_eq!((parity.difference, parity.ratio), (Some(0.25), Some(0.5)));
        assert_eq!((parity.lowest.as_deref(), parity.highest.as_deref()), (Some("b"), Some("a")));
        assert!(found.groups[2].small && found.groups[2].selection_rate.unwrap().value == 0.0);
        assert_eq!(found.four_fifths, Some(false));
        assert_eq!(found.groups[2].true_positive_rate, None);
        assert_eq!(found.equalized_odds.difference, Some(0.0));
        let interval = parity.difference_interval.unwrap();
        assert!(interval.lower < 0.25 && 0.25 < interval.upper && interval.upper < 0.5, "{interval:?}");
        let all = fairness_of_class("yes", &outcomes, &groups, &Fairness::fairlearn()).unwrap();
        assert_eq!(all.demographic_parity.difference, Some(0.5));
        assert_eq!(all.groups[2].true_positive_rate.unwrap().value, 0.0);
    }

    #[test]
    fn scores_are_judged_within_each_group() {
        let groups = Groups::of_column("g", &["a", "a", "b", "b"]).unwrap();
        let outcomes = Outcomes {
            truths: &[false, true, true, false],
            selected: &[false, true, false, true],
            scores: Some(&[0.0, 1.0, 0.25, 0.75]),
        };
        let found = fairness_of_class("yes", &outcomes, &groups, &Fairness::default()).unwrap();
        let scores = |group: usize| found.groups[group].scores.unwrap();
        assert_eq!((scores(0).roc_auc, scores(0).calibration_error), (Some(1.0), 0.0));
        assert_eq!((scores(1).roc_auc, scores(1).calibration_error), (Some(0.0), 0.75));
        assert_eq!(scores(1).mean_score, 0.5);
    }

    #[test]
    fn several_classes_are_taken_one_against_the_rest() {
        let groups = Groups::of_column("g", &["a", "b", "a", "b"]).unwrap();
        let classes = ["x", "y", "z"].map(str::to_owned);
        let settings = Fairness { bootstrap: None, small_below: 0, ..Fairness::default() };
        let found =
            fairness_of_classes(&classes, &[0, 1, 2, 0], &[0, 1, 1, 1], None, &groups, &settings).unwrap();
        let parities: Vec<_> = found.iter().map(|class| class.demographic_parity.difference).collect();
        assert_eq!(parities, [Some(0.5), Some(0.5), Some(0.0)]);
        let two = fairness_of_classes(&classes[..2], &[0, 1, 1, 0], &[0, 1, 1, 1], None, &groups, &settings);
        assert_eq!(two.unwrap().iter().map(|class| class.class.as_str()).collect::<Vec<_>>(), ["y"]);
        let error = fairness_of_classes(&classes, &[0; 4], &[3; 4], None, &groups, &settings).unwrap_err();
        assert_eq!(error.to_string(), "row 0: the prediction is 3, expected the index of a class");
    }

    #[test]
    fn a_seed_means_the_same_intervals() {
        let (selected, groups) = people();
        let outcomes = Outcomes { truths: &selected, selected: &selected, scores: None };
        let with = |seed| {
            let bootstrap = Some(Bootstrap { seed, resamples: 100, ..Bootstrap::default() });
            fairness_of_class("yes", &outcomes, &groups, &Fairness { bootstrap, ..Fairness::default() })
                .unwrap()
        };
        assert_eq!(with(1), with(1));
        assert_ne!(with(1).demographic_parity, with(2).demographic_parity);
    }
}

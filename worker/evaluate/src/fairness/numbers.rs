//! Fairness where the target is a number: in whose favour the model errs, and by how much.
//! Owns no state.

use serde::{Deserialize, Serialize};

use super::{
    Groups,
    disparity::{Disparity, Fairness, apart},
};
use crate::{
    input::{self, InputError},
    interval::{Interval, Replicates, resampled_weights},
    row_metric::{RowMetric, Weighed},
};

/// How the model errs about one group. An error is the prediction less the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupErrors {
    /// Its name; `overall` for all rows.
    pub group: String,
    /// Its rows.
    pub count: u64,
    /// Whether it has too few to count in extremes.
    pub small: bool,
    /// The mean of what is true.
    pub mean_truth: f64,
    /// The mean of what is predicted.
    pub mean_prediction: f64,
    /// The mean error: above 0 where the model says too much.
    pub mean_error: f64,
    /// The mean absolute error.
    pub mae: f64,
    /// The root of the mean squared error.
    pub rmse: f64,
}

/// How the model errs about the groups of one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumbersFairness {
    /// The column, or columns.
    pub column: String,
    /// All rows.
    pub overall: GroupErrors,
    /// Group by group, by name.
    pub groups: Vec<GroupErrors>,
    /// Of mean errors. Their ratio says nothing, as they have signs.
    pub mean_error: Disparity,
    /// Of mean absolute errors.
    pub mae: Disparity,
}

/// How the model errs about the groups.
///
/// # Errors
///
/// Where columns differ in length, a number is not finite, or the settings do not fit.
pub fn fairness_of_numbers(
    truths: &[f64],
    predictions: &[f64],
    groups: &Groups,
    settings: &Fairness,
) -> Result<NumbersFairness, InputError> {
    input::some_rows(groups.rows())?;
    input::as_long("truths", groups.rows(), truths.len())?;
    input::as_long("predictions", groups.rows(), predictions.len())?;
    input::finite("truth", truths)?;
    input::finite("prediction", predictions)?;
    let errors: Vec<f64> = truths.iter().zip(predictions).map(|(truth, told)| told - truth).collect();
    input::finite("error", &errors)?;
    let mut rows_of = vec![Vec::new(); groups.names().len()];
    groups.of_row().iter().zip(0..).for_each(|(group, row)| rows_of[*group as usize].push(row));
    let describe = |name: &str, rows: &[usize]| {
        let mean =
            |of: &dyn Fn(usize) -> f64| crate::average::mean(rows.len(), rows.iter().map(|row| of(*row)));
        GroupErrors {
            group: name.to_owned(),
            count: rows.len() as u64,
            small: (rows.len() as u64) < settings.small_below,
            mean_truth: mean(&|row| truths[row]),
            mean_prediction: mean(&|row| predictions[row]),
            mean_error: mean(&|row| errors[row]),
            mae: mean(&|row| errors[row].abs()),
            rmse: mean(&|row| errors[row] * errors[row]).sqrt(),
        }
    };
    let each = groups.names().iter().zip(&rows_of).map(|(name, rows)| describe(name, rows));
    let each: Vec<GroupErrors> = each.collect();
    let all: Vec<usize> = (0..groups.rows()).collect();
    let overall = GroupErrors { small: false, ..describe("overall", &all) };
    let disparity = |of: &str, value: fn(&GroupErrors) -> f64| {
        let values: Vec<_> = each.iter().map(|group| (!group.small).then(|| value(group))).collect();
        Disparity::new(of, &values, Some(value(&overall)), settings.against, groups.names())
    };
    let mut fairness = NumbersFairness {
        column: groups.column().to_owned(),
        mean_error: Disparity { ratio: None, ..disparity("mean_error", |group| group.mean_error) },
        mae: disparity("mae", |group| group.mae),
        overall,
        groups: each,
    };
    fairness.find_intervals(&errors, groups, settings)?;
    Ok(fairness)
}

impl NumbersFairness {
    /// The three figures under the names that gates give them, less `fairness.` and the column.
    pub fn figures(&self) -> [(&'static str, Option<f64>, Option<Interval>); 3] {
        let (mean_error, mae) = (&self.mean_error, &self.mae);
        [
            (FIGURES[0], mean_error.difference, mean_error.difference_interval),
            (FIGURES[1], mae.difference, mae.difference_interval),
            (FIGURES[2], mae.ratio, mae.ratio_interval),
        ]
    }

    fn find_intervals(
        &mut self,
        errors: &[f64],
        groups: &Groups,
        settings: &Fairness,
    ) -> Result<(), InputError> {
        let Some(bootstrap) = &settings.bootstrap else { return Ok(()) };
        let apart = Apart::new(errors.to_vec(), groups, *settings);
        let measure = |weights: &[u32]| apart.figures(weights);
        let drawn = resampled_weights(errors.len(), None, bootstrap, measure)?;
        let interval = |at: usize, estimate: Option<f64>| {
            let values = drawn.iter().map(|values| values[at]).collect();
            Replicates::new(estimate, values).ok().map(|replicates| replicates.percentile(bootstrap))
        };
        self.mean_error.difference_interval = interval(0, self.mean_error.difference);
        self.mae.difference_interval = interval(1, self.mae.difference);
        self.mae.ratio_interval = interval(2, self.mae.ratio);
        Ok(())
    }
}

/// One of the three figures as a metric that can be resampled, where small groups are those that are
/// small among all rows.
///
/// # Errors
///
/// Where columns differ in length or the figure is none of them.
pub fn numbers_fairness_metric(
    figure: &str,
    truths: &[f64],
    predictions: &[f64],
    groups: &Groups,
    settings: Fairness,
) -> Result<impl RowMetric + use<>, InputError> {
    input::some_rows(groups.rows())?;
    input::as_long("truths", groups.rows(), truths.len())?;
    input::as_long("predictions", groups.rows(), predictions.len())?;
    let at = FIGURES.iter().position(|known| *known == figure).ok_or_else(|| InputError::Setting {
        setting: "figure",
        actual: figure.to_owned(),
        expected: "one of groups' numbers".to_owned(),
    })?;
    let errors: Vec<f64> = truths.iter().zip(predictions).map(|(truth, told)| told - truth).collect();
    input::finite("error", &errors)?;
    Ok(ApartMetric { apart: Apart::new(errors, groups, settings), at })
}

const FIGURES: [&str; 3] = ["mean_error_difference", "mae_difference", "mae_ratio"];

/// How far groups' errors are apart, whatever rows weigh.
struct Apart {
    errors: Vec<f64>,
    of_row: Vec<u32>,
    /// Which groups are not small.
    counted: Vec<bool>,
    settings: Fairness,
}

impl Apart {
    fn new(errors: Vec<f64>, groups: &Groups, settings: Fairness) -> Self {
        let counted = groups.counts().iter().map(|rows| *rows >= settings.small_below).collect();
        Self { errors, of_row: groups.of_row().to_vec(), counted, settings }
    }

    fn figures(&self, weights: &[u32]) -> [Option<f64>; 3] {
        let all = self.counted.len();
        // Of each group and last of all rows: weight, sum of errors, and of absolute errors.
        let mut sums = vec![(0.0, 0.0, 0.0); all + 1];
        for ((error, group), weight) in self.errors.iter().zip(&self.of_row).zip(weights) {
            for at in [*group as usize, all] {
                let (weight, sums) = (f64::from(*weight), &mut sums[at]);
                *sums = (sums.0 + weight, sums.1 + weight * error, sums.2 + weight * error.abs());
            }
        }
        let means = |of: fn(&(f64, f64, f64)) -> f64| -> Vec<Option<f64>> {
            sums.iter().map(|sums| (sums.0 > 0.0).then(|| of(sums) / sums.0)).collect()
        };
        let far = |mut means: Vec<Option<f64>>| {
            let overall = means.pop().flatten();
            let small = means.iter_mut().zip(&self.counted).filter(|(_, counted)| !**counted);
            small.for_each(|(mean, _)| *mean = None);
            apart(&means, overall, self.settings.against)
        };
        let (error, absolute) = (far(means(|sums| sums.1)), far(means(|sums| sums.2)));
        [error.0, absolute.0, absolute.1]
    }
}

/// One of the three figures.
struct ApartMetric {
    apart: Apart,
    at: usize,
}

impl RowMetric for ApartMetric {
    fn rows(&self) -> usize {
        self.apart.errors.len()
    }

    fn on<'a>(&'a self, rows: &'a [u32]) -> Weighed<'a> {
        Box::new(move |weights| {
            let mut kept = vec![0; self.rows()];
            for row in rows.iter().map(|row| *row as usize) {
                if let (Some(to), Some(weight)) = (kept.get_mut(row), weights.get(row)) {
                    *to = *weight;
                }
            }
            self.apart.figures(&kept)[self.at]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_always_overestimated_shows() {
        let names: Vec<&str> = (0..100).map(|row| if row < 50 { "a" } else { "b" }).collect();
        let truths: Vec<f64> = (0..100).map(f64::from).collect();
        let told: Vec<f64> = (0..100_u8)
            .map(|row| f64::from(row) + if row >= 50 { 2.0 } else { f64::from(row % 2) - 0.5 })
            .collect();
        let groups = Groups::of_column("g", &names).unwrap();
        let found = fairness_of_numbers(&truths, &told, &groups, &Fairness::default()).unwrap();
        assert_eq!((found.groups[0].mean_error, found.groups[1].mean_error), (0.0, 2.0));
        assert_eq!((found.mean_error.difference, found.mean_error.ratio), (Some(2.0), None));
        assert_eq!((found.mae.difference, found.mae.ratio), (Some(1.5), Some(0.25)));
        assert_eq!(found.mae.highest.as_deref(), Some("b"));
        let interval = found.mean_error.difference_interval.unwrap();
        assert!(interval.lower > 1.7 && interval.upper < 2.3, "{interval:?}");
    }
}

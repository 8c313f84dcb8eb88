//! Which columns a model's quality rests on. The caller predicts; here are the orders in which rows
//! are permuted, the points of an integral, and what becomes of the numbers. Owns running sums.

use serde::{Deserialize, Serialize};

use crate::{
    average::mean,
    input::{self, InputError},
    interval::deviation,
    random::Random,
};

/// The most columns.
pub const COLUMNS_MAX: usize = 100_000;

/// The row whose value of column number `column` each row gets in permutation number `repeat`: one
/// order a column and repetition, whatever else is permuted.
///
/// # Errors
///
/// Where there is no row.
pub fn permuted_rows(rows: usize, seed: u64, column: u32, repeat: u32) -> Result<Vec<u32>, InputError> {
    input::some_rows(rows)?;
    let mut order: Vec<u32> = (0..rows as u32).collect();
    Random::new(seed, u64::from(column) << 32 | u64::from(repeat)).shuffle(&mut order);
    Ok(order)
}

/// A metric after one column was permuted, several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Permuted {
    /// The column.
    pub column: String,
    /// The metric after each permutation.
    pub values: Vec<f64>,
}

/// How much a metric loses without one column's information (Breiman 2001).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnImportance {
    /// The column.
    pub column: String,
    /// The mean loss; near 0, or below by chance, where the model does not need the column.
    pub importance: f64,
    /// The standard deviation over permutations.
    pub deviation: f64,
    /// The loss in each permutation.
    pub losses: Vec<f64>,
    /// Whether the mean is more than two standard errors above 0.
    pub matters: bool,
}

/// All columns, the most important first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermutationImportance {
    /// The metric's name.
    pub metric: String,
    /// Its value with all columns as they are.
    pub baseline: f64,
    /// Column by column. Of two columns that say the same, each looks unimportant.
    pub columns: Vec<ColumnImportance>,
}

/// Sums up what permutations did to a metric.
///
/// # Errors
///
/// Where a value is not finite, a column was not permuted, or there are too many columns.
pub fn permutation_importance(
    metric: &str,
    more_is_better: bool,
    baseline: f64,
    permuted: Vec<Permuted>,
) -> Result<PermutationImportance, InputError> {
    input::within("columns", permuted.len(), 0, COLUMNS_MAX)?;
    input::finite("baseline", &[baseline])?;
    let sign = if more_is_better { 1.0 } else { -1.0 };
    let describe = |Permuted { column, values }: Permuted| {
        input::within("permutations", values.len(), 1, input::ROWS_MAX)?;
        input::finite("metric", &values)?;
        let losses: Vec<f64> = values.iter().map(|value| sign * (baseline - value)).collect();
        let importance = mean(losses.len(), losses.iter().copied());
        let deviation = deviation(&losses);
        let matters = importance > 2.0 * deviation / (losses.len() as f64).sqrt();
        Ok(ColumnImportance { column, importance, deviation, losses, matters })
    };
    let mut columns = permuted.into_iter().map(describe).collect::<Result<Vec<_>, InputError>>()?;
    columns.sort_by(|a, b| b.importance.total_cmp(&a.importance));
    Ok(PermutationImportance { metric: metric.to_owned(), baseline, columns })
}

/// Where on the straight line from baseline to input gradients are taken for integrated gradients
/// (Sundararajan et al. 2017), 0 to 1: the middles of equal steps, each of weight `1 / steps`.
///
/// # Errors
///
/// Where there are no steps or more than 10,000.
pub fn path_points(steps: usize) -> Result<Vec<f64>, InputError> {
    input::within("steps", steps, 1, 10_000)?;
    Ok((0..steps).map(|step| (step as f64 + 0.5) / steps as f64).collect())
}

/// Attributions of many rows, summed up row by row; workers' sums add up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attributions {
    rows: u64,
    absolute: Vec<f64>,
    signed: Vec<f64>,
    gap: f64,
}

/// What one column contributes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnAttribution {
    /// The column.
    pub column: String,
    /// The mean of the absolute attribution of all its features.
    pub mean_absolute: f64,
    /// The mean attribution: above 0 where the column speaks for the class.
    pub mean: f64,
    /// Its share of all columns' absolute attributions.
    pub share: f64,
}

/// What all columns contribute, the most important first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntegratedGradients {
    /// Rows that were looked at.
    pub rows: u64,
    /// Column by column.
    pub columns: Vec<ColumnAttribution>,
    /// The mean distance between a row's attributions in sum and what they should sum to, the change
    /// of the output from baseline to input. With more steps it falls.
    pub completeness_gap: f64,
}

impl Attributions {
    /// None yet, of so many features.
    ///
    /// # Errors
    ///
    /// Where there are no features or too many.
    pub fn new(features: usize) -> Result<Self, InputError> {
        input::within("features", features, 1, COLUMNS_MAX)?;
        Ok(Self { rows: 0, absolute: vec![0.0; features], signed: vec![0.0; features], gap: 0.0 })
    }

    /// Adds a row: the attribution of each feature, and how much the output changed from baseline
    /// to input.
    ///
    /// # Errors
    ///
    /// Where there are more or fewer attributions than features, or one is not finite.
    pub fn add(&mut self, attributions: &[f64], change: f64) -> Result<(), InputError> {
        input::as_long("attributions", self.absolute.len(), attributions.len())?;
        input::finite("attribution", attributions)?;
        input::finite("change of the output", &[change])?;
        for ((absolute, signed), value) in self.absolute.iter_mut().zip(&mut self.signed).zip(attributions) {
            *absolute += value.abs();
            *signed += value;
        }
        self.gap += (attributions.iter().sum::<f64>() - change).abs();
        self.rows += 1;
        Ok(())
    }

    /// Adds another worker's sums.
    ///
    /// # Errors
    ///
    /// Where they are of another number of features.
    pub fn merge(&mut self, other: &Self) -> Result<(), InputError> {
        input::as_long("features of another worker", self.absolute.len(), other.absolute.len())?;
        self.absolute.iter_mut().zip(&other.absolute).for_each(|(sum, more)| *sum += more);
        self.signed.iter_mut().zip(&other.signed).for_each(|(sum, more)| *sum += more);
        self.gap += other.gap;
        self.rows += other.rows;
        Ok(())
    }

    /// Sums up: `column_of` names the column of each feature, since a column of categories has
    /// several.
    ///
    /// # Errors
    ///
    /// Where there is no row, or a feature has no column.
    pub fn by_column(&self, column_of: &[String]) -> Result<IntegratedGradients, InputError> {
        input::as_long("columns of features", self.absolute.len(), column_of.len())?;
        if self.rows == 0 {
            return Err(InputError::NoRows);
        }
        let mut sums = std::collections::BTreeMap::<&str, (f64, f64)>::new();
        for ((column, absolute), signed) in column_of.iter().zip(&self.absolute).zip(&self.signed) {
            let sum = sums.entry(column).or_default();
            *sum = (sum.0 + absolute, sum.1 + signed);
        }
        let (rows, whole) = (self.rows as f64, sums.values().map(|sum| sum.0).sum::<f64>());
        let describe = |(column, (absolute, signed)): (&str, (f64, f64))| ColumnAttribution {
            column: column.to_owned(),
            mean_absolute: absolute / rows,
            mean: signed / rows,
            share: if whole > 0.0 { absolute / whole } else { 0.0 },
        };
        let mut columns: Vec<ColumnAttribution> = sums.into_iter().map(describe).collect();
        columns.sort_by(|a, b| b.mean_absolute.total_cmp(&a.mean_absolute));
        Ok(IntegratedGradients { rows: self.rows, columns, completeness_gap: self.gap / rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_has_every_row_once_and_is_the_seeds() {
        let mut rows = permuted_rows(50, 1, 2, 3).unwrap();
        assert_eq!(rows, permuted_rows(50, 1, 2, 3).unwrap());
        assert_ne!(rows, permuted_rows(50, 1, 3, 2).unwrap());
        rows.sort_unstable();
        assert_eq!(rows, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn the_column_whose_loss_is_largest_comes_first() {
        let permuted =
            |column: &str, values: &[f64]| Permuted { column: column.to_owned(), values: values.into() };
        let all = vec![permuted("noise", &[0.91, 0.89]), permuted("age", &[0.7, 0.75])];
        let found = permutation_importance("accuracy", true, 0.9, all.clone()).unwrap();
        assert_eq!(found.columns[0].column, "age");
        assert!((found.columns[0].importance - 0.175).abs() < 1e-12 && found.columns[0].matters);
        assert!(!found.columns[1].matters);
        let loss = permutation_importance("loss", false, 0.5, all).unwrap();
        assert!((loss.columns[0].importance - 0.4).abs() < 1e-12 && loss.columns[0].column == "noise");
    }

    #[test]
    fn attributions_are_summed_over_rows_workers_and_the_features_of_a_column() {
        let mut one = Attributions::new(3).unwrap();
        one.add(&[1.0, -1.0, 0.5], 0.5).unwrap();
        let mut other = Attributions::new(3).unwrap();
        other.add(&[0.0, 1.0, 0.5], 1.0).unwrap();
        one.merge(&other).unwrap();
        let found = one.by_column(&["sex", "sex", "age"].map(str::to_owned)).unwrap();
        assert_eq!(found.columns[0].column, "sex");
        assert_eq!((found.columns[0].mean_absolute, found.columns[0].mean), (1.5, 0.5));
        assert_eq!((found.columns[1].share, found.completeness_gap), (0.25, 0.25));
        assert!(one.add(&[1.0], 0.0).is_err());
        assert_eq!(path_points(2).unwrap(), [0.25, 0.75]);
    }
}

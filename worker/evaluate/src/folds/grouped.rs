//! Folds that keep groups together: all rows of a patient are learned from, or all tested. Owns no
//! state.

use super::{FOLDS_MAX, Fold, by_test_fold, kinds::rows_of_each};
use crate::{
    input::{self, InputError},
    random::Random,
};

/// Folds of nearly as many rows each: the largest groups first, each into the fold that has fewest
/// rows. With a seed, groups of one size come in any order.
///
/// # Errors
///
/// Where there are fewer than two folds, or more than groups.
pub fn group_folds(groups: &[u32], folds: usize, seed: Option<u64>) -> Result<Vec<Fold>, InputError> {
    input::some_rows(groups.len())?;
    let mut rows_of = rows_in_order(groups);
    input::within("folds", folds, 2, FOLDS_MAX.min(rows_of.len()))?;
    if let Some(seed) = seed {
        Random::new(seed, 0).shuffle(&mut rows_of);
    }
    rows_of.sort_by_key(|rows| std::cmp::Reverse(rows.len()));
    let mut sizes = vec![0; folds];
    let mut of_row = vec![0; groups.len()];
    for rows in rows_of {
        let fold = (0..folds).min_by_key(|fold| sizes[*fold]).unwrap_or(0);
        sizes[fold] += rows.len();
        rows.iter().for_each(|row| of_row[*row as usize] = fold as u32);
    }
    Ok(by_test_fold(&of_row, folds))
}

/// Folds that keep groups together and have every class in as nearly the same share as groups
/// allow: groups with the most uneven classes first, each into the fold after which shares vary
/// least. With a seed, equal groups come in any order.
///
/// # Errors
///
/// Where columns differ in length, or there are fewer than two folds, more than groups, or more than
/// the commonest class has rows.
pub fn stratified_group_folds(
    classes: &[u32],
    groups: &[u32],
    folds: usize,
    seed: Option<u64>,
) -> Result<Vec<Fold>, InputError> {
    input::some_rows(groups.len())?;
    input::as_long("classes", groups.len(), classes.len())?;
    let mut rows_of = rows_in_order(groups);
    input::within("folds", folds, 2, FOLDS_MAX.min(rows_of.len()))?;
    if let Some(seed) = seed {
        Random::new(seed, 0).shuffle(&mut rows_of);
    }
    let of_class = rows_in_order(classes);
    input::within("classes", of_class.len(), 1, phalanx_protocol::spec::CLASSES_MAX)?;
    let most = of_class.iter().map(Vec::len).max().unwrap_or(0);
    input::within("folds", folds, 2, most)?;
    let mut class_of_row = vec![0; classes.len()];
    of_class.iter().enumerate().for_each(|(class, rows)| {
        rows.iter().for_each(|row| class_of_row[*row as usize] = class);
    });
    let count = |rows: Vec<u32>| {
        let mut counts = vec![0.0; of_class.len()];
        rows.iter().for_each(|row| counts[class_of_row[*row as usize]] += 1.0);
        (deviation(counts.iter().copied()), counts, rows)
    };
    let mut counted: Vec<(f64, Vec<f64>, Vec<u32>)> = rows_of.into_iter().map(count).collect();
    counted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let totals: Vec<f64> = of_class.iter().map(|rows| rows.len() as f64).collect();
    let mut shares = Shares { of_fold: vec![vec![0.0; totals.len()]; folds], totals };
    let mut of_row = vec![0; groups.len()];
    for (_, counts, rows) in counted {
        let fold = shares.give(&counts);
        rows.iter().for_each(|row| of_row[*row as usize] = fold as u32);
    }
    Ok(by_test_fold(&of_row, folds))
}

/// One fold for each group, which is tested by a model that has seen all others. In the order of
/// the groups' numbers.
///
/// # Errors
///
/// Where there are fewer than two groups, or more than [`FOLDS_MAX`].
pub fn leave_one_group_out(groups: &[u32]) -> Result<Vec<Fold>, InputError> {
    input::some_rows(groups.len())?;
    let numbers: std::collections::BTreeSet<u32> = groups.iter().copied().collect();
    input::within("groups", numbers.len(), 2, FOLDS_MAX)?;
    let numbers: Vec<u32> = numbers.into_iter().collect();
    let of_row: Vec<u32> =
        groups.iter().map(|group| numbers.partition_point(|number| number < group) as u32).collect();
    Ok(by_test_fold(&of_row, numbers.len()))
}

/// The rows of each value, values in rising order.
fn rows_in_order(values: &[u32]) -> Vec<Vec<u32>> {
    let mut rows_of = rows_of_each(values);
    rows_of.sort_by_key(|rows| rows.first().map(|row| values[*row as usize]));
    rows_of
}

/// How many rows of each class each fold has so far.
struct Shares {
    of_fold: Vec<Vec<f64>>,
    totals: Vec<f64>,
}

impl Shares {
    /// Gives a group to the fold after which classes vary least over folds; of several, to the one
    /// with fewest rows.
    fn give(&mut self, counts: &[f64]) -> usize {
        let mut best = (f64::INFINITY, f64::INFINITY, 0);
        for fold in 0..self.of_fold.len() {
            self.add(fold, counts, 1.0);
            let unevenness = self.unevenness();
            let rows: f64 = self.of_fold[fold].iter().sum();
            self.add(fold, counts, -1.0);
            let as_even = (unevenness - best.0).abs() <= 1e-8 + 1e-5 * best.0.abs();
            if unevenness < best.0 || (as_even && rows < best.1) {
                best = (unevenness, rows, fold);
            }
        }
        self.add(best.2, counts, 1.0);
        best.2
    }

    fn add(&mut self, fold: usize, counts: &[f64], sign: f64) {
        self.of_fold[fold].iter_mut().zip(counts).for_each(|(sum, count)| *sum += sign * count);
    }

    fn unevenness(&self) -> f64 {
        let of_class = |(class, total): (usize, &f64)| {
            deviation(self.of_fold.iter().map(|counts| counts[class] / total))
        };
        self.totals.iter().enumerate().map(of_class).sum::<f64>() / self.totals.len() as f64
    }
}

/// The standard deviation of all there are, not of a sample.
fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    (values.map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn groups_stay_together(folds: &[Fold], groups: &[u32]) -> bool {
        let of = |rows: &[u32]| -> std::collections::BTreeSet<u32> {
            rows.iter().map(|row| groups[*row as usize]).collect()
        };
        let rows: usize = folds.iter().map(|fold| fold.test.len()).sum();
        rows == groups.len() && folds.iter().all(|fold| of(&fold.train).is_disjoint(&of(&fold.test)))
    }

    proptest! {
        #[test]
        fn no_group_is_on_both_sides(
            rows in prop::collection::vec((0_u32..12, 0_u32..3), 2..90),
            folds in 2_usize..6,
            seed in any::<Option<u64>>(),
        ) {
            let (groups, classes): (Vec<u32>, Vec<u32>) = rows.into_iter().unzip();
            let ways = [
                group_folds(&groups, folds, seed),
                stratified_group_folds(&classes, &groups, folds, seed),
                leave_one_group_out(&groups),
            ];
            for found in ways.into_iter().flatten() {
                prop_assert!(groups_stay_together(&found, &groups));
                prop_assert!(found.iter().all(|fold| !fold.train.is_empty()));
            }
        }
    }

    #[test]
    fn each_group_is_left_out_once() {
        let folds = leave_one_group_out(&[7, 3, 7, 5]).unwrap();
        let tested: Vec<_> = folds.into_iter().map(|fold| fold.test).collect();
        assert_eq!(tested, [vec![1], vec![3], vec![0, 2]]);
        assert!(leave_one_group_out(&[1, 1]).is_err());
    }
}

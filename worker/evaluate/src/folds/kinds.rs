//! Folds of single rows: plain, by class, by time. Owns no state.

use serde::{Deserialize, Serialize};

use super::{FOLDS_MAX, Fold, by_test_fold};
use crate::{
    input::{self, InputError},
    random::Random,
};

/// As many folds as nearly equal parts of the rows: of neighbours, or with a seed of any.
///
/// # Errors
///
/// Where there are fewer than two folds, or more than rows.
pub fn k_folds(rows: usize, folds: usize, seed: Option<u64>) -> Result<Vec<Fold>, InputError> {
    input::some_rows(rows)?;
    input::within("folds", folds, 2, FOLDS_MAX.min(rows))?;
    let mut order: Vec<usize> = (0..rows).collect();
    if let Some(seed) = seed {
        Random::new(seed, 0).shuffle(&mut order);
    }
    let mut of_row = vec![0; rows];
    let (size, larger) = (rows / folds, rows % folds);
    for (place, row) in order.into_iter().enumerate() {
        // The first `larger` folds have one row more.
        let in_larger = larger * (size + 1);
        let fold = if place < in_larger { place / (size + 1) } else { larger + (place - in_larger) / size };
        of_row[row] = fold as u32;
    }
    Ok(by_test_fold(&of_row, folds))
}

/// Folds that have every class in nearly the same share: its counts in two folds differ by one at
/// most. With a seed, which of its rows go where is random.
///
/// # Errors
///
/// Where there are fewer than two folds, or more than the commonest class has rows.
pub fn stratified_folds(classes: &[u32], folds: usize, seed: Option<u64>) -> Result<Vec<Fold>, InputError> {
    input::some_rows(classes.len())?;
    let rows_of = rows_of_each(classes);
    let most = rows_of.iter().map(Vec::len).max().unwrap_or(0);
    input::within("folds", folds, 2, FOLDS_MAX.min(most))?;
    let mut random = seed.map(|seed| Random::new(seed, 0));
    let mut of_row = vec![0; classes.len()];
    let mut place = 0;
    for rows in rows_of {
        // Dealt out like cards over classes one after the other: fold f gets every folds-th place.
        let dealt = |fold: usize| {
            let first = (fold + folds - place % folds) % folds;
            rows.len().saturating_sub(first).div_ceil(folds)
        };
        let mut to = Vec::with_capacity(rows.len());
        (0..folds).for_each(|fold| to.extend(std::iter::repeat_n(fold as u32, dealt(fold))));
        if let Some(random) = &mut random {
            random.shuffle(&mut to);
        }
        place += rows.len();
        rows.into_iter().zip(to).for_each(|(row, fold)| of_row[row as usize] = fold);
    }
    Ok(by_test_fold(&of_row, folds))
}

/// The rows of each value, values in the order in which they first occur.
pub(super) fn rows_of_each(values: &[u32]) -> Vec<Vec<u32>> {
    let mut places = std::collections::BTreeMap::new();
    let mut rows_of: Vec<Vec<u32>> = Vec::new();
    for (value, row) in values.iter().zip(0..) {
        let place = *places.entry(*value).or_insert(rows_of.len());
        if place == rows_of.len() {
            rows_of.push(Vec::new());
        }
        rows_of[place].push(row);
    }
    rows_of
}

/// Settings of folds by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeSeries {
    /// How many folds.
    pub folds: usize,
    /// Rows left out between those to learn from and those to test on.
    #[serde(default)]
    pub gap: usize,
    /// Rows to test on; by default what a part is where there is one more than folds.
    #[serde(default)]
    pub test_rows: Option<usize>,
    /// The most rows to learn from, the latest; all that came before by default.
    #[serde(default)]
    pub train_rows_max: Option<usize>,
}

/// Folds that learn from the past and test on what comes next, each with more of the past than the
/// one before. Rows may come in any order of `times`; none is learned from that is as late as the
/// first one tested.
///
/// # Errors
///
/// Where rows are too few for the settings.
pub fn time_series_folds(times: &[i64], settings: &TimeSeries) -> Result<Vec<Fold>, InputError> {
    let rows = times.len();
    input::some_rows(rows)?;
    let TimeSeries { folds, gap, test_rows, train_rows_max } = *settings;
    input::within("folds", folds, 2, FOLDS_MAX)?;
    let test_rows = test_rows.unwrap_or(rows / (folds + 1));
    let too_few = || InputError::Setting {
        setting: "folds, gap and test_rows",
        actual: format!("{folds}, {gap} and {test_rows}"),
        expected: format!("less of them for {rows} rows"),
    };
    let tested = folds.checked_mul(test_rows).filter(|tested| *tested > 0 && *tested < rows);
    let first = rows - tested.ok_or_else(too_few)?;
    if first <= gap {
        return Err(too_few());
    }
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.sort_by_key(|row| times[*row as usize]);
    let fold = |number: usize| {
        let start = first + number * test_rows;
        let earlier =
            order[..start].partition_point(|row| times[*row as usize] < times[order[start] as usize]);
        let end = earlier.min(start - gap);
        let begin = end.saturating_sub(train_rows_max.unwrap_or(rows));
        let sorted = |rows: &[u32]| {
            let mut rows = rows.to_vec();
            rows.sort_unstable();
            rows
        };
        let fold = Fold { train: sorted(&order[begin..end]), test: sorted(&order[start..start + test_rows]) };
        if fold.train.is_empty() { Err(too_few()) } else { Ok(fold) }
    };
    (0..folds).map(fold).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::folds::repeated_folds;

    fn each_row_once(folds: &[Fold], rows: usize) -> bool {
        let mut tested: Vec<u32> = folds.iter().flat_map(|fold| fold.test.clone()).collect();
        tested.sort_unstable();
        let whole = |fold: &Fold| {
            let mut all = [fold.train.as_slice(), &fold.test].concat();
            all.sort_unstable();
            all == (0..rows as u32).collect::<Vec<_>>()
        };
        tested == (0..rows as u32).collect::<Vec<_>>() && folds.iter().all(whole)
    }

    #[test]
    fn repetitions_differ_and_a_seed_means_the_same_folds() {
        let repeated = |seed| repeated_folds(3, seed, |seed| k_folds(20, 4, Some(seed))).unwrap();
        assert_eq!(repeated(5), repeated(5));
        assert_ne!(repeated(5), repeated(6));
        let folds = repeated(5);
        assert!(folds.len() == 12 && folds[0] != folds[4]);
        assert!(folds.chunks(4).all(|folds| each_row_once(folds, 20)));
    }

    #[test]
    fn too_few_rows_are_refused() {
        assert_eq!(k_folds(3, 5, None).unwrap_err().to_string(), "`folds` is 5, expected 2 to 3");
        assert_eq!(
            stratified_folds(&[1, 2], 2, None).unwrap_err().to_string(),
            "`folds` is 2, expected 2 to 1"
        );
        let settings = TimeSeries { folds: 3, gap: 4, test_rows: Some(2), train_rows_max: None };
        let error = time_series_folds(&[0; 10], &settings).unwrap_err().to_string();
        assert_eq!(error, "`folds, gap and test_rows` is 3, 4 and 2, expected less of them for 10 rows");
    }

    proptest! {
        #[test]
        fn every_row_is_tested_once(rows in 2_usize..80, folds in 2_usize..9, seed in any::<Option<u64>>()) {
            prop_assume!(folds <= rows);
            let found = k_folds(rows, folds, seed).unwrap();
            prop_assert!(each_row_once(&found, rows));
            let sizes: Vec<usize> = found.iter().map(|fold| fold.test.len()).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }

        #[test]
        fn every_class_is_dealt_out_evenly(
            classes in prop::collection::vec(0_u32..4, 2..90),
            folds in 2_usize..7,
            seed in any::<Option<u64>>(),
        ) {
            let Ok(found) = stratified_folds(&classes, folds, seed) else { return Ok(()) };
            prop_assert!(each_row_once(&found, classes.len()));
            for class in 0..4 {
                let of = |fold: &Fold| fold.test.iter().filter(|row| classes[**row as usize] == class).count();
                let counts: Vec<usize> = found.iter().map(of).collect();
                prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
            }
        }

        #[test]
        fn the_past_is_learned_from_and_the_future_tested(
            times in prop::collection::vec(0_i64..50, 4..90),
            folds in 2_usize..6,
            gap in 0_usize..4,
        ) {
            let settings = TimeSeries { folds, gap, test_rows: None, train_rows_max: None };
            let Ok(found) = time_series_folds(&times, &settings) else { return Ok(()) };
            for fold in &found {
                let latest = fold.train.iter().map(|row| times[*row as usize]).max().unwrap();
                let first = fold.test.iter().map(|row| times[*row as usize]).min().unwrap();
                prop_assert!(latest < first);
            }
            prop_assert!(found.windows(2).all(|two| two[0].train.len() <= two[1].train.len()));
        }
    }
}

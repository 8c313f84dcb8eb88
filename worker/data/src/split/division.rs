//! The division: which split each row goes to, row after row in the order of the source; some go to none.
//!
//! A fold of a cross-validation is a stretch of the same order that divides the rows without folds; the order is turned
//! until that stretch lies at its end, where the test split is. Folds of times are stretches of the time: rows before that of
//! the fold are trained on, and those after it are left out.

use std::{collections::HashMap, path::Path};

use phalanx_protocol::spec::{FoldSpec, SplitBy, SplitSpec, parse_time};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::{Role, Split, SplitPlan, sizes};
use crate::{
    Order,
    error::{CellProblem, PrepareError, shown},
    plan::ColumnPlan,
    profile::TargetValues,
    source::{Cells, Chunk},
};

/// Which rows go where.
#[derive(Debug)]
pub(crate) enum Division {
    /// By chance, each stratum by itself: all rows, those of one class, or those of one range of numbers.
    Strata { of: StratumOf, strata: Vec<Stratum> },
    /// By the group, known by its hash.
    Groups(HashMap<u128, Split>),
    /// By the first time of the validation and of the test split, and by that from which on rows are left out.
    Times { validation: f64, test: f64, end: f64 },
    /// By a hash of the key under this seed.
    Keys { seed: u64, fold: Option<FoldSpec>, borders: [f64; 2] },
    /// By name.
    Named,
    /// As it was decided before, row by row: cleaning has learnt from the training split already.
    Given(Vec<Option<Split>>),
}

/// What tells the stratum of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StratumOf {
    /// There is but one.
    All,
    /// Its class.
    Class,
    /// The range that its target lies in, of those between these borders.
    Range(Vec<f64>),
}

/// Rows that are divided together.
#[derive(Debug, Clone)]
pub(crate) struct Stratum {
    order: Order,
    sizes: [u64; 3],
    /// How many places the order is turned: a row after those of the fold begins the training split.
    turn: u64,
}

impl StratumOf {
    /// How many strata there are, if classes do not decide.
    pub(crate) fn ranges(&self) -> usize {
        match self {
            Self::All | Self::Class => 1,
            Self::Range(borders) => borders.len() + 1,
        }
    }

    /// The stratum of a row.
    pub(crate) fn index(&self, targets: &TargetValues, row: usize) -> usize {
        match (self, targets) {
            (Self::Class, TargetValues::Classes(classes)) => classes[row] as usize,
            (Self::Range(borders), TargetValues::Numbers(numbers)) => {
                borders.partition_point(|border| *border <= numbers[row].into())
            }
            (Self::All, _)
            | (Self::Class, TargetValues::Numbers(_))
            | (Self::Range(_), TargetValues::Classes(_)) => 0,
        }
    }
}

impl Division {
    /// Divides each stratum of so many rows by itself.
    pub(crate) fn strata(spec: &SplitSpec, of: StratumOf, rows: &[u64]) -> Self {
        let stratum = |(number, rows): (u64, &u64)| {
            let (sizes, turn) = match spec.fold {
                None => (sizes(spec, *rows), 0),
                Some(fold) => fold_of(spec, fold, number, *rows),
            };
            let order = Order::keyed("phalanx division into splits", spec.seed, number, *rows);
            Stratum { order, sizes, turn }
        };
        Self::Strata { of, strata: (0..).zip(rows).map(stratum).collect() }
    }

    /// Divides groups of so many rows, each known by its hash: in an order that the seed decides, each goes to the
    /// split that is furthest from its size.
    ///
    /// Folds come first: each group goes to the one with the fewest rows, whichever is the test split.
    pub(crate) fn groups(spec: &SplitSpec, groups: HashMap<u128, u64>) -> Self {
        let mut goals = sizes(spec, groups.values().sum()).map(|rows| rows as f64);
        let mut in_order: Vec<(u128, u64)> = groups.into_iter().collect();
        let place = |hash: u128| xxh3_64_with_seed(&hash.to_le_bytes(), spec.seed);
        in_order.sort_unstable_by_key(|(hash, _)| (place(*hash), *hash));
        let mut splits = HashMap::with_capacity(in_order.len());
        if let Some(fold) = spec.fold {
            goals[Split::Test as usize] = 0.0;
            let mut rows_of = vec![0; fold.of as usize];
            in_order.retain(|(hash, rows)| {
                let fewest = (1..).zip(&mut rows_of).min_by_key(|(_, rows)| **rows);
                let Some((number, given)) = fewest else { return true };
                *given += rows;
                let is_tested = number == fold.number;
                if is_tested {
                    splits.insert(*hash, Split::Test);
                }
                !is_tested
            });
        }
        let mut given = [0.0; 3];
        let assign = |(hash, rows): (u128, u64)| {
            let lack = |split: &Split| match goals[*split as usize] {
                0.0 => f64::NEG_INFINITY,
                goal => (goal - given[*split as usize]) / goal,
            };
            let mut split = Split::Train;
            for other in [Split::Validation, Split::Test] {
                if lack(&other) > lack(&split) {
                    split = other;
                }
            }
            given[split as usize] += rows as f64;
            (hash, split)
        };
        splits.extend(in_order.into_iter().map(assign));
        Self::Groups(splits)
    }

    /// Divides by a hash of the key.
    pub(crate) fn keys(spec: &SplitSpec) -> Self {
        let [train, validation, test] = spec.fractions();
        let whole = train + validation + test;
        let borders = [train / whole, (train + validation) / whole];
        Self::Keys { seed: spec.seed, fold: spec.fold, borders }
    }

    /// Tells the split of row after row.
    pub(crate) fn walk(&self, spec: &SplitSpec) -> Walk<'_> {
        let strata = match self {
            Self::Strata { strata, .. } => strata.len(),
            Self::Groups(_) | Self::Times { .. } | Self::Keys { .. } | Self::Named | Self::Given(_) => 0,
        };
        let is_given = matches!(self, Self::Given(_));
        let thinned = spec.train_share.filter(|_| !is_given).map(|share| (share, spec.seed));
        Walk { division: self, thinned, seen: vec![0; strata], told: 0, rows: [0; 3] }
    }
}

/// Walks over all rows of a source in their order.
pub(crate) struct Walk<'a> {
    division: &'a Division,
    /// The share of the training split that is kept, and what decides which rows those are.
    thinned: Option<(f64, u64)>,
    /// Rows seen of each stratum.
    seen: Vec<u64>,
    /// Rows told of, those that are left out among them.
    told: u64,
    /// Rows told of each split.
    rows: [u64; 3],
}

impl Walk<'_> {
    /// The splits of the rows of the next chunk; `None` of one that is left out.
    pub(crate) fn next(
        &mut self,
        plan: &SplitPlan,
        chunk: &Chunk,
        targets: &TargetValues,
        path: &Path,
    ) -> Result<Vec<Option<Split>>, PrepareError> {
        let changed = || PrepareError::Changed { path: path.to_owned() };
        let by_cell = |role, split: &dyn Fn(&str) -> Result<Option<Split>, CellProblem>| {
            let (column, cells) = plan.cells(role, chunk).ok_or_else(changed)?;
            each_cell(column, cells, chunk, path, split)
        };
        let mut splits = match self.division {
            Division::Strata { of, strata } => {
                let mut splits = Vec::with_capacity(chunk.rows);
                for row in 0..chunk.rows {
                    let index = of.index(targets, row);
                    let stratum = strata.get(index).ok_or_else(changed)?;
                    // More rows than the first pass has counted have no place.
                    splits.push(Some(stratum.next(&mut self.seen[index]).ok_or_else(changed)?));
                }
                splits
            }
            Division::Groups(groups) => by_cell(Role::Group, &|cell| {
                let split = groups.get(&hash(cell)).copied();
                split.map(Some).ok_or_else(|| CellProblem::NotASplit { found: shown(cell) })
            })?,
            Division::Times { validation, test, end } => by_cell(Role::Time, &|cell| {
                let time = time(cell)?;
                Ok((time < *end).then(|| by_time(time, *validation, *test)))
            })?,
            Division::Keys { seed, fold, borders } => {
                by_cell(Role::Key, &|cell| Ok(Some(by_key(cell, *seed, *fold, *borders))))?
            }
            Division::Named => by_cell(Role::Column, &|cell| by_name(cell).map(Some))?,
            Division::Given(splits) => {
                let from = self.told as usize;
                splits.get(from..from + chunk.rows).ok_or_else(changed)?.to_vec()
            }
        };
        for split in &mut splits {
            let left_out = |(share, seed)| share_of(seed, &self.told.to_le_bytes()) >= share;
            if *split == Some(Split::Train) && self.thinned.is_some_and(left_out) {
                *split = None;
            }
            self.told += 1;
            split.iter().for_each(|split| self.rows[*split as usize] += 1);
        }
        Ok(splits)
    }

    /// Rows told so far of each split.
    pub(crate) fn rows(&self) -> [u64; 3] {
        self.rows
    }
}

impl Stratum {
    fn next(&self, seen: &mut u64) -> Option<Split> {
        let [train, validation, test] = self.sizes;
        let rows = train + validation + test;
        if *seen >= rows {
            return None;
        }
        let position = (self.order.at(*seen) + self.turn) % rows;
        *seen += 1;
        Some(match position {
            _ if position < train => Split::Train,
            _ if position < train + validation => Split::Validation,
            _ => Split::Test,
        })
    }
}

/// What `tell` says of every cell of a column; a missing one is an error.
pub(super) fn each_cell<T>(
    column: &ColumnPlan,
    cells: &Cells,
    chunk: &Chunk,
    path: &Path,
    tell: impl Fn(&str) -> Result<T, CellProblem>,
) -> Result<Vec<T>, PrepareError> {
    let mut told = Vec::with_capacity(chunk.rows);
    for row in 0..chunk.rows {
        let one = cells.text(row).ok_or(CellProblem::SplitMissing).and_then(|cell| tell(&cell));
        told.push(one.map_err(|problem| PrepareError::Cell {
            path: path.to_owned(),
            place: chunk.places.at(row),
            column: column.name.clone(),
            problem,
        })?);
    }
    Ok(told)
}

/// What a group or a row is known by.
pub(super) fn hash(content: impl AsRef<[u8]>) -> u128 {
    xxh3_128(content.as_ref())
}

pub(super) fn time(cell: &str) -> Result<f64, CellProblem> {
    parse_time(cell).ok_or_else(|| CellProblem::NotADate { found: shown(cell) })
}

fn by_time(time: f64, validation: f64, test: f64) -> Split {
    match time {
        _ if time >= test => Split::Test,
        _ if time >= validation => Split::Validation,
        _ => Split::Train,
    }
}

fn by_key(cell: &str, seed: u64, fold: Option<FoldSpec>, borders: [f64; 2]) -> Split {
    let place = share_of(seed, cell.as_bytes());
    let Some(FoldSpec { number, of }) = fold else { return by_time(place, borders[0], borders[1]) };
    let folds = f64::from(of);
    if ((place * folds) as u32).min(of - 1) == number - 1 {
        return Split::Test;
    }
    let turned = (place + f64::from(of - number) / folds).fract();
    by_time(turned, borders[0], f64::INFINITY)
}

/// A place from 0 up to 1 that `content` has for good under `seed`: 53 bits, as many as a fraction has.
fn share_of(seed: u64, content: &[u8]) -> f64 {
    (xxh3_64_with_seed(content, seed) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The sizes of a stratum's splits, and how far its order is turned, for a fold. Strata of fewer rows than there are
/// folds begin at different ones, lest all of their rows are in the last.
fn fold_of(spec: &SplitSpec, fold: FoldSpec, stratum: u64, rows: u64) -> ([u64; 3], u64) {
    let of = u64::from(fold.of);
    let end = |number: u64| {
        ((u128::from(rows) * u128::from(number) + u128::from(stratum % of)) / u128::from(of)) as u64
    };
    let (start, end) = (end(u64::from(fold.number) - 1), end(u64::from(fold.number)));
    let rest = SplitSpec { fold: None, test: 0.0, ..spec.clone() };
    let [train, validation, _] = sizes(&rest, rows - (end - start));
    ([train, validation, end - start], rows - end)
}

fn by_name(cell: &str) -> Result<Split, CellProblem> {
    match cell.to_lowercase().as_str() {
        "train" | "training" => Ok(Split::Train),
        "validation" | "val" | "valid" | "dev" => Ok(Split::Validation),
        "test" | "testing" => Ok(Split::Test),
        _ => Err(CellProblem::NotASplit { found: shown(cell) }),
    }
}

/// Whether this way to divide needs nothing from the first pass.
pub(super) fn at_once(spec: &SplitSpec) -> Option<Division> {
    match spec.by {
        SplitBy::Hash => Some(Division::keys(spec)),
        SplitBy::Column => Some(Division::Named),
        SplitBy::Time => {
            let date = |date: &Option<String>| date.as_deref().and_then(parse_time);
            if !spec.sizes_are_given() {
                return None;
            }
            let test = date(&spec.test_from).unwrap_or(f64::INFINITY);
            let validation = date(&spec.validation_from).unwrap_or(test);
            Some(Division::Times { validation, test, end: f64::INFINITY })
        }
        SplitBy::Random | SplitBy::Stratified | SplitBy::Group => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(train: f64, validation: f64, test: f64) -> SplitSpec {
        SplitSpec { train, validation, test, ..SplitSpec::default() }
    }

    #[test]
    fn a_stratified_division_keeps_the_proportions_of_every_class() {
        let Division::Strata { strata, .. } =
            Division::strata(&spec(0.8, 0.1, 0.1), StratumOf::Class, &[900, 100])
        else {
            panic!("it has strata")
        };
        let mut counts = [[0; 3]; 2];
        for (stratum, (rows, counts)) in strata.iter().zip([900, 100].iter().zip(&mut counts)) {
            let mut seen = 0;
            (0..*rows).for_each(|_| counts[stratum.next(&mut seen).unwrap() as usize] += 1);
            assert_eq!(stratum.next(&mut seen), None);
        }
        assert_eq!(counts, [[720, 90, 90], [80, 10, 10]]);
    }

    #[test]
    fn a_key_stays_where_it_is_and_fractions_are_met() {
        let split = |key: u32| by_key(&key.to_string(), 7, None, [0.8, 0.9]);
        let mut counts = [0; 3];
        (0..10_000).for_each(|key| counts[split(key) as usize] += 1);
        assert!((7_850..8_150).contains(&counts[0]), "{counts:?}");
        assert!((880..1_120).contains(&counts[1]), "{counts:?}");
        // This is part of the promise that a row stays in its split: it must never change.
        assert_eq!(
            (0..14).map(|key| split(key) as u32).collect::<Vec<_>>(),
            [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 2]
        );
    }

    /// A fold of five of the default split.
    fn fold(number: u32, of: u32, seed: u64) -> SplitSpec {
        SplitSpec { seed, fold: Some(FoldSpec { number, of }), ..SplitSpec::default() }
    }

    /// How often each of `units` is tested by five folds, by what a division says of all units.
    fn tested<const UNITS: usize>(divide: impl Fn(&SplitSpec) -> [Split; UNITS]) -> [u32; UNITS] {
        let mut times = [0; UNITS];
        for number in 1..=5 {
            let splits = divide(&fold(number, 5, 3));
            times.iter_mut().zip(splits).for_each(|(times, split)| *times += u32::from(split == Split::Test));
        }
        times
    }

    #[test]
    fn folds_test_everything_once() {
        let strata = tested::<300>(|spec| {
            let Division::Strata { strata, .. } = Division::strata(spec, StratumOf::Class, &[3, 297]) else {
                panic!("it has strata")
            };
            let mut seen = [0; 2];
            std::array::from_fn(|row| {
                let class = usize::from(row >= 3);
                strata[class].next(&mut seen[class]).unwrap()
            })
        });
        assert_eq!(strata, [1; 300]);
        let groups = tested::<40>(|spec| {
            let groups = (0..40).map(|group| (group, 1 + group as u64 % 7)).collect();
            let Division::Groups(splits) = Division::groups(spec, groups) else { panic!("it has groups") };
            std::array::from_fn(|group| splits[&(group as u128)])
        });
        assert_eq!(groups, [1; 40]);
        let keys = tested::<500>(|spec| {
            let Division::Keys { seed, fold, borders } = Division::keys(spec) else { panic!("it has keys") };
            std::array::from_fn(|key| by_key(&key.to_string(), seed, fold, borders))
        });
        assert_eq!(keys, [1; 500]);
    }

    proptest! {
        #[test]
        fn a_fold_has_its_part_of_the_rows(rows in 0_u64..5_000, of in 2_u32..101, stratum in 0_u64..200) {
            let mut tested = 0;
            for number in 1..=of {
                let spec = fold(number, of, 0);
                let ([train, validation, test], turn) = fold_of(&spec, spec.fold.unwrap(), stratum, rows);
                prop_assert_eq!(train + validation + test, rows);
                prop_assert_eq!(turn, rows - test - tested);
                prop_assert!(test.abs_diff(rows / u64::from(of)) <= 1);
                tested += test;
            }
            prop_assert_eq!(tested, rows);
        }

        #[test]
        fn splits_partition_the_rows(rows in 0_u64..5_000, seed: u64, train in 1_u32..100, validation in 0_u32..100, test in 0_u32..100) {
            let spec = SplitSpec { seed, ..spec(f64::from(train), f64::from(validation), f64::from(test)) };
            let Division::Strata { strata, .. } = Division::strata(&spec, StratumOf::All, &[rows]) else {
                panic!("it has strata")
            };
            let (mut seen, mut counts) = (0, [0; 3]);
            for _ in 0..rows {
                counts[strata[0].next(&mut seen).unwrap() as usize] += 1;
            }
            prop_assert_eq!(counts, sizes(&spec, rows));
        }

        #[test]
        fn groups_meet_the_fractions_as_far_as_they_can(
            rows in prop::collection::vec(1_u64..50, 10..200),
            seed: u64,
        ) {
            let spec = SplitSpec { seed, ..spec(0.6, 0.2, 0.2) };
            let groups: HashMap<u128, u64> = rows.iter().enumerate().map(|(at, rows)| (at as u128, *rows)).collect();
            let Division::Groups(splits) = Division::groups(&spec, groups.clone()) else { panic!("it has groups") };
            prop_assert_eq!(splits.len(), rows.len());
            let mut counts = [0; 3];
            splits.iter().for_each(|(group, split)| counts[*split as usize] += groups[group]);
            let (total, greatest) = (rows.iter().sum::<u64>(), rows.iter().max().copied().unwrap_or(0));
            for (count, goal) in counts.into_iter().zip(sizes(&spec, total)) {
                prop_assert!(count > 0 && count <= goal + greatest, "{} for {}", count, goal);
            }
        }
    }
}

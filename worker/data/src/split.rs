//! The division of rows into splits: a pure function of the row's number (and,
//! if stratified, its class), the seed and the number of rows. Holds no rows.

use std::fmt;

use phalanx_protocol::spec::SplitSpec;
use serde::{Deserialize, Serialize};

use crate::Order;

/// One part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Trained on.
    Train,
    /// Measured while training.
    Validation,
    /// Measured at the end.
    Test,
}

impl Split {
    /// All splits, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The split's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// The fraction that `spec` gives it.
    pub(crate) fn fraction(self, spec: &SplitSpec) -> f64 {
        match self {
            Self::Train => spec.train,
            Self::Validation => spec.validation,
            Self::Test => spec.test,
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which rows go where.
#[derive(Debug, Clone)]
pub(crate) struct Division {
    strata: Vec<Stratum>,
    /// The split of each row, where that was decided before.
    given: Option<Vec<Split>>,
}

/// Rows that are divided together: all of them, or those of one class.
#[derive(Debug, Clone)]
struct Stratum {
    order: Order,
    sizes: [u64; 3],
}

impl Division {
    /// Divides each stratum of so many rows by itself. Not stratified means one.
    pub(crate) fn new(spec: &SplitSpec, strata_rows: &[u64]) -> Self {
        let stratum = |(number, rows): (u64, &u64)| Stratum {
            order: Order::keyed("phalanx division into splits", spec.seed, number, *rows),
            sizes: sizes(spec, *rows),
        };
        Self { strata: (0..).zip(strata_rows).map(stratum).collect(), given: None }
    }

    /// The division that was decided before.
    pub(crate) fn given(splits: Vec<Split>) -> Self {
        Self { strata: Vec::new(), given: Some(splits) }
    }

    /// Rows of each split.
    pub(crate) fn sizes(&self) -> [u64; 3] {
        if let Some(given) = &self.given {
            return Split::ALL.map(|split| given.iter().filter(|row| **row == split).count() as u64);
        }
        let sum = |split: usize| self.strata.iter().map(|stratum| stratum.sizes[split]).sum();
        [sum(0), sum(1), sum(2)]
    }

    /// Tells the split of row after row.
    pub(crate) fn walk(&self) -> Walk<'_> {
        Walk { division: self, seen: vec![0; self.strata.len().max(1)] }
    }
}

/// Walks over all rows of a source in their order.
pub(crate) struct Walk<'a> {
    division: &'a Division,
    seen: Vec<u64>,
}

impl Walk<'_> {
    /// The split of the next row, whose stratum is `class` if the division is
    /// stratified. `None` if there are more rows than the division was made for.
    pub(crate) fn next(&mut self, class: Option<u32>) -> Option<Split> {
        if let Some(given) = &self.division.given {
            let split = given.get(self.seen[0] as usize).copied();
            self.seen[0] += 1;
            return split;
        }
        let index = if self.seen.len() == 1 { 0 } else { class? as usize };
        let (stratum, seen) = (self.division.strata.get(index)?, self.seen.get_mut(index)?);
        let [train, validation, test] = stratum.sizes;
        if *seen >= train + validation + test {
            return None;
        }
        let position = stratum.order.at(*seen);
        *seen += 1;
        Some(match position {
            _ if position < train => Split::Train,
            _ if position < train + validation => Split::Validation,
            _ => Split::Test,
        })
    }
}

/// `rows` divided in proportion to the fractions of `spec`: each split gets its
/// part rounded down, and what is left goes to those that lost most by it, the
/// first of equals first. The sum is `rows`.
pub(crate) fn sizes(spec: &SplitSpec, rows: u64) -> [u64; 3] {
    let whole: f64 = Split::ALL.iter().map(|split| split.fraction(spec)).sum();
    let exact = Split::ALL.map(|split| split.fraction(spec) / whole * rows as f64);
    let mut sizes = exact.map(|part| (part + ROUNDING).floor() as u64);
    let lost = exact.iter().zip(sizes).map(|(exact, size)| exact - size as f64);
    let mut by_loss: Vec<(usize, f64)> = lost.enumerate().collect();
    by_loss.sort_by(|a, b| b.1.total_cmp(&a.1));
    let left = rows.saturating_sub(sizes.iter().sum());
    for (split, _) in by_loss.into_iter().take(left as usize) {
        sizes[split] += 1;
    }
    sizes
}

/// `0.7 * 10.0` is a hair below 7: what is nearer than this to a whole number is one.
const ROUNDING: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(train: f64, validation: f64, test: f64) -> SplitSpec {
        SplitSpec { train, validation, test, ..SplitSpec::default() }
    }

    #[test]
    fn sizes_are_the_fractions_rounded() {
        let check = |spec: &SplitSpec, rows, expected| assert_eq!(sizes(spec, rows), expected, "{rows}");
        check(&spec(0.8, 0.1, 0.1), 8_000, [6_400, 800, 800]);
        check(&spec(0.7, 0.2, 0.1), 10, [7, 2, 1]);
        check(&spec(0.8, 0.1, 0.1), 3, [3, 0, 0]);
        check(&spec(0.8, 0.1, 0.1), 6, [5, 1, 0]);
        check(&spec(0.5, 0.0, 0.5), 7, [4, 0, 3]);
        check(&spec(1.0, 0.0, 0.0), 7, [7, 0, 0]);
        check(&spec(0.8, 0.1, 0.1), 0, [0, 0, 0]);
    }

    #[test]
    fn a_stratified_division_keeps_the_proportions_of_every_class() {
        let division = Division::new(&spec(0.8, 0.1, 0.1), &[900, 100]);
        assert_eq!(division.sizes(), [800, 100, 100]);
        let mut walk = division.walk();
        let mut counts = [[0; 3]; 2];
        for row in 0..1_000 {
            let class = u32::from(row % 10 == 0);
            counts[class as usize][walk.next(Some(class)).unwrap() as usize] += 1;
        }
        assert_eq!(counts, [[720, 90, 90], [80, 10, 10]]);
    }

    #[test]
    fn more_rows_than_were_counted_have_no_split() {
        let division = Division::new(&spec(0.8, 0.1, 0.1), &[10]);
        let mut walk = division.walk();
        assert!((0..10).all(|_| walk.next(None).is_some()));
        assert_eq!(walk.next(None), None);
    }

    proptest! {
        #[test]
        fn splits_partition_the_rows(rows in 0_u64..5_000, seed: u64, train in 1_u32..100, validation in 0_u32..100, test in 0_u32..100) {
            let spec = SplitSpec { seed, ..spec(f64::from(train), f64::from(validation), f64::from(test)) };
            let division = Division::new(&spec, &[rows]);
            prop_assert_eq!(division.sizes().iter().sum::<u64>(), rows);
            let mut walk = division.walk();
            let mut counts = [0; 3];
            for _ in 0..rows {
                counts[walk.next(None).unwrap() as usize] += 1;
            }
            prop_assert_eq!(counts, division.sizes());
        }
    }
}

//! Splits: how rows are divided into them, and whether they are apart from each other.
//!
//! The first pass over a table *surveys* what the division needs to know (how many rows a class or a group has, which
//! times there are); the *division* then tells the split of each row; *leakage* looks for what is in two splits. Where a
//! row goes is a pure function of the job file and the source. Rows are kept nowhere: groups and rows are known by hashes
//! of 128 bits, so many of them at the most that memory stays bounded.

mod division;
mod leakage;
mod survey;

use std::{fmt, path::Path};

use phalanx_protocol::spec::SplitSpec;
use serde::{Deserialize, Serialize};

pub use self::leakage::{LeakageFinding, LeakageKind};
pub(crate) use self::{
    division::Division,
    leakage::{LeakageCheck, row_hashes},
    survey::Survey,
};
use crate::{
    error::PrepareError,
    plan::{ColumnKind, ColumnPlan, find},
    source::{Cells, Chunk, Table},
};

/// The most groups that are kept apart.
const GROUPS_MAX: usize = 16 << 20;

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
        spec.fractions()[self as usize]
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The columns that decide the division or are checked against it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SplitPlan {
    group: Option<ColumnPlan>,
    time: Option<ColumnPlan>,
    key: Option<ColumnPlan>,
    column: Option<ColumnPlan>,
}

/// What such a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Group,
    Time,
    Key,
    Column,
}

impl SplitPlan {
    /// Finds the columns that `spec` names.
    pub(crate) fn new(table: &Table, spec: &SplitSpec) -> Result<Self, PrepareError> {
        let column = |name: &Option<String>, role| -> Result<Option<ColumnPlan>, PrepareError> {
            let Some(name) = name else { return Ok(None) };
            let index = find(table, name, role)?;
            Ok(Some(ColumnPlan { index, name: name.clone(), kind: ColumnKind::Text, encoding: None }))
        };
        Ok(Self {
            group: column(&spec.group, "`split.group`")?,
            time: column(&spec.time, "`split.time`")?,
            key: column(&spec.key, "`split.key`")?,
            column: column(&spec.column, "`split.column`")?,
        })
    }

    /// The columns, in the order in which they are read.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &ColumnPlan> {
        self.roles().into_iter().filter_map(|(_, column)| column)
    }

    /// The column of a role, and its cells in `chunk`: those of the division stand before the target, which is last.
    pub(crate) fn cells<'a>(&self, role: Role, chunk: &'a Chunk) -> Option<(&ColumnPlan, &'a Cells)> {
        let named: Vec<_> = self.roles().into_iter().filter(|(_, column)| column.is_some()).collect();
        let place = named.iter().position(|(own, _)| *own == role)?;
        let first = chunk.columns.len().checked_sub(1 + named.len())?;
        Some((named[place].1?, chunk.columns.get(first + place)?))
    }

    fn roles(&self) -> [(Role, Option<&ColumnPlan>); 4] {
        [
            (Role::Group, self.group.as_ref()),
            (Role::Time, self.time.as_ref()),
            (Role::Key, self.key.as_ref()),
            (Role::Column, self.column.as_ref()),
        ]
    }
}

/// Fails if a split that was asked for has no rows. `units` is what there is, of which `rows` were made.
pub(crate) fn check_sizes(
    spec: &SplitSpec,
    rows: [u64; 3],
    units: [u64; 3],
    path: &Path,
    unit: &'static str,
) -> Result<(), PrepareError> {
    for (split, rows) in Split::ALL.into_iter().zip(rows) {
        let fraction = split.fraction(spec);
        let is_wanted = split == Split::Train || (fraction > 0.0 && !spec.sizes_are_given());
        if rows == 0 && is_wanted {
            let rows = units.iter().sum();
            return Err(PrepareError::EmptySplit { path: path.to_owned(), split, fraction, rows, unit });
        }
    }
    Ok(())
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
}

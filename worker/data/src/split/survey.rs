//! What the first pass finds out for the division.

use std::{collections::HashMap, path::Path};

use phalanx_protocol::spec::{FoldSpec, SplitBy, SplitSpec};

use super::{
    Division, GROUPS_MAX, Role, SplitPlan,
    division::{StratumOf, at_once, each_cell, hash, time},
};
use crate::{
    error::{ColumnProblem, PrepareError},
    plan::Plan,
    profile::{Profile, Target},
    sample::Sample,
    source::{Chunk, Table},
};

/// Times that are kept to find those at which splits begin: up to so many rows, fractions are met exactly.
const TIMES_KEPT: usize = 16 << 20;

/// What the first pass finds out for the division.
#[derive(Debug)]
pub(crate) enum Survey {
    /// Nothing that the profile does not know.
    Nothing,
    /// Numbers to predict, to be put into ranges.
    Targets(Sample),
    /// Rows of each group.
    Groups(HashMap<u128, u64>),
    /// All times.
    Times(Sample),
}

impl Survey {
    pub(crate) fn new(spec: &SplitSpec) -> Self {
        match spec.by {
            SplitBy::Random | SplitBy::Hash | SplitBy::Column => Self::Nothing,
            SplitBy::Stratified => Self::Targets(Sample::of_columns(1)),
            SplitBy::Group => Self::Groups(HashMap::new()),
            SplitBy::Time if spec.sizes_are_given() => Self::Nothing,
            SplitBy::Time => Self::Times(Sample::of(TIMES_KEPT)),
        }
    }

    /// Looks at the rows of a chunk, whose last column is the target.
    pub(crate) fn observe(
        &mut self,
        plan: &SplitPlan,
        chunk: &Chunk,
        path: &Path,
    ) -> Result<(), PrepareError> {
        let changed = || PrepareError::Changed { path: path.to_owned() };
        match self {
            Self::Nothing => {}
            Self::Targets(sample) => {
                let cells = chunk.columns.last().ok_or_else(changed)?;
                // Whether the target holds numbers is not known yet.
                let numbers = (0..chunk.rows).filter_map(|row| cells.number(row).ok().flatten());
                numbers.for_each(|number| sample.add(number));
            }
            Self::Groups(groups) => {
                let (column, cells) = plan.cells(Role::Group, chunk).ok_or_else(changed)?;
                for group in each_cell(column, cells, chunk, path, |cell| Ok(hash(cell)))? {
                    *groups.entry(group).or_default() += 1;
                }
                if groups.len() > GROUPS_MAX {
                    let problem = ColumnProblem::TooManyGroups { max: GROUPS_MAX };
                    let column = column.name.clone();
                    return Err(PrepareError::Column { path: path.to_owned(), column, problem });
                }
            }
            Self::Times(times) => {
                let (column, cells) = plan.cells(Role::Time, chunk).ok_or_else(changed)?;
                for time in each_cell(column, cells, chunk, path, time)? {
                    times.add(time);
                }
            }
        }
        Ok(())
    }

    /// The division that comes of it. Ranges of numbers take another pass over the targets, in which their rows are counted.
    pub(crate) fn divide(
        self,
        spec: &SplitSpec,
        profile: &Profile,
        table: &Table,
        plan: &Plan,
    ) -> Result<Division, PrepareError> {
        match self {
            Self::Groups(groups) => Ok(Division::groups(spec, groups)),
            Self::Times(times) => {
                let times = times.sorted();
                let begins = |share: f64| if share < 1.0 { times.quantile(share) } else { f64::INFINITY };
                let whole = spec.train + spec.validation + spec.test;
                let [validation, test, end] = match spec.fold {
                    None => [spec.train / whole, (spec.train + spec.validation) / whole, 1.0],
                    Some(FoldSpec { number, of }) => {
                        // The first stretch is only trained on.
                        let [test, end] =
                            [number, number + 1].map(|stretch| f64::from(stretch) / f64::from(of + 1));
                        [test * spec.train / (spec.train + spec.validation), test, end]
                    }
                };
                Ok(Division::Times { validation: begins(validation), test: begins(test), end: begins(end) })
            }
            Self::Targets(sample) => match &profile.target {
                Target::Classes(classes) => Ok(Division::strata(spec, StratumOf::Class, &classes.rows)),
                Target::Number => {
                    let of = StratumOf::Range(sample.sorted().borders(spec.bins as usize));
                    let rows = count(&of, profile, table, plan)?;
                    Ok(Division::strata(spec, of, &rows))
                }
            },
            Self::Nothing => {
                let at_once = at_once(spec);
                Ok(at_once.unwrap_or_else(|| Division::strata(spec, StratumOf::All, &[profile.rows])))
            }
        }
    }
}

/// Rows whose target lies in each range.
fn count(of: &StratumOf, profile: &Profile, table: &Table, plan: &Plan) -> Result<Vec<u64>, PrepareError> {
    let changed = || PrepareError::Changed { path: table.path().to_owned() };
    let mut rows = vec![0; of.ranges()];
    for chunk in table.chunks(&[plan.target.selected()])? {
        let chunk = chunk?;
        let cells = chunk.columns.last().ok_or_else(changed)?;
        let targets = profile.target.read(cells, chunk.rows).ok_or_else(changed)?;
        (0..chunk.rows).for_each(|row| rows[of.index(&targets, row)] += 1);
    }
    Ok(rows)
}

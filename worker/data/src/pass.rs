//! A pass over all rows of a table that knows their splits: rows are cut off and divided on
//! one thread, worked on by several, and what comes of them is put together in their order.

use phalanx_protocol::spec::DataSpec;

use crate::{
    PrepareError, Split,
    ordered::{ordered, threads},
    plan::Plan,
    profile::{Profile, TargetValues},
    source::{Chunk, Dialect, Table},
    split::Division,
};

/// What every pass over the rows knows that comes after the first.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) table: &'a Table,
    pub(crate) plan: &'a Plan,
    pub(crate) profile: &'a Profile,
    pub(crate) division: &'a Division,
    pub(crate) dialect: &'a Dialect,
    pub(crate) spec: &'a DataSpec,
}

/// Rows, and where they belong.
#[derive(Debug)]
pub(crate) struct Divided {
    pub(crate) chunk: Chunk,
    pub(crate) targets: TargetValues,
    /// `None` of rows that are left out.
    pub(crate) splits: Vec<Option<Split>>,
}

/// How many rows were read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    /// By split.
    pub(crate) rows: [u64; 3],
    /// All of them, those that are left out, too.
    pub(crate) all: u64,
}

impl Pass<'_> {
    /// Reads every row once, and tells how many belong to each split: `work` is done on several threads, and `fold` in the
    /// order of the rows.
    pub(crate) fn read<R: Send>(
        &self,
        work: impl Fn(Divided) -> Result<R, PrepareError> + Sync,
        mut fold: impl FnMut(R) -> Result<(), PrepareError>,
    ) -> Result<Told, PrepareError> {
        let Self { table, plan, profile, division, spec, .. } = *self;
        let path = table.path();
        let changed = || PrepareError::Changed { path: path.to_owned() };
        let mut walk = division.walk(&spec.split);
        let mut divide = |chunk: Chunk| -> Result<Divided, PrepareError> {
            let cells = chunk.columns.last().ok_or_else(changed)?;
            let targets = profile.target.read(cells, chunk.rows).ok_or_else(changed)?;
            let splits = walk.next(&plan.split, &chunk, &targets, path)?;
            Ok(Divided { chunk, targets, splits })
        };
        let chunks = table.chunks(&plan.selected())?.map(move |chunk| divide(chunk?));
        let mut told = Told::default();
        let work = |divided: Divided| {
            let of_split =
                |split| divided.splits.iter().filter(|of_row| **of_row == Some(split)).count() as u64;
            let (counts, all) = (Split::ALL.map(of_split), divided.splits.len() as u64);
            Ok((counts, all, work(divided)?))
        };
        let fold = |(counts, all, result): ([u64; 3], u64, R)| {
            told.rows.iter_mut().zip(counts).for_each(|(rows, count)| *rows += count);
            told.all += all;
            fold(result)
        };
        ordered(threads(), chunks, work, fold, || PrepareError::Crashed { path: path.to_owned() })?;
        Ok(told)
    }
}

//! Where rows come from within cleaning: the source itself, or a table on disk.

use super::{CleanTable, read_batches};
use crate::{
    PrepareError,
    intake::{Input, Rows},
    ordered::{ordered, threads},
};

/// Rows in the order of the source.
pub(crate) enum Batches<'a> {
    Source(&'a Input),
    Table(CleanTable),
}

impl Batches<'_> {
    /// Reads all rows once: `work` is done on several threads, with the number of the batch, and
    /// `fold` in the order of the rows.
    pub(crate) fn read<R: Send>(
        &self,
        work: impl Fn(usize, Rows) -> Result<R, PrepareError> + Sync,
        fold: impl FnMut(R) -> Result<(), PrepareError>,
    ) -> Result<(), PrepareError> {
        match self {
            // Nothing asks for the numbers of a source's pieces: splits are those of a table.
            Self::Source(input) => input.read(|rows| work(0, rows), fold),
            Self::Table(table) => {
                let batches = read_batches(&table.path)?.enumerate();
                let batches = batches.map(|(number, batch)| Ok((number, batch?)));
                let work = |(number, batch)| work(number, Rows { batch, rejects: Vec::new() });
                let lost = || PrepareError::Crashed { path: table.path.clone() };
                ordered(threads(), batches, work, fold, lost)
            }
        }
    }
}

//! What a data set is built from: the files of a source on this machine, as they
//! are or clean.

use std::path::PathBuf;

use phalanx_protocol::spec::{DataSpec, Malformed};

use crate::{
    PrepareError, Split,
    clean::{self, CleanTable, Cleaned, clean},
    intake::{self, Input, SourceFile, is_packed},
    plan::Plan,
    profile::profile,
    source::{ArrowTable, Table},
    split::{Survey, check_sizes},
};

/// What is built from.
#[derive(Debug, Clone)]
pub(crate) struct Material {
    pub(crate) spec: DataSpec,
    /// The source's files, on this machine.
    pub(crate) files: Vec<SourceFile>,
    /// A folder for what is made on the way.
    pub(crate) scratch: PathBuf,
}

impl Material {
    /// Whether the source is one file that can be read as it is, and nothing is to be done to it.
    pub(crate) fn is_plain(&self) -> bool {
        let Self { spec, files, .. } = self;
        let as_it_is = |file: &SourceFile| file.name == file.path && !is_packed(file);
        let untouched = spec.clean.is_empty() && spec.expect.is_empty() && spec.malformed == Malformed::Fail;
        untouched && matches!(files.as_slice(), [only] if as_it_is(only))
    }

    /// A text's bytes as one file: the source's own, or what its files hold one after the other.
    pub(crate) fn plain_text(&self) -> Result<PathBuf, PrepareError> {
        if let [only] = self.files.as_slice()
            && !is_packed(only)
        {
            return Ok(only.path.clone());
        }
        let path = self.scratch.join("text");
        let failed =
            |error: std::io::Error| PrepareError::Scratch { path: path.clone(), reason: error.to_string() };
        let mut text = std::fs::File::create(&path).map_err(failed)?;
        for file in &self.files {
            intake::copy_plain(file, &mut text)?;
        }
        Ok(path)
    }

    /// Cleans the source.
    pub(crate) fn clean(&self) -> Result<Cleaned, PrepareError> {
        let input = Input::open(&self.spec, self.files.clone())?;
        let divide = |table: &CleanTable| divide_rows(&self.table(table), &self.spec);
        clean(&input, &self.spec, &self.scratch, &divide)
    }

    /// A table of its clean rows, as the encoder reads it.
    pub(crate) fn table(&self, table: &CleanTable) -> Table {
        Table::Clean(ArrowTable::new(table, &self.files))
    }

    /// The split of each clean row.
    pub(crate) fn splits(&self, table: &CleanTable) -> Result<Vec<Option<Split>>, PrepareError> {
        match clean::splits(table)? {
            Some(splits) => Ok(splits),
            None => divide_rows(&self.table(table), &self.spec),
        }
    }
}

/// The split of each row of a table.
fn divide_rows(table: &Table, spec: &DataSpec) -> Result<Vec<Option<Split>>, PrepareError> {
    let mut plan = Plan::of_division(table, spec)?;
    let mut survey = Survey::new(&spec.split);
    let profile = profile(table, &mut plan, &mut survey, |_| Ok(()))?;
    let division = survey.divide(&spec.split, &profile, table, &plan)?;
    let changed = || PrepareError::Changed { path: table.path().to_owned() };
    let (mut walk, mut splits) = (division.walk(&spec.split), Vec::new());
    for chunk in table.chunks(&plan.selected())? {
        let chunk = chunk?;
        let cells = chunk.columns.last().ok_or_else(changed)?;
        let targets = profile.target.read(cells, chunk.rows).ok_or_else(changed)?;
        splits.extend(walk.next(&plan.split, &chunk, &targets, table.path())?);
    }
    check_sizes(&spec.split, walk.rows(), walk.rows(), table.path(), "rows")?;
    Ok(splits)
}

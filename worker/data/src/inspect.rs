//! Looking at a source without making a data set of it: whether it can be read,
//! what cleaning does to it, and whether it is as expected; and its clean rows.

use std::path::Path;

use arrow::array::RecordBatch;
use phalanx_protocol::spec::{DataSpec, SourceSpec, Then};
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::{
    ColumnProfile, Funnel, Outcome, PrepareError, Progress, Split,
    build::check_recipe,
    census::Census,
    clean::{Cleaned, read_batches, refuse},
    gather::gather,
    kept::visible,
    material::Material,
    prepare::scratch,
    source::TextFile,
};

/// What came of looking at a source; of a text, that it can be read.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Validation {
    /// What became of the rows.
    pub funnel: Funnel,
    /// What came of the expectations.
    pub outcomes: Vec<Outcome>,
    /// Rows that would be put aside.
    pub quarantined: u64,
    /// The columns of the clean rows.
    pub columns: Vec<ColumnProfile>,
}

impl Validation {
    /// Whether preparing would go through.
    pub fn is_met(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.met || outcome.expectation.then() != Then::Fail)
    }
}

/// Reads and cleans the source that `spec` names, and looks whether it is as expected. Nothing is stored.
///
/// # Errors
///
/// What is wrong with the source and where.
pub async fn validate(
    spec: &DataSpec,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Validation, PrepareError> {
    look(spec, progress, |material| {
        if material.spec.source().is_some_and(SourceSpec::is_text) {
            TextFile::open(&material.plain_text()?)?;
            return Ok(Validation::default());
        }
        let Cleaned { table, funnel, outcomes, quarantine, .. } = material.clean()?;
        let mut census: Option<Census> = None;
        for batch in read_batches(&table.path)? {
            let batch = visible(&batch?);
            census.get_or_insert_with(|| Census::new(&batch.schema())).add(Census::of(&batch));
        }
        let (columns, _) = census.map(Census::finish).unwrap_or_default();
        Ok(Validation { funnel, outcomes, quarantined: quarantine.rows(), columns })
    })
    .await
}

/// Hands the clean rows of the source that `spec` names to `take`, each batch with the split of its rows; one that
/// is left out has none.
///
/// # Errors
///
/// What is wrong with the source and where, or what `take` returns.
pub async fn clean_rows(
    spec: &DataSpec,
    progress: &mut (dyn FnMut(Progress) + Send),
    mut take: impl FnMut(&RecordBatch, &[Option<Split>]) -> Result<(), PrepareError> + Send + 'static,
) -> Result<(), PrepareError> {
    look(spec, progress, move |material| {
        let Cleaned { table, outcomes, .. } = material.clean()?;
        refuse(&outcomes)?;
        let splits = material.splits(&table)?;
        let mut from = 0;
        for batch in read_batches(&table.path)? {
            let batch = visible(&batch?);
            let to = from + batch.num_rows();
            take(&batch, splits.get(from..to).unwrap_or_default())?;
            from = to;
        }
        Ok(())
    })
    .await
}

/// Hands the clean rows of the source that `spec` names to `take`, undivided: rows may have no target.
///
/// # Errors
///
/// What is wrong with the source and where, or what `take` returns.
pub async fn undivided_rows(
    spec: &DataSpec,
    progress: &mut (dyn FnMut(Progress) + Send),
    mut take: impl FnMut(&RecordBatch) -> Result<(), PrepareError> + Send + 'static,
) -> Result<(), PrepareError> {
    look(spec, progress, move |material| {
        let Cleaned { table, outcomes, .. } = material.clean()?;
        refuse(&outcomes)?;
        read_batches(&table.path)?.try_for_each(|batch| take(&visible(&batch?)))
    })
    .await
}

/// Gathers the source, and does `work` on a thread.
async fn look<T: Send + 'static>(
    spec: &DataSpec,
    progress: &mut (dyn FnMut(Progress) + Send),
    work: impl FnOnce(&Material) -> Result<T, PrepareError> + Send + 'static,
) -> Result<T, PrepareError> {
    check_recipe(spec)?;
    let scratch = scratch()?;
    let files = gather(spec, scratch.path(), progress).await?;
    let material = Material { spec: spec.clone(), files, scratch: scratch.path().to_owned() };
    let done = spawn_blocking(move || work(&material)).await;
    done.map_err(|_| PrepareError::Crashed { path: Path::new("the source").to_owned() })?
}

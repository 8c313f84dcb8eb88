//! The first pass: how many rows there are, what each column of unknown type
//! holds, and what the target is. It looks at every row, so that a mistake on the
//! last line is found before anything is written.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use arrow::array::Array as _;
use phalanx_protocol::spec::CLASSES_MAX;

use crate::{
    error::{CellProblem, ColumnProblem, Place, PrepareError, shown},
    plan::{ColumnKind, ColumnPlan, FeaturePlan, Plan},
    source::{Cells, Chunk, Table, is_finite},
    split::Survey,
};

/// What the first pass found.
#[derive(Debug)]
pub(crate) struct Profile {
    /// Rows in the source.
    pub(crate) rows: u64,
    /// Missing cells of each feature column; none for lists.
    pub(crate) missing: Vec<u64>,
    /// The target.
    pub(crate) target: Target,
}

/// What is predicted.
#[derive(Debug)]
pub(crate) enum Target {
    /// One of these classes.
    Classes(Classes),
    /// A number.
    Number,
}

/// The classes of a target, sorted: as numbers if all are integers.
#[derive(Debug)]
pub(crate) struct Classes {
    /// Their names.
    pub(crate) names: Vec<String>,
    /// Rows of each.
    pub(crate) rows: Vec<u64>,
    indices: HashMap<String, u32>,
}

/// The targets of a chunk.
#[derive(Debug)]
pub(crate) enum TargetValues {
    /// Indices of classes.
    Classes(Vec<u32>),
    /// Numbers.
    Numbers(Vec<f32>),
}

/// Looks at every row, and replaces what `plan` leaves open by what was found.
pub(crate) fn profile(
    table: &Table,
    plan: &mut Plan,
    survey: &mut Survey,
    mut progress: impl FnMut(f32) -> Result<(), PrepareError>,
) -> Result<Profile, PrepareError> {
    let mut features = vec![Seen::default(); plan.features.columns()];
    let mut target = SeenTarget::default();
    let mut rows = 0;
    for chunk in table.chunks(&plan.selected_for_profile())? {
        let chunk = chunk?;
        if let FeaturePlan::Columns(columns) = &plan.features {
            for ((plan, seen), cells) in columns.iter().zip(&mut features).zip(&chunk.columns) {
                seen.observe(&chunk, cells, plan, table.path())?;
            }
        }
        target.observe(&chunk, &plan.target, table.path())?;
        survey.observe(&plan.split, &chunk, table.path())?;
        rows += chunk.rows as u64;
        progress(chunk.read)?;
    }
    if rows == 0 {
        return Err(PrepareError::NoRows { path: table.path().to_owned(), columns: table.names().len() });
    }
    if let FeaturePlan::Columns(columns) = &mut plan.features {
        for (plan, seen) in columns.iter_mut().zip(&features) {
            plan.kind = seen.kind(plan, table.path())?;
        }
    }
    plan.target.kind = target.seen.target_kind(&plan.target, table.path())?;
    let missing = features.iter().map(|seen| seen.missing).collect();
    Ok(Profile { rows, missing, target: target.decide(&plan.target, table.path())? })
}

impl Target {
    /// The targets of a chunk; `None` if one is not as the profile found it.
    pub(crate) fn read(&self, cells: &Cells, rows: usize) -> Option<TargetValues> {
        match self {
            Self::Classes(classes) => {
                let index = |row| classes.indices.get(cells.text(row)?.as_ref()).copied();
                (0..rows).map(index).collect::<Option<_>>().map(TargetValues::Classes)
            }
            Self::Number => {
                let number = |row| Some(cells.number(row).ok()?? as f32);
                (0..rows).map(number).collect::<Option<_>>().map(TargetValues::Numbers)
            }
        }
    }
}

/// What was seen of one column.
#[derive(Debug, Clone, Default)]
struct Seen {
    missing: u64,
    numbers: u64,
    fractions: u64,
    texts: u64,
    first_text: Option<(Place, String)>,
}

impl Seen {
    fn observe(
        &mut self,
        chunk: &Chunk,
        cells: &Cells,
        plan: &ColumnPlan,
        path: &Path,
    ) -> Result<(), PrepareError> {
        if let Some(missing) = plainly_missing(plan.kind, cells) {
            self.missing += missing;
            let there = chunk.rows as u64 - missing;
            if plan.kind == ColumnKind::Text {
                self.texts += there;
            } else {
                self.numbers += there;
            }
            return Ok(());
        }
        for row in 0..chunk.rows {
            match (plan.kind, cells.number(row)) {
                (_, Ok(None)) => self.missing += 1,
                (ColumnKind::Text, _) => self.texts += 1,
                (_, Ok(Some(number))) => {
                    self.numbers += 1;
                    self.fractions += u64::from(!is_integer(cells, row, number));
                }
                (ColumnKind::Numbers, Err(found)) => {
                    let problem = CellProblem::NotANumber { found: shown(&found) };
                    return Err(cell_error(path, chunk.places.at(row), plan, problem));
                }
                (ColumnKind::Untyped, Err(found)) => {
                    self.texts += 1;
                    self.first_text.get_or_insert_with(|| (chunk.places.at(row), shown(&found)));
                }
            }
        }
        Ok(())
    }

    /// What a feature column is.
    fn kind(&self, plan: &ColumnPlan, path: &Path) -> Result<ColumnKind, PrepareError> {
        match (plan.kind, &self.first_text) {
            _ if self.numbers + self.texts == 0 => Err(column_error(path, plan, ColumnProblem::NoValues)),
            (ColumnKind::Untyped, None) => Ok(ColumnKind::Numbers),
            (ColumnKind::Untyped, Some((place, found))) if self.numbers > self.texts => {
                let problem = CellProblem::MixedTypes { found: found.clone() };
                Err(cell_error(path, *place, plan, problem))
            }
            (ColumnKind::Untyped, Some(_)) => Ok(ColumnKind::Text),
            (known, _) => Ok(known),
        }
    }

    /// What the target column is.
    fn target_kind(&self, plan: &ColumnPlan, path: &Path) -> Result<ColumnKind, PrepareError> {
        match (plan.kind, &self.first_text) {
            (ColumnKind::Untyped, None) if self.fractions == 0 => {
                Err(column_error(path, plan, ColumnProblem::ObjectiveNeeded))
            }
            (ColumnKind::Untyped, Some((place, found))) if self.numbers > self.texts => {
                let problem = CellProblem::TargetNotANumber { found: found.clone() };
                Err(cell_error(path, *place, plan, problem))
            }
            (ColumnKind::Untyped, None) => Ok(ColumnKind::Numbers),
            (ColumnKind::Untyped, Some(_)) => Ok(ColumnKind::Text),
            (known, _) => Ok(known),
        }
    }
}

/// How many cells are missing, where the type of the column says all else: nothing is left to be found of texts, and of
/// numbers that are finite.
fn plainly_missing(kind: ColumnKind, cells: &Cells) -> Option<u64> {
    match (kind, cells) {
        (ColumnKind::Text, Cells::Text(cells)) => Some(cells.null_count() as u64),
        (ColumnKind::Numbers, Cells::Numbers(cells)) => {
            // What stands in the place of a missing cell may be anything: such columns are looked at one by one.
            let all_finite = cells.values().iter().all(|number| is_finite(*number));
            all_finite.then(|| cells.null_count() as u64)
        }
        (ColumnKind::Text | ColumnKind::Numbers | ColumnKind::Untyped, _) => None,
    }
}

/// What was seen of the target.
#[derive(Debug, Default)]
struct SeenTarget {
    seen: Seen,
    /// Rows of each text, up to one more text than there may be classes.
    texts: HashMap<String, u64>,
}

impl SeenTarget {
    fn observe(&mut self, chunk: &Chunk, plan: &ColumnPlan, path: &Path) -> Result<(), PrepareError> {
        let Some(cells) = chunk.columns.last() else {
            return Err(PrepareError::Changed { path: path.to_owned() });
        };
        for row in 0..chunk.rows {
            let problem = match (plan.kind, cells.number(row)) {
                (_, Ok(None)) => CellProblem::TargetMissing,
                (ColumnKind::Numbers, Err(found)) => CellProblem::TargetNotANumber { found: shown(&found) },
                (ColumnKind::Text | ColumnKind::Untyped, _) | (ColumnKind::Numbers, Ok(Some(_))) => continue,
            };
            return Err(cell_error(path, chunk.places.at(row), plan, problem));
        }
        self.seen.observe(chunk, cells, plan, path)?;
        if plan.kind != ColumnKind::Numbers {
            self.count(cells, chunk.rows);
        }
        Ok(())
    }

    fn count(&mut self, cells: &Cells, rows: usize) {
        for text in (0..rows).filter_map(|row| cells.text(row)) {
            if let Some(rows) = self.texts.get_mut(text.as_ref()) {
                *rows += 1;
            } else if self.texts.len() <= CLASSES_MAX {
                self.texts.insert(text.into_owned(), 1);
            }
        }
    }

    fn decide(self, plan: &ColumnPlan, path: &Path) -> Result<Target, PrepareError> {
        if plan.kind == ColumnKind::Numbers {
            return Ok(Target::Number);
        }
        if self.texts.len() > CLASSES_MAX {
            return Err(column_error(path, plan, ColumnProblem::TooManyClasses { max: CLASSES_MAX }));
        }
        let classes = sorted(self.texts.into_iter());
        if let [(class, _)] = classes.as_slice() {
            return Err(column_error(path, plan, ColumnProblem::OneClass { class: shown(class) }));
        }
        let indices = classes.iter().zip(0..).map(|((name, _), index)| (name.clone(), index)).collect();
        let (names, rows) = classes.into_iter().unzip();
        Ok(Target::Classes(Classes { names, rows, indices }))
    }
}

/// Classes or categories in order: as numbers if all are integers, else as text.
pub(crate) fn sorted(classes: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut classes: Vec<_> = classes.collect::<BTreeMap<_, _>>().into_iter().collect();
    let numbers: Option<Vec<i64>> = classes.iter().map(|(name, _)| name.parse().ok()).collect();
    if numbers.is_some() {
        classes.sort_by_key(|(name, _)| name.parse::<i64>().ok());
    }
    classes
}

/// Whether a number is an integer: in text, by how it is written.
fn is_integer(cells: &Cells, row: usize, number: f64) -> bool {
    match cells {
        Cells::Text(cells) => cells.value(row).parse::<i64>().is_ok(),
        Cells::Numbers(_) => number.fract() == 0.0,
    }
}

fn cell_error(path: &Path, place: Place, plan: &ColumnPlan, problem: CellProblem) -> PrepareError {
    PrepareError::Cell { path: path.to_owned(), place, column: plan.name.clone(), problem }
}

fn column_error(path: &Path, plan: &ColumnPlan, problem: ColumnProblem) -> PrepareError {
    PrepareError::Column { path: path.to_owned(), column: plan.name.clone(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_sorted_as_numbers_where_all_are_integers() {
        let check = |names: &[&str], expected: &[&str]| {
            let classes = names.iter().map(|name| ((*name).to_owned(), 1));
            let found: Vec<_> = sorted(classes).into_iter().map(|(name, _)| name).collect();
            assert_eq!(found, expected);
        };
        check(&["10", "9", "-1"], &["-1", "9", "10"]);
        check(&["10", "9", "a"], &["10", "9", "a"]);
        check(&["<=50K", ">50K"], &["<=50K", ">50K"]);
    }
}

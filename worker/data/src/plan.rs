//! The plan: which columns of a table are read and as what, decided from the
//! job file and the types in the file, before any row is read.

use phalanx_protocol::spec::{ColumnEncoding, DataSpec, NumberEncoding, Objective};

use crate::{
    error::{ColumnProblem, PrepareError},
    source::{ColumnType, ListForm, ReadAs, Selected, Table},
    split::SplitPlan,
};

/// The most numbers in an encoded row.
pub(crate) const WIDTH_MAX: usize = 16 << 20;

/// The columns that are read.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) features: FeaturePlan,
    /// Columns that decide the division into splits or are checked against it.
    pub(crate) split: SplitPlan,
    pub(crate) target: ColumnPlan,
}

/// The columns that become features.
#[derive(Debug, Clone)]
pub(crate) enum FeaturePlan {
    /// Numbers and texts.
    Columns(Vec<ColumnPlan>),
    /// One column of lists.
    Lists { index: usize, name: String, form: ListForm, encoding: NumberEncoding },
}

/// One column of numbers or texts.
#[derive(Debug, Clone)]
pub(crate) struct ColumnPlan {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
    /// The encoding, where the job file or the column's type says more than the kind.
    pub(crate) encoding: Option<ColumnEncoding>,
}

/// What a column's cells are taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    /// Categories or classes.
    Text,
    /// Numbers.
    Numbers,
    /// Whichever its cells turn out to be.
    Untyped,
}

impl Plan {
    /// Finds every column that the job file names, and what each is.
    pub(crate) fn new(table: &Table, settings: &DataSpec) -> Result<Self, PrepareError> {
        let target = target(table, settings)?;
        for name in &settings.ignore {
            find(table, name, "`ignore`")?;
        }
        for name in &settings.categorical {
            find(table, name, "`categorical`")?;
        }
        for name in &settings.reweigh {
            find(table, name, "`reweigh`")?;
        }
        for name in settings.encode.columns.keys() {
            find(table, name, "`encode.columns`")?;
        }
        for name in settings.encode.order.keys() {
            find(table, name, "`encode.order`")?;
        }
        let split = SplitPlan::new(table, &settings.split)?;
        let indices = feature_indices(table, settings, target)?;
        Ok(Self {
            features: plan_features(table, settings, &indices)?,
            split,
            target: plan_target(table, settings, target)?,
        })
    }

    /// Finds the target, and the columns of the division.
    pub(crate) fn of_division(table: &Table, settings: &DataSpec) -> Result<Self, PrepareError> {
        let target = target(table, settings)?;
        Ok(Self {
            features: FeaturePlan::Columns(Vec::new()),
            split: SplitPlan::new(table, &settings.split)?,
            target: plan_target(table, settings, target)?,
        })
    }

    /// All columns: features, those of the division, the target.
    pub(crate) fn selected(&self) -> Vec<Selected> {
        let mut selected = match &self.features {
            FeaturePlan::Columns(columns) => columns.iter().map(ColumnPlan::selected).collect(),
            FeaturePlan::Lists { index, form, .. } => {
                vec![Selected { index: *index, read_as: ReadAs::Lists(*form) }]
            }
        };
        selected.extend(self.split.columns().map(ColumnPlan::selected));
        selected.push(self.target.selected());
        selected
    }

    /// The columns that must be looked at before anything can be fitted: all but lists.
    pub(crate) fn selected_for_profile(&self) -> Vec<Selected> {
        let mut selected = self.selected();
        selected.retain(|column| !matches!(column.read_as, ReadAs::Lists(_)));
        selected
    }
}

impl FeaturePlan {
    /// How many columns of numbers and texts.
    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Columns(columns) => columns.len(),
            Self::Lists { .. } => 0,
        }
    }
}

impl ColumnPlan {
    pub(crate) fn selected(&self) -> Selected {
        let read_as = match self.kind {
            ColumnKind::Text => ReadAs::Text,
            ColumnKind::Numbers | ColumnKind::Untyped => ReadAs::Given,
        };
        Selected { index: self.index, read_as }
    }
}

/// The number of the target.
fn target(table: &Table, settings: &DataSpec) -> Result<usize, PrepareError> {
    let target = settings.target().ok_or_else(|| PrepareError::Recipe {
        reason: "`target` must name the column to predict".to_owned(),
    })?;
    find(table, target, "`target`")
}

/// The number of the column `name`, which `role` names.
pub(crate) fn find(table: &Table, name: &str, role: &'static str) -> Result<usize, PrepareError> {
    let names = table.names();
    names.iter().position(|candidate| candidate == name).ok_or_else(|| PrepareError::ColumnAbsent {
        path: table.path().to_owned(),
        role,
        column: name.to_owned(),
        nearest: nearest(name, names),
        columns: listed(names),
    })
}

/// Values in an image, if they are so many that one can be meant.
pub(crate) fn image_width(shape: [usize; 3]) -> Option<usize> {
    let width = shape.into_iter().try_fold(1_usize, usize::checked_mul)?;
    (1..=WIDTH_MAX).contains(&width).then_some(width)
}

fn feature_indices(table: &Table, settings: &DataSpec, target: usize) -> Result<Vec<usize>, PrepareError> {
    let named = settings.features.as_deref().unwrap_or_default();
    let mut indices = Vec::new();
    for name in named {
        indices.push(find(table, name, "`features`")?);
    }
    let target_name = &table.names()[target];
    if named.iter().chain(&settings.ignore).any(|name| name == target_name) {
        return Err(problem(table, target, ColumnProblem::TargetAsFeature));
    }
    if settings.features.is_none() {
        // What tells customers apart, or splits, is no property of a row unless the job file says so.
        let divides = |name: &String| {
            let named = settings.encode.columns.contains_key(name) || settings.categorical.contains(name);
            !named && settings.split.columns().any(|(_, column)| column == name)
        };
        let is_feature = |index: &usize| *index != target && !divides(&table.names()[*index]);
        indices = (0..table.names().len()).filter(is_feature).collect();
    }
    indices.retain(|index| !settings.ignore.contains(&table.names()[*index]));
    let mut seen = vec![false; table.names().len()];
    indices.retain(|index| !std::mem::replace(&mut seen[*index], true));
    if indices.is_empty() {
        let (path, target) = (table.path().to_owned(), target_name.clone());
        return Err(PrepareError::NoFeatures { path, target });
    }
    Ok(indices)
}

fn plan_features(table: &Table, settings: &DataSpec, indices: &[usize]) -> Result<FeaturePlan, PrepareError> {
    let mut columns = Vec::new();
    for &index in indices {
        let name = table.names()[index].clone();
        let column_type = table.column_type(index);
        let mut encoding = settings.encode.columns.get(&name).copied();
        let kind = match &column_type {
            ColumnType::Other(found) => {
                let found = found.clone();
                return Err(problem(table, index, ColumnProblem::Type { found }));
            }
            ColumnType::Lists { .. } if indices.len() > 1 => {
                return Err(problem(table, index, ColumnProblem::ListAmongOthers));
            }
            ColumnType::Lists { integers } => {
                let form = list_form(*integers, settings.shape)?;
                let encoding = match encoding.map(ColumnEncoding::of_numbers) {
                    None => settings.encode.numbers,
                    Some(Some(encoding)) => encoding,
                    Some(None) => {
                        let found = column_type.to_string();
                        return Err(problem(table, index, ColumnProblem::NotOfNumbers { found }));
                    }
                };
                return Ok(FeaturePlan::Lists { index, name, form, encoding });
            }
            _ if settings.shape.is_some() => {
                let (shape, found) = (settings.shape.unwrap_or_default(), column_type.to_string());
                return Err(problem(table, index, ColumnProblem::NotAnImage { shape, found }));
            }
            _ if settings.categorical.contains(&name) => ColumnKind::Text,
            _ if encoding.is_some_and(|encoding| encoding.of_numbers().is_none()) => ColumnKind::Text,
            ColumnType::Times if encoding.is_some() => {
                let found = column_type.to_string();
                return Err(problem(table, index, ColumnProblem::NotNumbers { found }));
            }
            ColumnType::Times => {
                encoding.get_or_insert(ColumnEncoding::Date);
                ColumnKind::Text
            }
            _ if encoding.is_some() => ColumnKind::Numbers,
            ColumnType::Text => ColumnKind::Text,
            ColumnType::Integers | ColumnType::Floats => ColumnKind::Numbers,
            ColumnType::Untyped => ColumnKind::Untyped,
        };
        columns.push(ColumnPlan { index, name, kind, encoding });
    }
    Ok(FeaturePlan::Columns(columns))
}

fn plan_target(table: &Table, settings: &DataSpec, index: usize) -> Result<ColumnPlan, PrepareError> {
    let name = table.names()[index].clone();
    let is_code = settings.categorical.contains(&name);
    let objective = settings.objective.or(is_code.then_some(Objective::Classification));
    let column_type = table.column_type(index);
    let kind = match (&column_type, objective) {
        (ColumnType::Lists { .. } | ColumnType::Other(_) | ColumnType::Times, _) => {
            let found = column_type.to_string();
            return Err(problem(table, index, ColumnProblem::TargetType { found }));
        }
        (_, Some(Objective::Classification)) | (ColumnType::Text, None) => ColumnKind::Text,
        (_, Some(Objective::Regression)) | (ColumnType::Floats, None) => ColumnKind::Numbers,
        (ColumnType::Integers, None) => return Err(problem(table, index, ColumnProblem::ObjectiveNeeded)),
        (ColumnType::Untyped, None) => ColumnKind::Untyped,
    };
    Ok(ColumnPlan { index, name, kind, encoding: None })
}

/// Images are of bytes where they can be; vectors are of floats, which are standardised.
fn list_form(integers: bool, shape: Option<[usize; 3]>) -> Result<ListForm, PrepareError> {
    let Some(shape) = shape else { return Ok(ListForm { bytes: false, shape: None, width: None }) };
    let width = image_width(shape).ok_or_else(|| PrepareError::Recipe {
        reason: format!("`shape` must be of 1 to {WIDTH_MAX} values, found {shape:?}"),
    })?;
    Ok(ListForm { bytes: integers, shape: Some(shape), width: Some(width) })
}

fn problem(table: &Table, index: usize, problem: ColumnProblem) -> PrepareError {
    let (path, column) = (table.path().to_owned(), table.names()[index].clone());
    PrepareError::Column { path, column, problem }
}

/// The name that `name` is most likely a misspelling of.
pub(crate) fn nearest(name: &str, names: &[String]) -> Option<String> {
    let distance =
        |candidate: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase());
    let close = |candidate: &String| {
        let distance = distance(candidate);
        let length = candidate.chars().count().max(name.chars().count());
        (distance <= length.div_ceil(3)).then_some(distance)
    };
    let near = names.iter().filter_map(|candidate| Some((close(candidate)?, candidate)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate.clone())
}

/// Names for people: the first twenty.
pub(crate) fn listed(names: &[String]) -> String {
    const NAMES_MAX: usize = 20;
    let quoted: Vec<String> = names.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(NAMES_MAX) {
        0 => quoted.join(", "),
        more => format!("{} and {more} more", quoted.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_column_finds_its_neighbour_and_a_strange_one_finds_none() {
        let names = ["age", "income", "education_num", ""].map(String::from);
        let check =
            |name, expected: Option<&str>| assert_eq!(nearest(name, &names).as_deref(), expected, "{name}");
        check("Age", Some("age"));
        check("incme", Some("income"));
        check("education-num", Some("education_num"));
        check("workclass", None);
    }

    #[test]
    fn a_shape_that_no_image_can_have_is_none() {
        assert_eq!(image_width([1, 28, 28]), Some(784));
        assert_eq!(image_width([1, 0, 28]), None);
        assert_eq!(image_width([usize::MAX, 2, 2]), None);
        assert_eq!(image_width([WIDTH_MAX, 2, 1]), None);
    }
}

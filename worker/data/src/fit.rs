//! The second pass: what is learnt from the training split, which is the
//! encoder and the schema. Sums run over rows in their order, in `f64`, so that
//! the result is the same each time.

use std::{collections::BTreeMap, path::Path};

use crate::{
    FeatureKind, Schema, Split, TargetKind,
    encoder::{ColumnRule, Encoder, Encoding, ImageRules, Rules, Scale, TableRules, VectorRules},
    error::{ColumnProblem, PrepareError},
    manifest::{ColumnSummary, ColumnValues},
    moments::{ByteMoments, Moments},
    plan::{ColumnKind, ColumnPlan, FeaturePlan, Plan, WIDTH_MAX},
    profile::{Classes, Profile, Target, TargetValues},
    source::{Cells, Chunk, Dialect, ListValues, Lists, Table},
    split::Division,
};

/// The most categories of one column.
pub(crate) const CATEGORIES_MAX: usize = 1_000;

/// What was learnt.
#[derive(Debug)]
pub(crate) struct Fitted {
    pub(crate) schema: Schema,
    pub(crate) encoder: Encoder,
    pub(crate) columns: Vec<ColumnSummary>,
}

/// Learns from the rows that `division` puts into the training split.
pub(crate) fn fit(
    table: &Table,
    plan: &Plan,
    profile: &Profile,
    division: &Division,
    dialect: &Dialect,
    mut progress: impl FnMut(f32) -> Result<(), PrepareError>,
) -> Result<Fitted, PrepareError> {
    let changed = || PrepareError::Changed { path: table.path().to_owned() };
    let mut features = FeatureSums::new(&plan.features);
    let mut target = TargetSums::new(&profile.target);
    let mut walk = division.walk();
    for chunk in table.chunks(&plan.selected())? {
        let chunk = chunk?;
        let cells = chunk.columns.last().ok_or_else(changed)?;
        let targets = profile.target.read(cells, chunk.rows).ok_or_else(changed)?;
        let mut train = Vec::with_capacity(chunk.rows);
        for row in 0..chunk.rows {
            if walk.next(targets.class(row)).ok_or_else(changed)? == Split::Train {
                train.push(row);
            }
        }
        features.observe(&chunk, &train).ok_or_else(changed)?;
        target.observe(&targets, &train);
        progress(chunk.read)?;
    }

    let (features, rules, mut columns) = features.finish(profile, dialect, table.path())?;
    let (target, values) = target.finish();
    columns.push(ColumnSummary { name: plan.target.name.clone(), missing: 0, values });
    Ok(Fitted { schema: Schema { features, target }, encoder: Encoder { rules, clean: None }, columns })
}

/// Sums over the features of the training split.
enum FeatureSums<'a> {
    /// By column, with its name.
    Columns(Vec<(&'a str, ColumnSums)>),
    /// Over all pixels of the column of this name.
    BytePixels(&'a str, [usize; 3], ByteMoments),
    /// The same for pixels that are no bytes.
    FloatPixels(&'a str, [usize; 3], Moments),
    /// By element of the column of this name.
    Vector(&'a str, Vec<Moments>),
}

enum ColumnSums {
    Numbers(Moments),
    /// Counts of each text, up to one more text than there may be categories.
    Categories {
        counts: BTreeMap<String, u64>,
        missing: bool,
    },
}

impl<'a> FeatureSums<'a> {
    fn new(plan: &'a FeaturePlan) -> Self {
        match plan {
            FeaturePlan::Columns(columns) => {
                let sums = |column: &ColumnPlan| match column.kind {
                    ColumnKind::Text => ColumnSums::Categories { counts: BTreeMap::new(), missing: false },
                    ColumnKind::Numbers | ColumnKind::Untyped => ColumnSums::Numbers(Moments::default()),
                };
                Self::Columns(columns.iter().map(|column| (column.name.as_str(), sums(column))).collect())
            }
            FeaturePlan::Lists { name, form, .. } => match form.shape {
                Some(shape) if form.bytes => Self::BytePixels(name, shape, ByteMoments::default()),
                Some(shape) => Self::FloatPixels(name, shape, Moments::default()),
                None => Self::Vector(name, Vec::new()),
            },
        }
    }

    fn finish(self, profile: &Profile, dialect: &Dialect, path: &Path) -> Result<Finished, PrepareError> {
        match self {
            Self::Columns(sums) => finish_columns(sums, profile, dialect, path),
            Self::BytePixels(name, shape, sums) => {
                Ok(finish_image(name, shape, sums.scale(), None, sums.values()))
            }
            Self::FloatPixels(name, shape, sums) => {
                Ok(finish_image(name, shape, sums.scale(), Some(sums.scale()), sums.values()))
            }
            Self::Vector(name, sums) => finish_vector(name, &sums, path),
        }
    }

    /// Adds the rows `train`; `None` if they are not what the first pass found.
    fn observe(&mut self, chunk: &Chunk, train: &[usize]) -> Option<()> {
        match self {
            Self::Columns(columns) => {
                let mut columns = columns.iter_mut().zip(&chunk.columns);
                columns.try_for_each(|((_, sums), cells)| sums.observe(cells, train))
            }
            Self::BytePixels(_, _, sums) => {
                let Lists { width, values: ListValues::Bytes(values) } = chunk.lists.as_ref()? else {
                    return None;
                };
                train.iter().for_each(|row| sums.add(&values[row * width..][..*width]));
                Some(())
            }
            Self::FloatPixels(_, _, sums) => {
                for values in float_rows(chunk, train)? {
                    values.iter().for_each(|value| sums.add(*value));
                }
                Some(())
            }
            Self::Vector(_, sums) => {
                sums.resize(chunk.lists.as_ref()?.width, Moments::default());
                for values in float_rows(chunk, train)? {
                    sums.iter_mut().zip(values).for_each(|(sums, value)| sums.add(*value));
                }
                Some(())
            }
        }
    }
}

impl ColumnSums {
    fn observe(&mut self, cells: &Cells, train: &[usize]) -> Option<()> {
        match self {
            Self::Numbers(sums) => {
                for row in train {
                    if let Some(number) = cells.number(*row).ok()? {
                        sums.add(number);
                    }
                }
            }
            Self::Categories { counts, missing } => {
                for row in train {
                    let Some(text) = cells.text(*row) else {
                        *missing = true;
                        continue;
                    };
                    if let Some(count) = counts.get_mut(text.as_ref()) {
                        *count += 1;
                    } else if counts.len() <= CATEGORIES_MAX {
                        counts.insert(text.into_owned(), 1);
                    }
                }
            }
        }
        Some(())
    }
}

/// The lists of the rows `train`, if they are of floats.
fn float_rows<'a>(chunk: &'a Chunk, train: &'a [usize]) -> Option<impl Iterator<Item = &'a [f64]>> {
    match chunk.lists.as_ref()? {
        Lists { width, values: ListValues::Floats(values) } => {
            Some(train.iter().map(move |row| &values[row * width..][..*width]))
        }
        Lists { values: ListValues::Bytes(_), .. } => None,
    }
}

type Finished = (FeatureKind, Rules, Vec<ColumnSummary>);

fn finish_columns(
    sums: Vec<(&str, ColumnSums)>,
    profile: &Profile,
    dialect: &Dialect,
    path: &Path,
) -> Result<Finished, PrepareError> {
    let (mut columns, mut summaries, mut width) = (Vec::new(), Vec::new(), 0);
    for ((name, sums), missing_rows) in sums.into_iter().zip(&profile.missing) {
        let name = name.to_owned();
        let (encoding, values) = match sums {
            ColumnSums::Numbers(sums) => (Encoding::Standardise(sums.scale()), sums.values()),
            ColumnSums::Categories { counts, .. } if counts.len() > CATEGORIES_MAX => {
                let problem = ColumnProblem::TooManyCategories { max: CATEGORIES_MAX };
                return Err(PrepareError::Column { path: path.to_owned(), column: name, problem });
            }
            ColumnSums::Categories { counts, missing } => {
                let categories = counts.keys().cloned().collect();
                (Encoding::OneHot { categories, missing }, ColumnValues::Categories(counts))
            }
        };
        width += encoding.width();
        columns.push(ColumnRule { name: name.clone(), encoding });
        summaries.push(ColumnSummary { name, missing: *missing_rows, values });
    }
    check_width(width, path)?;
    let rules = Rules::Table(TableRules { columns, dialect: dialect.clone() });
    Ok((FeatureKind::Dense { width }, rules, summaries))
}

fn finish_image(
    name: &str,
    shape: [usize; 3],
    scale: Scale,
    floats: Option<Scale>,
    values: ColumnValues,
) -> Finished {
    let (mean, deviation) = (scale.mean as f32, scale.deviation as f32);
    let rules = Rules::Image(ImageRules { column: name.to_owned(), shape, floats });
    (FeatureKind::Image { shape, mean, deviation }, rules, vec![list_summary(name, values)])
}

fn finish_vector(name: &str, sums: &[Moments], path: &Path) -> Result<Finished, PrepareError> {
    let width = sums.len();
    check_width(width, path)?;
    let elements = sums.iter().map(Moments::scale).collect();
    let rules = Rules::Vector(VectorRules { column: name.to_owned(), elements });
    let summary = list_summary(name, Moments::joined(sums).values());
    Ok((FeatureKind::Dense { width }, rules, vec![summary]))
}

/// A list with a missing value is an error, so there are none.
fn list_summary(name: &str, values: ColumnValues) -> ColumnSummary {
    ColumnSummary { name: name.to_owned(), missing: 0, values }
}

/// Sums over the targets of the training split.
enum TargetSums<'a> {
    Classes(&'a Classes, Vec<u64>),
    Number(Moments),
}

impl<'a> TargetSums<'a> {
    fn new(target: &'a Target) -> Self {
        match target {
            Target::Classes(classes) => Self::Classes(classes, vec![0; classes.names.len()]),
            Target::Number => Self::Number(Moments::default()),
        }
    }

    fn observe(&mut self, targets: &TargetValues, train: &[usize]) {
        match (self, targets) {
            (Self::Classes(_, counts), TargetValues::Classes(classes)) => {
                train.iter().for_each(|row| counts[classes[*row] as usize] += 1);
            }
            (Self::Number(sums), TargetValues::Numbers(numbers)) => {
                train.iter().for_each(|row| sums.add(numbers[*row].into()));
            }
            // The target that these sums are for also read the values.
            (Self::Classes(..), TargetValues::Numbers(_)) | (Self::Number(_), TargetValues::Classes(_)) => {}
        }
    }

    fn finish(self) -> (TargetKind, ColumnValues) {
        match self {
            Self::Classes(classes, counts) => {
                let counts = classes.names.iter().cloned().zip(counts).collect();
                (TargetKind::Classes(classes.names.clone()), ColumnValues::Categories(counts))
            }
            Self::Number(sums) => {
                let Scale { mean, deviation } = sums.scale();
                (TargetKind::Number { mean, deviation }, sums.values())
            }
        }
    }
}

fn check_width(actual: usize, path: &Path) -> Result<(), PrepareError> {
    match actual {
        1..=WIDTH_MAX => Ok(()),
        _ => Err(PrepareError::TooWide { path: path.to_owned(), actual, max: WIDTH_MAX }),
    }
}

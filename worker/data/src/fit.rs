//! The second pass: what is learnt from the training split, which is the
//! encoder and the schema. Sums run over the rows of a chunk, and then over chunks, in their order
//! and in `f64`, so that the result is the same each time.

use std::path::Path;

use phalanx_protocol::spec::{EncodeSpec, NumberEncoding};

use crate::{
    FeatureKind, Schema, Split, TargetKind,
    encoder::{ColumnRule, Encoder, ImageRules, Rules, Scale, TableRules, VectorRules},
    error::PrepareError,
    learn::{Learnt, LearntNumbers, Unfit},
    manifest::{ColumnSummary, ColumnValues},
    moments::{ByteMoments, Moments},
    pass::{Divided, Pass},
    plan::{ColumnPlan, FeaturePlan, WIDTH_MAX},
    profile::{Classes, Target, TargetValues},
    source::{Chunk, ListValues, Lists},
    split::{LeakageCheck, check_sizes, row_hashes},
};

/// What was learnt.
#[derive(Debug)]
pub(crate) struct Fitted {
    pub(crate) schema: Schema,
    pub(crate) encoder: Encoder,
    pub(crate) columns: Vec<ColumnSummary>,
}

/// Learns from the rows that the division puts into the training split, and looks for what is in others, too.
pub(crate) fn fit(
    pass: &Pass<'_>,
    leakage: &mut LeakageCheck,
    mut progress: impl FnMut(f32) -> Result<(), PrepareError>,
) -> Result<Fitted, PrepareError> {
    let Pass { table, plan, profile, spec, .. } = *pass;
    let path = table.path();
    let changed = || PrepareError::Changed { path: path.to_owned() };
    let mut features = FeatureSums::new(&plan.features, &spec.encode);
    let mut target = TargetSums::new(&profile.target);
    let (blank, are_hashed) = (features.part(), leakage.is_about_rows());
    let work = |Divided { chunk, targets, splits }: Divided| {
        let used = (0..chunk.rows).filter(|row| splits[*row].is_some());
        let (train, other): (Vec<usize>, Vec<usize>) =
            used.partition(|row| splits[*row] == Some(Split::Train));
        let mut part = blank.part();
        part.observe(&chunk, &train, path)?;
        let mut of_target = TargetSums::new(&profile.target);
        of_target.observe(&targets, &train);
        let other = other.into_iter().filter(|_| are_hashed);
        let hashes = row_hashes(&chunk, plan.features.columns(), other);
        Ok((chunk, splits, part, of_target, hashes))
    };
    let told = pass.read(work, |(chunk, splits, part, of_target, hashes)| {
        leakage.fitting(&plan.split, &chunk, &splits, &hashes, path)?;
        features.merge(part);
        target.merge(of_target);
        progress(chunk.read)
    })?;
    if told.all != profile.rows {
        return Err(changed());
    }
    check_sizes(&spec.split, told.rows, told.rows, path, "rows")?;
    leakage.fitted(path)?;

    let (features, rules, mut columns) = features.finish(pass)?;
    let (target, values) = target.finish();
    columns.push(ColumnSummary { name: plan.target.name.clone(), missing: 0, values });
    Ok(Fitted { schema: Schema { features, target }, encoder: Encoder { rules, clean: None }, columns })
}

/// What is learnt of the features of the training split.
enum FeatureSums<'a> {
    /// By column, with its name.
    Columns(Vec<(&'a str, Learnt)>),
    /// By channel of the column of this name.
    BytePixels(&'a str, [usize; 3], Vec<ByteMoments>),
    /// The same for pixels that are no bytes.
    FloatPixels(&'a str, [usize; 3], Vec<Moments>),
    /// By element of the column of this name, of which the first row tells how many there are.
    Vector(&'a str, NumberEncoding, Vec<LearntNumbers>),
}

impl<'a> FeatureSums<'a> {
    fn new(plan: &'a FeaturePlan, spec: &EncodeSpec) -> Self {
        match plan {
            FeaturePlan::Columns(columns) => {
                let learnt =
                    |plan: &'a ColumnPlan| (plan.name.as_str(), Learnt::new(plan, spec, columns.len()));
                Self::Columns(columns.iter().map(learnt).collect())
            }
            FeaturePlan::Lists { name, form, encoding, .. } => match form.shape {
                Some(shape) if form.bytes => {
                    Self::BytePixels(name, shape, vec![ByteMoments::default(); shape[0]])
                }
                Some(shape) => Self::FloatPixels(name, shape, vec![Moments::default(); shape[0]]),
                None => Self::Vector(name, *encoding, Vec::new()),
            },
        }
    }

    /// Of no rows yet: for a part of them, which is then merged.
    fn part(&self) -> Self {
        match self {
            Self::Columns(columns) => {
                Self::Columns(columns.iter().map(|(name, learnt)| (*name, learnt.part())).collect())
            }
            Self::BytePixels(name, shape, sums) => {
                Self::BytePixels(name, *shape, vec![ByteMoments::default(); sums.len()])
            }
            Self::FloatPixels(name, shape, sums) => {
                Self::FloatPixels(name, *shape, vec![Moments::default(); sums.len()])
            }
            Self::Vector(name, encoding, _) => Self::Vector(name, *encoding, Vec::new()),
        }
    }

    /// Adds what was learnt of later rows.
    fn merge(&mut self, later: Self) {
        match (self, later) {
            (Self::Columns(ours), Self::Columns(theirs)) => {
                ours.iter_mut().zip(theirs).for_each(|((_, ours), (_, theirs))| ours.merge(theirs));
            }
            (Self::BytePixels(_, _, ours), Self::BytePixels(_, _, theirs)) => {
                ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| ours.merge(theirs));
            }
            (Self::FloatPixels(_, _, ours), Self::FloatPixels(_, _, theirs)) => {
                ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| ours.merge(theirs));
            }
            (Self::Vector(_, encoding, ours), Self::Vector(_, _, theirs)) => {
                ours.resize(theirs.len(), LearntNumbers::new(*encoding, theirs.len()));
                ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| ours.merge(theirs));
            }
            (Self::Columns(_) | Self::BytePixels(..) | Self::FloatPixels(..) | Self::Vector(..), _) => {
                unreachable!("invariant: parts are of the kind of the whole")
            }
        }
    }

    fn finish(self, pass: &Pass<'_>) -> Result<Finished, PrepareError> {
        match self {
            Self::Columns(learnt) => finish_columns(learnt, pass),
            Self::BytePixels(name, shape, sums) => {
                let scales: Vec<Scale> = sums.iter().map(ByteMoments::scale).collect();
                Ok(finish_image(name, shape, &scales, None, ByteMoments::joined(&sums).values()))
            }
            Self::FloatPixels(name, shape, sums) => {
                let scales: Vec<Scale> = sums.iter().map(Moments::scale).collect();
                let values = Moments::joined(&sums).values();
                Ok(finish_image(name, shape, &scales, Some(scales.clone()), values))
            }
            Self::Vector(name, _, learnt) => finish_vector(name, learnt, pass),
        }
    }

    /// Learns from the rows `train`.
    fn observe(&mut self, chunk: &Chunk, train: &[usize], path: &Path) -> Result<(), PrepareError> {
        let changed = || PrepareError::Changed { path: path.to_owned() };
        match self {
            Self::Columns(columns) => {
                for ((name, learnt), cells) in columns.iter_mut().zip(&chunk.columns) {
                    learnt.observe(cells, train).map_err(|unfit| match unfit {
                        Unfit::Changed => changed(),
                        Unfit::Cell(row, problem) => PrepareError::Cell {
                            path: path.to_owned(),
                            place: chunk.places.at(row),
                            column: (*name).to_owned(),
                            problem,
                        },
                    })?;
                }
            }
            Self::BytePixels(_, shape, sums) => {
                let Some(Lists { width, values: ListValues::Bytes(values) }) = &chunk.lists else {
                    return Err(changed());
                };
                let pixels = (shape[1] * shape[2]).max(1);
                for row in train {
                    let channels = values[row * width..][..*width].chunks_exact(pixels);
                    sums.iter_mut().zip(channels).for_each(|(sums, channel)| sums.add(channel));
                }
            }
            Self::FloatPixels(_, shape, sums) => {
                let pixels = (shape[1] * shape[2]).max(1);
                for values in float_rows(chunk, train).ok_or_else(changed)? {
                    for (sums, channel) in sums.iter_mut().zip(values.chunks_exact(pixels)) {
                        channel.iter().for_each(|value| sums.add(*value));
                    }
                }
            }
            Self::Vector(_, encoding, learnt) => {
                let width = chunk.lists.as_ref().ok_or_else(changed)?.width;
                learnt.resize(width, LearntNumbers::new(*encoding, width).part());
                for values in float_rows(chunk, train).ok_or_else(changed)? {
                    learnt.iter_mut().zip(values).for_each(|(learnt, value)| learnt.add(*value));
                }
            }
        }
        Ok(())
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

fn finish_columns(learnt: Vec<(&str, Learnt)>, pass: &Pass<'_>) -> Result<Finished, PrepareError> {
    let path = pass.table.path();
    let (mut columns, mut summaries, mut width) = (Vec::new(), Vec::new(), 0_usize);
    for ((name, learnt), missing) in learnt.into_iter().zip(&pass.profile.missing) {
        let finished = learnt.finish(name, &pass.spec.encode);
        let name = name.to_owned();
        let (encoding, values) = finished.map_err(|problem| PrepareError::Column {
            path: path.to_owned(),
            column: name.clone(),
            problem,
        })?;
        width = width.saturating_add(encoding.width());
        columns.push(ColumnRule { name: name.clone(), encoding });
        summaries.push(ColumnSummary { name, missing: *missing, values });
    }
    check_width(width, path)?;
    let rules = Rules::Table(TableRules { columns, dialect: pass.dialect.clone() });
    Ok((FeatureKind::Dense { width }, rules, summaries))
}

fn finish_image(
    name: &str,
    shape: [usize; 3],
    scales: &[Scale],
    floats: Option<Vec<Scale>>,
    values: ColumnValues,
) -> Finished {
    let mean = scales.iter().map(|scale| scale.mean as f32).collect();
    let deviation = scales.iter().map(|scale| scale.deviation as f32).collect();
    let rules = Rules::Image(ImageRules { column: name.to_owned(), shape, floats });
    (FeatureKind::Image { shape, mean, deviation }, rules, vec![list_summary(name, values)])
}

fn finish_vector(name: &str, learnt: Vec<LearntNumbers>, pass: &Pass<'_>) -> Result<Finished, PrepareError> {
    let width = learnt.len();
    check_width(width, pass.table.path())?;
    let moments: Vec<Moments> = learnt.iter().map(|learnt| *learnt.moments()).collect();
    let quantiles = pass.spec.encode.quantiles as usize;
    let elements = learnt.into_iter().map(|learnt| learnt.rule(quantiles)).collect();
    let rules = Rules::Vector(VectorRules { column: name.to_owned(), elements });
    let summary = list_summary(name, Moments::joined(&moments).values());
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

    fn merge(&mut self, later: Self) {
        match (self, later) {
            (Self::Classes(_, ours), Self::Classes(_, theirs)) => {
                ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours += theirs);
            }
            (Self::Number(ours), Self::Number(theirs)) => ours.merge(theirs),
            (Self::Classes(..), Self::Number(_)) | (Self::Number(_), Self::Classes(..)) => {}
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

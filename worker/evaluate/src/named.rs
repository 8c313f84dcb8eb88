//! A metric of some predictions by its name, ready to be resampled. Owns the columns that it is made
//! of.
//!
//! What is counted or summed takes one pass a resample; the ROC-AUC is sorted once. All others are
//! measured anew from the rows of each resample, as [`evaluate`](crate::evaluate) does: slower, the
//! same to the last digit.

use phalanx_protocol::spec::{Average, MeasuredOn, MetricName};

use crate::{
    columns::{ClassColumns, NumberColumns},
    error::EvaluateError,
    input::InputError,
    metrics::{
        classes,
        confusion::ConfusionMatrix,
        counted::{self, Which},
        deviances::{LOSSES, Summary},
        numbers,
        probable::{rank, squared_error, surprise},
        tokens,
    },
    predictions::{ClassScores, NextBytes, Numbers, Predictions},
    row_metric::{
        CellMetric, ManyMetric, MeanMetric, RocAucMetric, RowMetric, RowsMetric, SumsMetric, Together,
    },
};

/// Why a metric has no form that can be resampled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NamedError {
    /// The name does not fit, or the predictions cannot be measured.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// There are no rows, or too many cells.
    #[error(transparent)]
    Input(#[from] InputError),
    /// What training lowers depends on how the target was scaled.
    #[error("`loss` of a number is in the unit of training: name `mse`")]
    Loss,
}

/// The metric called `name` of `predictions`. `loss` is the log-loss, where that is what training lowers.
///
/// # Errors
///
/// Where the name does not fit what is predicted, or there is nothing to measure.
pub fn named_metric<'a>(
    predictions: &'a Predictions,
    name: &MetricName,
) -> Result<Box<dyn RowMetric + 'a>, NamedError> {
    let is_loss = name.metric.measured_on == MeasuredOn::Everything;
    match (predictions, is_loss) {
        (Predictions::Classes(scores), true) => log_loss(scores),
        (Predictions::Numbers(_), true) => Err(NamedError::Loss),
        (Predictions::NextBytes(text), true) => of_text(text, |nats| nats),
        (Predictions::Classes(scores), false) => of_classes(scores, name),
        (Predictions::Numbers(values), false) => of_numbers(values, name),
        (Predictions::NextBytes(text), false) => {
            tokens::fits(name)?;
            let name = name.metric.name;
            of_text(text, move |nats| tokens::figure(name, nats))
        }
    }
}

type Boxed<'a> = Result<Box<dyn RowMetric + 'a>, NamedError>;

fn of_classes<'a>(scores: &'a ClassScores, name: &MetricName) -> Boxed<'a> {
    classes::fits(&scores.classes, name)?;
    let columns = scores.columns()?;
    let metric = name.metric.name;
    if counted::knows(metric) {
        return counted(&columns, name);
    }
    let mean = |of: &dyn Fn(&[f32], usize) -> f64| -> Boxed<'a> {
        let values = columns.rows().zip(columns.truths()).map(|(row, truth)| of(row, *truth as usize));
        Ok(Box::new(MeanMetric::new(values.collect::<Vec<_>>())?))
    };
    match metric {
        "log_loss" if scores.classes.len() > 1 => log_loss(scores),
        "brier_score" if scores.classes.len() > 1 => mean(&squared_error),
        "top_k_accuracy" => {
            let most = name.parameter.unwrap_or(2.0) as usize;
            mean(&|row, truth| f64::from(u8::from(rank(row, truth) < most)))
        }
        "roc_auc" => roc_auc(scores, name),
        _ => Ok(Box::new(class_rows(scores, name.clone())?)),
    }
}

fn log_loss(scores: &ClassScores) -> Boxed<'_> {
    let columns = scores.columns()?;
    let rows = columns.rows().zip(columns.truths());
    let values: Vec<f64> = rows.map(|(row, truth)| surprise(row[*truth as usize].into())).collect();
    Ok(Box::new(MeanMetric::new(values)?))
}

/// A metric of the confusion matrix.
fn counted<'a>(columns: &ClassColumns<'a>, name: &MetricName) -> Boxed<'a> {
    let names = columns.classes();
    let count = names.len();
    let which = match &name.class {
        Some(class) => Which::Class(names.iter().position(|known| known == class).unwrap_or_default()),
        None => Which::All(name.average.unwrap_or(Average::Macro)),
    };
    let cell = |(row, truth): (&[f32], &u32)| truth * count as u32 + columns.decision(row) as u32;
    let cells: Vec<u32> = columns.rows().zip(columns.truths()).map(cell).collect();
    let (metric, parameter) = (name.metric.name, name.parameter);
    let of = move |counts: &[u64]| {
        counted::figure(&ConfusionMatrix::of_counts(count, counts), metric, parameter, which)?.ok()
    };
    Ok(Box::new(CellMetric::new(cells, count * count, of)?))
}

/// One class against the rest; of several classes the mean, if no other average is asked for.
fn roc_auc<'a>(scores: &'a ClassScores, name: &MetricName) -> Boxed<'a> {
    let one = |class: usize| -> Boxed<'a> {
        Ok(Box::new(RocAucMetric::new(scores.of_class(class), scores.are(class))?))
    };
    let count = scores.classes.len();
    let named = name.class.as_ref().and_then(|class| scores.classes.iter().position(|known| known == class));
    match (named, name.average, count) {
        (Some(class), _, 2..) => one(class),
        (None, _, 2) => one(1),
        (None, None | Some(Average::Macro), 3..) => {
            let each = (0..count).map(one).collect::<Result<Vec<_>, _>>()?;
            Ok(Box::new(ManyMetric { each, together: Together::Mean }))
        }
        _ => Ok(Box::new(class_rows(scores, name.clone())?)),
    }
}

/// Any metric, measured anew.
fn class_rows<'a>(
    scores: &'a ClassScores,
    name: MetricName,
) -> Result<RowsMetric<impl Fn(&[u32]) -> Option<f64> + Send + Sync + 'a>, InputError> {
    let width = scores.classes.len();
    let of = move |drawn: &[u32]| {
        let rows = drawn.iter().map(|row| *row as usize);
        let probabilities: Vec<f32> = rows
            .clone()
            .flat_map(|row| &scores.probabilities[row * width..(row + 1) * width])
            .copied()
            .collect();
        let truths: Vec<u32> = rows.map(|row| scores.truths[row]).collect();
        let columns = ClassColumns::new(&scores.classes, &probabilities, &truths, None).ok()?;
        let columns = columns.deciding_at(scores.threshold);
        let measured = classes::measure(&columns, vec![name.clone()]).ok()?;
        measured.metrics.into_values().next()
    };
    RowsMetric::new(scores.truths.len(), of)
}

fn of_numbers<'a>(values: &'a Numbers, name: &MetricName) -> Boxed<'a> {
    numbers::fits(name)?;
    let columns = values.columns()?;
    let (metric, parameter) = (name.metric.name, name.parameter.unwrap_or(f64::NAN));
    if let Some((_, summary @ (Summary::Mean | Summary::Root), loss)) =
        LOSSES.iter().find(|(known, ..)| *known == metric)
    {
        let rows = columns.rows();
        let losses: Result<Vec<f64>, _> =
            rows.map(|(truth, prediction, _)| loss(truth, prediction, parameter)).collect();
        // A row outside of the domain leaves the whole without a value, but not each resample.
        if let Ok(losses) = losses {
            let finish: fn(f64) -> f64 = if *summary == Summary::Root { f64::sqrt } else { |mean| mean };
            return Ok(Box::new(MeanMetric::then(losses, finish)?));
        }
    }
    match metric {
        "r2" => Ok(Box::new(r2(&columns)?)),
        _ => Ok(Box::new(number_rows(values, name.clone())?)),
    }
}

/// R² from sums, truths taken from their mean so that squares do not cancel.
fn r2(columns: &NumberColumns<'_>) -> Result<SumsMetric, InputError> {
    let truths = columns.truths();
    let mean = crate::average::mean(truths.len(), truths.iter().copied());
    let row = |(truth, prediction, _): (f64, f64, f64)| {
        let (error, centred) = (truth - prediction, truth - mean);
        [1.0, error * error, centred, centred * centred]
    };
    SumsMetric::new(columns.rows().map(row), |[count, errors, first, second]| {
        let variance = second - first * first / count;
        (variance > 0.0).then(|| 1.0 - errors / variance)
    })
}

fn number_rows<'a>(
    values: &'a Numbers,
    name: MetricName,
) -> Result<RowsMetric<impl Fn(&[u32]) -> Option<f64> + Send + Sync + 'a>, InputError> {
    let of = move |drawn: &[u32]| {
        let pick = |of: &[f64]| drawn.iter().map(|row| of[*row as usize]).collect::<Vec<f64>>();
        let (predictions, truths) = (pick(&values.predictions), pick(&values.truths));
        let columns = NumberColumns::new(&predictions, &truths, None).ok()?;
        let measured = numbers::measure(&columns, vec![name.clone()]).ok()?;
        measured.metrics.into_values().next()
    };
    RowsMetric::new(values.truths.len(), of)
}

/// A metric of the nats that a byte costs.
fn of_text<'a>(text: &'a NextBytes, of: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Boxed<'a> {
    text.total()?;
    let windows = text.loss_nats.iter().zip(&text.bytes).map(|(nats, bytes)| [*nats, f64::from(*bytes)]);
    let metric = SumsMetric::new(windows, move |[nats, bytes]| (bytes > 0.0).then(|| of(nats / bytes)))?;
    Ok(Box::new(metric))
}

#[cfg(test)]
mod tests {
    use phalanx_protocol::spec::METRICS;

    use super::*;
    use crate::{evaluation::evaluate_also, random::Random};

    /// The metric of all rows is what `evaluate` says, and that of a resample what it says of its rows.
    fn agree(predictions: &Predictions, names: &[MetricName], subset: &Predictions, drawn: &[u32]) {
        let all: Vec<u32> = (0..predictions.rows() as u32).collect();
        for name in names {
            let metric = named_metric(predictions, name).unwrap();
            for (rows, of) in [(all.as_slice(), predictions), (drawn, subset)] {
                let mut weights = vec![0; all.len()];
                rows.iter().for_each(|row| weights[*row as usize] += 1);
                let expected = evaluate_also(of, std::slice::from_ref(name)).unwrap();
                let expected = expected.metrics.get(&name.to_string()).copied();
                let found = metric.on(&all)(&weights);
                let near = match (found, expected) {
                    (Some(found), Some(expected)) => {
                        (found - expected).abs() < 1e-9 * expected.abs().max(1.0)
                    }
                    (found, expected) => found.is_none() && expected.is_none(),
                };
                assert!(near, "{name}: {found:?}, expected {expected:?}");
            }
        }
    }

    fn names(on: MeasuredOn) -> Vec<MetricName> {
        let fitting = METRICS.iter().filter(|metric| metric.measured_on == on);
        fitting.filter_map(MetricName::of).collect()
    }

    #[test]
    fn every_metric_of_classes_is_the_same_by_name_and_by_evaluation() {
        let mut random = Random::new(5, 0);
        for count in [2_usize, 3] {
            let classes: Vec<String> = (0..count).map(|class| format!("c{class}")).collect();
            let mut row = || {
                let parts: Vec<f32> = (0..count).map(|_| 1.0 + random.below(9) as f32).collect();
                let whole: f32 = parts.iter().sum();
                (
                    parts.iter().map(|part| part / whole).collect::<Vec<f32>>(),
                    random.below(count as u64) as u32,
                )
            };
            let rows: Vec<_> = (0..80).map(|_| row()).collect();
            let of = |drawn: &[u32]| {
                let of = |row: &u32| &rows[*row as usize];
                Predictions::Classes(ClassScores {
                    classes: classes.clone(),
                    probabilities: drawn.iter().flat_map(|row| of(row).0.clone()).collect(),
                    truths: drawn.iter().map(|row| of(row).1).collect(),
                    threshold: (count == 2).then_some(0.4),
                })
            };
            let drawn: Vec<u32> = (0..60).map(|row| row * 7 % 80).collect();
            let mut wanted = names(MeasuredOn::Classes);
            wanted.extend(
                ["f1[c1]", "roc_auc[c0]", "recall_weighted"].map(|name| MetricName::parse(name).unwrap()),
            );
            agree(&of(&(0..80).collect::<Vec<_>>()), &wanted, &of(&drawn), &drawn);
        }
    }

    #[test]
    fn every_metric_of_numbers_and_texts_is_the_same_by_name_and_by_evaluation() {
        let mut random = Random::new(6, 0);
        let rows: Vec<(f64, f64)> =
            (0..80).map(|_| (1.0 + random.below(50) as f64, 1.0 + random.below(50) as f64)).collect();
        let drawn: Vec<u32> = (0..60).map(|row| row * 3 % 80).collect();
        let of = |drawn: &[u32]| {
            let (predictions, truths) = drawn.iter().map(|row| rows[*row as usize]).unzip();
            Predictions::Numbers(Numbers { predictions, truths })
        };
        agree(&of(&(0..80).collect::<Vec<_>>()), &names(MeasuredOn::Numbers), &of(&drawn), &drawn);
        let of = |drawn: &[u32]| {
            let bytes = drawn.iter().map(|row| rows[*row as usize].1 as u32).collect();
            let loss_nats = drawn.iter().map(|row| rows[*row as usize].0).collect();
            Predictions::NextBytes(NextBytes { loss_nats, bytes })
        };
        agree(&of(&(0..80).collect::<Vec<_>>()), &names(MeasuredOn::Text), &of(&drawn), &drawn);
    }
}

//! Metrics that follow from the confusion matrix, by name. Owns no state.

use phalanx_protocol::spec::Average;

use super::confusion::{ClassCounts, ConfusionMatrix, ratio};
use crate::{
    sum::{ExactSum, sum},
    undefined::{Undefined, Value, finite},
};

/// A metric of the whole matrix.
type OfMatrix = fn(&ConfusionMatrix) -> Value;

/// A metric of one class, as a numerator and a denominator; the number is its parameter.
type OfClass = fn(&ClassCounts, f64) -> (f64, f64);

/// Metrics of the whole matrix.
const OF_MATRIX: &[(&str, OfMatrix)] = &[
    ("accuracy", |matrix| Ok(matrix.correct() / matrix.total())),
    ("zero_one_loss", |matrix| Ok((matrix.total() - matrix.correct()) / matrix.total())),
    ("hamming_loss", |matrix| Ok((matrix.total() - matrix.correct()) / matrix.total())),
    ("balanced_accuracy", |matrix| Ok(balanced_accuracy(matrix).0)),
    ("balanced_accuracy_adjusted", adjusted),
    ("matthews_corrcoef", |matrix| Ok(matthews(matrix))),
    ("cohen_kappa", |matrix| kappa(matrix, |distance| f64::from(distance > 0.0))),
    ("cohen_kappa_linear", |matrix| kappa(matrix, |distance| distance)),
    ("cohen_kappa_quadratic", |matrix| kappa(matrix, |distance| distance * distance)),
    ("positive_likelihood_ratio", |matrix| likelihood_ratio(matrix, true)),
    ("negative_likelihood_ratio", |matrix| likelihood_ratio(matrix, false)),
];

/// Metrics of each class, which are averaged.
const OF_CLASS: &[(&str, OfClass)] = &[
    ("precision", |at, _| (at.true_positives, at.true_positives + at.false_positives)),
    ("recall", |at, _| (at.true_positives, at.support())),
    ("f1", |at, _| f_beta(at, 1.0)),
    ("f_beta", f_beta),
    ("jaccard", |at, _| (at.true_positives, at.support() + at.false_positives)),
    ("specificity", |at, _| (at.true_negatives, at.true_negatives + at.false_positives)),
    ("negative_predictive_value", |at, _| (at.true_negatives, at.true_negatives + at.false_negatives)),
];

/// Which classes a figure is of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Which {
    /// One of them.
    Class(usize),
    /// All of them, averaged.
    All(Average),
}

/// The metric called `name`, with its parameter if it takes one; `None` where none of
/// this module's is called so.
pub(crate) fn figure(
    matrix: &ConfusionMatrix,
    name: &str,
    parameter: Option<f64>,
    which: Which,
) -> Option<Value> {
    if let Some((_, metric)) = OF_MATRIX.iter().find(|(known, _)| *known == name) {
        return Some(weighed(matrix).and_then(|()| metric(matrix)));
    }
    let (_, metric) = OF_CLASS.iter().find(|(known, _)| *known == name)?;
    let counts: Vec<ClassCounts> = match which {
        Which::Class(class) => vec![matrix.of_class(class)],
        Which::All(_) => (0..matrix.classes()).map(|class| matrix.of_class(class)).collect(),
    };
    let average = match which {
        Which::Class(_) => Average::Macro,
        Which::All(average) => average,
    };
    Some(weighed(matrix).and_then(|()| averaged(&counts, average, |at| metric(at, parameter.unwrap_or(1.0)))))
}

/// Whether the metric called `name` is one of this module's.
pub(crate) fn knows(name: &str) -> bool {
    OF_MATRIX.iter().any(|(known, _)| *known == name) || of_class(name).is_some()
}

fn weighed(matrix: &ConfusionMatrix) -> Result<(), Undefined> {
    if matrix.total() == 0.0 { Err(Undefined::NoWeight) } else { Ok(()) }
}

/// One figure of those that `metric` gives each class.
pub(crate) fn averaged(
    classes: &[ClassCounts],
    average: Average,
    metric: impl Fn(&ClassCounts) -> (f64, f64),
) -> Value {
    let of = |at: &ClassCounts| {
        let (part, whole) = metric(at);
        ratio(part, whole)
    };
    match average {
        Average::Macro => finite(sum(classes.iter().map(of)) / classes.len() as f64),
        Average::Micro => Ok(of(&classes.iter().copied().fold(ClassCounts::default(), ClassCounts::plus))),
        Average::Weighted => {
            let all = sum(classes.iter().map(ClassCounts::support));
            finite(ratio(sum(classes.iter().map(|at| at.support() * of(at))), all))
        }
        Average::Binary => match classes {
            [_, positive] => Ok(of(positive)),
            others => Err(Undefined::NotBinary { actual: others.len() }),
        },
    }
}

/// The figure of one class of the metric called `name`, which is one of [`OF_CLASS`].
pub(crate) fn of_class(name: &str) -> Option<OfClass> {
    OF_CLASS.iter().find(|(known, _)| *known == name).map(|(_, metric)| *metric)
}

fn f_beta(at: &ClassCounts, beta: f64) -> (f64, f64) {
    let squared = beta * beta;
    let predicted = at.true_positives + at.false_positives;
    ((1.0 + squared) * at.true_positives, squared * at.support() + predicted)
}

/// The mean recall of the classes that have rows, and their number.
fn balanced_accuracy(matrix: &ConfusionMatrix) -> (f64, usize) {
    let recalls: Vec<f64> = (0..matrix.classes())
        .filter(|class| matrix.actual()[*class] > 0.0)
        .map(|class| matrix.cell(class, class) / matrix.actual()[class])
        .collect();
    (sum(recalls.iter().copied()) / recalls.len() as f64, recalls.len())
}

fn adjusted(matrix: &ConfusionMatrix) -> Value {
    let (score, classes) = balanced_accuracy(matrix);
    if classes < 2 {
        return Err(Undefined::OneClass);
    }
    let chance = 1.0 / classes as f64;
    Ok((score - chance) / (1.0 - chance))
}

/// The correlation of true and predicted classes (Gorodkin 2004); 0 where either does
/// not vary. The three covariances are exact, so that this is found out.
fn matthews(matrix: &ConfusionMatrix) -> f64 {
    let all = [matrix.total()];
    let covariance = |a: &[f64], b: &[f64], of_a: &[f64], of_b: &[f64]| {
        let mut exact = ExactSum::default();
        a.iter().zip(b).for_each(|(a, b)| exact.add_product(*a, *b));
        of_a.iter().zip(of_b).for_each(|(a, b)| exact.add_product(-a, *b));
        exact.value()
    };
    let (actual, predicted) = (matrix.actual(), matrix.predicted());
    let both = covariance(&[matrix.correct()], &all, actual, predicted);
    let of_actual = covariance(&all, &all, actual, actual);
    let of_predicted = covariance(&all, &all, predicted, predicted);
    // The roots apart: their product overflows later.
    let scale = of_actual.sqrt() * of_predicted.sqrt();
    if scale == 0.0 { 0.0 } else { both / scale }
}

/// Agreement beyond chance (Cohen 1960, 1968): a mistake counts by the distance of the two
/// classes in the order of classes.
fn kappa(matrix: &ConfusionMatrix, penalty: fn(f64) -> f64) -> Value {
    let classes = matrix.classes();
    let (mut found, mut expected) = (ExactSum::default(), ExactSum::default());
    for truth in 0..classes {
        for prediction in 0..classes {
            let penalty = penalty(truth.abs_diff(prediction) as f64);
            found.add(penalty * matrix.cell(truth, prediction));
            let by_chance = matrix.actual()[truth] * matrix.predicted()[prediction] / matrix.total();
            expected.add(penalty * by_chance);
        }
    }
    match expected.value() {
        0.0 => Err(Undefined::NoDenominator { what: "disagreement by chance" }),
        expected => finite(1.0 - found.value() / expected),
    }
}

/// How many times as likely a prediction is for the positive class as for the other: of
/// `positive` predictions, or of negative ones.
fn likelihood_ratio(matrix: &ConfusionMatrix, positive: bool) -> Value {
    if matrix.classes() != 2 {
        return Err(Undefined::NotBinary { actual: matrix.classes() });
    }
    let at = matrix.of_class(1);
    let negatives = at.true_negatives + at.false_positives;
    let (of_positives, of_negatives, what) = match positive {
        true => (at.true_positives, at.false_positives, "false positives"),
        false => (at.false_negatives, at.true_negatives, "true negatives"),
    };
    if at.support() == 0.0 {
        return Err(Undefined::NoPositive);
    }
    if of_negatives == 0.0 {
        return Err(Undefined::NoDenominator { what });
    }
    finite((of_positives * negatives) / (of_negatives * at.support()))
}

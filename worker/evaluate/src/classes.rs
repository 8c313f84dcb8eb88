//! Metrics of classes: accuracy, precision, recall, F1, log-loss, ROC-AUC and the
//! confusion matrix, from which the first four come. Owns no state.

use phalanx_protocol::message::Confusion;

use crate::{
    evaluation::Evaluation,
    predictions::ClassScores,
    roc::roc_auc,
    sum::{mean, sum},
};

/// Writes all metrics of `scores`, which are checked, into `evaluation`.
pub(crate) fn measure(scores: &ClassScores, evaluation: &mut Evaluation) {
    let confusion = confusion(scores);
    let correct: u64 = (0..scores.classes.len()).map(|class| confusion.counts[class][class]).sum();
    evaluation.insert("accuracy", ratio(correct, scores.truths.len() as u64));
    measure_each_class(&confusion, evaluation);
    evaluation.insert_or_undefine("log_loss", log_loss(scores));
    measure_roc_auc(scores, evaluation);
    evaluation.confusion = Some(confusion);
}

/// How often each class was taken for each other. A row is taken for its most
/// probable class; for the first of those, if there are several.
fn confusion(scores: &ClassScores) -> Confusion {
    let classes = scores.classes.len();
    let mut counts = vec![vec![0; classes]; classes];
    for (truth, probabilities) in scores.truths().zip(scores.rows()) {
        counts[truth][most_probable(probabilities)] += 1;
    }
    Confusion { classes: scores.classes.clone(), counts }
}

/// The class that a row with these probabilities is taken for.
pub fn most_probable(probabilities: &[f32]) -> usize {
    let higher = |best: usize, class: usize| {
        if probabilities[class] > probabilities[best] { class } else { best }
    };
    (0..probabilities.len()).fold(0, higher)
}

/// Precision, recall and F1 of each class, and their means over all classes, those
/// without any row included.
fn measure_each_class(confusion: &Confusion, evaluation: &mut Evaluation) {
    let counts = &confusion.counts;
    let classes = counts.len();
    let predicted: Vec<u64> = (0..classes).map(|class| counts.iter().map(|row| row[class]).sum()).collect();
    let mut all = [const { Vec::new() }; 3];
    for (class, name) in confusion.classes.iter().enumerate() {
        let (hits, actual) = (counts[class][class], counts[class].iter().sum());
        let values = [
            ratio(hits, predicted[class]),
            ratio(hits, actual),
            // The harmonic mean of the two, without their rounding.
            ratio(2 * hits, actual + predicted[class]),
        ];
        for ((metric, value), all) in PER_CLASS.into_iter().zip(values).zip(&mut all) {
            evaluation.insert(format!("{metric}[{name}]"), value);
            all.push(value);
        }
    }
    for (metric, all) in PER_CLASS.into_iter().zip(all) {
        evaluation.insert(metric, mean(classes, all));
    }
}

const PER_CLASS: [&str; 3] = ["precision", "recall", "f1"];

/// `part / whole`; 0 of nothing is 0 (scikit-learn's `zero_division`).
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The mean of `-ln p(truth)`. Probabilities are clipped to `[ε, 1 - ε]` with the ε
/// of their own type, so that one confident mistake does not make it infinite.
fn log_loss(scores: &ClassScores) -> Result<f64, String> {
    if scores.classes.len() < 2 {
        return Err("it needs at least two classes".to_owned());
    }
    let surprise = |(truth, probabilities): (usize, &[f32])| {
        let probability = probabilities[truth].clamp(f32::EPSILON, 1.0 - f32::EPSILON);
        -f64::from(probability).ln()
    };
    Ok(mean(scores.truths.len(), scores.truths().zip(scores.rows()).map(surprise)))
}

/// For two classes the ROC-AUC of the second; for more, that of each class against
/// the rest, and the mean of these.
fn measure_roc_auc(scores: &ClassScores, evaluation: &mut Evaluation) {
    match scores.classes.len() {
        0 | 1 => evaluation.insert_or_undefine("roc_auc", Err("it needs at least two classes".to_owned())),
        2 => evaluation.insert_or_undefine("roc_auc", one_vs_rest(scores, 1)),
        classes => {
            let all: Vec<_> = (0..classes).map(|class| one_vs_rest(scores, class)).collect();
            let values: Result<Vec<f64>, String> = all.iter().cloned().collect();
            for (name, value) in scores.classes.iter().zip(all) {
                evaluation.insert_or_undefine(format!("roc_auc[{name}]"), value);
            }
            evaluation.insert_or_undefine("roc_auc", values.map(|values| sum(values) / classes as f64));
        }
    }
}

fn one_vs_rest(scores: &ClassScores, class: usize) -> Result<f64, String> {
    let positive = scores.truths().map(|truth| truth == class);
    let probabilities = scores.rows().map(|row| row[class]);
    roc_auc(probabilities.zip(positive)).ok_or_else(|| {
        let name = &scores.classes[class];
        let all_or_none = if scores.truths().any(|truth| truth == class) { "every" } else { "no" };
        format!("{all_or_none} row is of class `{name}`")
    })
}

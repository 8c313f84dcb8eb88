//! All metrics of rows that have any number of labels, behind one accumulator,
//! [`LabelMeasure`]. It owns counts, sums over rows, and, if wanted, the rows.

use std::collections::BTreeMap;

use phalanx_protocol::spec::Average;
use serde::{Deserialize, Serialize};

use super::{
    confusion::{ClassCounts, ratio},
    counted,
    curve::Curve,
    ranked,
};
use crate::{
    columns::{LabelColumns, Weights},
    error::EvaluateError,
    evaluation::Evaluation,
    rows::LabelRows,
    sum::{ExactSum, WeightSum, mean},
    undefined::{Undefined, Value},
};

/// Metrics of each label, averaged over labels and all, and what they are called over rows.
const COUNTED: &[(&str, &str)] = &[
    ("precision", "precision_samples"),
    ("recall", "recall_samples"),
    ("f1", "f1_samples"),
    ("jaccard", "jaccard_samples"),
];
const RANKED: &[&str] = &["roc_auc", "average_precision"];
const AVERAGES: [Average; 3] = [Average::Macro, Average::Micro, Average::Weighted];

/// Measures rows of labels, batch by batch and part by part.
///
/// The result depends on the rows alone, to the bit: not on how they were cut into batches and
/// parts, and not on their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelMeasure {
    labels: Vec<String>,
    threshold: f32,
    weight: WeightSum,
    by_label: Vec<LabelSums>,
    /// Sums over rows of what each is worth, by name.
    by_row: BTreeMap<String, ExactSum>,
    rows: Option<LabelRows>,
}

/// Weights of one label's rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct LabelSums {
    hits: WeightSum,
    misses: WeightSum,
    false_alarms: WeightSum,
    rest: WeightSum,
}

impl LabelMeasure {
    /// Nothing measured yet. A row is taken to have the labels of which the score is at least
    /// `threshold`. With `keeps_rows`, ROC-AUC and average precision over labels are measured,
    /// too, for 5 bytes a label and row.
    pub fn new(labels: Vec<String>, threshold: f32, keeps_rows: bool) -> Self {
        Self {
            by_label: vec![LabelSums::default(); labels.len()],
            labels,
            threshold,
            weight: WeightSum::default(),
            by_row: BTreeMap::new(),
            rows: keeps_rows.then(LabelRows::default),
        }
    }

    /// Takes in rows.
    ///
    /// # Errors
    ///
    /// Where they are of other labels.
    pub fn update(&mut self, columns: &LabelColumns<'_>) -> Result<(), EvaluateError> {
        if columns.labels() != self.labels {
            return Err(EvaluateError::Unlike { what: "labels" });
        }
        for (scores, truths, weight) in columns.rows() {
            self.weight.add(weight);
            self.count(scores, truths, weight);
            self.rank(scores, truths, weight);
        }
        if let Some(rows) = &mut self.rows {
            let count = columns.truths().len() / self.labels.len();
            rows.extend(count, columns.scores(), columns.truths(), columns.weights().given());
        }
        Ok(())
    }

    fn count(&mut self, scores: &[f32], truths: &[bool], weight: f64) {
        let mut row = ClassCounts::default();
        for ((score, truth), sums) in scores.iter().zip(truths).zip(&mut self.by_label) {
            let (of_row, of_label) = match (*truth, *score >= self.threshold) {
                (true, true) => (&mut row.true_positives, &mut sums.hits),
                (true, false) => (&mut row.false_negatives, &mut sums.misses),
                (false, true) => (&mut row.false_positives, &mut sums.false_alarms),
                (false, false) => (&mut row.true_negatives, &mut sums.rest),
            };
            *of_row += 1.0;
            of_label.add(weight);
        }
        for (name, over_rows) in COUNTED {
            let (part, whole) = counted::of_class(name).map_or((0.0, 0.0), |metric| metric(&row, 1.0));
            self.add(over_rows, weight * ratio(part, whole));
        }
        let wrong = row.false_positives + row.false_negatives;
        self.add("exact_match", weight * f64::from(wrong == 0.0));
        self.add("hamming_loss", weight * wrong / scores.len() as f64);
    }

    /// What the order of the row's labels is worth, in one pass from the highest score down.
    fn rank(&mut self, scores: &[f32], truths: &[bool], weight: f64) {
        let relevant = truths.iter().filter(|truth| **truth).count();
        let others = truths.len() - relevant;
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_unstable_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let (mut found, mut passed, mut coverage, mut wrong) = (0, 0, 0, 0);
        let (mut precision, mut stepped) = (0.0, 0.0);
        for tied in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
            let found_here = tied.iter().filter(|label| truths[**label]).count();
            found += found_here;
            passed += tied.len();
            wrong += found_here * (passed - found);
            if found_here > 0 {
                coverage = passed;
                precision += found_here as f64 * found as f64 / passed as f64;
                stepped += found_here as f64 / relevant as f64 * (found as f64 / passed as f64);
            }
        }
        let trivial = relevant == 0 || others == 0;
        self.add("coverage_error", weight * coverage as f64);
        self.add("label_ranking_loss", weight * ratio(wrong as f64, (relevant * others) as f64));
        let precision = if trivial { 1.0 } else { precision / relevant as f64 };
        self.add("label_ranking_average_precision", weight * precision);
        self.add("average_precision_samples", weight * stepped);
    }

    fn add(&mut self, name: &str, term: f64) {
        match self.by_row.get_mut(name) {
            Some(sum) => sum.add(term),
            None => {
                self.by_row.insert(name.to_owned(), std::iter::once(term).collect());
            }
        }
    }

    /// Takes in what another part has measured.
    ///
    /// # Errors
    ///
    /// Where that is of other labels, another threshold, or keeps rows while this does not.
    pub fn merge(&mut self, other: &Self) -> Result<(), EvaluateError> {
        if self.labels != other.labels {
            return Err(EvaluateError::Unlike { what: "labels" });
        }
        if self.threshold != other.threshold || self.rows.is_some() != other.rows.is_some() {
            return Err(EvaluateError::Unlike { what: "settings" });
        }
        self.weight.merge(&other.weight);
        for (mine, theirs) in self.by_label.iter_mut().zip(&other.by_label) {
            mine.hits.merge(&theirs.hits);
            mine.misses.merge(&theirs.misses);
            mine.false_alarms.merge(&theirs.false_alarms);
            mine.rest.merge(&theirs.rest);
        }
        for (name, sum) in &other.by_row {
            self.by_row.entry(name.clone()).or_default().merge(sum);
        }
        if let (Some(rows), Some(others)) = (&mut self.rows, &other.rows) {
            rows.merge(others);
        }
        Ok(())
    }

    /// What all rows come to so far: `f1` is the macro average, `f1_micro`, `f1_weighted`,
    /// `f1_samples` the others, and `f1[label]` that of one label.
    pub fn finish(&self) -> Evaluation {
        let mut evaluation = Evaluation::default();
        let weight = self.weight.value();
        for (name, sum) in &self.by_row {
            evaluation.record(name, mean(sum.value(), weight));
        }
        let counts: Vec<ClassCounts> = self.by_label.iter().map(LabelSums::counts).collect();
        for (name, _) in COUNTED {
            let Some(metric) = counted::of_class(name) else { continue };
            let weighed = || if weight == 0.0 { Err(Undefined::NoWeight) } else { Ok(()) };
            let metric = |at: &ClassCounts| metric(at, 1.0);
            for average in AVERAGES {
                let value = weighed().and_then(|()| counted::averaged(&counts, average, metric));
                evaluation.record(averaged(name, average), value);
            }
            for (label, at) in self.labels.iter().zip(&counts) {
                let (part, whole) = metric(at);
                evaluation.record(format!("{name}[{label}]"), weighed().map(|()| ratio(part, whole)));
            }
        }
        if let Some(rows) = self.rows.as_ref().filter(|_| weight > 0.0) {
            self.finish_ranked(rows, &mut evaluation);
        }
        evaluation
    }

    fn finish_ranked(&self, rows: &LabelRows, evaluation: &mut Evaluation) {
        let labels = self.labels.len();
        let repeated: Option<Vec<f64>> = rows
            .weights()
            .given()
            .map(|weights| weights.iter().flat_map(|weight| std::iter::repeat_n(*weight, labels)).collect());
        let weights = Weights::new(rows.scores.len(), repeated.as_deref())
            .expect("invariant: the weights were checked, and each is repeated for each label");
        let all = rows.scores.iter().copied().zip(rows.truths.iter().copied());
        let micro = Curve::of_rows(all.clone(), weights);
        let curves: Vec<Curve> = (0..labels)
            .map(|label| Curve::of_rows(all.clone().skip(label).step_by(labels), rows.weights()))
            .collect();
        for name in RANKED {
            let Some(metric) = ranked::of_curve(name) else { continue };
            let values: Vec<Value> = curves
                .iter()
                .zip(&self.labels)
                .map(|(curve, label)| metric(curve, f64::NAN).map_err(|why| why.of_class(label)))
                .collect();
            evaluation.record(averaged(name, Average::Micro), metric(&micro, f64::NAN));
            evaluation.record(averaged(name, Average::Macro), weighted_mean(&values, &vec![1.0; labels]));
            let supports: Vec<f64> = self.by_label.iter().map(|sums| sums.counts().support()).collect();
            evaluation.record(averaged(name, Average::Weighted), weighted_mean(&values, &supports));
            for (label, value) in self.labels.iter().zip(values) {
                evaluation.record(format!("{name}[{label}]"), value);
            }
        }
    }
}

impl LabelSums {
    fn counts(&self) -> ClassCounts {
        ClassCounts {
            true_positives: self.hits.value(),
            false_positives: self.false_alarms.value(),
            false_negatives: self.misses.value(),
            true_negatives: self.rest.value(),
        }
    }
}

fn averaged(name: &str, average: Average) -> String {
    match average {
        Average::Macro => name.to_owned(),
        Average::Micro | Average::Weighted | Average::Binary => format!("{name}_{}", average.name()),
    }
}

/// The mean of values by weight; those of weight 0 may be undefined, and 0 of no weight at all.
fn weighted_mean(values: &[Value], weights: &[f64]) -> Value {
    let (mut all, mut sum) = (ExactSum::default(), ExactSum::default());
    for (value, weight) in values.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
        all.add(*weight);
        sum.add_product(*weight, value.clone()?);
    }
    Ok(ratio(sum.value(), all.value()))
}

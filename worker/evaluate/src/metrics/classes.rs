//! All metrics of a target of classes behind one accumulator, [`ClassMeasure`]. It owns
//! counts, sums, and, where the order of scores is asked for, the rows.

use phalanx_protocol::{
    message::Confusion,
    spec::{Average, METRICS, MeasuredOn, MetricName},
};
use serde::{Deserialize, Serialize};

use super::{
    confusion::{ConfusionMatrix, ConfusionTable},
    counted::{self, Which},
    probable::ProbabilitySums,
    ranked,
};
use crate::{
    columns::ClassColumns,
    error::EvaluateError,
    evaluation::Evaluation,
    rows::ClassRows,
    undefined::{Undefined, Value},
};

/// The metrics that are measured of every target of classes, and of each class.
const USUAL: &[&str] = &["accuracy", "log_loss"];
const USUAL_AVERAGED: &[&str] = &["precision", "recall", "f1", "roc_auc"];

/// Measures rows of classes, batch by batch and part by part.
///
/// Counts and sums take the same memory for any number of rows; metrics of order keep the
/// rows. The result depends on the rows alone, to the bit: not on how they were cut into
/// batches and parts, and not on their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassMeasure {
    classes: Vec<String>,
    names: Vec<MetricName>,
    table: ConfusionTable,
    sums: ProbabilitySums,
    rows: Option<ClassRows>,
}

impl ClassMeasure {
    /// Nothing measured yet, of the metrics `names`.
    ///
    /// # Errors
    ///
    /// Where a name is of no metric of classes, or of a class that is none of `classes`.
    pub fn new(classes: Vec<String>, names: Vec<MetricName>) -> Result<Self, EvaluateError> {
        let mut measure = Self::counting(classes, names)?;
        let needs_rows = measure.names.iter().any(|name| ranked::knows(name.metric.name));
        measure.rows = needs_rows.then(ClassRows::default);
        Ok(measure)
    }

    /// The same, but for what needs the rows.
    fn counting(classes: Vec<String>, names: Vec<MetricName>) -> Result<Self, EvaluateError> {
        for name in &names {
            fits(&classes, name)?;
        }
        let top = names.iter().filter(|name| name.metric.name == "top_k_accuracy");
        let top = top.filter_map(|name| name.parameter).map(|k| k as usize);
        let table = ConfusionTable::new(classes.len());
        let sums = ProbabilitySums::new(classes.len(), top);
        Ok(Self { classes, names, table, sums, rows: None })
    }

    /// Takes in rows.
    ///
    /// # Errors
    ///
    /// Where they are of other classes.
    pub fn update(&mut self, columns: &ClassColumns<'_>) -> Result<(), EvaluateError> {
        if columns.classes() != self.classes {
            return Err(EvaluateError::Unlike { what: "classes" });
        }
        let weights = columns.weights().given();
        for (row, (truth, probabilities)) in columns.truths().iter().zip(columns.rows()).enumerate() {
            let weight = weights.map(|weights| weights[row]);
            self.table.add(*truth as usize, columns.decision(probabilities), weight);
        }
        self.sums.update(columns);
        if let Some(rows) = &mut self.rows {
            rows.extend(columns);
        }
        Ok(())
    }

    /// Takes in what another part has measured.
    ///
    /// # Errors
    ///
    /// Where that is of other classes or metrics.
    pub fn merge(&mut self, other: &Self) -> Result<(), EvaluateError> {
        if self.classes != other.classes {
            return Err(EvaluateError::Unlike { what: "classes" });
        }
        if self.names != other.names {
            return Err(EvaluateError::Unlike { what: "metrics" });
        }
        self.table.merge(&other.table);
        self.sums.merge(&other.sums);
        if let (Some(rows), Some(others)) = (&mut self.rows, &other.rows) {
            rows.merge(others);
        }
        Ok(())
    }

    /// What all rows come to so far.
    pub fn finish(&self) -> Evaluation {
        self.finish_with(self.rows.as_ref().and_then(|rows| rows.columns(&self.classes)))
    }

    /// The confusion matrix so far, weights included.
    pub fn confusion(&self) -> &ConfusionTable {
        &self.table
    }

    fn finish_with(&self, rows: Option<ClassColumns<'_>>) -> Evaluation {
        let mut evaluation = Evaluation::default();
        let matrix = self.table.matrix();
        let (ordered, counted): (Vec<&MetricName>, Vec<_>) =
            self.names.iter().partition(|name| ranked::knows(name.metric.name));
        for name in counted {
            let value = match self.table.rows() {
                0 => Err(Undefined::NoRows),
                _ => self.counted(&matrix, name),
            };
            evaluation.record(name.to_string(), value);
        }
        let values = match rows {
            Some(columns) => ranked::figures(&columns, &ordered),
            None => vec![Err(Undefined::NoRows); ordered.len()],
        };
        for (name, value) in ordered.into_iter().zip(values) {
            evaluation.record(name.to_string(), value);
        }
        let counts = self.table.counts();
        evaluation.confusion = Some(Confusion { classes: self.classes.clone(), counts });
        evaluation
    }

    fn counted(&self, matrix: &ConfusionMatrix, name: &MetricName) -> Value {
        let class = name.class.as_ref().and_then(|name| self.classes.iter().position(|class| class == name));
        let which = match class {
            Some(class) => Which::Class(class),
            None => Which::All(name.average.unwrap_or(Average::Macro)),
        };
        let (metric, parameter) = (name.metric.name, name.parameter);
        counted::figure(matrix, metric, parameter, which)
            .or_else(|| self.sums.figure(metric, parameter))
            .expect("invariant: every metric of classes is counted, summed or ranked")
    }
}

/// Measures all rows at once, without keeping them.
pub(crate) fn measure(
    columns: &ClassColumns<'_>,
    names: Vec<MetricName>,
) -> Result<Evaluation, EvaluateError> {
    let mut measure = ClassMeasure::counting(columns.classes().to_vec(), names)?;
    measure.update(columns)?;
    Ok(measure.finish_with(Some(*columns)))
}

/// Whether `name` is of a metric of `classes`, or of one of them.
///
/// # Errors
///
/// Where it is not; the error says why.
pub(crate) fn fits(classes: &[String], name: &MetricName) -> Result<(), EvaluateError> {
    let no_such = |reason: String| Err(EvaluateError::NoSuchMetric { name: name.to_string(), reason });
    if name.metric.measured_on != MeasuredOn::Classes {
        return no_such("is not one of a target of classes".to_owned());
    }
    match &name.class {
        Some(class) if !classes.contains(class) => {
            no_such(format!("names none of the classes, which are {}", listed(classes)))
        }
        Some(_) | None => Ok(()),
    }
}

/// The names of the usual metrics of `classes`: single figures, averages, and what those
/// are of.
pub fn usual(classes: &[String]) -> Vec<MetricName> {
    let of = |name: &str| METRICS.iter().find(|metric| metric.name == name);
    let mut names: Vec<MetricName> =
        USUAL.iter().chain(USUAL_AVERAGED).filter_map(|name| MetricName::of(of(name)?)).collect();
    for name in USUAL_AVERAGED {
        // Of two classes, the ROC-AUC of one is that of the other.
        if *name == "roc_auc" && classes.len() <= 2 {
            continue;
        }
        names.extend(classes.iter().filter_map(|class| MetricName::of_class(of(name)?, class)));
    }
    names
}

/// The most probable class of a row, and the first of those, if there are several.
pub fn most_probable(probabilities: &[f32]) -> usize {
    let higher = |best: usize, class: usize| {
        if probabilities[class] > probabilities[best] { class } else { best }
    };
    (0..probabilities.len()).fold(0, higher)
}

fn listed(classes: &[String]) -> String {
    /// The most classes that a message names.
    const LISTED_MAX: usize = 20;
    let mut names: Vec<String> = classes.iter().take(LISTED_MAX).map(|class| format!("`{class}`")).collect();
    if classes.len() > LISTED_MAX {
        names.push(format!("{} more", classes.len() - LISTED_MAX));
    }
    names.join(", ")
}

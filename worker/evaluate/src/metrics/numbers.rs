//! All metrics of a target of numbers behind one accumulator, [`NumberMeasure`]. It owns
//! sums, and, where medians or ranks are asked for, the rows.

use phalanx_protocol::spec::{METRICS, MeasuredOn, MetricName};
use serde::{Deserialize, Serialize};

use super::{
    deviances::{LOSSES, Summary},
    moments::Moments,
    ordered,
};
use crate::{
    columns::NumberColumns,
    error::EvaluateError,
    evaluation::Evaluation,
    rows::NumberRows,
    sum::{ExactSum, WeightSum, mean},
    undefined::{Undefined, Value, finite},
};

/// The metrics that are measured of every target of numbers.
const USUAL: &[&str] = &["mse", "rmse", "mae", "r2"];

/// Measures rows of numbers, batch by batch and part by part.
///
/// Sums take the same memory for any number of rows; medians and ranks keep the rows. The
/// result depends on the rows alone, to the bit: not on how they were cut into batches
/// and parts, and not on their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumberMeasure {
    names: Vec<MetricName>,
    weight: WeightSum,
    /// The sum of the truths' sizes.
    sizes: ExactSum,
    /// The largest absolute error of a row that counts.
    largest: f64,
    /// For each name, the sum of its losses, if it is a summary of losses.
    losses: Vec<LossSum>,
    moments: Moments,
    rows: Option<NumberRows>,
    count: u64,
}

/// A sum of losses, and the lowest value that has none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct LossSum {
    sum: ExactSum,
    /// The truth and prediction of the first row, by size, that is outside of the domain.
    outside: Option<(f64, f64)>,
}

impl LossSum {
    fn outside(&mut self, row: (f64, f64)) {
        let before = |a: &(f64, f64), b: &(f64, f64)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).is_lt();
        if self.outside.as_ref().is_none_or(|known| before(&row, known)) {
            self.outside = Some(row);
        }
    }
}

impl NumberMeasure {
    /// Nothing measured yet, of the metrics `names`.
    ///
    /// # Errors
    ///
    /// Where a name is of no metric of numbers.
    pub fn new(names: Vec<MetricName>) -> Result<Self, EvaluateError> {
        let mut measure = Self::counting(names)?;
        let needs_rows = measure.names.iter().any(|name| ordered::figure(name.metric.name, None).is_some());
        measure.rows = needs_rows.then(NumberRows::default);
        Ok(measure)
    }

    /// The same, but for what needs the rows.
    fn counting(names: Vec<MetricName>) -> Result<Self, EvaluateError> {
        for name in &names {
            fits(name)?;
        }
        Ok(Self {
            losses: vec![LossSum::default(); names.len()],
            names,
            weight: WeightSum::default(),
            sizes: ExactSum::default(),
            largest: 0.0,
            moments: Moments::default(),
            rows: None,
            count: 0,
        })
    }

    /// Takes in rows.
    pub fn update(&mut self, columns: &NumberColumns<'_>) {
        self.count += columns.truths().len() as u64;
        for (truth, prediction, weight) in columns.rows() {
            self.weight.add(weight);
            self.sizes.add_product(weight, truth.abs());
            if weight > 0.0 {
                self.largest = self.largest.max((truth - prediction).abs());
            }
        }
        for (name, losses) in self.names.iter().zip(&mut self.losses) {
            let Some((.., loss)) = LOSSES.iter().find(|(known, ..)| *known == name.metric.name) else {
                continue;
            };
            let parameter = name.parameter.unwrap_or(f64::NAN);
            for (truth, prediction, weight) in columns.rows().filter(|(.., weight)| *weight > 0.0) {
                match loss(truth, prediction, parameter) {
                    Ok(loss) => losses.sum.add(weight * loss),
                    Err(_) => losses.outside((truth, prediction)),
                }
            }
        }
        self.moments.update(columns);
        if let Some(rows) = &mut self.rows {
            rows.extend(columns);
        }
    }

    /// Takes in what another part has measured.
    ///
    /// # Errors
    ///
    /// Where that is of other metrics.
    pub fn merge(&mut self, other: &Self) -> Result<(), EvaluateError> {
        if self.names != other.names {
            return Err(EvaluateError::Unlike { what: "metrics" });
        }
        self.count += other.count;
        self.weight.merge(&other.weight);
        self.sizes.merge(&other.sizes);
        self.largest = self.largest.max(other.largest);
        for (mine, theirs) in self.losses.iter_mut().zip(&other.losses) {
            mine.sum.merge(&theirs.sum);
            theirs.outside.into_iter().for_each(|row| mine.outside(row));
        }
        self.moments.merge(&other.moments);
        if let (Some(rows), Some(others)) = (&mut self.rows, &other.rows) {
            rows.merge(others);
        }
        Ok(())
    }

    /// What all rows come to so far.
    pub fn finish(&self) -> Evaluation {
        self.finish_with(self.rows.as_ref().and_then(NumberRows::columns))
    }

    fn finish_with(&self, rows: Option<NumberColumns<'_>>) -> Evaluation {
        let mut evaluation = Evaluation::default();
        for (name, losses) in self.names.iter().zip(&self.losses) {
            let value = match self.count {
                0 => Err(Undefined::NoRows),
                _ => self.figure(name, losses, rows.as_ref()),
            };
            evaluation.record(name.to_string(), value);
        }
        evaluation
    }

    fn figure(&self, name: &MetricName, losses: &LossSum, rows: Option<&NumberColumns<'_>>) -> Value {
        let (metric, parameter) = (name.metric.name, name.parameter);
        if metric == "max_error" {
            return mean(0.0, self.weight.value()).and(finite(self.largest));
        }
        if let Some((_, summary, loss)) = LOSSES.iter().find(|(known, ..)| *known == metric) {
            if let Some((truth, prediction)) = losses.outside {
                loss(truth, prediction, parameter.unwrap_or(f64::NAN))?;
            }
            return self.summary(*summary, losses.sum.value());
        }
        if let Some(metric) = ordered::figure(metric, parameter) {
            return rows.map_or(Err(Undefined::NoRows), metric);
        }
        self.moments.figure(metric, parameter).expect(
            "invariant: every metric of numbers is a summary of losses, of moments, or of rows in order",
        )
    }

    fn summary(&self, summary: Summary, sum: f64) -> Value {
        let weight = self.weight.value();
        match summary {
            Summary::Mean => mean(sum, weight),
            Summary::Root => mean(sum, weight).map(f64::sqrt),
            Summary::ByTruths => match self.sizes.value() {
                0.0 => Err(Undefined::NoDenominator { what: "size of the truths" }),
                sizes => finite(sum / sizes),
            },
        }
    }
}

/// Measures all rows at once, without keeping them.
pub(crate) fn measure(
    columns: &NumberColumns<'_>,
    names: Vec<MetricName>,
) -> Result<Evaluation, EvaluateError> {
    let mut measure = NumberMeasure::counting(names)?;
    measure.update(columns);
    Ok(measure.finish_with(Some(*columns)))
}

/// Whether `name` is of a metric of numbers.
///
/// # Errors
///
/// Where it is not.
pub(crate) fn fits(name: &MetricName) -> Result<(), EvaluateError> {
    if name.metric.measured_on == MeasuredOn::Numbers {
        return Ok(());
    }
    let reason = "is not one of a target of numbers".to_owned();
    Err(EvaluateError::NoSuchMetric { name: name.to_string(), reason })
}

/// The names of the usual metrics.
pub fn usual() -> Vec<MetricName> {
    let of = |name: &&str| METRICS.iter().find(|metric| metric.name == *name).and_then(MetricName::of);
    USUAL.iter().filter_map(of).collect()
}

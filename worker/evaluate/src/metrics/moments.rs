//! Exact sums of truths, predictions and their products, and the metrics that follow:
//! R², explained variance, correlation, concordance. [`Moments`] owns the sums.

use serde::{Deserialize, Serialize};

use crate::{
    columns::NumberColumns,
    sum::{ExactSum, WeightSum},
    undefined::{Undefined, Value, finite},
};

/// Sums over rows. Since they are exact, so are differences of their products: a variance
/// far from zero loses nothing, and truths that do not vary have exactly none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moments {
    rows: u64,
    weight: WeightSum,
    truths: Series,
    predictions: Series,
    /// Of `truth × prediction`.
    products: ExactSum,
    /// Of `truth - prediction`.
    errors: Series,
}

/// The sum of values and that of their squares.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Series {
    first: ExactSum,
    second: ExactSum,
}

impl Series {
    fn add(&mut self, value: f64, weight: f64) {
        add_product(&mut self.first, weight, value, 1.0);
        add_product(&mut self.second, weight, value, value);
    }

    fn merge(&mut self, other: &Self) {
        self.first.merge(&other.first);
        self.second.merge(&other.second);
    }

    fn deviation(&self, weight: &ExactSum) -> f64 {
        centered(weight, &self.first, &self.first, &self.second)
    }
}

/// Adds `weight × a × b`.
fn add_product(sum: &mut ExactSum, weight: f64, a: f64, b: f64) {
    match (weight == 1.0, b == 1.0) {
        (true, true) => sum.add(a),
        (true, false) => sum.add_product(a, b),
        (false, true) => sum.add_product(weight, a),
        (false, false) => sum.add_product_of_three(weight, a, b),
    }
}

/// `Σ w a b - Σ w a × Σ w b / Σ w`: the sum of products of distances from the means. The
/// difference is exact; then it is rounded.
fn centered(weight: &ExactSum, a: &ExactSum, b: &ExactSum, ab: &ExactSum) -> f64 {
    weight.times(ab).minus(&a.times(b)).value() / weight.value()
}

impl Moments {
    pub(crate) fn update(&mut self, columns: &NumberColumns<'_>) {
        for (truth, prediction, weight) in columns.rows() {
            self.add(truth, prediction, weight);
        }
    }

    pub(crate) fn add(&mut self, truth: f64, prediction: f64, weight: f64) {
        self.rows += 1;
        self.weight.add(weight);
        self.truths.add(truth, weight);
        self.predictions.add(prediction, weight);
        add_product(&mut self.products, weight, truth, prediction);
        self.errors.add(truth - prediction, weight);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.weight.merge(&other.weight);
        self.truths.merge(&other.truths);
        self.predictions.merge(&other.predictions);
        self.products.merge(&other.products);
        self.errors.merge(&other.errors);
    }

    /// The metric called `name`; `None` where none of this module's is called so.
    pub(crate) fn figure(&self, name: &str, parameter: Option<f64>) -> Option<Value> {
        let figure = match name {
            "r2" => Self::r2,
            "explained_variance" => Self::explained_variance,
            "pearson" => Self::pearson,
            "concordance" => Self::concordance,
            "adjusted_r2" => return Some(self.weighed().and_then(|_| self.adjusted_r2(parameter))),
            _ => return None,
        };
        Some(self.weighed().and_then(|weight| figure(self, &weight)))
    }

    fn weighed(&self) -> Result<ExactSum, Undefined> {
        let weight = self.weight.exact();
        if weight.value() == 0.0 { Err(Undefined::NoWeight) } else { Ok(weight) }
    }

    /// The share of the truths' variance that the predictions explain.
    fn r2(&self, weight: &ExactSum) -> Value {
        if self.rows < 2 {
            return Err(Undefined::OneRow);
        }
        explained(self.errors.second.value(), self.truths.deviation(weight))
    }

    fn adjusted_r2(&self, features: Option<f64>) -> Value {
        let (rows, features) = (self.rows, features.unwrap_or(0.0));
        let needed = features as u64 + 1;
        if rows <= needed {
            return Err(Undefined::FewRows { needed, actual: rows });
        }
        let r2 = self.r2(&self.weighed()?)?;
        Ok(1.0 - (1.0 - r2) * (rows - 1) as f64 / (rows - needed) as f64)
    }

    fn explained_variance(&self, weight: &ExactSum) -> Value {
        explained(self.errors.deviation(weight), self.truths.deviation(weight))
    }

    pub(crate) fn pearson(&self, weight: &ExactSum) -> Value {
        if self.rows < 2 {
            return Err(Undefined::OneRow);
        }
        let (truths, predictions) = (self.truths.deviation(weight), self.predictions.deviation(weight));
        match (truths == 0.0, predictions == 0.0) {
            (true, _) => Err(Undefined::Constant { what: "truths" }),
            (false, true) => Err(Undefined::Constant { what: "predictions" }),
            // The roots apart: their product overflows later.
            (false, false) => {
                let correlation = self.covariance(weight) / truths.sqrt() / predictions.sqrt();
                finite(correlation).map(|correlation| correlation.clamp(-1.0, 1.0))
            }
        }
    }

    /// The correlation of all that was added, whatever its weight.
    pub(crate) fn correlation(&self) -> Value {
        self.weighed().and_then(|weight| self.pearson(&weight))
    }

    /// Lin (1989): how close rows are to `prediction = truth`.
    fn concordance(&self, weight: &ExactSum) -> Value {
        let all = weight.value();
        let bias = self.errors.first.value() / all;
        let spread = self.truths.deviation(weight) + self.predictions.deviation(weight) + all * bias * bias;
        if spread == 0.0 {
            return Err(Undefined::Constant { what: "truths and predictions" });
        }
        finite(2.0 * self.covariance(weight) / spread)
    }

    fn covariance(&self, weight: &ExactSum) -> f64 {
        centered(weight, &self.truths.first, &self.predictions.first, &self.products)
    }
}

/// `1 - left / whole`; where there is nothing to explain, 1 if nothing is left and else 0.
pub(crate) fn explained(left: f64, whole: f64) -> Value {
    match (left == 0.0, whole == 0.0) {
        (true, _) => Ok(1.0),
        (false, true) => Ok(0.0),
        (false, false) => finite(left).and(finite(1.0 - left / whole)),
    }
}

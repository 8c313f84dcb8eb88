//! How often each class was taken for each other, and everything that follows from
//! that. [`ConfusionTable`] owns the counts.

use serde::{Deserialize, Serialize};

use crate::sum::ExactSum;

/// Counts and weights of rows by their class and the class that they were taken for.
/// Whole numbers, or exact sums of weights: merging parts gives the same bits as counting
/// all at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfusionTable {
    classes: usize,
    rows: Vec<u64>,
    /// Kept from the first weight on that was given.
    weights: Option<Vec<ExactSum>>,
}

/// What a confusion matrix is divided by, cell by cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// The rows of the true class: the diagonal is recall.
    Truth,
    /// The rows taken for a class: the diagonal is precision.
    Prediction,
    /// All rows.
    All,
}

/// The weights of a [`ConfusionTable`], each rounded once.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfusionMatrix {
    classes: usize,
    cells: Vec<f64>,
    actual: Vec<f64>,
    predicted: Vec<f64>,
    total: f64,
}

/// One class against the rest.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ClassCounts {
    /// Rows of the class, taken for it.
    pub true_positives: f64,
    /// Rows of others, taken for it.
    pub false_positives: f64,
    /// Rows of the class, taken for others.
    pub false_negatives: f64,
    /// Rows of others, taken for others.
    pub true_negatives: f64,
}

impl ConfusionTable {
    /// An empty table of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self { classes, rows: vec![0; classes * classes], weights: None }
    }

    /// Counts one row. Both classes are indices below the number of classes; `weight` is
    /// given for all rows of a batch or for none.
    pub fn add(&mut self, truth: usize, prediction: usize, weight: Option<f64>) {
        let cell = truth * self.classes + prediction;
        if weight.is_some() {
            self.weigh();
        }
        self.rows[cell] += 1;
        if let Some(weights) = &mut self.weights {
            weights[cell].add(weight.unwrap_or(1.0));
        }
    }

    fn weigh(&mut self) {
        if self.weights.is_none() {
            let exact = |rows: &u64| std::iter::once(*rows as f64).collect();
            self.weights = Some(self.rows.iter().map(exact).collect());
        }
    }

    /// Adds the counts of another table of as many classes.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.classes, other.classes, "callers compare classes first");
        if other.weights.is_some() {
            self.weigh();
        }
        for (index, rows) in other.rows.iter().enumerate() {
            self.rows[index] += rows;
            if let Some(weights) = &mut self.weights {
                match &other.weights {
                    Some(others) => weights[index].merge(&others[index]),
                    None => weights[index].add(*rows as f64),
                }
            }
        }
    }

    /// Rows counted, whatever their weight: `[truth][prediction]`.
    pub fn counts(&self) -> Vec<Vec<u64>> {
        self.rows.chunks_exact(self.classes).map(<[u64]>::to_vec).collect()
    }

    /// All rows counted.
    pub fn rows(&self) -> u64 {
        self.rows.iter().sum()
    }

    /// The weights as numbers.
    pub fn matrix(&self) -> ConfusionMatrix {
        let classes = self.classes;
        let cells: Vec<f64> = match &self.weights {
            None => self.rows.iter().map(|rows| *rows as f64).collect(),
            Some(weights) => weights.iter().map(ExactSum::value).collect(),
        };
        let (mut actual, mut predicted) =
            (vec![ExactSum::default(); classes], vec![ExactSum::default(); classes]);
        let mut total = ExactSum::default();
        for (index, cell) in cells.iter().enumerate() {
            actual[index / classes].add(*cell);
            predicted[index % classes].add(*cell);
            total.add(*cell);
        }
        let values = |sums: Vec<ExactSum>| sums.iter().map(ExactSum::value).collect();
        ConfusionMatrix {
            classes,
            actual: values(actual),
            predicted: values(predicted),
            total: total.value(),
            cells,
        }
    }
}

impl ConfusionMatrix {
    /// Of whole numbers of rows, `classes × classes` of them: cell `truth × classes + prediction`.
    pub(crate) fn of_counts(classes: usize, counts: &[u64]) -> Self {
        let (mut actual, mut predicted) = (vec![0; classes], vec![0; classes]);
        for (cell, count) in counts.iter().enumerate().take(classes * classes) {
            actual[cell / classes] += count;
            predicted[cell % classes] += count;
        }
        let total: u64 = actual.iter().sum();
        let numbers = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect();
        Self {
            classes,
            cells: numbers(counts),
            actual: numbers(&actual),
            predicted: numbers(&predicted),
            total: total as f64,
        }
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The weight of the rows of class `truth` that were taken for `prediction`.
    pub fn cell(&self, truth: usize, prediction: usize) -> f64 {
        self.cells[truth * self.classes + prediction]
    }

    /// The weight of each class's rows.
    pub fn actual(&self) -> &[f64] {
        &self.actual
    }

    /// The weight of the rows taken for each class.
    pub fn predicted(&self) -> &[f64] {
        &self.predicted
    }

    /// The weight of all rows.
    pub fn total(&self) -> f64 {
        self.total
    }

    /// The weight of the rows that were taken for what they are.
    pub fn correct(&self) -> f64 {
        (0..self.classes).map(|class| self.cell(class, class)).collect::<ExactSum>().value()
    }

    /// Class `class` against the rest.
    pub fn of_class(&self, class: usize) -> ClassCounts {
        let hits = self.cell(class, class);
        let (actual, predicted) = (self.actual[class], self.predicted[class]);
        // Of two classes the cell is there; of more, sums that were rounded may cancel to less than 0.
        let others = match self.classes {
            2 => self.cell(1 - class, 1 - class),
            _ => (self.total - actual - predicted + hits).max(0.0),
        };
        ClassCounts {
            true_positives: hits,
            false_positives: predicted - hits,
            false_negatives: actual - hits,
            true_negatives: others,
        }
    }

    /// Shares instead of weights: `[truth][prediction]`; 0 of nothing is 0.
    pub fn normalized(&self, by: Normalize) -> Vec<Vec<f64>> {
        let whole = |truth: usize, prediction: usize| match by {
            Normalize::Truth => self.actual[truth],
            Normalize::Prediction => self.predicted[prediction],
            Normalize::All => self.total,
        };
        let share = |truth, prediction| ratio(self.cell(truth, prediction), whole(truth, prediction));
        (0..self.classes).map(|truth| (0..self.classes).map(|other| share(truth, other)).collect()).collect()
    }
}

impl ClassCounts {
    /// Adds the counts of another class.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            true_positives: self.true_positives + other.true_positives,
            false_positives: self.false_positives + other.false_positives,
            false_negatives: self.false_negatives + other.false_negatives,
            true_negatives: self.true_negatives + other.true_negatives,
        }
    }

    /// The weight of the class's rows.
    pub fn support(&self) -> f64 {
        self.true_positives + self.false_negatives
    }
}

/// `part / whole`; 0 of nothing is 0 (scikit-learn's `zero_division`).
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

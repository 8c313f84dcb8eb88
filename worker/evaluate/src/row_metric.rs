//! A metric of rows that may be there several times: what resampling, slices and groups
//! ask of a metric. Owns no state; knows no names of metrics.
//!
//! Weights are whole numbers, one for each row of the table, also for those outside the
//! rows that are measured: a resample is drawn once and serves every slice of it.

use std::borrow::Cow;

use crate::{
    input::{self, InputError},
    ranking::Ranking,
};

/// A metric that is made ready for some rows, and takes the weight of each row of the table.
/// `None` where it has no value on those.
pub type Weighed<'a> = Box<dyn Fn(&[u32]) -> Option<f64> + Send + Sync + 'a>;

/// A metric of any rows of one table.
pub trait RowMetric: Sync {
    /// How many rows the table has.
    fn rows(&self) -> usize;

    /// Does once for these rows what need not be done for each resample, such as sorting.
    /// Rows outside the table count for nothing.
    fn on<'a>(&'a self, rows: &'a [u32]) -> Weighed<'a>;

    /// Its value on these rows, each once.
    fn value(&self, rows: &[u32]) -> Option<f64> {
        self.on(rows)(&vec![1; self.rows()])
    }
}

/// All row numbers of a table.
pub(crate) fn all_rows(rows: usize) -> Vec<u32> {
    (0..rows as u32).collect()
}

/// The most cells of a [`CellMetric`]: each resample has a table of them.
pub const CELLS_MAX: usize = 1_000_000;

/// A metric of how many rows fall into each of a few cells, such as those of a confusion
/// matrix.
pub struct CellMetric<'a, F> {
    cells: Cow<'a, [u32]>,
    count: usize,
    of: F,
}

impl<'a, F: Fn(&[u64]) -> Option<f64> + Sync> CellMetric<'a, F> {
    /// `cells` names the cell of each row, below `count`; `of` makes the metric of the cells'
    /// counts.
    ///
    /// # Errors
    ///
    /// Where there is no row, a cell is none of `count`, or there are more than [`CELLS_MAX`].
    pub fn new(cells: impl Into<Cow<'a, [u32]>>, count: usize, of: F) -> Result<Self, InputError> {
        let cells = cells.into();
        input::some_rows(cells.len())?;
        input::within("cells", count, 1, CELLS_MAX)?;
        input::below("cell", &cells, count, "one of the cells")?;
        Ok(Self { cells, count, of })
    }
}

impl<F: Fn(&[u64]) -> Option<f64> + Send + Sync> RowMetric for CellMetric<'_, F> {
    fn rows(&self) -> usize {
        self.cells.len()
    }

    fn on<'a>(&'a self, rows: &'a [u32]) -> Weighed<'a> {
        Box::new(move |weights| {
            let mut counts = vec![0_u64; self.count];
            for (row, weight) in weighed(rows, weights) {
                if let Some(cell) = self.cells.get(row) {
                    counts[*cell as usize] += u64::from(weight);
                }
            }
            (self.of)(&counts)
        })
    }
}

/// The weighted mean of one value a row, and what is made of it: the root for the RMSE.
pub struct MeanMetric<'a> {
    values: Cow<'a, [f64]>,
    finish: fn(f64) -> f64,
}

impl<'a> MeanMetric<'a> {
    /// The mean of `values`.
    ///
    /// # Errors
    ///
    /// Where there are none, or one is not finite.
    pub fn new(values: impl Into<Cow<'a, [f64]>>) -> Result<Self, InputError> {
        Self::then(values, |mean| mean)
    }

    /// The same, with what is made of the mean.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn then(values: impl Into<Cow<'a, [f64]>>, finish: fn(f64) -> f64) -> Result<Self, InputError> {
        let values = values.into();
        input::some_rows(values.len())?;
        input::finite("value", &values)?;
        Ok(Self { values, finish })
    }
}

impl RowMetric for MeanMetric<'_> {
    fn rows(&self) -> usize {
        self.values.len()
    }

    fn on<'a>(&'a self, rows: &'a [u32]) -> Weighed<'a> {
        Box::new(move |weights| {
            let (mut sum, mut count) = (0.0, 0_u64);
            for (row, weight) in weighed(rows, weights) {
                if let Some(value) = self.values.get(row) {
                    sum += value * f64::from(weight);
                    count += u64::from(weight);
                }
            }
            let value = (self.finish)(sum / count as f64);
            (count > 0 && value.is_finite()).then_some(value)
        })
    }
}

/// What becomes of the sums of several numbers.
type Finish = Box<dyn Fn(&[f64]) -> Option<f64> + Send + Sync>;

/// Whatever follows from weighted sums of a few numbers a row, such as R².
pub struct SumsMetric {
    /// Row by row.
    values: Vec<f64>,
    width: usize,
    finish: Finish,
}

impl SumsMetric {
    /// `finish` makes the metric of the sums of `rows`.
    ///
    /// # Errors
    ///
    /// Where there are none.
    pub fn new<const N: usize>(
        rows: impl Iterator<Item = [f64; N]>,
        finish: impl Fn([f64; N]) -> Option<f64> + Send + Sync + 'static,
    ) -> Result<Self, InputError> {
        let values: Vec<f64> = rows.flatten().collect();
        input::some_rows(values.len() / N.max(1))?;
        let finish = move |sums: &[f64]| <[f64; N]>::try_from(sums).ok().and_then(&finish);
        Ok(Self { values, width: N, finish: Box::new(finish) })
    }
}

impl RowMetric for SumsMetric {
    fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    fn on<'a>(&'a self, rows: &'a [u32]) -> Weighed<'a> {
        Box::new(move |weights| {
            let mut sums = vec![0.0; self.width];
            for (row, weight) in weighed(rows, weights).filter(|(row, _)| *row < self.rows()) {
                let values = &self.values[row * self.width..(row + 1) * self.width];
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value * f64::from(weight));
            }
            (self.finish)(&sums).filter(|value| value.is_finite())
        })
    }
}

/// The area under the ROC curve of one score a row.
pub struct RocAucMetric<'a> {
    scores: Cow<'a, [f64]>,
    positives: Cow<'a, [bool]>,
}

impl<'a> RocAucMetric<'a> {
    /// That of `scores`, where `positives` says which rows should have the higher ones.
    ///
    /// # Errors
    ///
    /// Where there is no row, the two differ in length, or a score is not finite.
    pub fn new(
        scores: impl Into<Cow<'a, [f64]>>,
        positives: impl Into<Cow<'a, [bool]>>,
    ) -> Result<Self, InputError> {
        let (scores, positives) = (scores.into(), positives.into());
        input::some_rows(scores.len())?;
        input::as_long("truths", scores.len(), positives.len())?;
        input::finite("score", &scores)?;
        Ok(Self { scores, positives })
    }
}

impl RowMetric for RocAucMetric<'_> {
    fn rows(&self) -> usize {
        self.scores.len()
    }

    fn on<'a>(&'a self, rows: &'a [u32]) -> Weighed<'a> {
        let ranking = Ranking::of_rows(&self.scores, rows);
        Box::new(move |weights| ranking.roc_auc(&self.positives, weights))
    }
}

/// Any other metric, from the numbers of its rows, those of weight 2 twice; the slowest way.
pub struct RowsMetric<F> {
    rows: usize,
    of: F,
}

impl<F: Fn(&[u32]) -> Option<f64> + Send + Sync> RowsMetric<F> {
    /// `of` makes the metric of row numbers below `rows`.
    ///
    /// # Errors
    ///
    /// Where there is no row.
    pub fn new(rows: usize, of: F) -> Result<Self, InputError> {
        input::some_rows(rows)?;
        Ok(Self { rows, of })
    }
}

impl<F: Fn(&[u32]) -> Option<f64> + Send + Sync> RowMetric for RowsMetric<F> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn on<'a>(&'a self, rows: &'a [u32]) -> Weighed<'a> {
        Box::new(move |weights| {
            let within = weighed(rows, weights).filter(|(row, _)| *row < self.rows);
            let drawn: Vec<u32> =
                within.flat_map(|(row, weight)| std::iter::repeat_n(row as u32, weight as usize)).collect();
            (self.of)(&drawn)
        })
    }
}

/// Two metrics of one table, one less the other: resampled, a paired comparison.
pub struct DifferenceMetric<'a> {
    /// What is subtracted from.
    pub of: &'a dyn RowMetric,
    /// What is subtracted.
    pub less: &'a dyn RowMetric,
}

impl RowMetric for DifferenceMetric<'_> {
    fn rows(&self) -> usize {
        self.of.rows()
    }

    fn on<'a>(&'a self, rows: &'a [u32]) -> Weighed<'a> {
        let (of, less) = (self.of.on(rows), self.less.on(rows));
        Box::new(move |weights| Some(of(weights)? - less(weights)?))
    }
}

/// A metric of some rows of its table alone, whichever are asked for.
pub struct SliceMetric<'a> {
    /// The metric.
    pub of: Box<dyn RowMetric + 'a>,
    /// The rows, in rising order.
    pub slice: Vec<u32>,
}

impl RowMetric for SliceMetric<'_> {
    fn rows(&self) -> usize {
        self.of.rows()
    }

    fn on<'a>(&'a self, _: &'a [u32]) -> Weighed<'a> {
        self.of.on(&self.slice)
    }
}

/// How several metrics of one table become one; each of them must have a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// Their mean.
    Mean,
    /// The least of them.
    Least,
    /// The greatest of them.
    Greatest,
}

/// Several metrics of one table as one: a mean over classes, or the class that does worst.
pub struct ManyMetric<'a> {
    /// The metrics; one at least.
    pub each: Vec<Box<dyn RowMetric + 'a>>,
    /// How they become one.
    pub together: Together,
}

impl RowMetric for ManyMetric<'_> {
    fn rows(&self) -> usize {
        self.each.first().map_or(0, |metric| metric.rows())
    }

    fn on<'a>(&'a self, rows: &'a [u32]) -> Weighed<'a> {
        let each: Vec<Weighed<'a>> = self.each.iter().map(|metric| metric.on(rows)).collect();
        Box::new(move |weights| {
            let values = each.iter().map(|metric| metric(weights)).collect::<Option<Vec<f64>>>()?;
            let count = values.len() as f64;
            match self.together {
                Together::Mean => (count > 0.0).then(|| crate::sum::sum(values) / count),
                Together::Least => values.into_iter().reduce(f64::min),
                Together::Greatest => values.into_iter().reduce(f64::max),
            }
        })
    }
}

/// Rows with their weights, without those of none.
fn weighed<'a>(rows: &'a [u32], weights: &'a [u32]) -> impl Iterator<Item = (usize, u32)> + 'a {
    let weigh = |row: &u32| Some((*row as usize, *weights.get(*row as usize)?));
    rows.iter().filter_map(weigh).filter(|(_, weight)| *weight > 0)
}

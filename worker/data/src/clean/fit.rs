//! Figures of columns over the rows of a table: moments, counts of values, and
//! quantiles. Batches are summed up by themselves and joined in their order, so
//! that the last bit of a mean does not depend on threads.

use std::collections::{BTreeMap, HashMap};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, RecordBatch},
    datatypes::{DataType, UInt8Type},
};

use super::{
    batches::Batches,
    cells::{Value, numbers},
    order_statistics::{Part, Search},
    pipeline::Pipeline,
};
use crate::{
    PrepareError,
    intake::{SPLIT, SourceFile},
};

/// The most different values of a column that are counted.
const VALUES_MAX: usize = 1 << 20;

/// A figure that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ask {
    Moments,
    Counts,
    Quantiles(Vec<f64>),
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Moments(Figures),
    /// Rows with each value.
    Counts(Counts),
    /// `None` if no number is there.
    Quantiles(Option<Vec<f64>>),
}

/// Moments of the numbers of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    squares: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Default for Figures {
    fn default() -> Self {
        Self { count: 0, mean: 0.0, squares: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Figures {
    /// Of some numbers (Welford).
    pub(crate) fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut figures = Self::default();
        for number in numbers {
            figures.count += 1;
            let before = number - figures.mean;
            figures.mean += before / figures.count as f64;
            figures.squares += before * (number - figures.mean);
            figures.min = figures.min.min(number);
            figures.max = figures.max.max(number);
        }
        figures
    }

    /// Joined with those of later rows (Chan et al.).
    pub(crate) fn join(self, later: Self) -> Self {
        if self.count == 0 || later.count == 0 {
            return if self.count == 0 { later } else { self };
        }
        let count = self.count + later.count;
        let (ours, theirs) = (self.count as f64, later.count as f64);
        let apart = later.mean - self.mean;
        Self {
            count,
            mean: self.mean + apart * theirs / count as f64,
            squares: self.squares + later.squares + apart * apart * ours * theirs / count as f64,
            min: self.min.min(later.min),
            max: self.max.max(later.max),
        }
    }

    /// The deviation, of the population.
    pub(crate) fn deviation(&self) -> f64 {
        (self.squares / (self.count.max(1)) as f64).max(0.0).sqrt()
    }
}

/// How often each value of a column comes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts {
    texts: BTreeMap<String, u64>,
    /// By the number's bits.
    numbers: HashMap<u64, u64>,
    whole: bool,
}

impl Counts {
    fn of(column: &ArrayRef, counts: impl Fn(usize) -> bool) -> Option<Self> {
        let mut all = Self { whole: *column.data_type() == DataType::Int64, ..Self::default() };
        if *column.data_type() == DataType::Utf8 {
            let cells = column.as_string::<i32>();
            let mut seen: HashMap<&str, u64> = HashMap::new();
            for row in (0..cells.len()).filter(|row| cells.is_valid(*row) && counts(*row)) {
                *seen.entry(cells.value(row)).or_default() += 1;
            }
            all.texts = seen.into_iter().map(|(text, count)| (text.to_owned(), count)).collect();
            return Some(all);
        }
        let cells = numbers(column)?;
        for number in cells.iter().enumerate().filter_map(|(row, cell)| cell.filter(|_| counts(row))) {
            *all.numbers.entry(number.to_bits()).or_default() += 1;
        }
        Some(all)
    }

    fn add(&mut self, later: Self) -> Result<(), String> {
        self.whole = later.whole;
        for (text, count) in later.texts {
            *self.texts.entry(text).or_default() += count;
        }
        for (number, count) in later.numbers {
            *self.numbers.entry(number).or_default() += count;
        }
        match self.texts.len().max(self.numbers.len()) > VALUES_MAX {
            true => Err(format!("there are more than {VALUES_MAX} different values")),
            false => Ok(()),
        }
    }

    /// What comes most often; of equals, the first in order.
    pub(super) fn mode(&self) -> Option<Value> {
        let text = self.texts.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
        let number = self.numbers.iter().map(|(bits, count)| (f64::from_bits(*bits), *count));
        let number = number.max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.total_cmp(&a.0)));
        match (text, number) {
            (Some((text, _)), _) => Some(Value::Text(text.clone())),
            (None, Some((number, _))) if self.whole => Some(Value::Int(number as i64)),
            (None, Some((number, _))) => Some(Value::Float(number)),
            (None, None) => None,
        }
    }

    /// The texts, in order, that are at least the share `below` of all rows that were counted.
    pub(super) fn common(&self, below: f64, rows: u64) -> Vec<String> {
        let common = |count: &u64| *count as f64 >= below * rows as f64;
        self.texts.iter().filter(|(_, count)| common(count)).map(|(text, _)| text.clone()).collect()
    }
}

/// What one batch adds to an answer.
enum Partial {
    Figures(Figures),
    Counts(Counts),
    Ranks(Part),
}

/// Answers what is asked of columns over the rows of the training split (of all, where rows have no
/// split yet), and tells how many rows these are.
pub(super) fn fit(
    batches: &Batches<'_>,
    pipeline: &Pipeline,
    files: &[SourceFile],
    asks: &[(String, Ask)],
) -> Result<(Vec<Answer>, u64), PrepareError> {
    let failed = |column: &str, reason: String| PrepareError::Step { step: format!("`{column}`"), reason };
    let mut searches: Vec<Option<Search>> = asks
        .iter()
        .map(|(_, ask)| match ask {
            Ask::Quantiles(wanted) => Some(Search::new(wanted.clone())),
            Ask::Moments | Ask::Counts => None,
        })
        .collect();
    let mut answers: Vec<Answer> = asks.iter().map(|(_, ask)| ask.nothing()).collect();
    let (mut rows, mut first) = (0, true);
    while first || searches.iter().flatten().any(|search| !search.is_done()) {
        let (mut parts, mut seen) = (Vec::new(), 0);
        let looking = &searches;
        let work = |number: usize, rows| {
            let (rows, _) = pipeline.apply(number, rows, files)?;
            let train = training(&rows.batch);
            let counts = |row: usize| train.as_ref().is_none_or(|splits| splits[row] == 0);
            let partial = |((name, ask), search): (&(String, Ask), &Option<Search>)| {
                let column = rows.batch.column_by_name(name).ok_or("there is no such column")?;
                partial(column, ask, search.as_ref(), first, &counts)
            };
            let found = asks
                .iter()
                .zip(looking)
                .map(|(ask, search)| partial((ask, search)).map_err(|reason: String| failed(&ask.0, reason)));
            let counted = (0..rows.batch.num_rows()).filter(|row| counts(*row)).count() as u64;
            Ok((found.collect::<Result<Vec<_>, _>>()?, counted))
        };
        batches.read(work, |(found, counted)| {
            seen += counted;
            for (index, partial) in found.into_iter().enumerate() {
                match (partial, &mut answers[index]) {
                    (Some(Partial::Figures(figures)), Answer::Moments(all)) => *all = all.join(figures),
                    (Some(Partial::Counts(counts)), Answer::Counts(all)) => {
                        all.add(counts).map_err(|reason| failed(&asks[index].0, reason))?;
                    }
                    (Some(Partial::Ranks(part)), _) => parts.push((index, part)),
                    (Some(Partial::Figures(_) | Partial::Counts(_)) | None, _) => {}
                }
            }
            Ok(())
        })?;
        for (index, part) in parts {
            if let Some(search) = &mut searches[index] {
                search.add(part);
            }
        }
        searches.iter_mut().flatten().for_each(Search::narrow);
        (rows, first) = (seen, false);
    }
    for (answer, search) in answers.iter_mut().zip(&searches) {
        if let (Answer::Quantiles(quantiles), Some(search)) = (answer, search) {
            *quantiles = search.finish();
        }
    }
    Ok((answers, rows))
}

impl Ask {
    fn nothing(&self) -> Answer {
        match self {
            Self::Moments => Answer::Moments(Figures::default()),
            Self::Counts => Answer::Counts(Counts::default()),
            Self::Quantiles(_) => Answer::Quantiles(None),
        }
    }
}

fn partial(
    column: &ArrayRef,
    ask: &Ask,
    search: Option<&Search>,
    first: bool,
    counts: &impl Fn(usize) -> bool,
) -> Result<Option<Partial>, String> {
    let cells = || numbers(column).ok_or_else(|| format!("expected numbers, found {}", column.data_type()));
    Ok(match (ask, search) {
        (Ask::Quantiles(_), Some(search)) if !search.is_done() => {
            Some(Partial::Ranks(search.look(&cells()?, counts)))
        }
        (Ask::Moments, _) if first => {
            let cells = cells()?;
            let there = cells.iter().enumerate().filter_map(|(row, cell)| cell.filter(|_| counts(row)));
            Some(Partial::Figures(Figures::of(there)))
        }
        (Ask::Counts, _) if first => {
            Some(Partial::Counts(Counts::of(column, counts).ok_or("its values cannot be counted")?))
        }
        (Ask::Quantiles(_) | Ask::Moments | Ask::Counts, _) => None,
    })
}

/// The split of each row, if they have one.
fn training(batch: &RecordBatch) -> Option<Vec<u8>> {
    let splits = batch.column_by_name(SPLIT)?;
    Some(splits.as_primitive::<UInt8Type>().values().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_joined_are_those_of_all_numbers() {
        let numbers: Vec<f64> = (0..100).map(|number| f64::from(number * number % 37)).collect();
        let all = Figures::of(numbers.iter().copied());
        let joined = numbers
            .chunks(9)
            .map(|some| Figures::of(some.iter().copied()))
            .fold(Figures::default(), Figures::join);
        assert_eq!((joined.count, joined.min, joined.max), (all.count, all.min, all.max));
        assert!(
            (joined.mean - all.mean).abs() < 1e-12 && (joined.deviation() - all.deviation()).abs() < 1e-12
        );
    }

    #[test]
    fn of_values_that_come_as_often_the_first_in_order_is_the_mode() {
        let column: ArrayRef =
            std::sync::Arc::new(arrow::array::StringArray::from(vec!["b", "a", "b", "a", "c"]));
        assert_eq!(Counts::of(&column, |_| true).unwrap().mode(), Some(Value::Text("a".to_owned())));
        let column: ArrayRef = std::sync::Arc::new(arrow::array::Int64Array::from(vec![3, -1, 3, -1]));
        assert_eq!(Counts::of(&column, |_| true).unwrap().mode(), Some(Value::Int(-1)));
    }
}

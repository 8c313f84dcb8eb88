//! What is remembered of one column: how many cells there are, how many are missing, the
//! distribution of its numbers, how many different values there are, and which are the most frequent.

use datasketches::{
    common::NumStdDev,
    error::Error,
    frequencies::{ErrorType, FrequentItemsSketch},
    hash::value::{canonical_float, raw_bytes},
    hll::{HllSketch, HllType, HllUnion},
};
use serde::{Deserialize, Serialize};

use super::kll::Kll;

/// Registers for different values, as a power of two: the number is right to within 3.2 %, in 95 of 100 cases.
const DISTINCT_BITS: u8 = 12;

/// Places for frequent values. Up to three quarters as many different ones are counted exactly.
const FREQUENT_PLACES: usize = 512;

/// Bytes of a text that tell it from others: no category is longer, and 400 of a megabyte each would fill memory.
const TEXT_BYTES_MAX: usize = 256;

/// The sketch of a column. What is asked of a mergeable sketch holds: that of all rows is that of its parts, merged.
#[derive(Debug, Clone)]
pub struct ColumnSketch {
    pub(super) name: String,
    pub(super) data_type: String,
    pub(super) rows: u64,
    pub(super) missing: u64,
    /// Of numbers.
    pub(super) numbers: Option<Kll>,
    pub(super) distinct: HllUnion,
    /// Of whole numbers, texts, dates and truth values.
    pub(super) frequent: Option<Frequent>,
}

/// The most frequent values.
#[derive(Debug, Clone)]
pub(super) enum Frequent {
    Whole(FrequentItemsSketch<i64>),
    Texts(FrequentItemsSketch<String>),
}

/// A value that comes often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrequentValue {
    /// The value; of a long text, its first 256 bytes.
    pub value: String,
    /// Rows that have it, at the least.
    pub at_least: u64,
    /// Rows that have it, at the most; the same where there are few different values.
    pub at_most: u64,
}

/// How many different values there are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Distinct {
    /// The likeliest number.
    pub estimate: f64,
    /// At the least, in 95 of 100 cases.
    pub low: f64,
    /// At the most, in 95 of 100 cases.
    pub high: f64,
}

impl ColumnSketch {
    /// Of no rows.
    pub(super) fn new(name: String, data_type: String, numbers: bool, frequent: Option<Frequent>) -> Self {
        let distinct = HllUnion::new(DISTINCT_BITS).expect("invariant: the number of registers is allowed");
        let numbers = numbers.then(Kll::default);
        Self { name, data_type, rows: 0, missing: 0, numbers, distinct, frequent }
    }

    /// Counts cells, `missing` of which have no value.
    pub(crate) fn count(&mut self, rows: u64, missing: u64) {
        self.rows += rows;
        self.missing += missing;
    }

    /// Adds the numbers of a batch, in ascending order.
    pub(crate) fn add_numbers(&mut self, sorted: Vec<f64>) {
        // Both zeros are one number: they lie beside each other.
        for run in sorted.chunk_by(|a, b| a == b) {
            self.distinct.update_value(canonical_float::from_f64(run[0]));
            if let Some(Frequent::Whole(whole)) = &mut self.frequent {
                whole.update_with_count(run[0] as i64, run.len() as u64);
            }
        }
        if let Some(numbers) = &mut self.numbers {
            numbers.merge(Kll::of_sorted(sorted));
        }
    }

    /// Adds texts, each with its count, in an order that the rows decide.
    pub(crate) fn add_texts<'a>(&mut self, counted: impl Iterator<Item = (&'a str, u64)>) {
        for (text, count) in counted {
            self.distinct.update_value(raw_bytes::from_str(text));
            if let Some(Frequent::Texts(texts)) = &mut self.frequent {
                texts.update_with_count_ref(beginning(text), count);
            }
        }
    }

    /// Adds what another one has seen of later rows. Numbers stay numbers and texts stay texts: of a column that has
    /// become another kind of thing only rows and missing cells are counted on.
    pub fn merge(&mut self, later: Self) {
        self.rows += later.rows;
        self.missing += later.missing;
        if self.numbers.is_some() != later.numbers.is_some() {
            return;
        }
        if let (Some(ours), Some(theirs)) = (&mut self.numbers, later.numbers) {
            ours.merge(theirs);
        }
        self.distinct.update(&later.distinct.to_sketch(HllType::Hll8));
        match (&mut self.frequent, &later.frequent) {
            (Some(Frequent::Whole(ours)), Some(Frequent::Whole(theirs))) => ours.merge(theirs),
            (Some(Frequent::Texts(ours)), Some(Frequent::Texts(theirs))) => ours.merge(theirs),
            (Some(Frequent::Whole(_) | Frequent::Texts(_)) | None, _) => {}
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type, as Arrow calls it.
    pub fn data_type(&self) -> &str {
        &self.data_type
    }

    /// Rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Missing cells.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// The numbers at these fractions of all, of 0 (the least) to 1 (the greatest), with ranks that are right to
    /// within 1.1 %; the least and the greatest are exact. `None` if it has no numbers.
    pub fn quantiles(&self, fractions: &[f64]) -> Option<Vec<f64>> {
        self.numbers.as_ref()?.quantiles(fractions)
    }

    /// The fraction of the numbers that are at most `number`, to within 1.1 %. `None` if it has no numbers.
    pub fn rank(&self, number: f64) -> Option<f64> {
        self.numbers.as_ref().filter(|numbers| numbers.count() > 0).map(|numbers| numbers.rank(number))
    }

    /// How many different values there are. Zero and minus zero are one.
    pub fn distinct(&self) -> Distinct {
        Distinct {
            estimate: self.distinct.estimate(),
            low: self.distinct.lower_bound(NumStdDev::Two),
            high: self.distinct.upper_bound(NumStdDev::Two),
        }
    }

    /// The most frequent values, at most so many, the most frequent first. None of a column of fractions.
    pub fn top(&self, values: usize) -> Vec<FrequentValue> {
        let mut top: Vec<FrequentValue> = match &self.frequent {
            Some(Frequent::Whole(whole)) => {
                let rows = whole.frequent_items(ErrorType::NoFalseNegatives);
                rows.iter()
                    .map(|row| found(row.item().to_string(), row.lower_bound(), row.upper_bound()))
                    .collect()
            }
            Some(Frequent::Texts(texts)) => {
                let rows = texts.frequent_items(ErrorType::NoFalseNegatives);
                rows.iter()
                    .map(|row| found(row.item().clone(), row.lower_bound(), row.upper_bound()))
                    .collect()
            }
            None => Vec::new(),
        };
        top.sort_by(|a, b| b.at_least.cmp(&a.at_least).then_with(|| a.value.cmp(&b.value)));
        top.truncate(values);
        top
    }
}

impl Frequent {
    pub(super) fn whole() -> Self {
        Self::Whole(
            FrequentItemsSketch::new(FREQUENT_PLACES).expect("invariant: the number of places is allowed"),
        )
    }

    pub(super) fn texts() -> Self {
        Self::Texts(
            FrequentItemsSketch::new(FREQUENT_PLACES).expect("invariant: the number of places is allowed"),
        )
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Whole(whole) => whole.serialize(),
            Self::Texts(texts) => texts.serialize(),
        }
    }

    /// One of the same kind, out of what [`to_bytes`](Self::to_bytes) has written.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Self, Error> {
        Ok(match self {
            Self::Whole(_) => Self::Whole(FrequentItemsSketch::deserialize(bytes)?),
            Self::Texts(_) => Self::Texts(FrequentItemsSketch::deserialize(bytes)?),
        })
    }
}

/// The different values of a column, out of what [`distinct_bytes`] has written.
pub(super) fn read_distinct(bytes: &[u8]) -> Result<HllUnion, Error> {
    let mut union = HllUnion::new(DISTINCT_BITS)?;
    union.update(&HllSketch::deserialize(bytes)?);
    Ok(union)
}

/// The different values of a column, in Apache's format.
pub(super) fn distinct_bytes(distinct: &HllUnion) -> Vec<u8> {
    distinct.to_sketch(HllType::Hll8).serialize()
}

fn found(value: String, at_least: u64, at_most: u64) -> FrequentValue {
    FrequentValue { value, at_least, at_most }
}

/// As much of a text as tells it from others.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

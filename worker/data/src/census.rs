//! A census of the columns of a table: what `phalanx data show` tells of them, and
//! what two versions are compared by. Over all rows, so nothing of it may go into
//! a model. Sketches of the same columns are taken along, since both want the numbers sorted.
//!
//! Numbers are counted in stretches of one 256th of a power of two, in which quantiles are
//! right to within 0.2 %. Counts of batches are added up, in any order with the same result.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, RecordBatch},
    datatypes::{DataType, Field, SchemaRef},
};
use serde::{Deserialize, Serialize};

use crate::{
    Sketches,
    clean::{Figures, numbers},
    sketch::{self, ColumnSketch},
};

/// Bits of a number that tell its stretch: sign, exponent, and eight of the fraction.
const STRETCH_BITS: u32 = 20;

/// The most different texts that are counted each by itself.
const TEXTS_MAX: usize = 100_000;

/// The most texts that are told with their counts.
const TOP: usize = 20;

/// Bars of a histogram.
const BARS: usize = 24;

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnProfile {
    /// Its name.
    pub name: String,
    /// Its type, as Arrow calls it.
    pub data_type: String,
    /// Rows.
    pub rows: u64,
    /// Missing cells.
    pub missing: u64,
    /// How many different values there are: counted as long as they are few texts, otherwise to within 3 % in most cases.
    pub distinct: u64,
    /// Its values.
    pub values: ProfileValues,
}

/// The values of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProfileValues {
    /// Numbers.
    Numbers {
        /// The mean.
        mean: f64,
        /// The deviation (of the population).
        deviation: f64,
        /// The 0th to the 100th percentile; the first and the last are exact.
        percentiles: Vec<f64>,
        /// Numbers in each of as many stretches of equal width from the least to the greatest.
        histogram: Vec<u64>,
    },
    /// Texts, dates, and truth values.
    Texts {
        /// The most frequent ones with their counts, the most frequent first.
        top: Vec<(String, u64)>,
        /// Rows with any other.
        other: u64,
    },
    /// Lists and bytes, of which nothing is told; and columns without a value.
    Other,
}

/// A census of some rows.
#[derive(Debug, Clone)]
pub(crate) struct Census {
    columns: Vec<Column>,
}

#[derive(Debug, Clone)]
struct Column {
    sketch: ColumnSketch,
    seen: Seen,
}

#[derive(Debug, Clone)]
enum Seen {
    Numbers(Figures, BTreeMap<u32, u64>),
    /// The counts, and whether there are too many texts for them.
    Texts(BTreeMap<String, u64>, bool),
    Nothing,
}

impl Census {
    /// Of no rows of a table.
    pub(crate) fn new(schema: &SchemaRef) -> Self {
        let seen = |data_type: &DataType| match data_type {
            DataType::Int64 | DataType::Float64 => Seen::Numbers(Figures::default(), BTreeMap::new()),
            DataType::Utf8 | DataType::Boolean | DataType::Date32 | DataType::Timestamp(..) => {
                Seen::Texts(BTreeMap::new(), false)
            }
            _ => Seen::Nothing,
        };
        let column =
            |field: &Arc<Field>| Column { sketch: sketch::empty(field), seen: seen(field.data_type()) };
        Self { columns: schema.fields().iter().map(column).collect() }
    }

    /// Of the rows of a batch.
    pub(crate) fn of(batch: &RecordBatch) -> Self {
        let mut census = Self::new(&batch.schema());
        for (column, cells) in census.columns.iter_mut().zip(batch.columns()) {
            column.count(cells);
        }
        census
    }

    /// Adds that of other rows.
    pub(crate) fn add(&mut self, other: Self) {
        for (column, other) in self.columns.iter_mut().zip(other.columns) {
            column.add(other);
        }
    }

    /// What was found, column by column, and sketches of it.
    pub(crate) fn finish(self) -> (Vec<ColumnProfile>, Sketches) {
        let (mut profiles, mut sketches) = (Vec::new(), Vec::new());
        for Column { sketch, seen } in self.columns {
            let counted = match &seen {
                Seen::Texts(counts, false) => Some(counts.len() as u64),
                Seen::Texts(_, true) | Seen::Numbers(..) | Seen::Nothing => None,
            };
            profiles.push(ColumnProfile {
                name: sketch.name().to_owned(),
                data_type: sketch.data_type().to_owned(),
                rows: sketch.rows(),
                missing: sketch.missing(),
                distinct: counted.unwrap_or_else(|| sketch.distinct().estimate.round() as u64),
                values: seen.finish(),
            });
            sketches.push(sketch);
        }
        (profiles, Sketches::new(sketches))
    }

    /// The sketches alone.
    pub(crate) fn sketches(self) -> Sketches {
        Sketches::new(self.columns.into_iter().map(|column| column.sketch).collect())
    }
}

impl Column {
    fn count(&mut self, cells: &ArrayRef) {
        self.sketch.count(cells.len() as u64, cells.null_count() as u64);
        match &mut self.seen {
            Seen::Numbers(figures, stretches) => {
                let Some(cells) = numbers(cells) else { return };
                *figures = figures.join(Figures::of(cells.iter().flatten()));
                let mut sorted: Vec<f64> = cells.iter().flatten().filter(|number| !number.is_nan()).collect();
                sorted.sort_unstable_by(f64::total_cmp);
                for run in sorted.chunk_by(|a, b| stretch(*a) == stretch(*b)) {
                    *stretches.entry(stretch(run[0])).or_default() += run.len() as u64;
                }
                self.sketch.add_numbers(sorted);
            }
            Seen::Texts(counts, full) => {
                let Some(texts) = texts(cells) else { return };
                let mut seen: HashMap<&str, u64> = HashMap::new();
                texts
                    .as_string::<i32>()
                    .iter()
                    .flatten()
                    .for_each(|text| *seen.entry(text).or_default() += 1);
                let mut seen: Vec<(&str, u64)> = seen.into_iter().collect();
                seen.sort_unstable();
                self.sketch.add_texts(seen.iter().copied());
                counts.extend(seen.into_iter().map(|(text, count)| (text.to_owned(), count)));
                *full |= counts.len() > TEXTS_MAX;
            }
            Seen::Nothing => {}
        }
    }

    fn add(&mut self, other: Self) {
        self.sketch.merge(other.sketch);
        match (&mut self.seen, other.seen) {
            (Seen::Numbers(figures, stretches), Seen::Numbers(others, more)) => {
                *figures = figures.join(others);
                more.into_iter().for_each(|(key, count)| *stretches.entry(key).or_default() += count);
            }
            (Seen::Texts(counts, full), Seen::Texts(more, others_full)) => {
                *full |= others_full;
                for (text, count) in more {
                    // What is full counts on for those that it knows.
                    if let Some(known) = counts.get_mut(&text) {
                        *known += count;
                    } else if counts.len() <= TEXTS_MAX {
                        counts.insert(text, count);
                    } else {
                        *full = true;
                    }
                }
            }
            (Seen::Numbers(..) | Seen::Texts(..) | Seen::Nothing, _) => {}
        }
    }
}

/// Cells as texts.
fn texts(cells: &ArrayRef) -> Option<ArrayRef> {
    match cells.data_type() {
        DataType::Utf8 => Some(cells.clone()),
        _ => arrow::compute::cast(cells, &DataType::Utf8).ok(),
    }
}

impl Seen {
    fn finish(self) -> ProfileValues {
        match self {
            Self::Numbers(figures, stretches) if figures.count > 0 => ProfileValues::Numbers {
                mean: figures.mean,
                deviation: figures.deviation(),
                percentiles: percentiles(&figures, &stretches),
                histogram: histogram(&figures, &stretches),
            },
            Self::Texts(counts, _) if !counts.is_empty() => {
                let all: u64 = counts.values().sum();
                let mut top: Vec<(String, u64)> = counts.into_iter().collect();
                top.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
                top.truncate(TOP);
                let other = all - top.iter().map(|(_, count)| count).sum::<u64>();
                ProfileValues::Texts { top, other }
            }
            Self::Numbers(..) | Self::Texts(..) | Self::Nothing => ProfileValues::Other,
        }
    }
}

/// The stretch of a number: a whole number in their order.
fn stretch(number: f64) -> u32 {
    let bits = number.to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    (ordered >> (u64::BITS - STRETCH_BITS)) as u32
}

/// The number in the middle of a stretch.
fn middle(stretch: u32) -> f64 {
    let ordered = u64::from(stretch) << (u64::BITS - STRETCH_BITS) | 1 << (u64::BITS - STRETCH_BITS - 1);
    let middle = f64::from_bits(if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered });
    // The stretches beside zero begin with it, and hold nothing else that people measure.
    if middle.is_subnormal() { 0.0 } else { middle }
}

fn percentiles(figures: &Figures, stretches: &BTreeMap<u32, u64>) -> Vec<f64> {
    let mut counted = 0;
    let mut stretches = stretches.iter().peekable();
    let mut at = |percent: u64| {
        let rank = (figures.count - 1) * percent / 100;
        while let Some((key, count)) = stretches.peek() {
            if counted + **count > rank {
                return middle(**key).clamp(figures.min, figures.max);
            }
            counted += **count;
            stretches.next();
        }
        figures.max
    };
    let mut all: Vec<f64> = (0..=100).map(&mut at).collect();
    (all[0], all[100]) = (figures.min, figures.max);
    all
}

fn histogram(figures: &Figures, stretches: &BTreeMap<u32, u64>) -> Vec<u64> {
    let mut bars = vec![0; BARS];
    let width = (figures.max - figures.min).max(f64::MIN_POSITIVE);
    for (key, count) in stretches {
        let place = (middle(*key).clamp(figures.min, figures.max) - figures.min) / width;
        bars[((place * BARS as f64) as usize).min(BARS - 1)] += count;
    }
    bars
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Float64Array, StringArray},
        datatypes::Schema,
    };

    use super::*;

    fn batch(numbers: Vec<Option<f64>>, texts: Vec<&str>) -> RecordBatch {
        let fields = vec![Field::new("x", DataType::Float64, true), Field::new("t", DataType::Utf8, true)];
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Float64Array::from(numbers)), Arc::new(StringArray::from(texts))];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    #[test]
    fn a_census_of_parts_added_up_is_that_of_the_whole() {
        let rows = 1_000;
        let number = |row: usize| (!row.is_multiple_of(10)).then_some((row as f64).sqrt() - 5.0);
        let text = |row: usize| ["a", "b", "b", "c"][row % 4];
        let part =
            |from: usize, to: usize| batch((from..to).map(number).collect(), (from..to).map(text).collect());
        let whole = part(0, rows);
        let mut census = Census::new(&whole.schema());
        census.add(Census::of(&part(0, 300)));
        census.add(Census::of(&part(300, rows)));
        let (profile, _) = census.finish();
        assert_eq!((profile[0].rows, profile[0].missing), (1_000, 100));
        let ProfileValues::Numbers { percentiles, histogram, .. } = &profile[0].values else { panic!() };
        let mut sorted: Vec<f64> = (0..rows).filter_map(number).collect();
        sorted.sort_by(f64::total_cmp);
        for (percent, found) in percentiles.iter().enumerate() {
            let expected = sorted[(sorted.len() - 1) * percent / 100];
            assert!((found - expected).abs() <= expected.abs() * 0.004, "{percent}: {found} {expected}");
        }
        assert_eq!(histogram.iter().sum::<u64>(), 900);
        let ProfileValues::Texts { top, other } = &profile[1].values else { panic!() };
        assert_eq!((profile[1].distinct, top[0].clone(), *other), (3, ("b".to_owned(), 500), 0));
        assert!((850..950).contains(&profile[0].distinct), "{}", profile[0].distinct);
    }
}

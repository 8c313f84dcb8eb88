//! What becomes of the cells of one column, as it was fitted to the training split. Pure: a cell in, numbers out.
//!
//! What is defined beside the common case (missing cells, categories and numbers that the training split does not have)
//! stands at each variant, and for users at `EncodeSpec`.

use phalanx_protocol::spec::NumberEncoding;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    dates::{Date, DateRule},
    encoder::Scale,
    error::{CellProblem, shown},
    sample::Sorted,
    source::{Cells, ReadAs},
};

/// How one column is encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Encoding {
    /// A number: one number.
    Number(NumberRule),
    /// Sorted. An unknown category is all zeros; `missing`: whether missing cells have a column of their own, the last
    /// one, or are zeros too.
    OneHot { categories: Vec<String>, missing: bool },
    /// Categories, sorted, and the number of each. `missing` is that of missing cells; unknown is [`UNKNOWN`].
    Ordinal { categories: Vec<String>, numbers: Vec<u32>, missing: Option<u32> },
    /// Categories, sorted, and the share of the training split that has each. Unknown is 0.
    Frequency { categories: Vec<String>, shares: Vec<f64>, missing: f64 },
    /// ±1 in one of so many numbers; zeros if missing.
    Hashing { buckets: usize },
    /// Words, hashed into so many numbers whose squares add up to 1; zeros if missing or without a word.
    Words { buckets: usize },
    /// The parts of a date; zeros if missing.
    Date(Vec<DateRule>),
}

/// How a number is encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum NumberRule {
    /// `(x - mean) / deviation`, whatever the two stand for. A missing number becomes `missing`.
    Line { scale: Scale, missing: f32 },
    /// The same of `sign(x) · ln(1 + |x|)`.
    Log { scale: Scale, missing: f32 },
    /// Where a number lies among these quantiles, of 0 to 1; a missing one at the median.
    Quantile { quantiles: Vec<f64> },
}

/// The number of a category that the training split does not have.
const UNKNOWN: f32 = -1.0;

/// What a cell is wrong with, and in which row.
pub(crate) type Misfit = (usize, CellProblem);

impl Encoding {
    /// Numbers that a cell becomes.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Number(_) | Self::Ordinal { .. } | Self::Frequency { .. } => 1,
            Self::OneHot { categories, missing } => categories.len() + usize::from(*missing),
            Self::Hashing { buckets } | Self::Words { buckets } => *buckets,
            Self::Date(parts) => parts.iter().map(DateRule::width).sum(),
        }
    }

    /// As what cells are to be read.
    pub(crate) fn read_as(&self) -> ReadAs {
        match self {
            Self::Number(_) => ReadAs::Given,
            Self::OneHot { .. }
            | Self::Ordinal { .. }
            | Self::Frequency { .. }
            | Self::Hashing { .. }
            | Self::Words { .. }
            | Self::Date(_) => ReadAs::Text,
        }
    }

    /// Writes this column's part of every row, at `offset` of `width`. Rows are zeros before.
    pub(crate) fn encode(
        &self,
        cells: &Cells,
        offset: usize,
        width: usize,
        rows: &mut [f32],
    ) -> Result<(), Misfit> {
        let own = self.width();
        for (index, row) in rows.chunks_exact_mut(width.max(1)).enumerate() {
            self.encode_cell(cells, index, &mut row[offset..offset + own])
                .map_err(|problem| (index, problem))?;
        }
        Ok(())
    }

    fn encode_cell(&self, cells: &Cells, index: usize, out: &mut [f32]) -> Result<(), CellProblem> {
        if let Self::Number(rule) = self {
            let number = cells.number(index);
            let number = number.map_err(|found| CellProblem::NotANumber { found: shown(&found) })?;
            out[0] = number.map_or_else(|| rule.missing(), |number| rule.apply(number));
            return Ok(());
        }
        let text = cells.text(index);
        let text = text.as_deref();
        match self {
            Self::Number(_) => {}
            Self::OneHot { categories, missing } => {
                let hot = match text {
                    Some(text) => find(categories, text),
                    None => missing.then_some(categories.len()),
                };
                if let Some(hot) = hot {
                    out[hot] = 1.0;
                }
            }
            Self::Ordinal { categories, numbers, missing } => {
                let number = match text {
                    Some(text) => find(categories, text).map(|at| numbers[at]),
                    None => *missing,
                };
                out[0] = number.map_or(UNKNOWN, |number| number as f32);
            }
            Self::Frequency { categories, shares, missing } => {
                let share = match text {
                    Some(text) => find(categories, text).map_or(0.0, |at| shares[at]),
                    None => *missing,
                };
                out[0] = share as f32;
            }
            Self::Hashing { buckets } => {
                if let Some(text) = text {
                    let (bucket, sign) = bucket(text.as_bytes(), *buckets);
                    out[bucket] = sign;
                }
            }
            Self::Words { buckets } => words(text.unwrap_or_default(), *buckets, out),
            Self::Date(parts) => {
                let Some(text) = text else { return Ok(()) };
                let date = Date::parse(text).ok_or_else(|| CellProblem::NotADate { found: shown(text) })?;
                let mut at = 0;
                for part in parts {
                    part.encode(&date, &mut out[at..at + part.width()]);
                    at += part.width();
                }
            }
        }
        Ok(())
    }
}

impl NumberRule {
    /// What is learnt from the training split's numbers: their moments (of `Log`, those of the logarithms) for the first
    /// kinds, a sample for `Robust` and `Quantile`.
    pub(crate) fn fitted(
        encoding: NumberEncoding,
        moments: Scale,
        range: (f64, f64),
        sample: &Sorted,
        quantiles: usize,
    ) -> Self {
        let line = |mean, deviation: f64, missing: f64| {
            // Where all numbers are equal, they become 0.
            let deviation = if deviation > 0.0 { deviation } else { 1.0 };
            let scale = Scale { mean, deviation };
            Self::Line { scale, missing: scale.apply(missing) }
        };
        match encoding {
            NumberEncoding::Standard => line(moments.mean, moments.deviation, moments.mean),
            NumberEncoding::MinMax => line(range.0, range.1 - range.0, moments.mean),
            NumberEncoding::Robust => {
                let median = sample.quantile(0.5);
                line(median, sample.quantile(0.75) - sample.quantile(0.25), median)
            }
            NumberEncoding::Log => Self::Log { scale: moments, missing: 0.0 },
            NumberEncoding::Quantile => Self::Quantile { quantiles: sample.quantiles(quantiles) },
            NumberEncoding::None => line(0.0, 1.0, moments.mean),
        }
    }

    pub(crate) fn apply(&self, number: f64) -> f32 {
        match self {
            Self::Line { scale, .. } => scale.apply(number),
            Self::Log { scale, .. } => scale.apply(logarithm(number)),
            Self::Quantile { quantiles } => rank(quantiles, number) as f32,
        }
    }

    fn missing(&self) -> f32 {
        match self {
            Self::Line { missing, .. } | Self::Log { missing, .. } => *missing,
            Self::Quantile { .. } => 0.5,
        }
    }
}

/// Whether an encoding needs a sample of the numbers.
pub(crate) fn needs_sample(encoding: NumberEncoding) -> bool {
    match encoding {
        NumberEncoding::Robust | NumberEncoding::Quantile => true,
        NumberEncoding::Standard | NumberEncoding::MinMax | NumberEncoding::Log | NumberEncoding::None => {
            false
        }
    }
}

/// `sign(x) · ln(1 + |x|)`: a logarithm that takes zeros and debts, too.
pub(crate) fn logarithm(number: f64) -> f64 {
    number.abs().ln_1p().copysign(number)
}

/// Where `number` lies among `quantiles`, which rise and are at least one: 0 at the first and before it, 1 at the last and
/// beyond it; at one that stands for several shares, in their middle, as scikit-learn's `QuantileTransformer` has it.
fn rank(quantiles: &[f64], number: f64) -> f64 {
    let last = quantiles.len() - 1;
    if number <= quantiles[0] {
        return 0.0;
    }
    if number >= quantiles[last] {
        return 1.0;
    }
    let below = quantiles.partition_point(|quantile| *quantile < number);
    let beyond = quantiles.partition_point(|quantile| *quantile <= number);
    let place = if below < beyond {
        (below + beyond - 1) as f64 / 2.0
    } else {
        let (a, b) = (quantiles[below - 1], quantiles[below]);
        (below - 1) as f64 + (number - a) / (b - a)
    };
    place / last as f64
}

fn find(categories: &[String], text: &str) -> Option<usize> {
    categories.binary_search_by(|category| category.as_str().cmp(text)).ok()
}

/// The place of a text among `buckets`, and a sign, so that texts that share a place do not all add up.
fn bucket(text: &[u8], buckets: usize) -> (usize, f32) {
    let hash = xxh3_64(text);
    let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
    ((hash % buckets as u64) as usize, sign)
}

/// Adds the words of a text up: runs of letters and digits, in lower case.
fn words(text: &str, buckets: usize, out: &mut [f32]) {
    let words = text.split(|sign: char| !sign.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        let (bucket, sign) = bucket(word.to_lowercase().as_bytes(), buckets);
        out[bucket] += sign;
    }
    let norm = out.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    if norm > 0.0 {
        out.iter_mut().for_each(|number| *number = (f64::from(*number) / norm) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_in_the_middle_of_equal_quantiles_and_ends_at_the_last() {
        let check = |quantiles: &[f64], number, expected| {
            assert_eq!(rank(quantiles, number), expected, "{number} in {quantiles:?}");
        };
        let quantiles = [0.0, 1.0, 1.0, 1.0, 4.0];
        check(&quantiles, -1.0, 0.0);
        check(&quantiles, 0.5, 0.125);
        check(&quantiles, 1.0, 0.5);
        check(&quantiles, 2.5, 0.875);
        check(&quantiles, 4.0, 1.0);
        check(&[7.0], 7.0, 0.0);
        check(&[7.0], 8.0, 1.0);
    }

    #[test]
    fn words_are_found_whatever_stands_between_them() {
        let encode = |text| {
            let mut out = vec![0.0; 32];
            words(text, 32, &mut out);
            out
        };
        assert_eq!(encode("The cat; the CAT!"), encode("cat cat the the"));
        assert_ne!(encode("the cat"), encode("the dog"));
        let norm: f32 = encode("a rose is a rose").iter().map(|number| number * number).sum();
        assert!((norm - 1.0).abs() < 1e-6);
        assert!(encode(" -- ").iter().all(|number| *number == 0.0));
    }

    #[test]
    fn hashes_are_the_same_on_every_machine_and_in_every_version() {
        // These are part of every model that has a hashed column: they must never change.
        let found = ["Berlin", "Paris", "Rome"].map(|city| bucket(city.as_bytes(), 64));
        assert_eq!(found, [(41, -1.0), (6, 1.0), (43, 1.0)]);
    }

    #[test]
    fn hashes_are_spread_over_the_buckets_and_signs() {
        let mut counts = [[0; 2]; 64];
        for number in 0..12_800 {
            let (bucket, sign) = bucket(format!("w{number}").as_bytes(), 64);
            counts[bucket][usize::from(sign > 0.0)] += 1;
        }
        let counts = counts.concat();
        assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
    }
}

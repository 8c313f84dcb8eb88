//! The numbers at given ranks of columns that need not fit in memory, exact.
//!
//! Numbers are mapped to whole ones of the same order. A pass counts them by their
//! first 16 bits, which tells into which of 65,536 stretches each rank falls; the next
//! pass collects what lies there, or counts it by the next 16 bits where it is still
//! too much. Counts are whole numbers, so threads may add to them in any order.

use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::Float64Array;

/// Bits by which a pass counts.
const BITS: u32 = 16;

/// Numbers that are collected of one stretch, at most.
const COLLECTED_MAX: u64 = 2 << 20;

/// The search for some quantiles of one column.
pub(super) struct Search {
    quantiles: Vec<f64>,
    /// How many numbers there are, once that is known.
    count: Option<u64>,
    /// Where ranks that are asked for may still be.
    stretches: Vec<Stretch>,
    found: Vec<(u64, f64)>,
}

/// Numbers that begin with the same bits.
struct Stretch {
    prefix: u64,
    bits: u32,
    /// How many numbers come before it.
    before: u64,
    ranks: Vec<u64>,
    state: State,
}

enum State {
    Count(Vec<AtomicU64>),
    Collect(Vec<u64>),
}

/// What a batch adds to the stretches of a search that collect.
pub(super) type Part = Vec<Vec<u64>>;

impl Search {
    /// Looks for these quantiles, each of 0 to 1.
    pub(super) fn new(quantiles: Vec<f64>) -> Self {
        let stretch = Stretch { prefix: 0, bits: 0, before: 0, ranks: Vec::new(), state: State::count() };
        Self { quantiles, count: None, stretches: vec![stretch], found: Vec::new() }
    }

    /// Whether all is found.
    pub(super) fn is_done(&self) -> bool {
        self.stretches.is_empty()
    }

    /// Looks at some numbers; the missing do not count.
    pub(super) fn look(&self, numbers: &Float64Array, counts: impl Fn(usize) -> bool) -> Part {
        let mut parts: Part = self.stretches.iter().map(|_| Vec::new()).collect();
        for number in numbers.iter().enumerate().filter_map(|(row, cell)| cell.filter(|_| counts(row))) {
            let key = key(number);
            for (stretch, part) in self.stretches.iter().zip(&mut parts) {
                if !stretch.holds(key) {
                    continue;
                }
                match &stretch.state {
                    State::Count(counts) => {
                        counts[stretch.bucket(key)].fetch_add(1, Ordering::Relaxed);
                    }
                    State::Collect(_) => part.push(key),
                }
            }
        }
        parts
    }

    /// Adds what a batch has collected.
    pub(super) fn add(&mut self, parts: Part) {
        for (stretch, part) in self.stretches.iter_mut().zip(parts) {
            if let State::Collect(keys) = &mut stretch.state {
                keys.extend(part);
            }
        }
    }

    /// Ends a pass.
    pub(super) fn narrow(&mut self) {
        for mut stretch in std::mem::take(&mut self.stretches) {
            match std::mem::replace(&mut stretch.state, State::Collect(Vec::new())) {
                State::Collect(mut keys) => {
                    keys.sort_unstable();
                    let number = |rank: u64| keys.get((rank - stretch.before) as usize).copied().map(number);
                    self.found.extend(stretch.ranks.iter().filter_map(|rank| Some((*rank, number(*rank)?))));
                }
                State::Count(counts) => {
                    let counts: Vec<u64> = counts.into_iter().map(AtomicU64::into_inner).collect();
                    if self.count.is_none() {
                        let count = counts.iter().sum();
                        self.count = Some(count);
                        stretch.ranks = ranks(&self.quantiles, count);
                    }
                    self.descend(&stretch, &counts);
                }
            }
        }
    }

    /// Puts stretches in the place of one: those in which its ranks lie.
    fn descend(&mut self, stretch: &Stretch, counts: &[u64]) {
        let mut before = stretch.before;
        let bits = stretch.bits + BITS;
        for (bucket, count) in counts.iter().enumerate() {
            let here = before..before + count;
            let inside: Vec<u64> = stretch.ranks.iter().copied().filter(|rank| here.contains(rank)).collect();
            if !inside.is_empty() {
                let prefix = stretch.prefix << BITS | bucket as u64;
                if bits == u64::BITS {
                    self.found.extend(inside.iter().map(|rank| (*rank, number(prefix))));
                } else {
                    let few = *count <= COLLECTED_MAX;
                    let state = if few { State::Collect(Vec::new()) } else { State::count() };
                    self.stretches.push(Stretch { prefix, bits, before, ranks: inside, state });
                }
            }
            before = here.end;
        }
    }

    /// The quantiles, between two ranks by proportion; `None` if there are no numbers.
    pub(super) fn finish(&self) -> Option<Vec<f64>> {
        let count = self.count.filter(|count| *count > 0)?;
        let at = |rank: u64| self.found.iter().find(|(found, _)| *found == rank).map(|(_, number)| *number);
        let quantile = |quantile: &f64| {
            let position = quantile * (count - 1) as f64;
            let (low, high) = (at(position.floor() as u64)?, at(position.ceil() as u64)?);
            Some(low + (high - low) * position.fract())
        };
        self.quantiles.iter().map(quantile).collect()
    }
}

impl Stretch {
    fn holds(&self, key: u64) -> bool {
        self.bits == 0 || key >> (u64::BITS - self.bits) == self.prefix
    }

    fn bucket(&self, key: u64) -> usize {
        (key >> (u64::BITS - self.bits - BITS) & ((1 << BITS) - 1)) as usize
    }
}

impl State {
    fn count() -> Self {
        Self::Count((0..1 << BITS).map(|_| AtomicU64::new(0)).collect())
    }
}

/// The ranks that quantiles of so many numbers lie between.
fn ranks(quantiles: &[f64], count: u64) -> Vec<u64> {
    let last = count.saturating_sub(1);
    let position = |quantile: &f64| quantile * last as f64;
    let both = |quantile: &f64| [position(quantile).floor() as u64, position(quantile).ceil() as u64];
    let mut ranks: Vec<u64> = quantiles.iter().flat_map(both).filter(|_| count > 0).collect();
    ranks.sort_unstable();
    ranks.dedup();
    ranks
}

/// A whole number in the order of the numbers.
fn key(number: f64) -> u64 {
    let bits = number.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn number(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantiles(numbers: &[f64], wanted: &[f64]) -> Option<Vec<f64>> {
        let mut search = Search::new(wanted.to_vec());
        while !search.is_done() {
            for some in numbers.chunks(7) {
                let part = search.look(&some.iter().copied().map(Some).collect(), |_| true);
                search.add(part);
            }
            search.narrow();
        }
        search.finish()
    }

    #[test]
    fn a_quantile_between_two_numbers_is_between_them_by_proportion() {
        assert_eq!(quantiles(&[4.0, 1.0, 3.0, 2.0], &[0.0, 0.5, 0.25, 1.0]), Some(vec![1.0, 2.5, 1.75, 4.0]));
        assert_eq!(quantiles(&[7.0], &[0.01, 0.99]), Some(vec![7.0, 7.0]));
        assert_eq!(quantiles(&[], &[0.5]), None);
    }

    proptest! {
        #[test]
        fn ranks_are_those_of_the_sorted_numbers(mut numbers in proptest::collection::vec(-1e300_f64..1e300, 1..200)) {
            let found = quantiles(&numbers, &[0.0, 1.0]).unwrap();
            numbers.sort_by(f64::total_cmp);
            prop_assert_eq!(found, vec![numbers[0], numbers[numbers.len() - 1]]);
        }

        #[test]
        fn keys_keep_the_order(a in any::<f64>(), b in any::<f64>()) {
            prop_assert_eq!(key(a).cmp(&key(b)), a.total_cmp(&b));
            prop_assert_eq!(number(key(a)).to_bits(), a.to_bits());
        }
    }
}

//! Quantiles of a stream of numbers in bounded memory: the KLL sketch (Z. Karnin, K. Lang,
//! E. Liberty, "Optimal quantile approximation in streams", 2016), in the binary format of
//! Apache DataSketches, which has readers in many languages.
//!
//! The sketch is ours and not the crate's because the crate throws its coins with a seed that
//! differs from process to process. Here a coin depends on the numbers that it decides over: the
//! same parts merged in the same order are the same bits on any machine.
//!
//! Invariants: every level is sorted; a number on level `h` stands for `2^h` numbers; all weights
//! together are `count`; no more numbers are held than the levels have room for.

use std::iter;

/// Numbers on the highest level. Ranks are right to within 1.1 %, in 99 of 100 cases.
const K: u16 = 256;

/// Numbers on the lowest levels.
const LEVEL_MIN: u8 = 8;

/// From so far below the highest level on, levels have [`LEVEL_MIN`] numbers: `3^depth` still fits 64 bits.
const DEPTH_MAX: usize = 30;

/// As many levels as the format allows.
const LEVELS_MAX: usize = 61;

/// What the format calls this kind of sketch.
const FAMILY: u8 = 15;

const EMPTY: u8 = 1;
const LEVEL_ZERO_SORTED: u8 = 2;
const SINGLE: u8 = 4;

/// The sketch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kll {
    count: u64,
    min: f64,
    max: f64,
    levels: Vec<Vec<f64>>,
}

impl Default for Kll {
    fn default() -> Self {
        Self { count: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, levels: vec![Vec::new()] }
    }
}

impl Kll {
    /// Of numbers in ascending order, none of which is NaN.
    pub(super) fn of_sorted(numbers: Vec<f64>) -> Self {
        let (Some(min), Some(max)) = (numbers.first().copied(), numbers.last().copied()) else {
            return Self::default();
        };
        let mut sketch = Self { count: numbers.len() as u64, min, max, levels: vec![numbers] };
        sketch.compress();
        sketch
    }

    /// Adds the numbers of another one.
    pub(super) fn merge(&mut self, other: Self) {
        self.count += other.count;
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
        self.levels.resize(self.levels.len().max(other.levels.len()), Vec::new());
        for (ours, theirs) in self.levels.iter_mut().zip(other.levels) {
            *ours = merged(ours, &theirs);
        }
        self.compress();
    }

    /// How many numbers it has seen.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The numbers at these fractions of all, of 0 (the least) to 1 (the greatest); `None` if there is none.
    pub(super) fn quantiles(&self, fractions: &[f64]) -> Option<Vec<f64>> {
        if self.count == 0 {
            return None;
        }
        let weighted = self.weighted();
        let at = |fraction: &f64| {
            if *fraction <= 0.0 {
                return self.min;
            }
            let rank = (fraction.min(1.0) * self.count as f64).ceil() as u64;
            let place = weighted.partition_point(|(_, up_to)| *up_to < rank);
            let inner = weighted.get(place).map_or(self.max, |(number, _)| *number);
            if *fraction >= 1.0 { self.max } else { inner }
        };
        Some(fractions.iter().map(at).collect())
    }

    /// The fraction of the numbers that are at most `number`.
    pub(super) fn rank(&self, number: f64) -> f64 {
        let below = |level: &Vec<f64>| level.partition_point(|held| *held <= number) as u64;
        let weight: u64 = self.levels.iter().enumerate().map(|(height, level)| below(level) << height).sum();
        weight as f64 / self.count.max(1) as f64
    }

    /// All that it holds in ascending order, each with the weight up to and with it.
    fn weighted(&self) -> Vec<(f64, u64)> {
        let weights = self.levels.iter().enumerate();
        let mut all: Vec<(f64, u64)> = weights
            .flat_map(|(height, level)| level.iter().map(move |number| (*number, 1 << height)))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut sum = 0;
        all.iter_mut().for_each(|(_, weight)| {
            sum += *weight;
            *weight = sum;
        });
        all
    }

    fn held(&self) -> usize {
        self.levels.iter().map(Vec::len).sum()
    }

    /// Halves levels from below until all have room.
    fn compress(&mut self) {
        while self.held() > room(self.levels.len()) {
            let levels = self.levels.len();
            let is_full = |height: &usize| self.levels[*height].len() >= level_room(levels - 1 - height);
            let height = (0..levels).find(is_full).expect("invariant: more than all levels hold fills one");
            self.halve(height);
        }
    }

    /// Sends every second number of a level to the next one, where each counts twice. Of an odd number the first
    /// one stays.
    fn halve(&mut self, height: usize) {
        if height + 1 == self.levels.len() {
            self.levels.push(Vec::new());
        }
        let numbers = std::mem::take(&mut self.levels[height]);
        let (stays, pairs) = numbers.split_at(numbers.len() % 2);
        let second = usize::from(coin(self.count, height, pairs));
        let promoted: Vec<f64> = pairs.iter().skip(second).step_by(2).copied().collect();
        self.levels[height] = stays.to_vec();
        self.levels[height + 1] = merged(&promoted, &self.levels[height + 1]);
    }

    /// In Apache's format.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (ints, version, kind) = match self.count {
            0 => (2, 1, EMPTY),
            1 => (2, 2, SINGLE),
            _ => (5, 1, 0),
        };
        let mut bytes = vec![ints, version, FAMILY, kind | LEVEL_ZERO_SORTED];
        bytes.extend(K.to_le_bytes());
        bytes.extend([LEVEL_MIN, 0]);
        if self.count > 1 {
            bytes.extend(self.count.to_le_bytes());
            bytes.extend(K.to_le_bytes());
            bytes.extend([self.levels.len() as u8, 0]);
            let mut offset = room(self.levels.len()) - self.held();
            for level in &self.levels {
                bytes.extend((offset as u32).to_le_bytes());
                offset += level.len();
            }
            bytes.extend(self.min.to_le_bytes());
            bytes.extend(self.max.to_le_bytes());
        }
        bytes.extend(self.levels.iter().flatten().flat_map(|number| number.to_le_bytes()));
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) has written; `None` if it is damaged.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_first_chunk::<8>()?;
        if head[2] != FAMILY || head[4..6] != K.to_le_bytes() || head[6] != LEVEL_MIN {
            return None;
        }
        let sketch = match head[3] & (EMPTY | SINGLE) {
            EMPTY => return rest.is_empty().then(Self::default),
            SINGLE => {
                let number = f64::from_le_bytes(take(&mut rest)?);
                Self { count: 1, min: number, max: number, levels: vec![vec![number]] }
            }
            _ => {
                let count = u64::from_le_bytes(take(&mut rest)?);
                let [_, _, levels, _] = take(&mut rest)?;
                let levels = usize::from(levels);
                if !(1..=LEVELS_MAX).contains(&levels) {
                    return None;
                }
                let mut offset = || take(&mut rest).map(|bytes| u32::from_le_bytes(bytes) as usize);
                let mut ends: Vec<usize> =
                    iter::repeat_with(&mut offset).take(levels).collect::<Option<_>>()?;
                ends.push(room(levels));
                let mut number = || take(&mut rest).map(f64::from_le_bytes);
                let (min, max) = (number()?, number()?);
                let lengths = ends.windows(2).map(|pair| pair[1].checked_sub(pair[0]));
                let levels = lengths.map(|length| iter::repeat_with(&mut number).take(length?).collect());
                Self { count, min, max, levels: levels.collect::<Option<_>>()? }
            }
        };
        (rest.is_empty() && sketch.is_sound()).then_some(sketch)
    }

    fn is_sound(&self) -> bool {
        let weights = self.levels.iter().enumerate();
        let weight = weights.map(|(height, level)| (level.len() as u128) << height).sum::<u128>();
        let in_range = |number: &f64| self.min <= *number && *number <= self.max;
        weight == u128::from(self.count)
            && self.levels.iter().all(|level| level.is_sorted() && level.iter().all(in_range))
    }
}

/// Takes as many bytes as are asked for from the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// Which of each two numbers is kept: as good as chance, and the same for the same numbers.
fn coin(count: u64, height: usize, numbers: &[f64]) -> bool {
    let some = [numbers.first(), numbers.get(numbers.len() / 2), numbers.last()];
    let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(height as u64);
    hasher.update(&count.to_le_bytes());
    some.into_iter().flatten().for_each(|number| hasher.update(&number.to_le_bytes()));
    hasher.digest() & 1 == 1
}

/// Numbers that a level has room for, which is so far below the highest one.
fn level_room(depth: usize) -> usize {
    if depth > DEPTH_MAX {
        return usize::from(LEVEL_MIN);
    }
    let twice = (u64::from(K) << (depth + 1)) / 3_u64.pow(depth as u32);
    (twice.div_ceil(2) as usize).max(usize::from(LEVEL_MIN))
}

/// Numbers that so many levels have room for together.
fn room(levels: usize) -> usize {
    (0..levels).map(level_room).sum()
}

/// Two sorted lists as one.
fn merged(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut all = Vec::with_capacity(a.len() + b.len());
    let (mut left, mut right) = (a, b);
    while let (Some(x), Some(y)) = (left.first(), right.first()) {
        let from = if x.total_cmp(y).is_le() { &mut left } else { &mut right };
        all.push(from[0]);
        *from = &from[1..];
    }
    all.extend(left.iter().chain(right));
    all
}

#[cfg(test)]
mod tests {
    use datasketches::{
        common::SearchCriteria,
        kll::{KllFloat, KllSketch},
    };
    use proptest::prelude::*;

    use super::*;

    fn sorted(mut numbers: Vec<f64>) -> Vec<f64> {
        numbers.sort_by(f64::total_cmp);
        numbers
    }

    /// Numbers that are all different and in no order.
    fn scattered(count: u64) -> Vec<f64> {
        (0..count).map(|place| (place * 7_919 % count) as f64).collect()
    }

    fn in_parts(numbers: &[f64], part: usize) -> Kll {
        numbers.chunks(part).fold(Kll::default(), |mut all, some| {
            all.merge(Kll::of_sorted(sorted(some.to_vec())));
            all
        })
    }

    #[test]
    fn ranks_are_right_to_within_a_hundredth_whatever_the_parts_are() {
        let count = 200_003;
        for part in [1_000, 8_192, 200_003] {
            let sketch = in_parts(&scattered(count), part);
            assert!(sketch.held() <= room(sketch.levels.len()) && sketch.held() < 900, "{}", sketch.held());
            for percent in 0..=100 {
                let fraction = f64::from(percent) / 100.0;
                let found = sketch.quantiles(&[fraction]).unwrap()[0];
                let expected = fraction * (count - 1) as f64;
                assert!((found - expected).abs() < 0.011 * count as f64, "{part}, {percent} %: {found}");
                assert!((sketch.rank(expected) - fraction).abs() < 0.011, "{part}, {percent} %");
            }
        }
    }

    #[test]
    fn the_same_parts_in_the_same_order_are_the_same_bits() {
        let numbers = scattered(50_021);
        assert_eq!(in_parts(&numbers, 777).to_bytes(), in_parts(&numbers, 777).to_bytes());
    }

    #[test]
    fn few_numbers_are_kept_as_they_are() {
        let sketch = Kll::of_sorted(vec![-1.0, 0.0, 2.0, 2.0]);
        assert_eq!(sketch.quantiles(&[0.0, 0.25, 0.5, 0.75, 1.0]), Some(vec![-1.0, -1.0, 0.0, 2.0, 2.0]));
        assert_eq!((sketch.rank(-2.0), sketch.rank(0.0), sketch.rank(2.0)), (0.0, 0.5, 1.0));
        assert_eq!((Kll::default().quantiles(&[0.5]), Kll::default().rank(1.0)), (None, 0.0));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let whole = in_parts(&scattered(5_003), 1_000).to_bytes();
        assert!(Kll::from_bytes(&whole).is_some());
        for cut in 0..whole.len() {
            assert_eq!(Kll::from_bytes(&whole[..cut]), None, "{cut}");
        }
        for place in [2, 5, 10, 20, 21, 25] {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x55;
            assert_eq!(Kll::from_bytes(&damaged), None, "{place}");
        }
    }

    proptest! {
        #[test]
        fn apaches_sketch_reads_it_and_says_the_same(numbers in prop::collection::vec(-1e9_f64..1e9, 0..3_000), part in 1_usize..700) {
            let ours = in_parts(&numbers, part);
            prop_assert_eq!(Kll::from_bytes(&ours.to_bytes()), Some(ours.clone()));
            let theirs = KllSketch::<KllFloat<f64>>::deserialize(&ours.to_bytes()).unwrap();
            prop_assert_eq!(theirs.n(), numbers.len() as u64);
            for fraction in [0.0, 0.1, 0.5, 0.99, 1.0] {
                let theirs = theirs.quantile(fraction, SearchCriteria::Inclusive).unwrap();
                prop_assert_eq!(theirs.map(KllFloat::into_inner), ours.quantiles(&[fraction]).map(|found| found[0]));
            }
        }
    }
}

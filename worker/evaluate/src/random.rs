//! Random numbers that a seed stands for. Owns the state of one stream; knows no
//! entropy of the machine.
//!
//! PCG's output is pinned by its crate's promise of stable values, and what is drawn
//! from it here is our own arithmetic, so that a seed means the same folds and the same
//! resamples for good. Binomials alone come from `rand_distr`, whose values may change
//! with its version.

use rand_distr::{Binomial, Distribution as _};
use rand_pcg::{Pcg64, rand_core::Rng as _};

/// One stream of random numbers.
pub(crate) struct Random(Pcg64);

impl Random {
    /// Stream number `stream` of `seed`. Streams of one seed, and equal streams of two seeds,
    /// have nothing to do with each other, so that resamples may be drawn in any order.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let high = mix(seed ^ mix(stream));
        let low = mix(high ^ stream.rotate_left(32));
        Self(Pcg64::new(u128::from(high) << 64 | u128::from(low), u128::from(mix(low))))
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 to `bound`, that excluded; 0 where the bound is 0. A multiplication
    /// instead of a remainder (Lemire 2019), whose bias of `bound / 2⁶⁴` nobody can see.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// Puts `items` into a random order (Fisher & Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// How many of `trials` succeed that do so with this probability.
    pub(crate) fn binomial(&mut self, trials: u64, probability: f64) -> u64 {
        if probability >= 1.0 {
            return trials;
        }
        Binomial::new(trials, probability).map_or(0, |binomial| binomial.sample(&mut self.0))
    }

    /// A number from Poisson's distribution with mean 1, by inversion.
    pub(crate) fn poisson(&mut self) -> u32 {
        let draw = self.bits();
        POISSON.iter().take_while(|bound| draw >= **bound).count() as u32
    }
}

/// The cumulated probabilities of Poisson's distribution with mean 1, times 2⁶⁴; what is left
/// beyond the last is under 10⁻¹³.
const POISSON: [u64; 16] = {
    let mut table = [u64::MAX; 16];
    // e⁻¹ × 2⁶⁴, and the terms that follow from it: 1/1, 1/2, 1/6 …
    let mut term = 6_786_177_901_268_885_274_u64;
    let mut sum = 0_u64;
    let mut number = 0;
    while number < table.len() {
        sum = sum.saturating_add(term);
        table[number] = sum;
        number += 1;
        term /= number as u64;
    }
    table
};

/// Spreads a number over 64 bits (SplitMix64's finalizer, Steele et al. 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::{POISSON, Random};

    #[test]
    fn a_seed_means_the_same_numbers_for_good() {
        let mut random = Random::new(7, 0);
        let drawn: Vec<u64> = (0..4).map(|_| random.below(1_000)).collect();
        assert_eq!(drawn, PINNED);
        let mut other = Random::new(7, 1);
        assert_ne!(drawn, (0..4).map(|_| other.below(1_000)).collect::<Vec<_>>());
    }

    const PINNED: [u64; 4] = [269, 67, 801, 724];

    #[test]
    fn poisson_has_mean_and_variance_one() {
        let mut random = Random::new(1, 2);
        let drawn: Vec<f64> = (0..200_000).map(|_| f64::from(random.poisson())).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
        assert!((mean - 1.0).abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!(u64::MAX - POISSON[15] < 1_844_674, "10⁻¹³ is left at most");
    }

    #[test]
    fn every_order_comes_about_equally_often() {
        let mut random = Random::new(3, 0);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..6_000 {
            let mut items = [0, 1, 2];
            random.shuffle(&mut items);
            *seen.entry(items).or_insert(0) += 1;
        }
        assert!(seen.len() == 6 && seen.values().all(|count| (850..1_150).contains(count)), "{seen:?}");
    }
}

//! Shuffling without an index in memory: a keyed permutation of `0..len`, a
//! pure function of its key.
//!
//! A Feistel network over the next power of two, walked until it falls into the
//! range (J. Black and P. Rogaway, "Ciphers with Arbitrary Finite Domains",
//! CT-RSA 2002: "cycle-walking"). Each round is invertible whatever its
//! function, so the network is a permutation; following it from inside the range
//! until it is inside again keeps it one. The power of two is less than twice
//! `len`, so two steps suffice on average.

/// Rounds; even, so that both halves have their own width again at the end.
const ROUNDS: usize = 8;

/// A keyed permutation of `0..len`: the order of an epoch.
#[derive(Debug, Clone)]
pub struct Order {
    keys: [u64; ROUNDS],
    len: u64,
    left_bits: u32,
    right_bits: u32,
}

impl Order {
    /// The order of `len` rows in epoch `epoch` of a training with `seed`.
    pub fn new(seed: u64, epoch: u64, len: u64) -> Self {
        Self::keyed("phalanx order of an epoch", seed, epoch, len)
    }

    /// An order for `purpose`; different purposes are independent of each other.
    pub(crate) fn keyed(purpose: &str, seed: u64, number: u64, len: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(purpose.as_bytes()).update(&seed.to_le_bytes()).update(&number.to_le_bytes());
        let mut stream = hasher.finalize_xof();
        let keys = std::array::from_fn(|_| {
            let mut key = [0; 8];
            stream.fill(&mut key);
            u64::from_le_bytes(key)
        });
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Self { keys, len, left_bits: bits / 2, right_bits: bits - bits / 2 }
    }

    /// The row at `position`.
    ///
    /// # Panics
    ///
    /// If `position` is not below the length: a bug of the caller.
    pub fn at(&self, position: u64) -> u64 {
        assert!(position < self.len, "position {position} is not below {}", self.len);
        let mut row = self.permute(position);
        while row >= self.len {
            row = self.permute(row);
        }
        row
    }

    /// The Feistel network, a permutation of `0..2^(left_bits + right_bits)`.
    fn permute(&self, value: u64) -> u64 {
        let (mut left_mask, mut right_mask) = (mask(self.left_bits), mask(self.right_bits));
        let (mut left, mut right) = (value >> self.right_bits, value & right_mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mixed(right ^ key) & left_mask));
            (left_mask, right_mask) = (right_mask, left_mask);
        }
        (left << self.right_bits) | right
    }
}

/// The lowest `bits` bits; at most 32.
fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// Spreads every bit over all others: the finalizer of `MurmurHash3`.
pub(crate) fn mixed(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(seed: u64, epoch: u64, len: u64) -> Vec<u64> {
        let order = Order::new(seed, epoch, len);
        (0..len).map(|position| order.at(position)).collect()
    }

    fn check_permutation(seed: u64, epoch: u64, len: u64) {
        let mut found = rows(seed, epoch, len);
        found.sort_unstable();
        assert_eq!(found, (0..len).collect::<Vec<_>>(), "seed {seed}, epoch {epoch}, len {len}");
    }

    #[test]
    fn every_row_comes_once_whatever_the_length() {
        let primes = [2, 3, 5, 7, 13, 31, 127, 997, 7919];
        let powers = (1..=14).map(|bits| 1_u64 << bits);
        let around = powers.flat_map(|power| [power - 1, power, power + 1]);
        for len in (0..=70).chain(primes).chain(around) {
            check_permutation(7, 3, len);
        }
    }

    #[test]
    fn a_long_order_stays_in_range_and_does_not_repeat() {
        for len in [u64::MAX, u64::MAX / 2 + 1, (1 << 40) + 1] {
            let order = Order::new(1, 1, len);
            let mut found: Vec<u64> = (0..10_000).map(|position| order.at(position)).collect();
            assert!(found.iter().all(|row| *row < len));
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), 10_000);
        }
    }

    #[test]
    fn neighbours_are_scattered_evenly() {
        let found = rows(5, 0, 10_000);
        let fixed = found.iter().zip(0..).filter(|(row, position)| **row == *position).count();
        let distance: u64 = found.windows(2).map(|pair| pair[0].abs_diff(pair[1])).sum();
        assert!(fixed < 10, "{fixed} rows stayed in place");
        // Two independent rows are a third of the length apart on average.
        let mean = distance as f64 / 9_999.0;
        assert!((3_200.0..3_470.0).contains(&mean), "neighbours are {mean} apart");
    }

    #[test]
    #[should_panic(expected = "position 4 is not below 4")]
    fn a_position_beyond_the_end_is_a_bug() {
        Order::new(0, 0, 4).at(4);
    }

    #[test]
    fn the_order_is_the_same_on_every_machine_and_in_every_version() {
        // These numbers are part of the promise of the same bits: they must never change.
        assert_eq!(rows(0, 0, 8), [2, 6, 1, 7, 0, 4, 3, 5]);
    }

    proptest! {
        #[test]
        fn any_order_is_a_permutation(seed: u64, epoch: u64, len in 0_u64..3_000) {
            check_permutation(seed, epoch, len);
        }

        #[test]
        fn another_epoch_or_seed_is_another_order(seed: u64, epoch in 0_u64..1_000_000, len in 100_u64..500) {
            let this = rows(seed, epoch, len);
            prop_assert_ne!(&this, &rows(seed, epoch + 1, len));
            prop_assert_ne!(&this, &rows(seed.wrapping_add(1), epoch, len));
            prop_assert_eq!(&this, &rows(seed, epoch, len));
        }
    }
}

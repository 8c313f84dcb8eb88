//! Sums that are exact until they are rounded once. So they depend on what is
//! added and on nothing else: not on its order, and not on who added which part.
//! Owns no state.

use serde::{Deserialize, Serialize};

use crate::undefined::{Undefined, Value, finite};

/// Terms of this size and above are not added up: below it, no sum of fewer than
/// 2⁶³ terms overflows on the way, whatever their order.
const TERM_MAX: f64 = f64::from_bits((1023 + 960) << 52);

/// A sum without rounding (Shewchuk 1997, as in Python's `math.fsum`): the numbers
/// kept do not overlap, and together are exactly what was added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExactSum {
    /// From the smallest to the largest; two or three for most data.
    parts: Vec<f64>,
    /// A term was of [`TERM_MAX`] or above, or none at all.
    is_too_large: bool,
}

impl ExactSum {
    /// Adds one term.
    pub fn add(&mut self, term: f64) {
        if term == 0.0 {
            return;
        }
        if term.is_nan() || term.abs() >= TERM_MAX {
            self.is_too_large = true;
            return;
        }
        let (mut rest, mut kept) = (term, 0);
        for index in 0..self.parts.len() {
            let (high, low) = two_sum(rest, self.parts[index]);
            if low != 0.0 {
                self.parts[kept] = low;
                kept += 1;
            }
            rest = high;
        }
        self.parts.truncate(kept);
        if rest != 0.0 {
            self.parts.push(rest);
        }
    }

    /// Adds `a × b`, without rounding unless it is near the smallest numbers there are.
    pub fn add_product(&mut self, a: f64, b: f64) {
        let (high, low) = two_product(a, b);
        self.add(high);
        if low != 0.0 {
            self.add(low);
        }
    }

    /// Adds `a × b × c` in the same way.
    pub fn add_product_of_three(&mut self, a: f64, b: f64, c: f64) {
        let (high, low) = two_product(a, b);
        self.add_product(high, c);
        if low != 0.0 {
            self.add_product(low, c);
        }
    }

    /// Adds what another sum has added up.
    pub fn merge(&mut self, other: &Self) {
        self.is_too_large |= other.is_too_large;
        for part in &other.parts {
            self.add(*part);
        }
    }

    /// `self × other`, as exact as [`ExactSum::add_product`].
    pub fn times(&self, other: &Self) -> Self {
        let is_too_large = self.is_too_large || other.is_too_large;
        let mut product = Self { parts: Vec::new(), is_too_large };
        for a in &self.parts {
            for b in &other.parts {
                product.add_product(*a, *b);
            }
        }
        product
    }

    /// `self - other`, exactly.
    pub fn minus(&self, other: &Self) -> Self {
        let mut difference = self.clone();
        difference.is_too_large |= other.is_too_large;
        for part in &other.parts {
            difference.add(-part);
        }
        difference
    }

    /// The sum, rounded to the nearest number; infinite where a term was too large to add.
    pub fn value(&self) -> f64 {
        if self.is_too_large {
            return f64::INFINITY;
        }
        let mut parts = self.parts.iter().rev();
        let Some(largest) = parts.next() else { return 0.0 };
        let (mut high, mut low) = (*largest, 0.0);
        for part in parts.by_ref() {
            (high, low) = two_sum(high, *part);
            if low != 0.0 {
                break;
            }
        }
        // Half-way between two numbers, what is left decides the side.
        let next = parts.next().copied().unwrap_or(0.0);
        if (low < 0.0 && next < 0.0) || (low > 0.0 && next > 0.0) {
            let doubled = low * 2.0;
            let rounded = high + doubled;
            if rounded - high == doubled {
                return rounded;
            }
        }
        high
    }
}

/// A sum of weights, of which most are 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct WeightSum {
    ones: u64,
    others: ExactSum,
}

impl WeightSum {
    pub(crate) fn add(&mut self, weight: f64) {
        if weight == 1.0 { self.ones += 1 } else { self.others.add(weight) }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.ones += other.ones;
        self.others.merge(&other.others);
    }

    pub(crate) fn exact(&self) -> ExactSum {
        let mut sum = self.others.clone();
        sum.add(self.ones as f64);
        sum
    }

    pub(crate) fn value(&self) -> f64 {
        self.exact().value()
    }
}

impl Extend<f64> for ExactSum {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, terms: I) {
        terms.into_iter().for_each(|term| self.add(term));
    }
}

impl FromIterator<f64> for ExactSum {
    fn from_iter<I: IntoIterator<Item = f64>>(terms: I) -> Self {
        let mut sum = Self::default();
        sum.extend(terms);
        sum
    }
}

/// `a + b` and what its rounding lost (Knuth).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

/// `a × b` and what its rounding lost.
fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    (product, a.mul_add(b, -product))
}

/// The sum of `terms`, rounded once.
pub(crate) fn sum(terms: impl IntoIterator<Item = f64>) -> f64 {
    terms.into_iter().collect::<ExactSum>().value()
}

/// `total / weight`, where there is any weight.
pub(crate) fn mean(total: f64, weight: f64) -> Value {
    if weight == 0.0 { Err(Undefined::NoWeight) } else { finite(total / weight) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ExactSum, sum};

    #[test]
    fn small_terms_survive_beside_large_ones() {
        assert_eq!(sum([1.0, 1e100, 1.0, -1e100]), 2.0);
    }

    #[test]
    fn a_million_tenths_are_a_hundred_thousand() {
        assert_eq!(sum(std::iter::repeat_n(0.1, 1_000_000)), 100_000.0);
    }

    #[test]
    fn terms_that_are_too_large_make_it_infinite_and_not_nan() {
        assert_eq!(sum([f64::MAX, f64::MAX, -1.0]), f64::INFINITY);
        assert_eq!(sum([f64::INFINITY, f64::NEG_INFINITY]), f64::INFINITY);
    }

    #[test]
    fn a_variance_survives_far_from_zero() {
        let values = [1e12 + 1.0, 1e12 + 2.0, 1e12 + 3.0];
        let count: ExactSum = [3.0].into_iter().collect();
        let first: ExactSum = values.into_iter().collect();
        let mut second = ExactSum::default();
        values.into_iter().for_each(|value| second.add_product(value, value));
        assert_eq!(count.times(&second).minus(&first.times(&first)).value(), 6.0);
    }

    proptest! {
        #[test]
        fn neither_order_nor_parts_change_a_bit(
            mut terms in prop::collection::vec(any::<f64>().prop_filter("finite", |x| x.abs() < 1e280), 0..60),
            at in any::<prop::sample::Index>(),
            seed in any::<u64>(),
        ) {
            let whole = sum(terms.iter().copied());
            let (a, b) = terms.split_at(if terms.is_empty() { 0 } else { at.index(terms.len()) });
            let mut merged: ExactSum = b.iter().copied().collect();
            merged.merge(&a.iter().copied().collect());
            prop_assert_eq!(merged.value().to_bits(), whole.to_bits());
            terms.sort_by_key(|term| term.to_bits().wrapping_mul(seed | 1));
            prop_assert_eq!(sum(terms.iter().copied()).to_bits(), whole.to_bits());
        }
    }
}

//! What is done with two numbers, and the loops that do it over slices. One definition
//! of each, so that every rank and every transport gives the same bits.
//!
//! Invariants:
//!
//! 1. `fold(a, b)` and `fold(b, a)` have the same bits: it never matters which of two
//!    operands arrived first.
//! 2. A result that is no number has the bits `0x7fc0_0000`. What the hardware does with
//!    the payloads of two NaNs depends on the order in which the compiler puts the
//!    operands; this does not.
//! 3. The instructions used (SSE2, AVX2, AVX-512, NEON) never change a bit: each element
//!    is one IEEE 754 operation, to nearest, with denormals (the thread must not flush
//!    them to zero).

use pulp::Arch;

/// The result of an operation that gives no number.
const NAN: f32 = f32::from_bits(0x7fc0_0000);

/// How the lanes' vectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// The sum over the lanes.
    #[default]
    Sum,
    /// The sum of numbers that are rounded to bf16, to nearest: every lane's, and every
    /// partial sum. Half as many bytes go over a wire. The result is a function of the
    /// lanes' vectors alone, as with [`Sum`](Self::Sum), and has 8 bits of precision.
    Bf16Sum,
    /// The sum, divided by the number of lanes once it is whole.
    Mean,
    /// The largest element: no number where one of them is none, and `0.0` above `-0.0`.
    Max,
}

impl Reduction {
    /// `left[i] = fold(left[i], right[i])`.
    pub(crate) fn fold_into(self, left: &mut [f32], right: &[f32]) {
        match self {
            Self::Sum | Self::Mean => zip_into(left, right, sum),
            Self::Bf16Sum => zip_into(left, right, bf16_sum),
            Self::Max => zip_into(left, right, maximum),
        }
    }

    /// `out[i] = fold(left[i], right[i])`.
    pub(crate) fn fold(self, left: &[f32], right: &[f32], out: &mut [f32]) {
        match self {
            Self::Sum | Self::Mean => zip(left, right, out, sum),
            Self::Bf16Sum => zip(left, right, out, bf16_sum),
            Self::Max => zip(left, right, out, maximum),
        }
    }

    /// What is done with the root of the tree. A single lane is left as it is, bit for bit,
    /// unless it is to be rounded.
    pub(crate) fn finish(self, lanes: u32, out: &mut [f32]) {
        match self {
            Self::Mean if lanes > 1 => {
                let lanes = lanes as f32;
                Arch::new().dispatch(|| out.iter_mut().for_each(|sum| *sum = canonical(*sum / lanes)));
            }
            // Sums are rounded already.
            Self::Bf16Sum if lanes == 1 => {
                Arch::new().dispatch(|| out.iter_mut().for_each(|number| *number = to_bf16(*number)));
            }
            Self::Sum | Self::Bf16Sum | Self::Mean | Self::Max => {}
        }
    }
}

#[inline(always)]
fn zip_into(left: &mut [f32], right: &[f32], fold: impl Fn(f32, f32) -> f32) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (left, right) in left.iter_mut().zip(right) {
                *left = fold(*left, *right);
            }
        },
    );
}

#[inline(always)]
fn zip(left: &[f32], right: &[f32], out: &mut [f32], fold: impl Fn(f32, f32) -> f32) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for ((left, right), out) in left.iter().zip(right).zip(out) {
                *out = fold(*left, *right);
            }
        },
    );
}

#[inline(always)]
fn sum(left: f32, right: f32) -> f32 {
    canonical(left + right)
}

#[inline(always)]
fn bf16_sum(left: f32, right: f32) -> f32 {
    to_bf16(to_bf16(left) + to_bf16(right))
}

/// The nearest number of bf16, the even one of two; beyond the largest, infinity.
#[inline(always)]
pub(crate) fn to_bf16(number: f32) -> f32 {
    let bits = number.to_bits();
    let rounded = f32::from_bits(bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000);
    if number.is_nan() { NAN } else { rounded }
}

/// Of two equal numbers the bits that both have: only the sign of zeros can differ.
#[inline(always)]
fn maximum(left: f32, right: f32) -> f32 {
    let larger = if left > right { left } else { right };
    let tied = f32::from_bits(left.to_bits() & right.to_bits());
    let either = if left == right { tied } else { larger };
    if left.is_nan() | right.is_nan() { NAN } else { either }
}

/// A comparison and a select: the loops above stay vectors.
#[inline(always)]
fn canonical(number: f32) -> f32 {
    if number.is_nan() { NAN } else { number }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(reduction: Reduction, left: f32, right: f32, expected: u32) {
        for (left, right) in [(left, right), (right, left)] {
            let mut out = [0.0];
            reduction.fold(&[left], &[right], &mut out);
            assert_eq!(out[0].to_bits(), expected, "{reduction:?} of {left} and {right}");
            let mut into = [left];
            reduction.fold_into(&mut into, &[right]);
            assert_eq!(into[0].to_bits(), expected, "{reduction:?} of {left} and {right}, in place");
        }
    }

    #[test]
    fn the_maximum_knows_zeros_and_what_is_no_number() {
        check(Reduction::Max, -0.0, 0.0, 0);
        check(Reduction::Max, -0.0, -0.0, 0x8000_0000);
        check(Reduction::Max, f32::from_bits(0x7f80_0001), 1.0, 0x7fc0_0000);
        check(Reduction::Max, f32::from_bits(0xffc0_1234), f32::INFINITY, 0x7fc0_0000);
        check(Reduction::Max, f32::NEG_INFINITY, -1.0, (-1.0_f32).to_bits());
        check(Reduction::Max, f32::from_bits(1), 0.0, 1);
    }

    #[test]
    fn a_mean_of_one_lane_is_left_as_it_is() {
        let mut out = [f32::from_bits(0x7f80_0001)];
        Reduction::Mean.finish(1, &mut out);
        assert_eq!(out[0].to_bits(), 0x7f80_0001);
        let mut out = [3.0, f32::from_bits(0xffc0_0001)];
        Reduction::Mean.finish(4, &mut out);
        assert_eq!(out.map(f32::to_bits), [0.75_f32.to_bits(), 0x7fc0_0000]);
    }

    #[test]
    fn bf16_is_the_nearest_number_with_eight_bits() {
        for (number, expected) in [
            (0x3f80_0000, 0x3f80_0000),
            (0x3f80_8000, 0x3f80_0000),
            (0x3f80_8001, 0x3f81_0000),
            (0x3f81_8000, 0x3f82_0000),
            (0xff7f_ffff, 0xff80_0000),
            (0x7f80_0000, 0x7f80_0000),
            (0x7f80_0001, 0x7fc0_0000),
            (0xffff_ffff, 0x7fc0_0000),
            (0x0000_8001, 0x0001_0000),
            (0x8000_0001, 0x8000_0000),
        ] {
            assert_eq!(to_bf16(f32::from_bits(number)).to_bits(), expected, "{number:#010x}");
        }
        check(Reduction::Bf16Sum, 256.0, 1.0, 256.0_f32.to_bits());
        check(Reduction::Bf16Sum, 1.001, 1.001, 2.0_f32.to_bits());
        let mut out = [1.001];
        Reduction::Bf16Sum.finish(1, &mut out);
        assert_eq!(out, [1.0]);
    }

    proptest! {
        #[test]
        fn operands_may_change_places(left in any::<u32>(), right in any::<u32>()) {
            let (left, right) = (f32::from_bits(left), f32::from_bits(right));
            prop_assert_eq!(sum(left, right).to_bits(), sum(right, left).to_bits());
            prop_assert_eq!(maximum(left, right).to_bits(), maximum(right, left).to_bits());
        }

        #[test]
        fn vectors_give_the_bits_of_their_elements(pairs in prop::collection::vec(any::<(u32, u32)>(), 0..100)) {
            let (left, right): (Vec<_>, Vec<_>) =
                pairs.into_iter().map(|(left, right)| (f32::from_bits(left), f32::from_bits(right))).unzip();
            let folds = [
                (Reduction::Sum, sum as fn(f32, f32) -> f32),
                (Reduction::Bf16Sum, bf16_sum),
                (Reduction::Max, maximum),
            ];
            for (reduction, fold) in folds {
                let mut out = vec![0.0; left.len()];
                reduction.fold(&left, &right, &mut out);
                for ((out, left), right) in out.iter().zip(&left).zip(&right) {
                    prop_assert_eq!(out.to_bits(), fold(*left, *right).to_bits());
                }
            }
        }
    }
}

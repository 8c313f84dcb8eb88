//! Quantiles and tails of the distributions that tests rest on, over `statrs`. Owns no
//! state. Arguments outside a distribution's domain give NaN instead of a panic.

use statrs::distribution::{Binomial, ChiSquared, ContinuousCDF, DiscreteCDF, Normal, StudentsT};

/// The share of the standard normal distribution below `x`.
pub(crate) fn normal_cdf(x: f64) -> f64 {
    if x.is_nan() { f64::NAN } else { Normal::standard().cdf(x) }
}

/// Where the standard normal distribution has a share `p` below it; infinite at 0 and 1.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) { f64::NAN } else { Normal::standard().inverse_cdf(p) }
}

/// How often a standard normal number is at least as far from 0 as `z`.
pub(crate) fn normal_two_sided(z: f64) -> f64 {
    if z.is_nan() { f64::NAN } else { (2.0 * Normal::standard().sf(z.abs())).min(1.0) }
}

/// Where Student's t with `freedom` degrees of freedom has a share `p` below it.
pub(crate) fn t_quantile(p: f64, freedom: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |student| student.inverse_cdf(p))
}

/// How often Student's t with `freedom` degrees of freedom is at least as far from 0 as `t`.
pub(crate) fn t_two_sided(t: f64, freedom: f64) -> f64 {
    if t.is_nan() {
        return f64::NAN;
    }
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |student| (2.0 * student.sf(t.abs())).min(1.0))
}

/// How often χ² with `freedom` degrees of freedom is at least `x`.
pub(crate) fn chi_squared_tail(x: f64, freedom: f64) -> f64 {
    if x.is_nan() {
        return f64::NAN;
    }
    ChiSquared::new(freedom).map_or(f64::NAN, |chi| chi.sf(x.max(0.0)))
}

/// How often a fair coin thrown `trials` times is at least as uneven as `heads`.
pub(crate) fn sign_test(heads: u64, trials: u64) -> f64 {
    let fewer = heads.min(trials.saturating_sub(heads));
    Binomial::new(0.5, trials).map_or(f64::NAN, |coin| (2.0 * coin.cdf(fewer)).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(actual: f64, expected: f64) {
        assert!((actual - expected).abs() <= 1e-10 * expected.abs().max(1e-3), "{actual} is not {expected}");
    }

    #[test]
    fn they_are_those_of_the_tables() {
        check(normal_quantile(0.975), 1.959_963_984_540_054);
        check(normal_cdf(-1.0), 0.158_655_253_931_457_05);
        check(normal_two_sided(3.0), 0.002_699_796_063_260_189);
        check(t_quantile(0.975, 4.0), 2.776_445_105_197_793);
        check(t_two_sided(2.5, 9.0), 0.033_861_827_682_985_735);
        check(chi_squared_tail(3.841_458_820_694_124, 1.0), 0.05);
        check(sign_test(2, 10), 0.109_375);
        check(sign_test(5, 10), 1.0);
        let (many, scipy) = (sign_test(499_000, 1_000_000), 0.045_608_299_865_389_6);
        assert!((many - scipy).abs() < 1e-8, "{many} is not {scipy}");
    }

    #[test]
    fn nonsense_is_nan_and_no_panic() {
        assert!(normal_quantile(2.0).is_nan() && normal_quantile(f64::NAN).is_nan());
        assert!(t_quantile(0.5, -1.0).is_nan() && t_two_sided(f64::NAN, 2.0).is_nan());
        assert!(chi_squared_tail(1.0, 0.0).is_nan() && normal_cdf(f64::NAN).is_nan());
    }
}

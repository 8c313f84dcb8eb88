//! What a model still is worth when its inputs are disturbed. The caller disturbs and predicts; here
//! are the kinds of disturbance and what becomes of the numbers. Owns no state.

use serde::{Deserialize, Serialize};

use crate::{
    input::{self, InputError},
    random::Random,
};

/// The most disturbances of one model.
pub const DISTURBANCES_MAX: usize = 10_000;

/// How inputs are disturbed. Sizes are in the unit of the encoded features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Disturbance {
    /// Normal noise on every number.
    Noise {
        /// Its standard deviation.
        deviation: f64,
    },
    /// A column is missing in all rows.
    MissingColumn {
        /// Which.
        column: String,
    },
    /// One step along the sign of the gradient (Goodfellow et al. 2015).
    Fgsm {
        /// The step.
        eps: f64,
    },
    /// Many steps along it, each back into a box around the input (Madry et al. 2018).
    Pgd {
        /// Half the box's width.
        eps: f64,
        /// How many steps.
        steps: u32,
        /// The size of a step.
        step_size: f64,
    },
}

impl Disturbance {
    /// Its family, and how strong it is in it; a missing column has no strength.
    fn family(&self) -> (&'static str, Option<f64>) {
        match self {
            Self::Noise { deviation } => ("noise", Some(*deviation)),
            Self::MissingColumn { .. } => ("missing_column", None),
            Self::Fgsm { eps } => ("fgsm", Some(*eps)),
            Self::Pgd { eps, .. } => ("pgd", Some(*eps)),
        }
    }
}

/// `width` numbers of the standard normal distribution for row number `row` (Box & Muller 1958): the same
/// for good, whatever is drawn for other rows.
pub fn noise(seed: u64, row: u64, width: usize) -> Vec<f32> {
    let mut random = Random::new(seed, row);
    // In (0, 1], so that the logarithm is finite.
    let mut unit = || ((random.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let mut numbers = Vec::with_capacity(width + 1);
    while numbers.len() < width {
        let (radius, angle) = ((-2.0 * unit().ln()).sqrt(), std::f64::consts::TAU * unit());
        numbers.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
    }
    numbers.truncate(width);
    numbers
}

/// The metric under one disturbance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disturbed {
    /// The disturbance.
    pub disturbance: Disturbance,
    /// The metric.
    pub value: f64,
    /// How much of it is lost, in the metric's unit; below 0 where it is better than without.
    pub loss: f64,
    /// The share that is lost of what it is without; absent where that is 0.
    pub relative_loss: Option<f64>,
}

/// A family of disturbances that differ in strength.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// `noise`, `fgsm` or `pgd`.
    pub family: String,
    /// The mean of the metric over strengths from 0 on, by straight lines between them.
    pub mean_value: f64,
    /// The largest strength up to which no more than `tolerated_loss` is lost; absent where the
    /// weakest loses more.
    pub withstands: Option<f64>,
}

/// What a model is worth under all disturbances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Robustness {
    /// The metric's name.
    pub metric: String,
    /// Its value without disturbance.
    pub baseline: f64,
    /// The share of the metric whose loss counts as withstood.
    pub tolerated_loss: f64,
    /// Disturbance by disturbance: families together, each from weak to strong, columns by their
    /// loss, the largest first.
    pub disturbed: Vec<Disturbed>,
    /// Family by family.
    pub sweeps: Vec<Sweep>,
}

/// Sums up what disturbances did to a metric.
///
/// # Errors
///
/// Where a number is not finite, a strength is not above 0, or there are too many disturbances.
pub fn robustness(
    metric: &str,
    more_is_better: bool,
    baseline: f64,
    values: Vec<(Disturbance, f64)>,
    tolerated_loss: f64,
) -> Result<Robustness, InputError> {
    input::within("disturbances", values.len(), 0, DISTURBANCES_MAX)?;
    input::share("tolerated_loss", tolerated_loss)?;
    input::finite("baseline", &[baseline])?;
    let mut disturbed = Vec::with_capacity(values.len());
    for (disturbance, value) in values {
        input::finite("metric", &[value])?;
        if let (family, Some(strength)) = disturbance.family()
            && !(strength.is_finite() && strength > 0.0)
        {
            let expected = format!("a number above 0 for {family}");
            return Err(InputError::Setting { setting: "strength", actual: strength.to_string(), expected });
        }
        let loss = if more_is_better { baseline - value } else { value - baseline };
        let relative_loss = (baseline != 0.0).then(|| loss / baseline.abs());
        disturbed.push(Disturbed { disturbance, value, loss, relative_loss });
    }
    disturbed.sort_by(|a, b| {
        let (one, other) = (a.disturbance.family(), b.disturbance.family());
        let strength = |family: (&str, Option<f64>)| family.1.unwrap_or(0.0);
        let by_strength = strength(one).total_cmp(&strength(other));
        one.0.cmp(other.0).then(by_strength).then(b.loss.total_cmp(&a.loss))
    });
    let families = disturbed.chunk_by(|a, b| a.disturbance.family().0 == b.disturbance.family().0);
    let sweeps = families.filter_map(|family| sweep(family, baseline, tolerated_loss)).collect();
    Ok(Robustness { metric: metric.to_owned(), baseline, tolerated_loss, disturbed, sweeps })
}

/// The summary of one family, by rising strength; `None` of missing columns.
fn sweep(family: &[Disturbed], baseline: f64, tolerated_loss: f64) -> Option<Sweep> {
    let name = family.first()?.disturbance.family().0;
    let (mut before, mut area, mut withstands, mut held) = ((0.0, baseline), 0.0, None, true);
    for disturbed in family {
        let strength = disturbed.disturbance.family().1?;
        area += (strength - before.0) * f64::midpoint(before.1, disturbed.value);
        before = (strength, disturbed.value);
        held &= disturbed.loss <= tolerated_loss * baseline.abs();
        if held {
            withstands = Some(strength);
        }
    }
    Some(Sweep { family: name.to_owned(), mean_value: area / before.0, withstands })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_says_what_is_withstood() {
        let noise = |deviation, value| (Disturbance::Noise { deviation }, value);
        let missing = |column: &str, value| (Disturbance::MissingColumn { column: column.to_owned() }, value);
        let values =
            vec![noise(2.0, 0.4), noise(1.0, 0.75), missing("a", 0.7), missing("b", 0.5), noise(4.0, 0.79)];
        let found = robustness("accuracy", true, 0.8, values, 0.1).unwrap();
        let losses: Vec<f64> = found.disturbed.iter().map(|one| (one.loss * 100.0).round()).collect();
        assert_eq!(losses, [30.0, 10.0, 5.0, 40.0, 1.0]);
        assert_eq!(found.sweeps.len(), 1);
        assert_eq!(found.sweeps[0].withstands, Some(1.0));
        assert!((found.sweeps[0].mean_value - (0.775 + 0.575 + 2.0 * 0.595) / 4.0).abs() < 1e-12);
    }

    #[test]
    fn noise_is_standard_normal_and_that_of_its_row() {
        let drawn: Vec<f64> = (0..20_000).flat_map(|row| noise(3, row, 5)).map(f64::from).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert_eq!(noise(3, 7, 5), noise(3, 7, 5));
        assert_eq!(noise(3, 7, 4), noise(3, 7, 5)[..4]);
        assert_ne!(noise(3, 7, 4), noise(4, 7, 4));
    }

    #[test]
    fn a_strength_is_above_zero() {
        let error =
            robustness("f1", true, 0.8, vec![(Disturbance::Fgsm { eps: 0.0 }, 0.5)], 0.1).unwrap_err();
        assert_eq!(error.to_string(), "`strength` is 0, expected a number above 0 for fgsm");
    }
}

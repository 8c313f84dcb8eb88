//! Probabilities mended by one number or two. Owns what is fitted.

use serde::{Deserialize, Serialize};

use crate::{
    input::{self, InputError},
    sum::sum,
};

/// What a probability of 0 counts as: its logarithm has to be finite.
const LEAST: f64 = 1e-12;

/// Inverse temperatures that are looked at.
const SHARPNESS: (f64, f64) = (1e-3, 1e3);

/// All logits divided by one number (Guo et al. 2017). It changes no ranking, and of several
/// classes not which is the most probable.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// Above 1 for a model that is too sure of itself.
    pub temperature: f64,
}

/// The temperature with the least log-loss on the validation split. `probabilities` has one a
/// class, row by row; of two classes too.
///
/// # Errors
///
/// Where there are fewer than two classes, columns differ in length, a probability is none, or a
/// truth is none of the classes.
pub fn fit_temperature(
    probabilities: &[f64],
    truths: &[u32],
    classes: usize,
) -> Result<Temperature, InputError> {
    input::within("classes", classes, 2, phalanx_protocol::spec::CLASSES_MAX)?;
    input::some_rows(truths.len())?;
    input::as_long("rows of probabilities", truths.len() * classes, probabilities.len())?;
    input::probabilities("probability", probabilities)?;
    input::below("truth", truths, classes, "the index of a class")?;
    let logits: Vec<f64> = probabilities.iter().map(|probability| probability.max(LEAST).ln()).collect();
    // The loss is convex in the inverse temperature, so its slope has one root at most.
    let slope = |sharpness: f64| {
        sum(logits.chunks_exact(classes).zip(truths).map(|(row, truth)| {
            let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (mut weights, mut weighted) = (0.0, 0.0);
            for logit in row {
                let weight = (sharpness * (logit - highest)).exp();
                weights += weight;
                weighted += weight * logit;
            }
            weighted / weights - row[*truth as usize]
        }))
    };
    let (mut low, mut high) = (SHARPNESS.0.ln(), SHARPNESS.1.ln());
    // Halved so often, the interval is as narrow as numbers are.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if slope(middle.exp()) > 0.0 { high = middle } else { low = middle }
    }
    Ok(Temperature { temperature: (-f64::midpoint(low, high)).exp() })
}

impl Temperature {
    /// Mends probabilities in place, one a class, row by row.
    pub fn apply(&self, probabilities: &mut [f64], classes: usize) {
        for row in probabilities.chunks_mut(classes.max(1)) {
            let highest = row.iter().copied().fold(LEAST, f64::max).ln();
            row.iter_mut().for_each(|p| *p = ((p.max(LEAST).ln() - highest) / self.temperature).exp());
            let whole: f64 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= whole);
        }
    }
}

/// Log-odds moved along a straight line (Platt 1999), of two classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Platt {
    /// What log-odds are multiplied with.
    pub slope: f64,
    /// What is added then.
    pub intercept: f64,
}

/// Platt's two numbers on the validation split, with his targets that are a little inside 0 and 1,
/// by Newton's method (Lin, Lin & Weng 2007). `log_odds` may be any score.
///
/// # Errors
///
/// Where columns differ in length or a score is not finite.
pub fn fit_platt(log_odds: &[f64], happened: &[bool]) -> Result<Platt, InputError> {
    input::some_rows(log_odds.len())?;
    input::as_long("outcomes", log_odds.len(), happened.len())?;
    input::finite("score", log_odds)?;
    let hits = happened.iter().filter(|happened| **happened).count() as f64;
    let misses = happened.len() as f64 - hits;
    let targets = ((hits + 1.0) / (hits + 2.0), 1.0 / (misses + 2.0));
    let rows = || log_odds.iter().zip(happened).map(|(x, is)| (*x, if *is { targets.0 } else { targets.1 }));
    let loss = |slope: f64, intercept: f64| {
        sum(rows().map(|(x, t)| softplus(slope * x + intercept) - t * (slope * x + intercept)))
    };
    let (mut slope, mut intercept) = (0.0, ((hits + 1.0) / (misses + 1.0)).ln());
    let mut now = loss(slope, intercept);
    for _ in 0..100 {
        let [g1, g2, h11, h12, h22] = derivatives(rows(), slope, intercept);
        if g1.abs() < 1e-9 && g2.abs() < 1e-9 {
            break;
        }
        let determinant = h11 * h22 - h12 * h12;
        let (d1, d2) = (-(h22 * g1 - h12 * g2) / determinant, -(h11 * g2 - h12 * g1) / determinant);
        // Halve the step until the loss falls; where no step helps, this is as far as numbers go.
        let steps = (0..40).map(|halvings| 0.5_f64.powi(halvings));
        let step =
            steps.map(|step| (slope + step * d1, intercept + step * d2)).find(|to| loss(to.0, to.1) < now);
        let Some(to) = step else { break };
        (slope, intercept) = to;
        now = loss(slope, intercept);
    }
    Ok(Platt { slope, intercept })
}

impl Platt {
    /// The probability that belongs to these log-odds.
    pub fn apply(&self, log_odds: f64) -> f64 {
        1.0 / (1.0 + (-(self.slope * log_odds + self.intercept)).exp())
    }
}

/// The log-odds of a probability, finite also at 0 and 1.
pub(super) fn log_odds(probability: f64) -> f64 {
    probability.max(LEAST).ln() - (1.0 - probability).max(LEAST).ln()
}

/// The gradient of Platt's loss, and its curvature with a little added so that it can be inverted.
fn derivatives(rows: impl Iterator<Item = (f64, f64)>, slope: f64, intercept: f64) -> [f64; 5] {
    let mut sums = [0.0, 0.0, 1e-12, 0.0, 1e-12];
    for (x, target) in rows {
        let p = 1.0 / (1.0 + (-(slope * x + intercept)).exp());
        let (error, weight) = (p - target, p * (1.0 - p));
        let terms = [error * x, error, weight * x * x, weight * x, weight];
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
    }
    sums
}

/// `ln(1 + eˣ)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_too_sure_gets_a_temperature_above_one() {
        // Says 0.9 and is right in 7 of 10: 0.7 is what it should say.
        let probabilities: Vec<f64> = (0..10).flat_map(|_| [0.1, 0.9]).collect();
        let truths = [1, 1, 1, 1, 1, 1, 1, 0, 0, 0];
        let fitted = fit_temperature(&probabilities, &truths, 2).unwrap();
        let mut mended = probabilities;
        fitted.apply(&mut mended, 2);
        assert!(fitted.temperature > 1.0 && (mended[1] - 0.7).abs() < 1e-9, "{fitted:?}");
    }

    #[test]
    fn probabilities_that_are_right_stay_as_they_are() {
        let probabilities: Vec<f64> = (0..10).flat_map(|_| [0.3, 0.7]).collect();
        let fitted = fit_temperature(&probabilities, &[1, 1, 1, 1, 1, 1, 1, 0, 0, 0], 2).unwrap();
        assert!((fitted.temperature - 1.0).abs() < 1e-9, "{fitted:?}");
    }

    #[test]
    fn certainty_that_is_always_right_or_wrong_has_a_finite_temperature() {
        for truths in [[0, 0], [1, 1]] {
            let fitted = fit_temperature(&[1.0, 0.0, 1.0, 0.0], &truths, 2).unwrap();
            assert!(fitted.temperature.is_finite() && fitted.temperature > 0.0, "{fitted:?}");
        }
        let fitted = fit_platt(&[1.0, 1.0], &[true, true]).unwrap();
        assert!(fitted.slope.is_finite() && (fitted.apply(1.0) - 0.75).abs() < 1e-6, "{fitted:?}");
    }
}

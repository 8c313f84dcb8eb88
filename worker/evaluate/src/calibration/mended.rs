//! What mending does to rows it was not fitted on. Owns no state.

use serde::{Deserialize, Serialize};

use super::{
    Platt, Temperature,
    curve::{Binning, calibration, top_label},
    scaling::log_odds,
};
use crate::{
    average::mean,
    input::{self, InputError},
};

/// What probabilities are worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProbabilityScores {
    /// The mean of `-ln p(truth)`, with probabilities at least 10⁻¹⁵.
    pub log_loss: f64,
    /// The mean squared distance of probability and outcome; of several classes, summed over them.
    pub brier: f64,
    /// The expected calibration error, in bins of one width.
    pub expected_error: f64,
    /// The same in bins of as many rows each.
    pub adaptive_error: f64,
    /// The largest calibration error of a bin of one width.
    pub maximum_error: f64,
}

/// Probabilities before and after.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mended {
    /// As the model says them.
    pub before: ProbabilityScores,
    /// As they are mended.
    pub after: ProbabilityScores,
}

/// What `mend` does to the probabilities of the positive class on rows that it was not fitted on.
///
/// # Errors
///
/// Where columns differ in length, a probability is none (the mended ones included), or there are
/// no bins.
pub fn mended(
    probabilities: &[f64],
    happened: &[bool],
    bins: usize,
    mend: impl Fn(f64) -> f64,
) -> Result<Mended, InputError> {
    let after: Vec<f64> = probabilities.iter().map(|probability| mend(*probability)).collect();
    let truths: Vec<u32> = happened.iter().map(|happened| u32::from(*happened)).collect();
    let score = |told: &[f64]| -> Result<ProbabilityScores, InputError> {
        let pairs: Vec<f64> = told.iter().flat_map(|told| [1.0 - told, *told]).collect();
        let of_classes = scores(&pairs, &truths, 2, (told, happened), bins)?;
        // Of two classes the sum over both is twice what goes by this name.
        Ok(ProbabilityScores { brier: of_classes.brier / 2.0, ..of_classes })
    };
    Ok(Mended { before: score(probabilities)?, after: score(&after)? })
}

/// What a temperature does to the probabilities of several classes; errors are those of the most
/// probable class.
///
/// # Errors
///
/// As [`mended`], and where a truth is none of the classes.
pub fn mended_classes(
    probabilities: &[f64],
    truths: &[u32],
    classes: usize,
    bins: usize,
    temperature: &Temperature,
) -> Result<Mended, InputError> {
    let mut after = probabilities.to_vec();
    temperature.apply(&mut after, classes);
    let score = |told: &[f64]| {
        let (top, right) = top_label(told, truths, classes)?;
        scores(told, truths, classes, (&top, &right), bins)
    };
    Ok(Mended { before: score(probabilities)?, after: score(&after)? })
}

impl Platt {
    /// The mended probability, where log-odds were fitted.
    pub fn mend(&self, probability: f64) -> f64 {
        self.apply(log_odds(probability))
    }

    /// Fits to the log-odds of probabilities.
    ///
    /// # Errors
    ///
    /// As [`fit_platt`](super::fit_platt), and where a probability is none.
    pub fn of_probabilities(probabilities: &[f64], happened: &[bool]) -> Result<Self, InputError> {
        input::probabilities("probability", probabilities)?;
        let odds: Vec<f64> = probabilities.iter().map(|probability| log_odds(*probability)).collect();
        super::fit_platt(&odds, happened)
    }
}

fn scores(
    told: &[f64],
    truths: &[u32],
    classes: usize,
    (top, right): (&[f64], &[bool]),
    bins: usize,
) -> Result<ProbabilityScores, InputError> {
    input::as_long("rows of probabilities", truths.len() * classes, told.len())?;
    let uniform = calibration(top, right, Binning::Uniform, bins)?;
    let rows = || told.chunks_exact(classes).zip(truths);
    let surprise = rows().map(|(row, truth)| -row[*truth as usize].max(1e-15).ln());
    let distance = rows().map(|(row, truth)| {
        let outcome = |class: usize| f64::from(u8::from(class == *truth as usize));
        row.iter().enumerate().map(|(class, told)| (told - outcome(class)).powi(2)).sum::<f64>()
    });
    Ok(ProbabilityScores {
        log_loss: mean(truths.len(), surprise),
        brier: mean(truths.len(), distance),
        expected_error: uniform.expected_error,
        adaptive_error: calibration(top, right, Binning::Quantile, bins)?.expected_error,
        maximum_error: uniform.maximum_error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::{fit_isotonic, fit_temperature};

    /// Says 0.95 or 0.05, and is right in 8 of 10.
    fn too_sure() -> (Vec<f64>, Vec<bool>) {
        (0..1_000)
            .map(|row| (if row % 2 == 0 { 0.95 } else { 0.05 }, (row % 2 == 0) == (row / 2 % 5 != 0)))
            .unzip()
    }

    #[test]
    fn every_way_mends_a_model_that_is_too_sure() {
        let (told, happened) = too_sure();
        let platt = Platt::of_probabilities(&told, &happened).unwrap();
        let isotonic = fit_isotonic(&told, &happened).unwrap();
        let check = |found: Mended| {
            assert!((found.before.expected_error - 0.15).abs() < 1e-9, "{found:?}");
            assert!(found.after.expected_error < 0.005, "{found:?}");
            assert!(found.after.log_loss < found.before.log_loss && found.after.brier < found.before.brier);
        };
        check(mended(&told, &happened, 10, |p| platt.mend(p)).unwrap());
        check(mended(&told, &happened, 10, |p| isotonic.apply(p)).unwrap());
        let pairs: Vec<f64> = told.iter().flat_map(|told| [1.0 - told, *told]).collect();
        let truths: Vec<u32> = happened.iter().map(|happened| u32::from(*happened)).collect();
        let temperature = fit_temperature(&pairs, &truths, 2).unwrap();
        check(mended_classes(&pairs, &truths, 2, 10, &temperature).unwrap());
    }
}

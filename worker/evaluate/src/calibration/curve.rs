//! Reliability by bins and what follows from it. Owns no state.

use serde::{Deserialize, Serialize};

use crate::{
    average::mean,
    input::{self, InputError},
    interval::{quantile, wilson_interval},
    sum::sum,
};

/// The most bins.
pub const BINS_MAX: usize = 1_000;

/// Where bins begin and end. As in scikit-learn, a probability on an edge belongs below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binning {
    /// Bins of one width.
    Uniform,
    /// Bins of as many rows each: of these comes the adaptive calibration error.
    Quantile,
}

/// The rows whose probability lies in one bin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// Its rows; bins without any are left out.
    pub count: u64,
    /// What the model says on average.
    pub mean_probability: f64,
    /// What share came true.
    pub share: f64,
    /// The lower end of that share's interval (Wilson's, at 95 %).
    pub share_lower: f64,
    /// The upper end.
    pub share_upper: f64,
}

/// How far probabilities are from shares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// How rows are put into bins.
    pub binning: Binning,
    /// The reliability curve.
    pub bins: Vec<ReliabilityBin>,
    /// The mean distance of probability and share, weighed by rows (ECE; with quantile bins, the
    /// adaptive one).
    pub expected_error: f64,
    /// The largest distance of a bin (MCE).
    pub maximum_error: f64,
    /// The root of the mean squared distance, weighed by rows.
    pub root_mean_square_error: f64,
}

/// The reliability of `probabilities` whose event `happened` or not, in up to `bins` bins.
///
/// # Errors
///
/// Where columns differ in length, a probability is none, or there are no bins or too many.
pub fn calibration(
    probabilities: &[f64],
    happened: &[bool],
    binning: Binning,
    bins: usize,
) -> Result<Calibration, InputError> {
    check(probabilities, happened, bins)?;
    let edges = edges(probabilities, binning, bins);
    let bins = filled(probabilities, happened, &edges);
    let rows = probabilities.len() as f64;
    let distance = |bin: &ReliabilityBin| (bin.mean_probability - bin.share).abs();
    let weighed =
        |power: i32| sum(bins.iter().map(|bin| bin.count as f64 / rows * distance(bin).powi(power)));
    Ok(Calibration {
        binning,
        expected_error: weighed(1),
        maximum_error: bins.iter().map(distance).fold(0.0, f64::max),
        root_mean_square_error: weighed(2).sqrt(),
        bins,
    })
}

/// The parts of the Brier score (Murphy 1973), with those that bins hide (Stephenson, Coelho &
/// Jolliffe 2008): `brier = reliability - resolution + uncertainty + within_bins`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BrierParts {
    /// The mean squared distance of probability and outcome.
    pub brier: f64,
    /// How far bins' probabilities are from their shares; 0 is best.
    pub reliability: f64,
    /// How far bins' shares are from the share of all; more is better.
    pub resolution: f64,
    /// The variance of the outcome, which no model changes.
    pub uncertainty: f64,
    /// What the spread of probabilities within bins adds.
    pub within_bins: f64,
}

/// The parts of the Brier score in up to `bins` bins of one width.
///
/// # Errors
///
/// As [`calibration`].
pub fn brier_parts(probabilities: &[f64], happened: &[bool], bins: usize) -> Result<BrierParts, InputError> {
    check(probabilities, happened, bins)?;
    let rows = probabilities.len();
    let outcome = |happened: &bool| f64::from(u8::from(*happened));
    let squares = probabilities.iter().zip(happened).map(|(told, is)| (told - outcome(is)).powi(2));
    let brier = mean(rows, squares);
    let base = mean(rows, happened.iter().map(outcome));
    let bins = filled(probabilities, happened, &edges(probabilities, Binning::Uniform, bins));
    let weighed = |of: &dyn Fn(&ReliabilityBin) -> f64| {
        sum(bins.iter().map(|bin| bin.count as f64 / rows as f64 * of(bin)))
    };
    let reliability = weighed(&|bin| (bin.mean_probability - bin.share).powi(2));
    let resolution = weighed(&|bin| (bin.share - base).powi(2));
    let uncertainty = base * (1.0 - base);
    let within_bins = brier - (reliability - resolution + uncertainty);
    Ok(BrierParts { brier, reliability, resolution, uncertainty, within_bins })
}

/// The highest probability of each row of several classes, and whether that class is the true one.
/// `probabilities` has one a class, row by row.
///
/// # Errors
///
/// Where there are no classes, columns differ in length, or a truth is none of the classes.
pub fn top_label(
    probabilities: &[f64],
    truths: &[u32],
    classes: usize,
) -> Result<(Vec<f64>, Vec<bool>), InputError> {
    input::within("classes", classes, 1, phalanx_protocol::spec::CLASSES_MAX)?;
    input::as_long("rows of probabilities", truths.len() * classes, probabilities.len())?;
    input::below("truth", truths, classes, "the index of a class")?;
    input::finite("probability", probabilities)?;
    let top =
        |row: &[f64]| (0..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best });
    let rows = probabilities.chunks_exact(classes).zip(truths);
    Ok(rows.map(|(row, truth)| (row[top(row)], top(row) == *truth as usize)).unzip())
}

fn check(probabilities: &[f64], happened: &[bool], bins: usize) -> Result<(), InputError> {
    input::some_rows(probabilities.len())?;
    input::as_long("outcomes", probabilities.len(), happened.len())?;
    input::probabilities("probability", probabilities)?;
    input::within("bins", bins, 1, BINS_MAX)
}

/// One more edge than bins.
fn edges(probabilities: &[f64], binning: Binning, bins: usize) -> Vec<f64> {
    match binning {
        Binning::Uniform => {
            let width = 1.0 / bins as f64;
            (0..bins).map(|edge| edge as f64 * width).chain([1.0]).collect()
        }
        Binning::Quantile => {
            let mut sorted = probabilities.to_vec();
            sorted.sort_unstable_by(f64::total_cmp);
            // In percent and back, as scikit-learn has it: an edge may lie on a row's very value.
            let share = |edge: usize| edge as f64 * (1.0 / bins as f64) * 100.0 / 100.0;
            (0..bins).map(share).chain([1.0]).map(|share| quantile(&sorted, share)).collect()
        }
    }
}

fn filled(probabilities: &[f64], happened: &[bool], edges: &[f64]) -> Vec<ReliabilityBin> {
    let inner = &edges[1..edges.len() - 1];
    let mut rows = vec![(0_u64, 0_u64, 0.0); inner.len() + 1];
    for (probability, happened) in probabilities.iter().zip(happened) {
        let bin = &mut rows[inner.partition_point(|edge| edge < probability)];
        *bin = (bin.0 + 1, bin.1 + u64::from(*happened), bin.2 + probability);
    }
    let describe = |(at, (count, hits, told)): (usize, (u64, u64, f64))| {
        let share = wilson_interval(hits, count, 0.95).ok()?;
        Some(ReliabilityBin {
            from: edges[at],
            to: edges[at + 1],
            count,
            mean_probability: told / count as f64,
            share: share.estimate,
            share_lower: share.lower,
            share_upper: share.upper,
        })
    };
    rows.into_iter().enumerate().filter_map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_distances_of_bins_weighed_by_their_rows() {
        let told = [0.1, 0.1, 0.1, 0.9];
        let happened = [false, false, true, true];
        let found = calibration(&told, &happened, Binning::Uniform, 2).unwrap();
        let first = 1.0 / 3.0 - 0.1;
        assert!((found.expected_error - (0.75 * first + 0.25 * 0.1)).abs() < 1e-12);
        assert!((found.maximum_error - first).abs() < 1e-12);
        assert_eq!(found.bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn the_brier_score_is_its_parts() {
        let told = [0.1, 0.2, 0.2, 0.7, 0.9, 0.95];
        let parts = brier_parts(&told, &[false, true, false, true, false, true], 5).unwrap();
        let sum = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins;
        assert!((sum - parts.brier).abs() < 1e-15 && parts.uncertainty == 0.25);
        // Where a bin holds one probability, nothing is hidden in it.
        let parts = brier_parts(&[0.1, 0.1, 0.9, 0.9], &[false, true, true, true], 5).unwrap();
        assert!(parts.within_bins.abs() < 1e-15);
    }

    #[test]
    fn the_top_label_is_right_or_wrong() {
        let (told, right) = top_label(&[0.2, 0.5, 0.3, 0.6, 0.4, 0.0], &[1, 1], 3).unwrap();
        assert_eq!((told, right), (vec![0.5, 0.6], vec![true, false]));
        assert!(top_label(&[0.2], &[0], 2).is_err());
    }
}

//! Labels that are likely wrong: confident learning (Northcutt, Jiang and Chuang
//! 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels").
//!
//! A row counts confidently for a class if its probability is at least the mean
//! probability of that class among the rows labelled with it. Rows that count for another class than
//! their label are likely mislabelled. Probabilities must be out of fold: a model that has
//! seen a row's label agrees with it. Pure: numbers in, numbers out.

use serde::{Deserialize, Serialize};

/// What is likely wrong with labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelNoise {
    /// Rows that were looked at.
    pub rows: u64,
    /// For each class, the mean probability of it among the rows labelled with it; `None` if there are none.
    pub thresholds: Vec<Option<f64>>,
    /// Rows by label and by the class for which they count confidently. Rows that count for none are left out.
    pub joint: Vec<Vec<u64>>,
    /// Rows that are likely mislabelled, the least likely labels first.
    pub issues: Vec<LabelIssue>,
}

/// A row that is likely mislabelled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LabelIssue {
    /// Its number.
    pub row: u64,
    /// The class that it is labelled with.
    pub given: u32,
    /// The class that it likely is of.
    pub likely: u32,
    /// The probability of the class that it is labelled with.
    pub confidence: f64,
}

/// Why labels cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelNoiseError {
    /// Not one row of probabilities for each label.
    #[error("expected {expected} probabilities, {classes} for each of the labels, found {actual}")]
    Shape {
        /// Labels times classes.
        expected: usize,
        /// Classes.
        classes: usize,
        /// Probabilities.
        actual: usize,
    },
    /// A label that is no class.
    #[error("row {row}: expected a class below {classes}, found {class}")]
    Class {
        /// The row.
        row: usize,
        /// Classes.
        classes: usize,
        /// The label.
        class: u32,
    },
    /// Not a probability.
    #[error("row {row}: expected probabilities from 0 to 1, found {found}")]
    Probability {
        /// The row.
        row: usize,
        /// What was found.
        found: String,
    },
}

/// Judges `labels` by out-of-fold `probabilities`, `classes` of them for each label, row after row.
///
/// # Errors
///
/// If the numbers do not belong together, or are no probabilities.
pub fn label_noise(
    labels: &[u32],
    probabilities: &[f32],
    classes: usize,
) -> Result<LabelNoise, LabelNoiseError> {
    check(labels, probabilities, classes)?;
    let of_rows = || labels.iter().zip(probabilities.chunks_exact(classes.max(1)));
    let (mut sums, mut counts) = (vec![0.0; classes], vec![0_u64; classes]);
    for (label, row) in of_rows() {
        sums[*label as usize] += f64::from(row[*label as usize]);
        counts[*label as usize] += 1;
    }
    let thresholds: Vec<Option<f64>> =
        sums.iter().zip(&counts).map(|(sum, count)| (*count > 0).then(|| sum / *count as f64)).collect();

    let mut joint = vec![vec![0; classes]; classes];
    let mut issues = Vec::new();
    for (number, (label, row)) in (0_u64..).zip(of_rows()) {
        let Some(likely) = confident_class(row, &thresholds) else { continue };
        joint[*label as usize][likely] += 1;
        if likely != *label as usize {
            let confidence = f64::from(row[*label as usize]);
            issues.push(LabelIssue { row: number, given: *label, likely: likely as u32, confidence });
        }
    }
    issues.sort_by(|a, b| a.confidence.total_cmp(&b.confidence).then(a.row.cmp(&b.row)));
    Ok(LabelNoise { rows: labels.len() as u64, thresholds, joint, issues })
}

/// The class for which a row counts: of those whose threshold it reaches the most probable, the first of equals.
fn confident_class(row: &[f32], thresholds: &[Option<f64>]) -> Option<usize> {
    let reached = row.iter().zip(thresholds).enumerate().filter_map(|(class, (probability, threshold))| {
        let probability = f64::from(*probability);
        threshold.filter(|threshold| probability >= *threshold).map(|_| (class, probability))
    });
    let best = reached.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(class, _)| class)
}

fn check(labels: &[u32], probabilities: &[f32], classes: usize) -> Result<(), LabelNoiseError> {
    let (expected, actual) = (labels.len() * classes, probabilities.len());
    if expected != actual {
        return Err(LabelNoiseError::Shape { expected, classes, actual });
    }
    if let Some((row, class)) = labels.iter().enumerate().find(|(_, class)| **class as usize >= classes) {
        return Err(LabelNoiseError::Class { row, classes, class: *class });
    }
    // A sum of rounded parts may be a hair above one.
    let is_one = |probability: &f32| (-1e-6..=1.0 + 1e-6).contains(probability);
    match probabilities.iter().position(|probability| !is_one(probability)) {
        None => Ok(()),
        Some(at) => {
            Err(LabelNoiseError::Probability { row: at / classes, found: probabilities[at].to_string() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_count_confidently_for_another_class_are_found_the_surest_first() {
        let labels = [0, 0, 0, 1, 1, 1];
        let probabilities = [0.9, 0.1, 0.8, 0.2, 0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.95, 0.05];
        let noise = label_noise(&labels, &probabilities, 2).unwrap();
        let found: Vec<(u64, u32, u32)> =
            noise.issues.iter().map(|issue| (issue.row, issue.given, issue.likely)).collect();
        assert_eq!(found, [(5, 1, 0), (2, 0, 1)]);
        assert_eq!(noise.joint, [[2, 1], [1, 2]]);
        let means =
            noise.thresholds.iter().flatten().map(|mean| (mean * 1e4).round() / 1e4).collect::<Vec<_>>();
        assert_eq!(means, [0.6, 0.5167]);
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let check = |labels: &[u32], probabilities: &[f32], part: &str| {
            let error = label_noise(labels, probabilities, 2).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(&[0], &[0.5], "expected 2 probabilities");
        check(&[2], &[0.5, 0.5], "row 0: expected a class below 2, found 2");
        check(&[0], &[0.5, f32::NAN], "from 0 to 1, found NaN");
        assert_eq!(label_noise(&[], &[], 2).unwrap().issues, []);
    }
}

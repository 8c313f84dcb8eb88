//! Points of a [`Curve`] for plots: ROC, precision and recall, and DET, as few as
//! can be drawn. Owns no state.

use serde::{Deserialize, Serialize};

use super::curve::{Curve, NOTHING, Threshold};
use crate::undefined::Undefined;

/// One point of a ROC curve (and, read as `1 - true_positive_rate`, of a DET curve).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RocPoint {
    /// The lowest score taken for positive; none at the start, where nothing is.
    pub threshold: Option<f32>,
    /// The share of negative rows taken for positive.
    pub false_positive_rate: f64,
    /// The share of positive rows taken for positive.
    pub true_positive_rate: f64,
}

/// One point of a precision-recall curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PrecisionRecallPoint {
    /// The lowest score taken for positive; none at the start, where nothing is.
    pub threshold: Option<f32>,
    /// The share of rows taken for positive that are.
    pub precision: f64,
    /// The share of positive rows taken for positive.
    pub recall: f64,
}

/// One point of a detection error tradeoff curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DetPoint {
    /// The lowest score taken for positive; none at the start, where nothing is.
    pub threshold: Option<f32>,
    /// The share of negative rows taken for positive.
    pub false_positive_rate: f64,
    /// The share of positive rows not taken for positive.
    pub false_negative_rate: f64,
}

impl Curve {
    /// The ROC curve from (0, 0) to (1, 1), without points between two others on a line
    /// along an axis, and then at most `points_max` points and the two ends: no point that is
    /// left out is farther than `2 / points_max` from one that is not.
    ///
    /// # Errors
    ///
    /// Where all rows are of one kind.
    pub fn roc_points(&self, points_max: usize) -> Result<Vec<RocPoint>, Undefined> {
        self.roc_auc()?;
        let (positives, negatives) = (self.positives(), self.negatives());
        let start = RocPoint { threshold: None, false_positive_rate: 0.0, true_positive_rate: 0.0 };
        let points = self.thresholds().iter().map(|at| RocPoint {
            threshold: Some(at.threshold),
            false_positive_rate: at.false_positives / negatives,
            true_positive_rate: at.true_positives / positives,
        });
        let points: Vec<RocPoint> = std::iter::once(start).chain(points).collect();
        let corners = corners(points, |a, b, c| {
            let horizontal =
                a.true_positive_rate == b.true_positive_rate && b.true_positive_rate == c.true_positive_rate;
            let vertical = a.false_positive_rate == b.false_positive_rate
                && b.false_positive_rate == c.false_positive_rate;
            horizontal || vertical
        });
        Ok(thin(corners, points_max, |a, b| {
            b.false_positive_rate - a.false_positive_rate + (b.true_positive_rate - a.true_positive_rate)
        }))
    }

    /// The precision-recall curve from recall 0, where precision is 1, to recall 1, thinned
    /// in the same way.
    ///
    /// # Errors
    ///
    /// Where no row is positive.
    pub fn precision_recall_points(&self, points_max: usize) -> Result<Vec<PrecisionRecallPoint>, Undefined> {
        self.pr_auc()?;
        let positives = self.positives();
        let start = PrecisionRecallPoint { threshold: None, precision: 1.0, recall: 0.0 };
        let points = self.thresholds().iter().map(|at| PrecisionRecallPoint {
            threshold: Some(at.threshold),
            precision: at.precision(),
            recall: at.true_positives / positives,
        });
        let points: Vec<PrecisionRecallPoint> = std::iter::once(start).chain(points).collect();
        let corners = corners(points, |a, b, c| a.recall == b.recall && b.recall == c.recall);
        Ok(thin(corners, points_max, |a, b| (b.recall - a.recall) + (b.precision - a.precision).abs()))
    }

    /// The DET curve, from the last threshold without a false positive to the first without a
    /// false negative, thinned in the same way.
    ///
    /// # Errors
    ///
    /// Where all rows are of one kind.
    pub fn det_points(&self, points_max: usize) -> Result<Vec<DetPoint>, Undefined> {
        self.roc_auc()?;
        let (positives, negatives) = (self.positives(), self.negatives());
        let all: Vec<&Threshold> = std::iter::once(&NOTHING).chain(self.thresholds()).collect();
        let first = all.iter().take_while(|at| at.false_positives == 0.0).count().saturating_sub(1);
        let last = all.iter().take_while(|at| at.true_positives < positives).count();
        let points = all[first..=last.max(first)].iter().map(|at| DetPoint {
            threshold: at.threshold.is_finite().then_some(at.threshold),
            false_positive_rate: at.false_positives / negatives,
            false_negative_rate: (positives - at.true_positives) / positives,
        });
        let distance = |a: &DetPoint, b: &DetPoint| {
            b.false_positive_rate - a.false_positive_rate + (a.false_negative_rate - b.false_negative_rate)
        };
        Ok(thin(points.collect(), points_max, distance))
    }
}

/// The points that do not lie between their neighbours on one line.
fn corners<P: Copy>(points: Vec<P>, on_a_line: impl Fn(&P, &P, &P) -> bool) -> Vec<P> {
    let mut corners: Vec<P> = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let between = match (corners.last(), points.get(index + 1)) {
            (Some(before), Some(after)) => on_a_line(before, point, after),
            (None, _) | (_, None) => false,
        };
        if !between {
            corners.push(*point);
        }
    }
    corners
}

/// Both ends, and between them at most `points_max` points: the first behind each of as
/// many equal parts of the way.
fn thin<P: Copy>(points: Vec<P>, points_max: usize, distance: impl Fn(&P, &P) -> f64) -> Vec<P> {
    if points.len() <= points_max + 2 {
        return points;
    }
    let length: f64 = points.windows(2).map(|pair| distance(&pair[0], &pair[1])).sum();
    let part = |way: f64| (way / length * (points_max + 1) as f64) as usize;
    let (mut way, mut kept) = (0.0, vec![points[0]]);
    let mut before = 0;
    for pair in points.windows(2) {
        way += distance(&pair[0], &pair[1]);
        if part(way) > before && kept.len() <= points_max {
            kept.push(pair[1]);
        }
        before = part(way).max(before);
    }
    if let Some(end) = points.last() {
        kept.push(*end);
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::columns::Weights;

    fn curve(rows: &[(u16, bool)]) -> Curve {
        let weights = Weights::new(rows.len(), None).unwrap();
        Curve::of_rows(rows.iter().map(|(score, positive)| (f32::from(*score), *positive)), weights)
    }

    proptest! {
        #[test]
        fn thinned_curves_stay_close_to_the_whole_ones(
            rows in prop::collection::vec((0_u16..500, any::<bool>()), 2..400), points_max in 1_usize..40,
        ) {
            let curve = curve(&rows);
            let Ok(whole) = curve.roc_points(usize::MAX - 2) else { return Ok(()) };
            let few = curve.roc_points(points_max).unwrap();
            prop_assert!(few.len() <= points_max + 2);
            prop_assert_eq!((few.first(), few.last()), (whole.first(), whole.last()));
            for point in whole {
                let far = |other: &RocPoint| (other.false_positive_rate - point.false_positive_rate).abs()
                    .max((other.true_positive_rate - point.true_positive_rate).abs());
                let nearest = few.iter().map(far).fold(f64::INFINITY, f64::min);
                prop_assert!(nearest <= 2.0 / points_max as f64 + 1e-9, "{nearest}");
            }
        }
    }

    #[test]
    fn points_on_a_line_are_left_out() {
        let rows: Vec<(u16, bool)> = (0..100).map(|score| (score, score >= 50)).collect();
        let rates = |point: &RocPoint| (point.false_positive_rate, point.true_positive_rate);
        let points = curve(&rows).roc_points(10).unwrap();
        assert_eq!(points.iter().map(rates).collect::<Vec<_>>(), [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]);
    }
}

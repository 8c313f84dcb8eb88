//! Loss curves of bounded size. Pure values.
//!
//! Invariants:
//!
//! 1. A curve has at most [`CURVE_POINTS_MAX`] points, all finite, in the order of their steps.
//! 2. Neighbours are at least `gap_steps` apart, and the gap is the same over the
//!    whole curve: a curve that has been thinned is evenly coarse.

use phalanx_protocol::view::{CURVE_POINTS_MAX, Curve};
use serde::{Deserialize, Serialize};

/// The loss of a job, in training and in validation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LossCurve {
    /// Training loss.
    pub train: Points,
    /// Validation loss.
    pub validation: Points,
}

impl LossCurve {
    /// Forgets everything after `step`: the job goes on from there.
    pub fn go_back(&mut self, step: u64) {
        self.train.go_back(step);
        self.validation.go_back(step);
    }

    /// As users see it.
    pub fn view(&self) -> Curve {
        Curve { train: self.train.points.clone(), validation: self.validation.points.clone() }
    }
}

/// One curve.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Points {
    points: Vec<(u64, f64)>,
    gap_steps: u64,
}

impl Points {
    /// Adds a point, unless it is no finite number, or too near to the last one.
    pub fn push(&mut self, step: u64, value: f64) {
        let after_last =
            self.points.last().is_none_or(|&(last, _)| step > last && step - last >= self.gap_steps);
        if !value.is_finite() || !after_last {
            return;
        }
        self.points.push((step, value));
        // Doubling ends: a gap of 2⁶³ steps leaves two points.
        while self.points.len() > CURVE_POINTS_MAX {
            self.gap_steps = self.gap_steps.max(1).saturating_mul(2);
            self.thin();
        }
    }

    /// Forgets everything after `step`.
    pub fn go_back(&mut self, step: u64) {
        self.points.retain(|&(at, _)| at <= step);
    }

    /// Step and value of each point.
    pub fn as_slice(&self) -> &[(u64, f64)] {
        &self.points
    }

    /// Drops points that are nearer to the one before than the gap.
    fn thin(&mut self) {
        let gap_steps = self.gap_steps;
        let mut last: Option<u64> = None;
        self.points.retain(|&(step, _)| {
            let keep = last.is_none_or(|last| step - last >= gap_steps);
            last = if keep { Some(step) } else { last };
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_curve_stays_bounded_and_even() {
        let mut points = Points::default();
        for step in 1..=1_000_000 {
            points.push(step, 1.0);
        }
        let kept = points.as_slice();
        assert!(kept.len() >= CURVE_POINTS_MAX / 3 && kept.len() <= CURVE_POINTS_MAX, "{}", kept.len());
        let gaps = kept.windows(2).map(|pair| pair[1].0 - pair[0].0);
        assert_eq!(gaps.clone().max(), gaps.min());
        assert_eq!(kept[0].0, 1);
    }

    #[test]
    fn going_back_forgets_what_came_after() {
        let mut points = Points::default();
        for step in 1..=10 {
            points.push(step, 1.0);
        }
        points.go_back(4);
        points.push(5, 2.0);
        assert_eq!(points.as_slice().last(), Some(&(5, 2.0)));
        assert_eq!(points.as_slice().len(), 5);
    }

    proptest! {
        #[test]
        fn any_points_keep_the_invariants(
            steps in proptest::collection::vec((0_u64..=1 << 40, any::<f64>(), 0_u32..100), 0..3_000),
        ) {
            let mut points = Points::default();
            let mut at = 0_u64;
            for (step, value, chance) in steps {
                // Mostly onwards, by widely different steps, and now and then back.
                match chance {
                    0 => points.go_back(step),
                    1..10 => at = step,
                    _ => at += step >> (chance % 40),
                }
                points.push(at, value);
            }
            prop_assert!(points.as_slice().len() <= CURVE_POINTS_MAX);
            let gaps = points.as_slice().windows(2).map(|pair| pair[1].0.checked_sub(pair[0].0));
            let least = points.gap_steps.max(1);
            prop_assert!(gaps.into_iter().all(|gap| gap.is_some_and(|gap| gap >= least)));
            prop_assert!(points.as_slice().iter().all(|(_, value)| value.is_finite()));
        }
    }
}

//! What each threshold of a score would do: the curve from which ROC, precision and
//! recall, DET, lift and gain are read. Owns the points, of which there is one for
//! each score; the rows themselves are not kept.

use serde::{Deserialize, Serialize};

use crate::{
    columns::{BinaryColumns, Weights},
    sum::ExactSum,
    undefined::{Undefined, Value, finite},
};

/// What the rows are of which the score is at least `threshold`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The lowest score that is taken for positive.
    pub threshold: f32,
    /// The weight of the positive rows from there on.
    pub true_positives: f64,
    /// The weight of the negative rows from there on.
    pub false_positives: f64,
}

/// All thresholds that make a difference, from the highest to the lowest.
///
/// Rows of weight 0 do not count. Neither the order of rows nor how they come together
/// changes a bit: without weights all counts are whole, with weights each is an exact
/// sum, rounded once.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    thresholds: Vec<Threshold>,
}

/// Nothing is taken for positive.
pub(super) const NOTHING: Threshold =
    Threshold { threshold: f32::INFINITY, true_positives: 0.0, false_positives: 0.0 };

impl Curve {
    /// The curve of `columns`, in the time of one sort.
    pub fn of(columns: &BinaryColumns<'_>) -> Self {
        let rows = columns.scores().iter().copied().zip(columns.truths().iter().copied());
        Self::of_rows(rows, columns.weights())
    }

    /// The curve of rows of (score, whether it is positive); scores are finite, and
    /// `weights` is of as many rows.
    pub(crate) fn of_rows(rows: impl Iterator<Item = (f32, bool)>, weights: Weights<'_>) -> Self {
        let thresholds = match weights.given() {
            None => count(rows),
            Some(weights) => weigh(rows.zip(weights)),
        };
        Self { thresholds }
    }

    /// The thresholds, from the highest score to the lowest.
    pub fn thresholds(&self) -> &[Threshold] {
        &self.thresholds
    }

    /// The weight of all positive rows.
    pub fn positives(&self) -> f64 {
        self.thresholds.last().map_or(0.0, |all| all.true_positives)
    }

    /// The weight of all negative rows.
    pub fn negatives(&self) -> f64 {
        self.thresholds.last().map_or(0.0, |all| all.false_positives)
    }

    /// Each threshold with the one above it.
    fn steps(&self) -> impl Iterator<Item = (&Threshold, &Threshold)> {
        std::iter::once(&NOTHING).chain(&self.thresholds).zip(&self.thresholds)
    }

    fn both_kinds(&self) -> Result<(f64, f64), Undefined> {
        match (self.positives(), self.negatives()) {
            (0.0, 0.0) => Err(Undefined::NoWeight),
            (0.0, _) => Err(Undefined::NoPositive),
            (_, 0.0) => Err(Undefined::NoNegative),
            both => Ok(both),
        }
    }

    fn any_positive(&self) -> Result<f64, Undefined> {
        match self.both_kinds() {
            Ok((positives, _)) => Ok(positives),
            Err(Undefined::NoNegative) => Ok(self.positives()),
            Err(other) => Err(other),
        }
    }

    /// The area under the ROC curve: how often a positive row scores higher than a
    /// negative one, a tie counting half (Mann and Whitney; Hanley & McNeil 1982).
    /// Only the last division rounds, if there are no weights.
    pub fn roc_auc(&self) -> Value {
        let (positives, negatives) = self.both_kinds()?;
        let mut doubled = ExactSum::default();
        for (above, here) in self.steps() {
            let negatives_here = here.false_positives - above.false_positives;
            doubled.add_product(negatives_here, here.true_positives + above.true_positives);
        }
        finite(doubled.value() / (2.0 * positives * negatives))
    }

    /// The area up to the false positive rate `rate_max`, scaled so that a guess has
    /// 0.5 and a perfect order 1 (McClish 1989).
    pub fn partial_roc_auc(&self, rate_max: f64) -> Value {
        if rate_max >= 1.0 {
            return self.roc_auc();
        }
        let (positives, negatives) = self.both_kinds()?;
        let limit = rate_max * negatives;
        let mut doubled = ExactSum::default();
        for (above, here) in self.steps() {
            let (from, to) = (above.false_positives, here.false_positives.min(limit));
            if to > from {
                let share = (to - from) / (here.false_positives - from);
                let reached = above.true_positives + share * (here.true_positives - above.true_positives);
                doubled.add_product(to - from, above.true_positives + reached);
            }
            if here.false_positives > limit {
                break;
            }
        }
        let area = doubled.value() / (2.0 * positives * negatives);
        let least = 0.5 * rate_max * rate_max;
        finite(0.5 * (1.0 + (area - least) / (rate_max - least)))
    }

    /// Precision averaged over recall: the sum over thresholds of precision times the
    /// recall gained. 0 where no row is positive.
    pub fn average_precision(&self) -> Value {
        let positives = match self.any_positive() {
            Err(Undefined::NoPositive) => return Ok(0.0),
            other => other?,
        };
        let gained = self
            .steps()
            .map(|(above, here)| (here.true_positives - above.true_positives) / positives * here.precision());
        finite(gained.collect::<ExactSum>().value())
    }

    /// The area under the precision-recall curve by trapezoids, from precision 1 at
    /// recall 0. It is kinder than [`Curve::average_precision`].
    pub fn pr_auc(&self) -> Value {
        let positives = self.any_positive()?;
        let area = self.steps().map(|(above, here)| {
            let before = if above.threshold.is_finite() { above.precision() } else { 1.0 };
            (here.true_positives - above.true_positives) / positives * (here.precision() + before) / 2.0
        });
        finite(area.collect::<ExactSum>().value())
    }

    /// `2 × ROC-AUC - 1`.
    pub fn gini(&self) -> Value {
        Ok(2.0 * self.roc_auc()? - 1.0)
    }

    /// The greatest distance between true and false positive rate (Kolmogorov and Smirnov).
    pub fn ks_statistic(&self) -> Value {
        let (positives, negatives) = self.both_kinds()?;
        let distance =
            |at: &Threshold| (at.true_positives / positives - at.false_positives / negatives).abs();
        Ok(self.thresholds.iter().map(distance).fold(0.0, f64::max))
    }

    /// The share of all positive rows among the `share` of rows that score highest. Of
    /// equal scores, as many are taken as are needed, each in part.
    pub fn gain(&self, share: f64) -> Value {
        let positives = self.any_positive()?;
        let wanted = share * (positives + self.negatives());
        let rows = |at: &Threshold| at.true_positives + at.false_positives;
        let Some((above, here)) = self.steps().find(|(_, here)| rows(here) >= wanted) else { return Ok(1.0) };
        let part = (wanted - rows(above)) / (rows(here) - rows(above));
        finite((above.true_positives + part * (here.true_positives - above.true_positives)) / positives)
    }

    /// How many times as frequent positive rows are among the `share` of rows that
    /// score highest as among all.
    pub fn lift(&self, share: f64) -> Value {
        Ok(self.gain(share)? / share)
    }

    /// The highest precision of all thresholds that have at least this recall.
    pub fn precision_at_recall(&self, recall: f64) -> Value {
        let positives = self.any_positive()?;
        let far_enough = self.thresholds.iter().filter(|at| at.true_positives / positives >= recall);
        Ok(far_enough.map(Threshold::precision).fold(0.0, f64::max))
    }

    /// The highest recall of all thresholds that have at least this precision; 0 where
    /// none has.
    pub fn recall_at_precision(&self, precision: f64) -> Value {
        let positives = self.any_positive()?;
        let precise = self.thresholds.iter().filter(|at| at.precision() >= precision);
        Ok(precise.map(|at| at.true_positives / positives).fold(0.0, f64::max))
    }

    /// The highest recall of all thresholds that have at least this specificity; 0 where
    /// none has.
    pub fn recall_at_specificity(&self, specificity: f64) -> Value {
        let (positives, negatives) = self.both_kinds()?;
        let specific =
            self.thresholds.iter().filter(|at| (negatives - at.false_positives) / negatives >= specificity);
        Ok(specific.map(|at| at.true_positives / positives).fold(0.0, f64::max))
    }
}

impl Threshold {
    /// The share of the rows taken for positive that are; 0 of none.
    pub fn precision(&self) -> f64 {
        let all = self.true_positives + self.false_positives;
        if all == 0.0 { 0.0 } else { self.true_positives / all }
    }
}

/// A word that is the smaller, the higher the score.
fn falling(score: f32) -> u32 {
    // Adding +0 makes +0 of -0, so that they tie.
    let bits = (score + 0.0).to_bits();
    if score < 0.0 { bits } else { !bits & !(1 << 31) }
}

/// The score that [`falling`] made this word of.
fn score_of(word: u32) -> f32 {
    f32::from_bits(if word >> 31 == 1 { word } else { !word & !(1 << 31) })
}

fn count(rows: impl Iterator<Item = (f32, bool)>) -> Vec<Threshold> {
    // With the kind as the lowest bit, one sort of integers serves.
    let mut keys: Vec<u64> =
        rows.map(|(score, positive)| u64::from(falling(score)) << 1 | u64::from(positive)).collect();
    keys.sort_unstable();
    let (mut positives, mut all) = (0_u64, 0_u64);
    let mut thresholds = Vec::new();
    for tied in keys.chunk_by(|a, b| a >> 1 == b >> 1) {
        positives += tied.iter().map(|key| key & 1).sum::<u64>();
        all += tied.len() as u64;
        thresholds.push(Threshold {
            threshold: score_of((tied[0] >> 1) as u32),
            true_positives: positives as f64,
            false_positives: (all - positives) as f64,
        });
    }
    thresholds
}

fn weigh<'a>(rows: impl Iterator<Item = ((f32, bool), &'a f64)>) -> Vec<Threshold> {
    let mut rows: Vec<(u32, bool, f64)> = rows
        .filter(|(_, weight)| **weight > 0.0)
        .map(|((score, positive), weight)| (falling(score), positive, *weight))
        .collect();
    rows.sort_unstable_by_key(|(word, ..)| *word);
    let (mut positives, mut negatives) = (ExactSum::default(), ExactSum::default());
    let mut thresholds = Vec::new();
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        for (_, positive, weight) in tied {
            if *positive { &mut positives } else { &mut negatives }.add(*weight);
        }
        thresholds.push(Threshold {
            threshold: score_of(tied[0].0),
            true_positives: positives.value(),
            false_positives: negatives.value(),
        });
    }
    thresholds
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(rows: &[(f32, bool)], expected: Value) {
        let curve = Curve::of_rows(rows.iter().copied(), Weights::new(rows.len(), None).unwrap());
        assert_eq!(curve.roc_auc(), expected, "{rows:?}");
    }

    #[test]
    fn a_perfect_order_has_area_one_and_its_reverse_zero() {
        check(&[(0.1, false), (0.4, false), (0.6, true), (0.9, true)], Ok(1.0));
        check(&[(0.1, true), (0.4, true), (0.6, false), (0.9, false)], Ok(0.0));
        check(&[(-0.1, true), (-0.4, false), (-1e30, false), (1e-40, true)], Ok(1.0));
    }

    #[test]
    fn ties_count_half() {
        check(&[(0.5, false), (0.5, true)], Ok(0.5));
        check(&[(0.0, false), (-0.0, true)], Ok(0.5));
        check(&[(0.5, false), (0.5, true), (0.2, false), (0.9, true)], Ok(0.875));
    }

    #[test]
    fn one_kind_alone_has_no_area() {
        check(&[(0.3, true)], Err(Undefined::NoNegative));
        check(&[(0.3, false), (0.7, false)], Err(Undefined::NoPositive));
    }

    proptest! {
        #[test]
        fn words_fall_as_scores_rise(a in any::<f32>(), b in any::<f32>()) {
            prop_assume!(a.is_finite() && b.is_finite());
            prop_assert_eq!(a.partial_cmp(&b), falling(b).partial_cmp(&falling(a)));
            prop_assert_eq!(score_of(falling(a)), a);
        }

        #[test]
        fn it_is_the_share_of_pairs_in_the_right_order(
            rows in prop::collection::vec((0_u8..20, any::<bool>()), 1..60),
        ) {
            let of = |kind| rows.iter().filter(move |row| row.1 == kind).map(|row| row.0);
            let pairs: Vec<(u8, u8)> = of(true).flat_map(|p| of(false).map(move |n| (p, n))).collect();
            let wins: f64 = pairs.iter().map(|(p, n)| f64::from(p > n) + 0.5 * f64::from(p == n)).sum();
            let expected = (!pairs.is_empty()).then(|| wins / pairs.len() as f64);
            let scores = rows.iter().map(|(score, kind)| (f32::from(*score) / 20.0, *kind));
            let curve = Curve::of_rows(scores, Weights::new(rows.len(), None).unwrap());
            prop_assert_eq!(curve.roc_auc().ok(), expected);
        }
    }
}

//! Metrics of rankings: for each query some items, each with a score and with what it
//! is worth. [`RankingMeasure`] owns the sums over queries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    error::EvaluateError,
    evaluation::Evaluation,
    sum::{ExactSum, WeightSum, mean},
};

/// Measures queries one by one and part by part. The result depends on the queries alone, to
/// the bit: not on their order, nor on how they were spread over parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankingMeasure {
    cutoffs: Vec<usize>,
    weight: WeightSum,
    sums: BTreeMap<String, ExactSum>,
}

impl RankingMeasure {
    /// Nothing measured yet. `cutoffs` are the numbers of items from the top, at least 1, after
    /// which metrics `…@k` stop.
    pub fn new(cutoffs: Vec<usize>) -> Self {
        let mut cutoffs: Vec<usize> = cutoffs.into_iter().map(|cutoff| cutoff.max(1)).collect();
        cutoffs.sort_unstable();
        cutoffs.dedup();
        Self { cutoffs, weight: WeightSum::default(), sums: BTreeMap::new() }
    }

    /// Takes in one query of weight `weight`: the score of each item, and its gain, above 0 for
    /// items that are relevant. The more, the better both.
    ///
    /// # Errors
    ///
    /// Where there is no item, as many gains as there should not be, a score that is not finite,
    /// a gain that is none, or a weight that is none.
    pub fn update(&mut self, scores: &[f32], gains: &[f32], weight: f64) -> Result<(), EvaluateError> {
        check(scores, gains, weight)?;
        let mut order: Vec<usize> = (0..scores.len()).collect();
        // Of items with one score, those that come first are ranked first; DCG takes their mean instead.
        // Adding +0 makes +0 of -0, so that they tie.
        let score = |item: usize| scores[item] + 0.0;
        order.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
        let relevant: Vec<bool> = order.iter().map(|item| gains[*item] > 0.0).collect();
        let mut best: Vec<f64> = gains.iter().map(|gain| f64::from(*gain)).collect();
        best.sort_unstable_by(|a, b| b.total_cmp(a));
        let first = relevant.iter().position(|relevant| *relevant);
        self.add("mrr".to_owned(), weight * first.map_or(0.0, |index| 1.0 / (index + 1) as f64));
        let averaged = averaged_over_ties(scores, gains, &order);
        for (name, cutoff) in self.names() {
            let (dcg, ideal) = (dcg(&averaged, cutoff), dcg(&best, cutoff));
            self.add(name("dcg"), weight * dcg);
            self.add(name("ndcg"), weight * if ideal == 0.0 { 0.0 } else { dcg / ideal });
            for (metric, value) in found(&relevant, cutoff) {
                self.add(name(metric), weight * value);
            }
        }
        self.weight.add(weight);
        Ok(())
    }

    /// How metrics are called, and where they stop: without a cutoff, and with each.
    fn names(&self) -> Vec<(impl Fn(&str) -> String + use<>, usize)> {
        let cutoffs = std::iter::once(None).chain(self.cutoffs.iter().copied().map(Some));
        let name = |cutoff: Option<usize>| {
            move |metric: &str| match cutoff {
                Some(cutoff) => format!("{metric}@{cutoff}"),
                None => metric.to_owned(),
            }
        };
        cutoffs.map(|cutoff| (name(cutoff), cutoff.unwrap_or(usize::MAX))).collect()
    }

    fn add(&mut self, name: String, term: f64) {
        self.sums.entry(name).or_default().add(term);
    }

    /// Takes in what another part has measured.
    ///
    /// # Errors
    ///
    /// Where that has other cutoffs.
    pub fn merge(&mut self, other: &Self) -> Result<(), EvaluateError> {
        if self.cutoffs != other.cutoffs {
            return Err(EvaluateError::Unlike { what: "cutoffs" });
        }
        self.weight.merge(&other.weight);
        for (name, sum) in &other.sums {
            self.sums.entry(name.clone()).or_default().merge(sum);
        }
        Ok(())
    }

    /// The means over all queries so far: `mrr`, and for no cutoff and each (as in `ndcg@10`)
    /// `dcg` and `ndcg` (Järvelin & Kekäläinen 2002, ties averaged), `map`, `precision`, `recall`
    /// and `hit_rate`. A query without relevant items has 0 of everything.
    pub fn finish(&self) -> Evaluation {
        let mut evaluation = Evaluation::default();
        let weight = self.weight.value();
        for (name, sum) in &self.sums {
            evaluation.record(name, mean(sum.value(), weight));
        }
        evaluation
    }
}

fn check(scores: &[f32], gains: &[f32], weight: f64) -> Result<(), EvaluateError> {
    if scores.is_empty() {
        return Err(EvaluateError::NoRows);
    }
    if gains.len() != scores.len() {
        let (rows, actual) = (scores.len(), gains.len());
        return Err(EvaluateError::PredictionCount { rows, expected: rows, actual });
    }
    if let Some(row) = scores.iter().position(|score| !score.is_finite()) {
        return Err(EvaluateError::ScoreNotFinite { row, actual: scores[row].into() });
    }
    if let Some(row) = gains.iter().position(|gain| !(gain.is_finite() && *gain >= 0.0)) {
        return Err(EvaluateError::InvalidGain { row, actual: gains[row] });
    }
    if !(weight.is_finite() && weight >= 0.0) {
        return Err(EvaluateError::InvalidWeight { row: 0, actual: weight });
    }
    Ok(())
}

/// The gains in ranked order, where each of several items with one score has their mean gain: the
/// expectation over all orders of them (McSherry & Najork 2008).
fn averaged_over_ties(scores: &[f32], gains: &[f32], order: &[usize]) -> Vec<f64> {
    let mut averaged = Vec::with_capacity(order.len());
    for tied in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let gain: ExactSum = tied.iter().map(|item| f64::from(gains[*item])).collect();
        averaged.extend(std::iter::repeat_n(gain.value() / tied.len() as f64, tied.len()));
    }
    averaged
}

/// The sum of gains, each divided by the binary logarithm of its rank and one.
fn dcg(gains: &[f64], cutoff: usize) -> f64 {
    let discounted =
        gains.iter().take(cutoff).enumerate().map(|(index, gain)| gain / ((index + 2) as f64).log2());
    discounted.collect::<ExactSum>().value()
}

/// What follows from which ranks hold relevant items.
fn found(relevant: &[bool], cutoff: usize) -> [(&'static str, f64); 4] {
    let all = relevant.iter().filter(|relevant| **relevant).count();
    let (mut hits, mut precisions) = (0_usize, 0.0);
    for (index, _) in relevant.iter().take(cutoff).enumerate().filter(|(_, relevant)| **relevant) {
        hits += 1;
        precisions += hits as f64 / (index + 1) as f64;
    }
    let share = |of: usize| if of == 0 { 0.0 } else { hits as f64 / of as f64 };
    let reachable = all.min(cutoff);
    let places = if cutoff == usize::MAX { relevant.len() } else { cutoff };
    [
        ("map", if reachable == 0 { 0.0 } else { precisions / reachable as f64 }),
        ("precision", share(places)),
        ("recall", share(all)),
        ("hit_rate", f64::from(hits > 0)),
    ]
}

//! Metrics of clusters that are held to known groups: the adjusted Rand index, mutual
//! information and its kin. [`ClusterMeasure`] owns the counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{error::EvaluateError, evaluation::Evaluation, sum::ExactSum, undefined::Undefined};

/// Counts rows by group and cluster; whole numbers, so parts merge exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMeasure {
    cells: BTreeMap<(u32, u32), u64>,
}

impl ClusterMeasure {
    /// Takes in the group and the cluster of each row, whatever they are numbered.
    ///
    /// # Errors
    ///
    /// Where there are more of one than of the other.
    pub fn update(&mut self, groups: &[u32], clusters: &[u32]) -> Result<(), EvaluateError> {
        if groups.len() != clusters.len() {
            let (rows, actual) = (groups.len(), clusters.len());
            return Err(EvaluateError::PredictionCount { rows, expected: rows, actual });
        }
        for row in groups.iter().copied().zip(clusters.iter().copied()) {
            *self.cells.entry(row).or_insert(0) += 1;
        }
        Ok(())
    }

    /// Takes in what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (cell, rows) in &other.cells {
            *self.cells.entry(*cell).or_insert(0) += rows;
        }
    }

    /// `adjusted_rand`, `fowlkes_mallows`, `mutual_information` (in nats), `homogeneity`,
    /// `completeness`, and `normalized_mutual_information`, which is the V-measure.
    pub fn finish(&self) -> Evaluation {
        let mut evaluation = Evaluation::default();
        let rows: u64 = self.cells.values().sum();
        if rows == 0 {
            evaluation.record("adjusted_rand", Err(Undefined::NoRows));
            return evaluation;
        }
        let (mut groups, mut clusters) = (BTreeMap::new(), BTreeMap::new());
        for ((group, cluster), rows) in &self.cells {
            *groups.entry(*group).or_insert(0_u64) += rows;
            *clusters.entry(*cluster).or_insert(0_u64) += rows;
        }
        let pairs = |counts: &mut dyn Iterator<Item = u64>| {
            counts.map(|rows| u128::from(rows) * u128::from(rows - 1)).sum::<u128>() as f64
        };
        let together = pairs(&mut self.cells.values().copied());
        let in_groups = pairs(&mut groups.values().copied());
        let in_clusters = pairs(&mut clusters.values().copied());
        evaluation.record("adjusted_rand", Ok(adjusted_rand(together, in_groups, in_clusters, rows)));
        let root = (in_groups.sqrt() * in_clusters.sqrt()).max(f64::MIN_POSITIVE);
        evaluation.record("fowlkes_mallows", Ok(together / root));
        let all = rows as f64;
        let information: ExactSum = self
            .cells
            .iter()
            .map(|((group, cluster), rows)| {
                let expected = groups[group] as f64 / all * (clusters[cluster] as f64 / all);
                let share = *rows as f64 / all;
                share * (share / expected).ln()
            })
            .collect();
        let information = information.value().max(0.0);
        let (of_groups, of_clusters) = (entropy(&groups, all), entropy(&clusters, all));
        let share = |of: f64| if of == 0.0 { 1.0 } else { information / of };
        let (homogeneity, completeness) = (share(of_groups), share(of_clusters));
        evaluation.record("mutual_information", Ok(information));
        evaluation.record("homogeneity", Ok(homogeneity));
        evaluation.record("completeness", Ok(completeness));
        let both = homogeneity + completeness;
        let mean = if both == 0.0 { 0.0 } else { 2.0 * homogeneity * completeness / both };
        evaluation.record("normalized_mutual_information", Ok(mean));
        evaluation
    }
}

/// The share of pairs on which both agree, less chance (Hubert & Arabie 1985); all counts of
/// pairs are in both orders.
fn adjusted_rand(together: f64, in_groups: f64, in_clusters: f64, rows: u64) -> f64 {
    let all = rows as f64 * (rows as f64 - 1.0);
    if all == 0.0 {
        return 1.0;
    }
    let expected = in_groups / all * in_clusters;
    let most = (in_groups + in_clusters) / 2.0;
    if most == expected { 1.0 } else { (together - expected) / (most - expected) }
}

fn entropy(counts: &BTreeMap<u32, u64>, all: f64) -> f64 {
    let terms = counts.values().map(|rows| *rows as f64 / all).map(|share| -share * share.ln());
    terms.collect::<ExactSum>().value()
}

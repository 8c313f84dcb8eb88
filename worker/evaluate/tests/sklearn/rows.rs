//! Cases of labels, rankings and clusters.

use std::collections::BTreeMap;

use phalanx_evaluate::{
    LabelColumns,
    metrics::{clusters::ClusterMeasure, labels::LabelMeasure, ranking::RankingMeasure},
};
use rand::{RngExt, rngs::StdRng};
use serde_json::json;

use crate::{Case, figures, parts, pick, pick_weights, weights};

pub(crate) fn labels(rng: &mut StdRng, rows: usize) -> anyhow::Result<Case> {
    let count = rng.random_range(2..7);
    let labels: Vec<String> = (0..count).map(|label| format!("label {label}")).collect();
    let density = *[0.0, 0.1, 0.5, 0.9, 1.0].get(rng.random_range(0..5)).unwrap_or(&0.5);
    let is_coarse = rng.random();
    let threshold = 0.5_f32;
    let scores: Vec<f32> = (0..rows * count)
        .map(|_| {
            let score = rng.random_range(-1.0..2.0_f32);
            if is_coarse { (score * 4.0).round() / 4.0 } else { score }
        })
        .collect();
    let truths: Vec<bool> = (0..rows * count).map(|_| rng.random_bool(density)).collect();
    let weights = weights(rng, rows);
    let mut whole = LabelMeasure::new(labels.clone(), threshold, true);
    whole.update(&LabelColumns::new(&labels, &scores, &truths, weights.as_deref())?)?;
    let mut merged = LabelMeasure::new(labels.clone(), threshold, true);
    for rows in parts(rng, rows) {
        let mut part = LabelMeasure::new(labels.clone(), threshold, true);
        let (scores, truths) = (pick(&scores, &rows, count), pick(&truths, &rows, count));
        let weights = pick_weights(&weights, &rows);
        part.update(&LabelColumns::new(&labels, &scores, &truths, weights.as_deref())?)?;
        merged.merge(&part)?;
    }
    let (figures, merged) = (figures(whole.finish()), figures(merged.finish()));
    let json = json!({
        "kind": "labels", "labels": labels, "scores": scores, "truths": truths, "weights": weights,
        "threshold": threshold, "names": figures.keys().collect::<Vec<_>>(),
    });
    Ok(Case { json, figures, merged, lists: BTreeMap::new() })
}

pub(crate) fn ranking(rng: &mut StdRng, queries: usize) -> anyhow::Result<Case> {
    let cutoffs = vec![1, rng.random_range(2..6), 10];
    let weights = weights(rng, queries).unwrap_or_else(|| vec![1.0; queries]);
    let is_coarse: bool = rng.random();
    let queries: Vec<(Vec<f32>, Vec<f32>)> = (0..queries)
        .map(|_| {
            let items = rng.random_range(2..20);
            let relevance = rng.random_range(0..4_u8);
            let score = |rng: &mut StdRng| {
                let score = rng.random_range(-3.0..3.0_f32);
                if is_coarse { score.round() } else { score }
            };
            let scores = (0..items).map(|_| score(rng)).collect();
            (scores, (0..items).map(|_| f32::from(rng.random_range(0..=relevance))).collect())
        })
        .collect();
    let mut whole = RankingMeasure::new(cutoffs.clone());
    for ((scores, gains), weight) in queries.iter().zip(&weights) {
        whole.update(scores, gains, *weight)?;
    }
    let mut merged = RankingMeasure::new(cutoffs.clone());
    for part in parts(rng, queries.len()) {
        let mut measure = RankingMeasure::new(cutoffs.clone());
        for query in part {
            measure.update(&queries[query].0, &queries[query].1, weights[query])?;
        }
        merged.merge(&measure)?;
    }
    let all = queries.iter().zip(&weights);
    let all =
        all.map(|((scores, gains), weight)| json!({"scores": scores, "gains": gains, "weight": weight}));
    let json = json!({ "kind": "ranking", "cutoffs": cutoffs, "queries": all.collect::<Vec<_>>() });
    let (figures, merged) = (figures(whole.finish()), figures(merged.finish()));
    Ok(Case { json, figures, merged, lists: BTreeMap::new() })
}

pub(crate) fn clusters(rng: &mut StdRng, rows: usize) -> anyhow::Result<Case> {
    let (groups_max, clusters_max) = (rng.random_range(1..6), rng.random_range(1..6));
    let groups: Vec<u32> = (0..rows).map(|_| rng.random_range(0..groups_max)).collect();
    let clusters: Vec<u32> = match rng.random_range(0..3) {
        0 => groups.iter().map(|group| 7 - group).collect(),
        _ => (0..rows).map(|_| rng.random_range(0..clusters_max)).collect(),
    };
    let mut whole = ClusterMeasure::default();
    whole.update(&groups, &clusters)?;
    let mut merged = ClusterMeasure::default();
    for rows in parts(rng, rows) {
        let mut part = ClusterMeasure::default();
        part.update(&pick(&groups, &rows, 1), &pick(&clusters, &rows, 1))?;
        merged.merge(&part);
    }
    let json = json!({ "kind": "clusters", "groups": groups, "clusters": clusters });
    let (figures, merged) = (figures(whole.finish()), figures(merged.finish()));
    Ok(Case { json, figures, merged, lists: BTreeMap::new() })
}

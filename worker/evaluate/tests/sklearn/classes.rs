//! Cases of classes.

use std::collections::BTreeMap;

use phalanx_evaluate::{
    BinaryColumns, ClassColumns,
    metrics::{classes::ClassMeasure, curve::Curve},
};
use phalanx_protocol::spec::{METRICS, MeasuredOn, Metric, MetricName};
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

use crate::{Case, figures, parts, pick, pick_weights, weights};

pub(crate) fn case(rng: &mut StdRng, rows: usize) -> anyhow::Result<Case> {
    let count = *[1, 2, 2, 2, 3, 4, 7, 20].get(rng.random_range(0..8)).unwrap_or(&2);
    // Few of the classes, down to one, may have rows at all.
    let present = rng.random_range(1..=count);
    let first = rng.random_range(0..=count - present);
    let truths: Vec<u32> = (0..rows).map(|_| (first + rng.random_range(0..present)) as u32).collect();
    let style = rng.random_range(0..5);
    let constant: Vec<f32> = probabilities(rng, count, 2);
    let row = |rng: &mut StdRng| if style == 4 { constant.clone() } else { probabilities(rng, count, style) };
    let probabilities: Vec<f32> = (0..rows).flat_map(|_| row(rng)).collect();
    let classes: Vec<String> = (0..count).map(|class| format!("class {class}")).collect();
    let weights = weights(rng, rows);
    let names = names(rng, &classes);
    let parsed = || names.iter().map(|name| MetricName::parse(name)).collect::<Result<Vec<_>, _>>();
    let columns = ClassColumns::new(&classes, &probabilities, &truths, weights.as_deref())?;
    let mut whole = ClassMeasure::new(classes.clone(), parsed()?)?;
    whole.update(&columns)?;
    let mut merged = ClassMeasure::new(classes.clone(), parsed()?)?;
    for rows in parts(rng, rows) {
        let mut part = ClassMeasure::new(classes.clone(), parsed()?)?;
        let (probabilities, truths) = (pick(&probabilities, &rows, count), pick(&truths, &rows, 1));
        let weights = pick_weights(&weights, &rows);
        part.update(&ClassColumns::new(&classes, &probabilities, &truths, weights.as_deref())?)?;
        merged.merge(&part)?;
    }
    let evaluation = whole.finish();
    let mut lists = curves(&columns)?;
    lists.insert("confusion", json!(evaluation.confusion.as_ref().map(|confusion| &confusion.counts)));
    let json = json!({
        "kind": "classes", "classes": classes, "probabilities": probabilities, "truths": truths,
        "weights": weights, "names": names,
    });
    Ok(Case { json, figures: figures(evaluation), merged: figures(merged.finish()), lists })
}

/// A fifth of all metrics in all forms, with parameters and a class drawn: scikit-learn takes a
/// millisecond for each.
fn names(rng: &mut StdRng, classes: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for metric in METRICS.iter().filter(|metric| metric.measured_on == MeasuredOn::Classes) {
        let parameter = parameter(rng, metric);
        names.push(format!("{}{parameter}", metric.name));
        for average in metric.averages {
            names.push(format!("{}_{}{parameter}", metric.name, average.name()));
        }
        if metric.per_class {
            let class = &classes[rng.random_range(0..classes.len())];
            names.push(format!("{}{parameter}[{class}]", metric.name));
        }
    }
    names.retain(|_| rng.random_range(0..5) == 0);
    names
}

pub(crate) fn parameter(rng: &mut StdRng, metric: &Metric) -> String {
    match metric.parameter {
        None => String::new(),
        Some(parameter) if parameter.is_whole => format!("@{}", rng.random_range(1..6)),
        // A grid, so that bounds are met exactly, or anything.
        Some(parameter) if parameter.greatest == 1.0 => {
            let tenths = f64::from(rng.random_range(1..=10_u8)) / 10.0;
            format!("@{}", if rng.random() { tenths } else { rng.random_range(0.01..1.0) })
        }
        Some(_) => format!("@{}", rng.random_range(0.1..3.0)),
    }
}

/// One row, by style: a coarse grid (ties), one class for certain (clipping),
/// gentle scores, or scores so sharp that probabilities vanish.
fn probabilities(rng: &mut StdRng, count: usize, style: u8) -> Vec<f32> {
    let scores: Vec<f64> = match style {
        0 => (0..count).map(|_| f64::from(rng.random_range(0..3_u8))).collect(),
        1 => {
            let certain = rng.random_range(0..count);
            return (0..count).map(|class| f32::from(u8::from(class == certain))).collect();
        }
        2 => (0..count).map(|_| rng.random_range(-2.0..2.0)).collect(),
        _ => (0..count).map(|_| rng.random_range(-60.0..60.0)).collect(),
    };
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| (power / sum) as f32).collect()
}

/// The curves of the second of two classes, as lists of coordinates.
fn curves(columns: &ClassColumns<'_>) -> anyhow::Result<BTreeMap<&'static str, Value>> {
    let none = BTreeMap::from([("roc", Value::Null), ("pr", Value::Null), ("det", Value::Null)]);
    if columns.classes().len() != 2 {
        return Ok(none);
    }
    let scores: Vec<f32> = columns.rows().map(|row| row[1]).collect();
    let truths: Vec<bool> = columns.truths().iter().map(|truth| *truth == 1).collect();
    let curve = Curve::of(&BinaryColumns::new(&scores, &truths, columns.weights().given())?);
    let Ok(det) = curve.det_points(usize::MAX / 2) else { return Ok(none) };
    let (positives, negatives) = (curve.positives(), curve.negatives());
    let all = curve.thresholds();
    let start = |value: f64, rest: Vec<f64>| [vec![value], rest].concat();
    let fpr = start(0.0, all.iter().map(|at| at.false_positives / negatives).collect());
    let tpr = start(0.0, all.iter().map(|at| at.true_positives / positives).collect());
    let precision = start(1.0, all.iter().map(|at| at.precision()).collect());
    let false_positive: Vec<f64> = det.iter().map(|point| point.false_positive_rate).collect();
    let false_negative: Vec<f64> = det.iter().map(|point| point.false_negative_rate).collect();
    Ok(BTreeMap::from([
        ("roc", json!([fpr, tpr.clone()].concat())),
        ("pr", json!([tpr, precision].concat())),
        ("det", json!([false_positive, false_negative].concat())),
    ]))
}

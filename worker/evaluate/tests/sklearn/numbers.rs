//! Cases of numbers.

use std::collections::BTreeMap;

use phalanx_evaluate::{NumberColumns, metrics::numbers::NumberMeasure};
use phalanx_protocol::spec::{METRICS, MeasuredOn, MetricName};
use rand::{RngExt, rngs::StdRng};
use serde_json::json;

use crate::{Case, classes::parameter, figures, parts, pick, pick_weights, weights};

pub(crate) fn case(rng: &mut StdRng, rows: usize) -> anyhow::Result<Case> {
    let are_amounts = rng.random_range(0..3) == 0;
    let (truths, predictions) = if are_amounts { amounts(rng, rows) } else { anything(rng, rows) };
    let weights = weights(rng, rows);
    let names: Vec<String> = METRICS
        .iter()
        .filter(|metric| metric.measured_on == MeasuredOn::Numbers)
        .map(|metric| match metric.name {
            "tweedie_deviance" | "d2_tweedie" => {
                // Far from zero, powers cancel to noise, here as in scikit-learn.
                let powers: &[f64] = if are_amounts { &[-1.5, 0.0, 1.0, 1.5, 2.0, 3.0] } else { &[0.0] };
                format!("{}@{}", metric.name, powers[rng.random_range(0..powers.len())])
            }
            name => format!("{name}{}", parameter(rng, metric)),
        })
        .collect();
    let parsed = || names.iter().map(|name| MetricName::parse(name)).collect::<Result<Vec<_>, _>>();
    let mut whole = NumberMeasure::new(parsed()?)?;
    whole.update(&NumberColumns::new(&predictions, &truths, weights.as_deref())?);
    let mut merged = NumberMeasure::new(parsed()?)?;
    for rows in parts(rng, rows) {
        let mut part = NumberMeasure::new(parsed()?)?;
        let (predictions, truths) = (pick(&predictions, &rows, 1), pick(&truths, &rows, 1));
        let weights = pick_weights(&weights, &rows);
        part.update(&NumberColumns::new(&predictions, &truths, weights.as_deref())?);
        merged.merge(&part)?;
    }
    let json = json!({
        "kind": "numbers", "predictions": predictions, "truths": truths, "weights": weights, "names": names,
    });
    let (figures, merged) = (figures(whole.finish()), figures(merged.finish()));
    Ok(Case { json, figures, merged, lists: BTreeMap::new() })
}

/// Above 0, and now and then 0, for what takes logarithms and powers.
fn amounts(rng: &mut StdRng, rows: usize) -> (Vec<f64>, Vec<f64>) {
    let zeros = rng.random_range(0..4) == 0;
    let truths: Vec<f64> = (0..rows)
        .map(|_| if zeros && rng.random_range(0..3) == 0 { 0.0 } else { rng.random_range(0.1..20.0) })
        .collect();
    let predictions = truths.iter().map(|truth| truth * rng.random_range(0.5..2.0) + 0.1).collect();
    (truths, predictions)
}

fn anything(rng: &mut StdRng, rows: usize) -> (Vec<f64>, Vec<f64>) {
    // Far from zero, the mean's rounding shows; whole numbers are summed without any.
    let offset = *[0.0, 0.0, 1e3, -1e6].get(rng.random_range(0..4)).unwrap_or(&0.0);
    let scale = *[1.0, 1.0, 1e-3, 1e4, 1e60].get(rng.random_range(0..5)).unwrap_or(&1.0);
    let style = rng.random_range(0..7);
    let constant = f64::from(rng.random_range(-5..5_i8));
    let whole = style == 6;
    let mut truth = || match (style, whole) {
        (0, _) => constant,
        (_, true) => f64::from(rng.random_range(-3..3_i8)),
        (_, false) => offset + scale * rng.random_range(-1.0..1.0),
    };
    let truths: Vec<f64> = (0..rows).map(|_| truth()).collect();
    let prediction = |truth: &f64| match style {
        1 => constant,
        2 => *truth,
        6 => f64::from(rng.random_range(-3..3_i8)),
        _ => truth + scale * rng.random_range(-0.5..0.5) * f64::from(rng.random_range(0..3_u8)),
    };
    let predictions: Vec<f64> = truths.iter().map(prediction).collect();
    (truths, predictions)
}

//! Thousands of random predictions, degenerate ones among them, measured here and
//! by scikit-learn. `PHALANX_PYTHON` names a python that has it, as `scripts/venv.sh`
//! makes one; without it the test says that it is skipped.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use phalanx_evaluate::{ClassScores, Evaluation, NextBytes, Numbers, Predictions, evaluate};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

const CASES: u64 = 4_000;

/// What two ways of summing in `f64` may differ by, relative to values above 1.
const TOLERANCE: f64 = 1e-9;

/// What scikit-learn's own arithmetic in `f32` may add to that.
const TOLERANCE_F32: f64 = 1e-6;

#[test]
fn metrics_agree_with_scikit_learn() -> anyhow::Result<()> {
    let Some(python) = env::var_os("PHALANX_PYTHON").filter(|python| !python.is_empty()) else {
        eprintln!("SKIPPED: metrics_agree_with_scikit_learn needs PHALANX_PYTHON=$(scripts/venv.sh)");
        return Ok(());
    };
    let cases: Vec<Case> = (0..CASES).map(case).collect();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cases.json");
    fs::write(&file, serde_json::to_vec(&cases.iter().map(|case| &case.json).collect::<Vec<_>>())?)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sklearn_reference.py");
    let output =
        Command::new(python).arg(script).arg(&file).output().context("PHALANX_PYTHON does not run")?;
    ensure!(output.status.success(), "the reference failed: {}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    ensure!(answers.len() == cases.len(), "{} answers to {} cases", answers.len(), cases.len());
    for (seed, (case, answer)) in cases.iter().zip(&answers).enumerate() {
        let evaluation = evaluate(&case.predictions)?;
        compare(&evaluation, answer).with_context(|| format!("case {seed}: {}", case.json))?;
    }
    Ok(())
}

fn compare(evaluation: &Evaluation, answer: &Value) -> anyhow::Result<()> {
    let exact = answer["exact"].as_object().context("an answer has exact values")?;
    let ours = evaluation.metrics.len() + evaluation.undefined.len();
    ensure!(ours == exact.len(), "{ours} metrics here, {} there", exact.len());
    let as_given = answer["as_given"].as_object().context("an answer has values as given")?;
    let checked = exact.iter().map(|one| (one, TOLERANCE));
    for ((name, expected), tolerance) in checked.chain(as_given.iter().map(|one| (one, TOLERANCE_F32))) {
        let actual = evaluation.metrics.get(name).copied();
        let agree = match (actual, expected.as_f64()) {
            (Some(actual), Some(expected)) => {
                (actual - expected).abs() <= tolerance * expected.abs().max(1.0)
            }
            (None, None) => evaluation.undefined.contains_key(name),
            (Some(_), None) | (None, Some(_)) => false,
        };
        ensure!(agree, "{name} is {actual:?} here and {expected} there");
    }
    let confusion = evaluation.confusion.as_ref().map(|confusion| json!(confusion.counts));
    ensure!(confusion.unwrap_or_default() == answer["confusion"], "the confusion matrices differ");
    Ok(())
}

/// Predictions, and the same as the reference reads them.
struct Case {
    predictions: Predictions,
    json: Value,
}

/// The case of a seed. Small ones are the most, since degenerate ones are small.
fn case(seed: u64) -> Case {
    let mut rng = StdRng::seed_from_u64(seed);
    let rows = match seed % 10 {
        0 => 1,
        1..=5 => rng.random_range(1..8),
        6..=8 => rng.random_range(8..60),
        _ => rng.random_range(60..600),
    };
    match seed % 16 {
        0..=8 => class_case(&mut rng, rows),
        9..=14 => number_case(&mut rng, rows),
        _ => next_byte_case(&mut rng, rows.min(20)),
    }
}

fn class_case(rng: &mut StdRng, rows: usize) -> Case {
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
    let json = json!({
        "kind": "classes", "classes": classes, "probabilities": probabilities, "truths": truths,
    });
    Case { predictions: Predictions::Classes(ClassScores { classes, probabilities, truths }), json }
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

fn number_case(rng: &mut StdRng, rows: usize) -> Case {
    // Far from zero, the mean's rounding shows; whole numbers are summed without any.
    let offset = *[0.0, 0.0, 1e3, -1e6].get(rng.random_range(0..4)).unwrap_or(&0.0);
    let scale = *[1.0, 1e-3, 1e4].get(rng.random_range(0..3)).unwrap_or(&1.0);
    let style = rng.random_range(0..6);
    let constant = f64::from(rng.random_range(-5..5_i8));
    let mut truth = || if style == 0 { constant } else { offset + scale * rng.random_range(-1.0..1.0) };
    let truths: Vec<f64> = (0..rows).map(|_| truth()).collect();
    let prediction = |truth: &f64| match style {
        1 => constant,
        2 => *truth,
        _ => truth + scale * rng.random_range(-0.5..0.5) * f64::from(rng.random_range(0..3_u8)),
    };
    let predictions: Vec<f64> = truths.iter().map(prediction).collect();
    let json = json!({ "kind": "numbers", "predictions": predictions, "truths": truths });
    Case { predictions: Predictions::Numbers(Numbers { predictions, truths }), json }
}

fn next_byte_case(rng: &mut StdRng, rows: usize) -> Case {
    let truths: Vec<usize> = (0..rows).map(|_| rng.random_range(0..256)).collect();
    let probabilities: Vec<Vec<f64>> = truths
        .iter()
        .map(|_| {
            let powers: Vec<f64> = (0..256).map(|_| rng.random_range(-4.0..4.0_f64).exp()).collect();
            let sum: f64 = powers.iter().sum();
            powers.iter().map(|power| power / sum).collect()
        })
        .collect();
    let loss_nats = truths.iter().zip(&probabilities).map(|(truth, row)| -row[*truth].ln()).sum();
    let json = json!({ "kind": "next_bytes", "probabilities": probabilities, "truths": truths });
    Case { predictions: Predictions::NextBytes(NextBytes { loss_nats, bytes: rows as u64 }), json }
}

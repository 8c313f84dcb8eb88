//! Thousands of random cases of every kind, degenerate ones among them, measured here and
//! by scikit-learn, SciPy, sacrebleu, rouge-score and jiwer; and whole as well as in parts
//! that are merged. `PHALANX_PYTHON` names a python that has them, as `scripts/venv.sh`
//! makes one; without it the test says that it is skipped.
//!
//! A case is drawn from its seed alone. `PHALANX_SEED` moves all of them.

mod classes;
mod numbers;
mod rows;
mod texts;

use std::{collections::BTreeMap, env, fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use phalanx_evaluate::Evaluation;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

const CASES: u64 = 2_400;

/// What two ways of summing in `f64` may differ by, relative to values above 1.
const TOLERANCE: f64 = 1e-9;

/// Figures by name; none where a metric is undefined.
type Figures = BTreeMap<String, Option<f64>>;

/// What was drawn, as the reference reads it, and what it comes to here.
struct Case {
    json: Value,
    figures: Figures,
    /// The same, from parts that were merged.
    merged: Figures,
    /// What is compared beside figures: lists of numbers.
    lists: BTreeMap<&'static str, Value>,
}

#[test]
fn metrics_agree_with_scikit_learn_and_do_not_depend_on_parts() -> anyhow::Result<()> {
    let Some(python) = env::var_os("PHALANX_PYTHON").filter(|python| !python.is_empty()) else {
        eprintln!("SKIPPED: comparison with scikit-learn needs PHALANX_PYTHON=$(scripts/venv.sh)");
        return Ok(());
    };
    let first: u64 = env::var("PHALANX_SEED").map_or(Ok(0), |seed| seed.parse())?;
    println!("seeds {first} to {}", first + CASES - 1);
    let cases: Vec<Case> = (first..first + CASES).map(case).collect::<anyhow::Result<_>>()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cases.json");
    fs::write(&file, serde_json::to_vec(&cases.iter().map(|case| &case.json).collect::<Vec<_>>())?)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sklearn/reference.py");
    let output =
        Command::new(python).arg(script).arg(&file).output().context("PHALANX_PYTHON does not run")?;
    ensure!(output.status.success(), "the reference failed: {}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<BTreeMap<String, Value>> = serde_json::from_slice(&output.stdout)?;
    ensure!(answers.len() == cases.len(), "{} answers to {} cases", answers.len(), cases.len());
    let (mut compared, mut differing) = (0, BTreeMap::<String, (usize, String)>::new());
    for (seed, (case, answer)) in (first..).zip(cases.iter().zip(answers)) {
        compared += answer.len();
        for (name, how) in differences(case, &answer) {
            let kind = name.split(['@', '[']).next().unwrap_or(&name).to_owned();
            let example = || (0, format!("seed {seed}: {name} {how}\n{}", case.json));
            differing.entry(kind).or_insert_with(example).0 += 1;
        }
    }
    for (kind, (count, example)) in &differing {
        eprintln!(
            "{kind} differs {count} times, as with {}",
            example.chars().take(2_000).collect::<String>()
        );
    }
    ensure!(differing.is_empty(), "{} metrics differ", differing.len());
    println!("{compared} figures of {CASES} cases agree to {TOLERANCE}");
    Ok(())
}

/// The case of a seed. Small ones are the most, since degenerate ones are small.
fn case(seed: u64) -> anyhow::Result<Case> {
    let mut rng = StdRng::seed_from_u64(seed);
    let rows = match seed % 10 {
        0 => 1,
        1..=5 => rng.random_range(1..8),
        6..=8 => rng.random_range(8..60),
        _ => rng.random_range(60..400),
    };
    match seed % 16 {
        0..=5 => classes::case(&mut rng, rows),
        6..=10 => numbers::case(&mut rng, rows),
        11 | 12 => rows::labels(&mut rng, rows),
        13 => rows::ranking(&mut rng, rows.min(10)),
        14 => texts::texts(&mut rng, rows.min(12)),
        _ if seed.is_multiple_of(3) => texts::next_bytes(&mut rng, rows.min(20)),
        _ => rows::clusters(&mut rng, rows),
    }
}

/// What differs between a case and its answer, and, to the bit, between its parts and its whole.
fn differences(case: &Case, answer: &BTreeMap<String, Value>) -> Vec<(String, String)> {
    let mut differences = Vec::new();
    for name in case.figures.keys().chain(case.merged.keys()) {
        let (whole, merged) = (case.figures.get(name), case.merged.get(name));
        let bits = |figure: Option<&Option<f64>>| figure.map(|figure| figure.map(f64::to_bits));
        if bits(whole) != bits(merged) {
            differences.push((name.clone(), format!("is {whole:?} at once and {merged:?} in parts")));
        }
        if !answer.contains_key(name) {
            differences.push((name.clone(), "is missing there".to_owned()));
        }
    }
    for (name, theirs) in answer {
        let ours = case.lists.get(name.as_str()).cloned();
        match ours.or_else(|| case.figures.get(name).map(|figure| (*figure).into())) {
            Some(ours) if close(&ours, theirs) => {}
            Some(ours) => differences.push((name.clone(), format!("is {ours} here and {theirs} there"))),
            None => differences.push((name.clone(), "is missing here".to_owned())),
        }
    }
    differences
}

fn close(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| close(ours, theirs))
        }
        (ours, theirs) => match (ours.as_f64(), theirs.as_f64()) {
            (Some(ours), Some(theirs)) => (ours - theirs).abs() <= TOLERANCE * theirs.abs().max(1.0),
            (None, None) => ours.is_null() && theirs.is_null(),
            (Some(_), None) | (None, Some(_)) => false,
        },
    }
}

fn figures(evaluation: Evaluation) -> Figures {
    let undefined = evaluation.undefined.into_keys().map(|name| (name, None));
    evaluation.metrics.into_iter().map(|(name, value)| (name, Some(value))).chain(undefined).collect()
}

/// No weights, or eighths, of which sums have no rounding; some of them, or all, may be 0.
fn weights(rng: &mut StdRng, rows: usize) -> Option<Vec<f64>> {
    let most = match rng.random_range(0..20) {
        0..=11 => return None,
        12 => 0,
        13..=16 => 8,
        _ => 100,
    };
    Some((0..rows).map(|_| f64::from(rng.random_range(0..=most)) / 8.0).collect())
}

/// Rows in another order, cut at random places.
fn parts(rng: &mut StdRng, rows: usize) -> Vec<Vec<usize>> {
    let mut parts = vec![Vec::new(); rng.random_range(1..5)];
    for row in 0..rows {
        let part = rng.random_range(0..parts.len());
        let at = rng.random_range(0..=parts[part].len());
        parts[part].insert(at, row);
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn pick<T: Copy>(values: &[T], rows: &[usize], width: usize) -> Vec<T> {
    rows.iter().flat_map(|row| values[row * width..(row + 1) * width].iter().copied()).collect()
}

fn pick_weights(weights: &Option<Vec<f64>>, rows: &[usize]) -> Option<Vec<f64>> {
    weights.as_ref().map(|weights| pick(weights, rows, 1))
}

//! Random columns, degenerate ones among them, encoded here and by scikit-learn, with rows beyond what the training split
//! has. `PHALANX_PYTHON` names a python that has it, as `scripts/venv.sh` makes one; without it the test says that it is
//! skipped.

use std::{env, fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use phalanx_data::{Cache, Dataset, Features, Split, prepare};
use phalanx_protocol::spec::DataSpec;
use phalanx_storage::Store;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

const CASES: u64 = 150;

/// Encoded rows are of `f32`.
const TOLERANCE: f64 = 2e-6;

/// Encodings of numbers, and what each makes of a missing one.
const NUMBERS: [(&str, f64); 4] = [("standard", 0.0), ("min_max", f64::NAN), ("robust", 0.0), ("log", 0.0)];

#[tokio::test]
async fn encodings_agree_with_scikit_learn() -> anyhow::Result<()> {
    let Some(python) = env::var_os("PHALANX_PYTHON").filter(|python| !python.is_empty()) else {
        eprintln!("SKIPPED: encodings_agree_with_scikit_learn needs PHALANX_PYTHON=$(scripts/venv.sh)");
        return Ok(());
    };
    let cases: Vec<Case> = (0..CASES).map(Case::of).collect();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cases.json");
    fs::write(&file, serde_json::to_vec(&cases.iter().map(Case::json).collect::<Vec<_>>())?)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sklearn_reference.py");
    let output =
        Command::new(python).arg(script).arg(&file).output().context("PHALANX_PYTHON does not run")?;
    ensure!(output.status.success(), "the reference failed: {}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    ensure!(answers.len() == cases.len(), "{} answers to {} cases", answers.len(), cases.len());
    for (seed, (case, answer)) in cases.iter().zip(&answers).enumerate() {
        compare(case, answer, folder.path())
            .await
            .with_context(|| format!("case {seed}: {}", case.json()))?;
    }
    Ok(())
}

/// Rows of training, and some beyond.
struct Case {
    train: usize,
    numbers: Vec<Option<f64>>,
    categories: Vec<Option<&'static str>>,
    quantiles: usize,
}

impl Case {
    /// The case of a seed. Small ones are the most, since degenerate ones are small.
    fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let train = if seed.is_multiple_of(3) { rng.random_range(20..200) } else { rng.random_range(2..12) };
        let rows = train + rng.random_range(2..20);
        // Few different numbers now and then, so that quantiles fall together; down to one.
        let different = [1, 2, 4, 1_000_000][rng.random_range(0..4)];
        let scale = 10_f64.powi(rng.random_range(-3..5));
        let gaps = seed.is_multiple_of(2);
        let numbers = (0..rows).map(|row| {
            let number = f64::from(rng.random_range(0..different) - different / 3) * scale;
            (!gaps || row == 0 || rng.random_range(0..5) > 0).then_some(number)
        });
        let numbers = numbers.collect();
        let names = ["a", "B", "b b", "ä", "z", "y"];
        let categories = (0..rows).map(|row| {
            // The first few names alone are in the training split.
            let known = if row < train { 3 } else { names.len() };
            (!gaps || row == 0 || rng.random_range(0..5) > 0).then(|| names[rng.random_range(0..known)])
        });
        let categories = categories.collect();
        Self { train, numbers, categories, quantiles: rng.random_range(2..=train.max(2)) }
    }

    /// The numbers without gaps.
    fn whole(&self) -> Vec<f64> {
        self.numbers.iter().map(|number| number.unwrap_or(0.5)).collect()
    }

    fn json(&self) -> Value {
        let (train, whole) = (self.train, self.whole());
        json!({
            "train_numbers": self.numbers[..train], "numbers": self.numbers,
            "train_whole": whole[..train], "whole": whole,
            "train_categories": self.categories[..train], "categories": self.categories,
            "quantiles": self.quantiles,
        })
    }

    /// The same column once for each encoding.
    fn csv(&self) -> String {
        let mut csv = "split,standard,min_max,robust,log,quantile,one_hot,ordinal,y\n".to_owned();
        for (row, whole) in self.whole().iter().enumerate() {
            let split = if row < self.train { "train" } else { "test" };
            let number = self.numbers[row].map_or_else(String::new, |number| format!("{number:?}"));
            let category = self.categories[row].unwrap_or_default();
            let numbers = format!("{number},").repeat(4);
            let class = row % 2;
            writeln!(csv, "{split},{numbers}{whole:?},{category},{category},c{class}").expect("text grows");
        }
        csv
    }
}

async fn compare(case: &Case, answer: &Value, folder: &Path) -> anyhow::Result<()> {
    let path = folder.join("case.csv");
    fs::write(&path, case.csv())?;
    let spec: DataSpec = serde_json::from_value(json!({
        "target": "y", "categorical": ["one_hot", "ordinal"],
        "csv": {"path": path, "missing": [""]},
        "encode": {
            "quantiles": case.quantiles,
            "columns": {
                "min_max": "min_max", "robust": "robust", "log": "log", "quantile": "quantile", "ordinal": "ordinal",
            },
        },
        "split": {"by": "column", "column": "split", "leakage": "allow"},
    }))?;
    let store = Store::open("memory://")?;
    let prepared = prepare(&spec, &store, &mut |_| {}).await?;
    let cache = Cache::new(folder.join("cache"), Cache::BYTES_MAX);
    let dataset = Dataset::open(&prepared.dataset, &store, &cache).await?;
    let mut rows = Vec::new();
    for split in Split::ALL {
        let batch = dataset.gather(split, &(0..dataset.rows(split)).collect::<Vec<_>>())?;
        let Features::Floats(floats) = batch.features else { anyhow::bail!("no floats") };
        let width = floats.len() / batch.rows.max(1);
        rows.extend(floats.chunks(width.max(1)).map(<[f32]>::to_vec));
    }
    ensure!(rows.len() == case.numbers.len(), "{} rows of {}", rows.len(), case.numbers.len());
    for (row, encoded) in rows.iter().enumerate() {
        for (place, (name, missing)) in NUMBERS.into_iter().chain([("quantile", 0.5)]).enumerate() {
            let expected = answer[name][row].as_f64();
            // What becomes of a missing number is our own rule.
            let expected = expected.unwrap_or(missing);
            near(encoded[place], expected).with_context(|| format!("{name} of row {row}"))?;
        }
        let (hot, ordinal) = encoded[NUMBERS.len() + 1..].split_at(encoded.len() - NUMBERS.len() - 2);
        let expected: Vec<f32> = serde_json::from_value(answer["one_hot"][row].clone())?;
        ensure!(hot == expected, "one_hot of row {row}: {hot:?} here and {expected:?} there");
        near(ordinal[0], answer["ordinal"][row].as_f64().context("a number")?)
            .with_context(|| format!("ordinal of row {row}"))?;
    }
    Ok(())
}

fn near(actual: f32, expected: f64) -> anyhow::Result<()> {
    let near = (f64::from(actual) - expected).abs() <= TOLERANCE * expected.abs().max(1.0);
    ensure!(near || expected.is_nan(), "{actual} here and {expected} there");
    Ok(())
}

//! Random annotators, and how far they agree by us, scikit-learn and statsmodels. `PHALANX_PYTHON` names a python that has
//! both, as `scripts/venv.sh` makes one; without it the test says that it is skipped.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use phalanx_data::{LabelReport, validate};
use phalanx_protocol::spec::DataSpec;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

const CASES: u64 = 200;

const TOLERANCE: f64 = 1e-9;

/// What each annotator has said of each row.
type Case = Vec<Vec<Option<u8>>>;

#[tokio::test]
async fn kappas_agree_with_scikit_learn_and_statsmodels() -> anyhow::Result<()> {
    let Some(python) = env::var_os("PHALANX_PYTHON").filter(|python| !python.is_empty()) else {
        eprintln!(
            "SKIPPED: kappas_agree_with_scikit_learn_and_statsmodels needs PHALANX_PYTHON=$(scripts/venv.sh)"
        );
        return Ok(());
    };
    let cases: Vec<Case> = (0..CASES).map(case).collect();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cases.json");
    fs::write(&file, serde_json::to_vec(&cases)?)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agreement_reference.py");
    let output =
        Command::new(python).arg(script).arg(&file).output().context("PHALANX_PYTHON does not run")?;
    ensure!(output.status.success(), "the reference failed: {}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    ensure!(answers.len() == cases.len(), "{} answers to {} cases", answers.len(), cases.len());
    for (seed, (case, answer)) in cases.iter().zip(&answers).enumerate() {
        let report = report(case, folder.path()).await?;
        compare(&report, case, answer).with_context(|| format!("seed {seed}: {}", json!(case)))?;
    }
    Ok(())
}

/// The case of a seed: every third one with gaps, and some whose annotators hardly differ.
fn case(seed: u64) -> Case {
    let mut random = StdRng::seed_from_u64(seed);
    let (annotators, labels) = (random.random_range(2..6), random.random_range(1..5));
    let differs = random.random_range(0.0..1.0);
    let rows = random.random_range(1..60);
    let mut label = |truth: u8| match random.random_range(0.0..1.0) {
        gone if seed.is_multiple_of(3) && gone < 0.3 => None,
        _ if random.random_range(0.0..1.0) < differs => Some(random.random_range(0..labels)),
        _ => Some(truth % labels),
    };
    (0..rows).map(|row: u8| (0..annotators).map(|_| label(row)).collect()).collect()
}

/// What comes of a vote among them.
async fn report(case: &Case, folder: &Path) -> anyhow::Result<LabelReport> {
    let names: Vec<String> = (0..case[0].len()).map(|number| format!("mood.{number}")).collect();
    let cell = |label: &Option<u8>| label.map(|label| format!("label {label}")).unwrap_or_default();
    let rows = case.iter().map(|row| format!("{},x", row.iter().map(cell).collect::<Vec<_>>().join(",")));
    let path = folder.join("rows.csv");
    fs::write(&path, format!("{},text\n{}\n", names.join(","), rows.collect::<Vec<_>>().join("\n")))?;
    let spec: DataSpec = serde_json::from_value(json!({
        "csv": { "path": path }, "target": "mood", "clean": [{ "vote": { "into": "mood" } }],
    }))?;
    let validation = validate(&spec, &mut |_| {}).await?;
    validation.funnel.steps[0].labels.clone().context("the step has no report")
}

fn compare(report: &LabelReport, case: &Case, answer: &Value) -> anyhow::Result<()> {
    let close = |ours: Option<f64>, theirs: &Value| match (ours, theirs.as_f64()) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() <= TOLERANCE,
        (ours, theirs) => ours.is_none() && theirs.is_none(),
    };
    let annotators = case[0].len();
    let mut theirs = answer["cohen"].as_array().context("no list")?.iter();
    for a in 0..annotators {
        for b in a + 1..annotators {
            let (names, theirs) =
                ([a, b].map(|number| format!("mood.{number}")), theirs.next().context("too few")?);
            let ours = report.pairs.iter().find(|pair| [&pair.a, &pair.b] == [&names[0], &names[1]]);
            let ours = ours.and_then(|pair| pair.cohen_kappa);
            ensure!(close(ours, theirs), "Cohen's kappa of {a} and {b}: {ours:?}, expected {theirs}");
        }
    }
    if !answer["fleiss"].is_null() {
        let ours = report.fleiss_kappa;
        ensure!(close(ours, &answer["fleiss"]), "Fleiss' kappa: {ours:?}, expected {}", answer["fleiss"]);
    }
    Ok(())
}

//! Exams of made-up predictions: every gate gets its figure or a reason, and the report its parts.

use std::collections::BTreeMap;

use phalanx_assess::{
    Assessment, Baseline, Column, Exam, NoTable, Rival, Table, TableError, Validation, assess, bootstrap,
    compare,
};
use phalanx_evaluate::{ClassScores, NextBytes, Numbers, Predictions, compare::Side, decision::Decision};
use phalanx_protocol::spec::{EvaluateSpec, IntervalsSpec, ThresholdGoal, ThresholdSpec};
use phalanx_report::{FairnessOf, Report};

const ROWS: usize = 600;

/// Rows of two sexes and three ages; the condition that it knows is `age >= 60`.
struct People;

impl Table for People {
    fn column(&self, name: &str) -> Result<Column, TableError> {
        match name {
            "sex" => {
                let sex = |row| Some(if row % 3 == 0 { "f" } else { "m" }.to_owned());
                Ok(Column::Texts((0..ROWS).map(sex).collect()))
            }
            "age" => Ok(Column::Numbers((0..ROWS).map(|row| (row % 80) as f64).collect())),
            _ => Err(TableError::NoColumn(format!("there is no column `{name}`: there are sex, age"))),
        }
    }

    fn mask(&self, condition: &str) -> Result<Vec<bool>, TableError> {
        match condition {
            "age >= 60" => Ok((0..ROWS).map(|row| row % 80 >= 60).collect()),
            _ => Err(TableError::Condition(format!("`{condition}`: no"))),
        }
    }
}

/// Says 0.8 or 0.3 of `yes`, which every other row is, and is wrong in every `wrong`th row.
fn scores(wrong: usize) -> Predictions {
    let truth = |row: usize| u32::from(row.is_multiple_of(2));
    let says = |row: usize| {
        if row.is_multiple_of(2) != row.is_multiple_of(wrong) { 0.8_f32 } else { 0.3 }
    };
    Predictions::Classes(ClassScores {
        classes: ["no", "yes"].map(str::to_owned).to_vec(),
        probabilities: (0..ROWS).flat_map(|row| [1.0 - says(row), says(row)]).collect(),
        truths: (0..ROWS).map(truth).collect(),
        threshold: None,
    })
}

fn spec(gates: &[&str]) -> EvaluateSpec {
    EvaluateSpec {
        gates: gates.iter().map(|gate| gate.parse().expect("a gate")).collect(),
        intervals: IntervalsSpec { replicates: Some(200), ..IntervalsSpec::default() },
        ..EvaluateSpec::default()
    }
}

/// What is found out about `predictions`, whose columns are those of [`People`].
fn examine(spec: &EvaluateSpec, predictions: &Predictions, rivals: &BTreeMap<String, Rival>) -> Assessment {
    let is_text = matches!(predictions, Predictions::NextBytes(_));
    let decision = Decision::choose(spec, predictions).expect("it fits");
    let table: &dyn Table = if is_text { &NoTable } else { &People };
    let exam = Exam {
        spec,
        split: "test",
        predictions,
        table,
        decision,
        validation: (!is_text).then_some(Validation { split: "validation", predictions, table }),
        also: &[],
        deviation: 2.0,
        rivals,
        name: "this model",
    };
    assess(&exam).expect("it can be measured")
}

#[test]
fn every_gate_has_a_figure_or_a_reason() {
    let gates = [
        "accuracy >= 0.8",
        "roc_auc.lower > 0.5",
        "loss <= 1",
        "accuracy[slice: age >= 60] >= 0.5",
        "accuracy[slice: age >= 60].upper >= 0.5",
        "fairness.demographic_parity_difference[sex] <= 0.5",
        "fairness.equalized_odds_ratio[sex, age].lower >= 0",
        "accuracy >= @champion - 0.05 at 95%",
        "recall[slice: age >= 60] >= @champion - 0.5",
        "fairness.equal_opportunity_difference[sex] <= @champion + 0.5 at 90%",
        "f1 >= @first",
        "f1 >= @gone",
        "f1[slice: height > 1] > 0",
        "fairness.demographic_parity_ratio[gender] >= 0",
    ];
    let rivals = [
        ("champion", Rival::Version(Baseline { name: "m@1".to_owned(), predictions: scores(12) })),
        ("first", Rival::NoneYet),
        ("gone", Rival::Unavailable("its predictions were not kept".to_owned())),
    ];
    let rivals = rivals.map(|(name, rival)| (name.to_owned(), rival)).into();
    let found = examine(&spec(&gates), &scores(10), &rivals);
    for gate in &found.verdict.gates[..11] {
        assert!(gate.holds, "{}", gate.summary);
    }
    for gate in &found.verdict.gates[..10] {
        assert_eq!(gate.value, found.evaluation.metrics.get(&gate.figure).copied(), "{}", gate.summary);
        assert!(gate.value.is_some(), "{}", gate.summary);
    }
    assert_eq!(found.evaluation.metrics["accuracy"], 0.9);
    let accuracy = found.evaluation.metrics["accuracy - @champion at 95%"];
    assert!(accuracy < 0.9 - 11.0 / 12.0 && accuracy > -0.05, "the safe end: {accuracy}");
    assert_eq!(found.moot.keys().collect::<Vec<_>>(), ["f1 - @first"]);
    let is_of_a_gate =
        |name: &String| name.contains("slice: ") || name.contains('@') || name.ends_with(".lower");
    assert!(!found.measured.metrics.keys().any(is_of_a_gate), "{:?}", found.measured.metrics);
    let failed: Vec<&str> = found.verdict.gates[11..].iter().map(|gate| gate.summary.as_str()).collect();
    assert!(failed[0].ends_with("there is no f1 - @gone: its predictions were not kept"), "{failed:?}");
    assert!(failed[1].ends_with("`height > 1`: no"), "{failed:?}");
    assert!(failed[2].contains("there is no column `gender`: there are sex, age"), "{failed:?}");
    assert!(!found.verdict.passes);
    let comparison = found.comparison.expect("a gate names another version");
    assert_eq!((comparison.a.as_str(), comparison.b.as_str()), ("m@1", "this model"));
}

#[test]
fn the_report_has_all_parts_and_can_be_written() {
    let spec = EvaluateSpec {
        slices: ["sex", "age", "age >= 60", "size"].map(str::to_owned).to_vec(),
        sensitive: ["sex", "age"].map(str::to_owned).to_vec(),
        threshold: Some(ThresholdSpec { goal: ThresholdGoal::Youden, ..ThresholdSpec::default() }),
        ..spec(&["accuracy >= 0.8"])
    };
    let found = examine(&spec, &scores(10), &BTreeMap::new());
    let slices: Vec<&str> =
        found.slices.iter().flat_map(|slices| &slices.slices).map(|slice| slice.slice.as_str()).collect();
    for expected in ["sex = 'f'", "sex = 'm'", "age < 18", "age >= 60"] {
        assert!(slices.contains(&expected), "{slices:?}");
    }
    assert_eq!(found.evaluation.undefined["slices: size"], "there is no column `size`: there are sex, age");
    let fairness = found.fairness.as_ref().expect("it was asked for");
    let names: Vec<String> = fairness
        .columns
        .iter()
        .map(|column| match column {
            FairnessOf::Classes(classes) => classes[0].column.clone(),
            FairnessOf::Numbers(numbers) => numbers.column.clone(),
        })
        .collect();
    assert_eq!(names, ["sex", "age", "sex, age"]);
    assert_eq!(fairness.mitigations.len(), 6);
    assert!(found.intervals.contains_key("roc_auc") && found.intervals.contains_key("f1"));
    let identity = serde_json::json!({
        "model": "m", "task": "tabular-classification", "architecture": "mlp", "job": "m-1",
        "created_at": "2026-01-01T00:00:00Z",
    });
    let mut report = Report::new(serde_json::from_value(identity).expect("an identity"));
    found.fill(&mut report);
    let json = report.to_json().expect("every number is finite");
    assert_eq!(Report::from_json(&json).expect("it is read"), report);
}

#[test]
fn numbers_and_texts_have_intervals_and_gates_too() {
    let truths: Vec<f64> = (0..ROWS).map(|row| (row % 17) as f64).collect();
    let told =
        truths.iter().enumerate().map(|(row, truth)| truth + f64::from(u8::from(row % 3 == 0))).collect();
    let numbers = Predictions::Numbers(Numbers { predictions: told, truths });
    let gates =
        ["r2.lower >= 0.5", "fairness.mean_error_difference[sex].lower >= 0.9", "rmse < 1", "loss < 1"];
    let found = examine(&spec(&gates), &numbers, &BTreeMap::new());
    assert!(found.verdict.passes, "{:?}", found.verdict);
    assert!((found.evaluation.metrics["loss"] - found.evaluation.metrics["mse"] / 4.0).abs() < 1e-12);

    let text = Predictions::NextBytes(NextBytes {
        loss_nats: (0..ROWS).map(|row| 10.0 + (row % 5) as f64).collect(),
        bytes: vec![16; ROWS],
    });
    let found = examine(&spec(&["bits_per_byte.upper <= 2", "perplexity > 1"]), &text, &BTreeMap::new());
    assert!(found.verdict.passes, "{:?}", found.verdict);
}

#[test]
fn the_same_rows_tell_two_models_apart() {
    let model = |name: &str, wrong| Baseline { name: name.to_owned(), predictions: scores(wrong) };
    let settings = bootstrap(&IntervalsSpec { replicates: Some(200), ..IntervalsSpec::default() }, ROWS);
    let apart = compare(&model("a", 3), &model("a", 3), &[], &settings).expect("the same rows");
    assert_eq!(apart.better, None);
    let (Predictions::Classes(a), Predictions::Classes(mut b)) = (scores(3), scores(3)) else { return };
    // The second one is right wherever the first is wrong.
    b.probabilities =
        b.truths.iter().flat_map(|truth| if *truth == 1 { [0.2, 0.8] } else { [0.8, 0.2] }).collect();
    let of =
        |name: &str, scores| Baseline { name: name.to_owned(), predictions: Predictions::Classes(scores) };
    let found = compare(&of("a", a.clone()), &of("b", b), &[], &settings).expect("the same rows");
    assert_eq!(found.better, Some(Side::B), "{}", found.summary);
    assert!(found.tests.mcnemar.is_some_and(|test| test.only_b_right == 200 && test.exact_p < 1e-9));
    let other = ClassScores { truths: vec![0; ROWS], ..a.clone() };
    let error = compare(&of("a", a), &of("b", other), &[], &settings).expect_err("other rows").to_string();
    assert_eq!(error, "a and b do not predict the same: their rows are others");
}

//! A regression, a target of ten classes, and a text.

use std::collections::BTreeMap;

use anyhow::Context as _;
use phalanx_evaluate::{
    BinaryColumns, ClassScores, MeanMetric, NextBytes, Numbers, Predictions as Rows,
    calibration::{Binning, calibration, top_label},
    evaluate, evaluate_also,
    fairness::{Fairness, Groups, fairness_of_numbers},
    interval::{Bootstrap, bootstrap},
    verdict::Verdict,
};
use phalanx_report::{
    CalibrationPart, ClassCurves, ClassPart, FairnessOf, FairnessPart, NumberPart, OnSplit, Predictions,
    Report, SplitMetrics, Task, TextPart,
};

use super::{Dice, dataset, environment, identity, reproduction, training};

/// Prices of diamonds.
pub(crate) fn diamonds() -> anyhow::Result<Report> {
    let mut dice = Dice::new(2);
    let draw = |_| {
        let truth = 330.0 + 15_000.0 * dice.unit().powi(3);
        (
            truth,
            truth + 0.06 * truth * dice.normal() + 90.0 * dice.normal(),
            ["Fair", "Good", "Ideal"][dice.below(3)],
        )
    };
    let rows: Vec<(f64, f64, &str)> = (0..5_000).map(draw).collect();
    let numbers = Numbers {
        truths: rows.iter().map(|row| row.0).collect(),
        predictions: rows.iter().map(|row| row.1).collect(),
    };
    let errors: Vec<f64> = rows.iter().map(|row| (row.0 - row.1).abs()).collect();
    let interval = bootstrap(&MeanMetric::new(&errors)?, None, &Bootstrap::default())?;
    let evaluation = evaluate(&Rows::Numbers(numbers.clone()))?;
    let groups = Groups::of_column("cut", &rows.iter().map(|row| row.2).collect::<Vec<_>>())?;
    let fairness = fairness_of_numbers(&numbers.predictions, &numbers.truths, &groups, &Fairness::default())?;
    let mut report = Report::new(identity("diamonds", Task::TabularRegression, Some("price"), "mlp")?);
    let gates = ["r2 >= 0.97".parse()?, "mae <= 250".parse()?];
    report.verdict = Some(Verdict::new(&gates, &evaluation.metrics, &evaluation.undefined, &BTreeMap::new()));
    let intervals = BTreeMap::from([("mae".to_owned(), interval)]);
    report.splits = vec![SplitMetrics::of("test", 5_000, &evaluation, &intervals)];
    let part = NumberPart { unit: Some("dollars".to_owned()), ..NumberPart::of(&numbers.columns()?) };
    report.predictions = Some(on_test(5_000, Predictions::Numbers(part)));
    let part =
        FairnessPart { columns: vec![FairnessOf::Numbers(Box::new(fairness))], ..FairnessPart::default() };
    report.fairness = Some(on_test(5_000, part));
    report.training = Some(training(&[("rmse", 3_900.0, 560.0), ("r2", 0.1, 0.98)], 3)?);
    report.dataset = Some(dataset("diamonds", [43_152, 5_394, 5_394]));
    report.environment = Some(environment());
    report.reproduction = Some(reproduction("diamonds"));
    Ok(report)
}

/// Ten digits.
pub(crate) fn digits() -> anyhow::Result<Report> {
    let mut dice = Dice::new(4);
    let (classes, rows) = (10, 4_000);
    let truths: Vec<u32> = (0..rows).map(|_| dice.below(classes) as u32).collect();
    let mut probabilities = Vec::new();
    for truth in &truths {
        let logit = |class: usize| if class as u32 == *truth { 4.2 } else { 0.0 };
        let logits: Vec<f64> = (0..classes).map(|class| 1.6 * dice.normal() + logit(class)).collect();
        let whole: f64 = logits.iter().map(|logit| logit.exp()).sum();
        probabilities.extend(logits.iter().map(|logit| (logit.exp() / whole) as f32));
    }
    let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
    let scores = ClassScores { classes: names.clone(), probabilities, truths, threshold: None };
    let evaluation = evaluate(&Rows::Classes(scores.clone()))?;
    let of = |class: usize| {
        scores.probabilities.iter().skip(class).step_by(classes).copied().collect::<Vec<f32>>()
    };
    let curves = |(class, name): (usize, &String)| -> anyhow::Result<ClassCurves> {
        let is: Vec<bool> = scores.truths.iter().map(|truth| *truth == class as u32).collect();
        Ok(ClassCurves::of(name, &BinaryColumns::new(&of(class), &is, None)?))
    };
    let exact: Vec<f64> = scores.probabilities.iter().copied().map(f64::from).collect();
    let (top, right) = top_label(&exact, &scores.truths, classes)?;
    let part = ClassPart {
        confusion: evaluation.confusion.clone(),
        curves: names.iter().enumerate().map(curves).collect::<anyhow::Result<_>>()?,
        calibration: Some(CalibrationPart {
            class: None,
            curve: calibration(&top, &right, Binning::Uniform, 10)?,
            adaptive: None,
            brier: None,
            mended: Vec::new(),
        }),
        threshold: None,
    };
    let mut report = Report::new(identity("digits", Task::ImageClassification, Some("digit"), "cnn")?);
    report.splits = vec![SplitMetrics::of("test", rows as u64, &evaluation, &BTreeMap::new())];
    report.predictions = Some(on_test(rows as u64, Predictions::Classes(Box::new(part))));
    report.training = Some(training(&[("accuracy", 0.3, 0.97)], 5)?);
    report.dataset = Some(dataset("digits", [50_000, 10_000, 4_000]));
    Ok(report)
}

/// A text, and as little of a report as there can be.
pub(crate) fn verse() -> anyhow::Result<Report> {
    let names = ["bits_per_byte", "perplexity"]
        .iter()
        .filter_map(|name| phalanx_protocol::spec::MetricName::parse(name).ok());
    let text = Rows::NextBytes(NextBytes { loss_nats: vec![135_000.0], bytes: vec![100_000] });
    let evaluation = evaluate_also(&text, &names.collect::<Vec<_>>()).context("a text has metrics")?;
    let mut report = Report::new(identity("verse", Task::TextGeneration, None, "gpt")?);
    report.splits = vec![SplitMetrics::of("test", 100_000, &evaluation, &BTreeMap::new())];
    let sample = "And it came to pass, that <he> said unto them,\nLet there be \"light\" & rest.".to_owned();
    report.predictions = Some(on_test(100_000, Predictions::Text(TextPart { sample: Some(sample) })));
    Ok(report)
}

fn on_test<T>(rows: u64, found: T) -> OnSplit<T> {
    OnSplit { split: "test".to_owned(), rows, found }
}

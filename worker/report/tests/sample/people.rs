//! People whose income is guessed: a report with everything in it.

use std::collections::BTreeMap;

use phalanx_evaluate::{
    BinaryColumns, CellMetric, ClassScores, Evaluation, Predictions as Rows, RocAucMetric,
    calibration::{Binning, brier_parts, calibration, fit_temperature, mended},
    compare::{Comparison, PairedTests, contrast, delong_test, mcnemar},
    cross_validation::cross_validated,
    evaluate,
    fairness::{Constraint, Fairness, Groups, fairness_of_classes, group_thresholds, reweighing},
    importance::{Attributions, Permuted, permutation_importance},
    interval::{Bootstrap, Interval, bootstrap, roc_auc_interval},
    learning_curve::{Learned, learning_curve},
    robustness::{Disturbance, robustness},
    slices::{Slice, SliceSettings, column_slices, measure_slices, number_slices},
    threshold::{Goal, at_threshold, choose_threshold},
    verdict::Verdict,
};
use phalanx_protocol::reference::{FileRef, ModelArtifact};
use phalanx_report::{
    About, CalibrationPart, ClassCurves, ClassPart, Column, Dataset, Expectation, FairnessOf, FairnessPart,
    Funnel, Mending, MendingMethod, Mitigation, OnSplit, Predictions, Report, SplitMetrics, Step, Task,
    ThresholdPart,
};

use super::{Dice, dataset, environment, identity, reproduction, training};

const CLASSES: [&str; 2] = ["<=50K", ">50K"];

/// People, and what two versions of the model say of them.
struct People {
    age: Vec<f64>,
    sex: Vec<&'static str>,
    race: Vec<&'static str>,
    rich: Vec<bool>,
    scores: Vec<f64>,
    before: Vec<f64>,
}

impl People {
    fn draw(rows: usize, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut people = Self {
            age: Vec::new(),
            sex: Vec::new(),
            race: Vec::new(),
            rich: Vec::new(),
            scores: Vec::new(),
            before: Vec::new(),
        };
        let races = [
            "White",
            "White",
            "White",
            "White",
            "White",
            "White",
            "White",
            "White",
            "Black",
            "Asian-Pac-Islander",
        ];
        for _ in 0..rows {
            let age = (17.0 + 50.0 * dice.unit() + 15.0 * dice.unit().powi(3)).floor();
            let sex = if dice.unit() < 0.33 { "Female" } else { "Male" };
            let race = if dice.unit() < 0.008 { "Other" } else { races[dice.below(races.len())] };
            let likely = -2.3 + 2.1 * dice.normal() + if sex == "Male" { 0.9 } else { -0.4 }
                - (age - 47.0).powi(2) / 700.0;
            let rich = dice.unit() < odds(1.7 * likely);
            let seen = likely + if age > 60.0 { 1.6 } else { 0.55 } * dice.normal();
            people.age.push(age);
            people.sex.push(sex);
            people.race.push(race);
            people.rich.push(rich);
            people.scores.push(odds(2.1 * seen));
            people.before.push(odds(2.0 * (seen + 0.25 * dice.normal())));
        }
        people
    }

    fn truths(&self) -> Vec<u32> {
        self.rich.iter().map(|rich| u32::from(*rich)).collect()
    }

    fn taken(&self) -> Vec<u32> {
        self.scores.iter().map(|score| u32::from(*score >= 0.5)).collect()
    }

    fn evaluation(&self) -> anyhow::Result<Evaluation> {
        let probabilities =
            self.scores.iter().flat_map(|score| [1.0 - *score as f32, *score as f32]).collect();
        let classes = CLASSES.map(str::to_owned).to_vec();
        Ok(evaluate(&Rows::Classes(ClassScores {
            classes,
            probabilities,
            truths: self.truths(),
            threshold: None,
        }))?)
    }

    fn right(&self, scores: &[f64]) -> Vec<u32> {
        scores.iter().zip(&self.rich).map(|(score, rich)| u32::from((*score >= 0.5) == *rich)).collect()
    }
}

fn odds(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

fn on_test<T>(rows: usize, found: T) -> OnSplit<T> {
    OnSplit { split: "test".to_owned(), rows: rows as u64, found }
}

fn share(counts: &[u64]) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    (all > 0).then(|| counts[1] as f64 / all as f64)
}

/// Incomes of people.
pub(crate) fn people() -> anyhow::Result<Report> {
    let (test, validation) = (People::draw(4_884, 1), People::draw(4_884, 11));
    let settings = Bootstrap { resamples: 400, ..Bootstrap::default() };
    let mut report = Report::new(identity("adult", Task::TabularClassification, Some("income"), "mlp")?);
    report.identity.about = about();
    let file = |name: &str, bytes| FileRef {
        path: format!("models/adult-7/{name}"),
        bytes,
        blake3: "0a1b2c3d4e".repeat(6) + "0000",
    };
    report.identity.artifact =
        Some(ModelArtifact::new(file("model.safetensors", 86_412), file("model.json", 9_102)));
    let evaluation = test.evaluation()?;
    metrics(&mut report, &test, &validation, &evaluation, &settings)?;
    report.headline = ["roc_auc", "accuracy", "f1", "log_loss"].map(str::to_owned).to_vec();
    report.predictions = Some(on_test(
        test.rich.len(),
        Predictions::Classes(Box::new(classes(&test, &validation, &evaluation)?)),
    ));
    report.slices = vec![on_test(test.rich.len(), slices(&test, &settings)?)];
    report.fairness = Some(on_test(test.rich.len(), fairness(&test, &validation, settings)?));
    trust(&mut report, &test, &settings)?;
    report.training =
        Some(training(&[("roc_auc", 0.72, 0.914), ("accuracy", 0.76, 0.857), ("log_loss", 0.6, 0.316)], 6)?);
    report.dataset = Some(data());
    report.environment = Some(environment());
    report.reproduction = Some(reproduction("adult"));
    Ok(report)
}

fn about() -> About {
    About {
        description: Some(
            "Guesses from a census record whether somebody earns more than 50,000 dollars a year.".to_owned(),
        ),
        uses: Some("Trying out Phalanx.".to_owned()),
        out_of_scope: Some("Decisions about people.".to_owned()),
        limitations: Some("The records are from 1994, and the sexes are not treated alike.".to_owned()),
        license: Some("apache-2.0".to_owned()),
        authors: Some("The Phalanx authors".to_owned()),
        contact: None,
        languages: Vec::new(),
    }
}

fn metrics(
    report: &mut Report,
    test: &People,
    validation: &People,
    evaluation: &Evaluation,
    settings: &Bootstrap,
) -> anyhow::Result<()> {
    let right = test.right(&test.scores);
    let intervals: BTreeMap<String, Interval> = BTreeMap::from([
        ("roc_auc".to_owned(), bootstrap(&RocAucMetric::new(&test.scores, &test.rich)?, None, settings)?),
        ("accuracy".to_owned(), bootstrap(&CellMetric::new(&right, 2, share)?, None, settings)?),
    ]);
    let mut figures = evaluation.metrics.clone();
    figures.insert("roc_auc.lower".to_owned(), intervals["roc_auc"].lower);
    figures.insert("fairness.demographic_parity_difference[sex]".to_owned(), 0.19);
    let gates = [
        "roc_auc >= 0.9".parse()?,
        "roc_auc.lower >= 0.89".parse()?,
        "fairness.demographic_parity_difference[sex] <= 0.1".parse()?,
        "accuracy[slice: age < 18] >= 0.9".parse()?,
    ];
    let undefined =
        BTreeMap::from([("accuracy[slice: age < 18]".to_owned(), "no row is in the slice".to_owned())]);
    report.verdict = Some(Verdict::new(&gates, &figures, &undefined, &BTreeMap::new()));
    let other = validation.evaluation()?;
    report.splits = vec![
        SplitMetrics::of("test", test.rich.len() as u64, evaluation, &intervals),
        SplitMetrics::of("validation", validation.rich.len() as u64, &other, &BTreeMap::new()),
    ];
    report.splits[0].undefined =
        BTreeMap::from([("roc_auc_ovo".to_owned(), "it needs more than two classes".to_owned())]);
    Ok(())
}

fn classes(test: &People, validation: &People, evaluation: &Evaluation) -> anyhow::Result<ClassPart> {
    let single: Vec<f32> = test.scores.iter().map(|score| *score as f32).collect();
    let mut curves = ClassCurves::of(CLASSES[1], &BinaryColumns::new(&single, &test.rich, None)?);
    curves.roc_auc_interval = Some(roc_auc_interval(&test.scores, &test.rich, 0.95)?);
    let pairs = |scores: &[f64]| scores.iter().flat_map(|score| [1.0 - score, *score]).collect::<Vec<f64>>();
    let temperature = fit_temperature(&pairs(&validation.scores), &validation.truths(), 2)?;
    let mend = |score: f64| {
        let mut row = [1.0 - score, score];
        temperature.apply(&mut row, 2);
        row[1]
    };
    let after: Vec<f64> = test.scores.iter().map(|score| mend(*score)).collect();
    let chosen = choose_threshold(&validation.scores, &validation.rich, Goal::Recall { at_least: 0.8 })?;
    let threshold = chosen.validation.threshold;
    Ok(ClassPart {
        confusion: evaluation.confusion.clone(),
        curves: vec![curves],
        calibration: Some(CalibrationPart {
            class: Some(CLASSES[1].to_owned()),
            curve: calibration(&test.scores, &test.rich, Binning::Uniform, 10)?,
            adaptive: Some(calibration(&test.scores, &test.rich, Binning::Quantile, 10)?),
            brier: Some(brier_parts(&test.scores, &test.rich, 10)?),
            mended: vec![Mending {
                method: MendingMethod::Temperature(temperature),
                fitted_on: "validation".to_owned(),
                scores: mended(&test.scores, &test.rich, 10, mend)?,
                curve: Some(calibration(&after, &test.rich, Binning::Uniform, 10)?),
            }],
        }),
        threshold: Some(ThresholdPart {
            class: CLASSES[1].to_owned(),
            chosen_on: "validation".to_owned(),
            chosen,
            measured: Some(at_threshold(&test.scores, &test.rich, threshold)?),
            usual: Some(at_threshold(&test.scores, &test.rich, 0.5)?),
        }),
    })
}

fn slices(test: &People, settings: &Bootstrap) -> anyhow::Result<phalanx_evaluate::slices::Slices> {
    let right = test.right(&test.scores);
    let metric = CellMetric::new(&right, 2, share)?;
    let column = |values: &[&str]| values.iter().map(|value| Some((*value).to_owned())).collect::<Vec<_>>();
    let mut slices = number_slices("age", &test.age, 5)?;
    slices.extend(column_slices("sex", &column(&test.sex), 10)?);
    slices.extend(column_slices("race", &column(&test.race), 10)?);
    let old: Vec<bool> =
        test.age.iter().zip(&test.sex).map(|(age, sex)| *age >= 60.0 && *sex == "Male").collect();
    slices.push(Slice::of_mask("age >= 60 and sex = 'Male'", &old)?);
    let settings = SliceSettings { small_below: 50, bootstrap: *settings, ..SliceSettings::default() };
    Ok(measure_slices("accuracy", true, &metric, &slices, &settings)?)
}

fn fairness(test: &People, validation: &People, settings: Bootstrap) -> anyhow::Result<FairnessPart> {
    let names = CLASSES.map(str::to_owned);
    let settings = Fairness { small_below: 50, bootstrap: Some(settings), ..Fairness::default() };
    let (sex, race) = (Groups::of_column("sex", &test.sex)?, Groups::of_column("race", &test.race)?);
    let both = Groups::intersection(&[&sex, &race])?;
    let probabilities: Vec<f64> = test.scores.iter().flat_map(|score| [1.0 - score, *score]).collect();
    let of = |groups: &Groups| -> anyhow::Result<FairnessOf> {
        let found = fairness_of_classes(
            &names,
            &test.truths(),
            &test.taken(),
            Some(&probabilities),
            groups,
            &settings,
        )?;
        Ok(FairnessOf::Classes(found))
    };
    let there = Groups::of_column("sex", &validation.sex)?;
    let goal = (0.5, 0.05, 50);
    let chosen =
        group_thresholds(&validation.scores, &validation.rich, &there, Constraint::DemographicParity, goal)?;
    let (before, after) = chosen.measure(&test.scores, &test.rich, &sex)?;
    Ok(FairnessPart {
        settings,
        columns: [&sex, &race, &both].into_iter().map(of).collect::<anyhow::Result<_>>()?,
        mitigations: vec![
            Mitigation::Reweighing(reweighing(&names, &validation.truths(), &there)?),
            Mitigation::GroupThresholds {
                class: CLASSES[1].to_owned(),
                chosen_on: "validation".to_owned(),
                price_in_accuracy: before.accuracy - after.accuracy,
                chosen,
                before,
                after,
            },
        ],
    })
}

/// Importance, robustness, another version, folds and more rows.
fn trust(report: &mut Report, test: &People, settings: &Bootstrap) -> anyhow::Result<()> {
    let mut dice = Dice::new(9);
    let columns = [
        ("capital_gain", 0.051),
        ("education_num", 0.032),
        ("marital_status", 0.029),
        ("age", 0.018),
        ("occupation", 0.014),
        ("hours_per_week", 0.007),
        ("relationship", 0.004),
        ("workclass", 0.0006),
        ("native_country", 0.0001),
        ("race", -0.0002),
    ];
    let mut permuted = |(column, loss): (&str, f64)| Permuted {
        column: column.to_owned(),
        values: (0..5).map(|_| 0.914 - loss + 0.0008 * dice.normal()).collect(),
    };
    let importance =
        permutation_importance("roc_auc", true, 0.914, columns.into_iter().map(&mut permuted).collect())?;
    report.importance = vec![on_test(test.rich.len(), importance)];
    let mut attributions = Attributions::new(columns.len())?;
    for _ in 0..200 {
        let of: Vec<f64> = columns.iter().map(|(_, loss)| 30.0 * loss * dice.normal()).collect();
        attributions.add(&of, of.iter().sum::<f64>() + 0.01 * dice.normal())?;
    }
    let names = columns.map(|(column, _)| column.to_owned());
    report.gradients.insert(CLASSES[1].to_owned(), on_test(200, attributions.by_column(&names)?));
    let mut values: Vec<(Disturbance, f64)> = Vec::new();
    for (deviation, value) in [(0.1, 0.911), (0.3, 0.893), (1.0, 0.804)] {
        values.push((Disturbance::Noise { deviation }, value));
    }
    for (eps, value) in [(0.05, 0.872), (0.1, 0.811), (0.3, 0.544)] {
        values.push((Disturbance::Fgsm { eps }, value));
    }
    values.push((Disturbance::Pgd { eps: 0.1, steps: 10, step_size: 0.025 }, 0.792));
    for (column, loss) in columns.into_iter().take(4) {
        values.push((Disturbance::MissingColumn { column: column.to_owned() }, 0.914 - loss / 2.0));
    }
    report.robustness = vec![on_test(test.rich.len(), robustness("roc_auc", true, 0.914, values, 0.05)?)];
    report.comparison = Some(on_test(test.rich.len(), comparison(test, settings)?));
    report.cross_validation = vec![
        cross_validated("roc_auc", &[0.9121, 0.9168, 0.9093, 0.9152, 0.9137], 0.2, 0.95)?,
        cross_validated("accuracy", &[0.8541, 0.8603, 0.8522, 0.8588, 0.8559], 0.2, 0.95)?,
    ];
    let learned = [(500, 0.871), (2_000, 0.892), (8_000, 0.905), (20_000, 0.911), (39_000, 0.914)];
    let point =
        |(rows, value): (u64, f64)| Learned { rows, values: vec![value - 0.003, value, value + 0.002] };
    report.learning_curves = vec![learning_curve("roc_auc", learned.into_iter().map(point).collect())?];
    Ok(())
}

fn comparison(test: &People, settings: &Bootstrap) -> anyhow::Result<Comparison> {
    let (old, new) = (test.right(&test.before), test.right(&test.scores));
    let accuracy = contrast(
        "accuracy",
        true,
        &CellMetric::new(&old, 2, share)?,
        &CellMetric::new(&new, 2, share)?,
        settings,
    )?;
    let area = contrast(
        "roc_auc",
        true,
        &RocAucMetric::new(&test.before, &test.rich)?,
        &RocAucMetric::new(&test.scores, &test.rich)?,
        settings,
    )?;
    let is = |right: &[u32]| right.iter().map(|right| *right == 1).collect::<Vec<_>>();
    let tests = PairedTests {
        mcnemar: Some(mcnemar(&is(&old), &is(&new))?),
        delong: Some(delong_test(&test.before, &test.scores, &test.rich, 0.95)?),
        ..PairedTests::default()
    };
    Ok(Comparison::new("adult@2", "adult@3", vec![area, accuracy], tests))
}

fn data() -> Dataset {
    let step = |step: &str, about: Option<&str>, rows_before, rows_after, cells| Step {
        step: step.to_owned(),
        about: about.map(str::to_owned),
        rows_before,
        rows_after,
        cells,
    };
    let steps = vec![
        step("trim", None, 48_842, 48_842, 0),
        step("missing", Some("`?` is a missing value"), 48_842, 48_842, 6_465),
        step("drop_duplicates", None, 48_842, 48_790, 0),
        step("impute", Some("workclass, occupation, native_country with the mode"), 48_790, 48_790, 6_461),
    ];
    let expectation = |expectation: &str, then: &str, met, unexpected| Expectation {
        expectation: expectation.to_owned(),
        then: then.to_owned(),
        met,
        checked: 48_790,
        unexpected,
        observed: None,
    };
    let column = |name: &str, role: &str, kind: &str, missing, encoding: &str| Column {
        name: name.to_owned(),
        role: role.to_owned(),
        kind: kind.to_owned(),
        missing,
        encoding: Some(encoding.to_owned()),
    };
    Dataset {
        split_by: Some("stratified by income, seed 0".to_owned()),
        funnel: Some(Funnel {
            rows_read: 48_842,
            rows_malformed: 0,
            steps,
            rows_unexpected: 3,
            rows_clean: 48_787,
        }),
        expectations: vec![
            expectation("not_be_null: age", "fail", true, 0),
            expectation("be_between: hours_per_week 1 to 80", "warn", false, 412),
            expectation("be_in_set: sex Female, Male", "quarantine", true, 3),
        ],
        columns: vec![
            column("age", "feature", "number", 0, "standard"),
            column("workclass", "feature", "category", 2_799, "one-hot, 8 values"),
            column("occupation", "feature", "category", 2_809, "one-hot, 14 values"),
            column("sex", "sensitive", "category", 0, "one-hot, 2 values"),
            column("income", "target", "category", 0, "2 classes"),
        ],
        recipe: Some("target = \"income\"\nclean = [{ trim = {} }, { drop_duplicates = {} }]\n".to_owned()),
        ..dataset("adult", [39_029, 4_879, 4_879])
    }
}

//! Hundreds of random cases, degenerate ones among them, of what is not a metric but says how far to
//! trust one, worked out here and by fairlearn, scikit-learn, SciPy and statsmodels. `PHALANX_PYTHON`
//! names a python that has them, as `scripts/venv.sh` makes one; without it the test says that it is
//! skipped.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use phalanx_evaluate::{
    MeanMetric,
    calibration::{Binning, brier_parts, calibration, fit_isotonic, fit_platt, fit_temperature},
    compare::{Comparison, Contrast, PairedTests, contrast, delong_test, mcnemar, paired_t, wilcoxon},
    cross_validation::cross_validated,
    fairness::{
        Against, ClassFairness, Constraint, Disparity, Fairness, GroupRates, Groups, Outcomes, Rate,
        fairness_of_class, fairness_of_numbers, group_thresholds, reweighing,
    },
    folds::{
        Fold, TimeSeries, group_folds, k_folds, leave_one_group_out, stratified_folds,
        stratified_group_folds, time_series_folds,
    },
    interval::{Bootstrap, bca_ends, bootstrap, percentile_ends, wilson_interval},
    slices::{SliceSettings, column_slices, measure_slices},
    threshold::{Goal, choose_threshold},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

const TOLERANCE: f64 = 1e-9;

/// A case as the reference reads it, what came of it here, and how far the two may differ, relative
/// to values above 1.
struct Case {
    input: Value,
    ours: Value,
    tolerance: f64,
}

impl Case {
    fn exact(input: Value, ours: Value) -> Self {
        Self { input, ours, tolerance: TOLERANCE }
    }
}

/// Draws a case.
type Kind = fn(&mut StdRng) -> anyhow::Result<Case>;

#[test]
fn figures_of_trust_agree_with_the_reference() -> anyhow::Result<()> {
    let Some(python) = env::var_os("PHALANX_PYTHON").filter(|python| !python.is_empty()) else {
        eprintln!(
            "SKIPPED: figures_of_trust_agree_with_the_reference needs PHALANX_PYTHON=$(scripts/venv.sh)"
        );
        return Ok(());
    };
    let kinds: [(Kind, u64); 12] = [
        (fairness_case, 200),
        (numbers_fairness_case, 60),
        (reweighing_case, 60),
        (pairs_case, 200),
        (errors_case, 200),
        (interval_case, 200),
        (calibration_case, 200),
        (scaling_case, 60),
        (threshold_case, 150),
        (folds_case, 200),
        (correction_case, 40),
        (group_thresholds_case, 6),
    ];
    let mut cases = Vec::new();
    for (kind, (draw, count)) in kinds.into_iter().enumerate() {
        for seed in 0..count {
            cases.push(draw(&mut StdRng::seed_from_u64(1_000 * kind as u64 + seed))?);
        }
    }
    for (case, theirs) in cases.iter().zip(answers(&python, &cases)?) {
        agree(&case.ours, &theirs, case.tolerance, "")
            .with_context(|| format!("case {}\nours {}\ntheirs {theirs}", case.input, case.ours))?;
    }
    Ok(())
}

fn answers(python: &std::ffi::OsStr, cases: &[Case]) -> anyhow::Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cases.json");
    fs::write(&file, serde_json::to_vec(&cases.iter().map(|case| &case.input).collect::<Vec<_>>())?)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trust_reference.py");
    let output =
        Command::new(python).arg(script).arg(&file).output().context("PHALANX_PYTHON does not run")?;
    ensure!(output.status.success(), "the reference failed: {}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    ensure!(answers.len() == cases.len(), "{} answers to {} cases", answers.len(), cases.len());
    Ok(answers)
}

/// Whether two values are the same but for the rounding of numbers.
fn agree(ours: &Value, theirs: &Value, tolerance: f64, place: &str) -> anyhow::Result<()> {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            ensure!(ours.keys().all(|key| theirs.contains_key(key)), "{place}: other keys");
            ensure!(ours.len() == theirs.len(), "{place}: other keys");
            ours.iter()
                .try_for_each(|(key, value)| agree(value, &theirs[key], tolerance, &format!("{place}.{key}")))
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ensure!(ours.len() == theirs.len(), "{place}: {} here and {} there", ours.len(), theirs.len());
            let both = ours.iter().zip(theirs).enumerate();
            both.into_iter()
                .try_for_each(|(at, (one, other))| agree(one, other, tolerance, &format!("{place}[{at}]")))
        }
        (Value::Number(_), Value::Number(_)) => {
            let (one, other) = (ours.as_f64().unwrap_or(f64::NAN), theirs.as_f64().unwrap_or(f64::NAN));
            let near = (one - other).abs() <= tolerance * other.abs().max(1.0);
            ensure!(near, "{place} is {one} here and {other} there");
            Ok(())
        }
        _ => {
            ensure!(ours == theirs, "{place} is {ours} here and {theirs} there");
            Ok(())
        }
    }
}

/// Few rows are the most, since degenerate cases are small.
fn rows(rng: &mut StdRng) -> usize {
    *[2, 3, 5, 8, 12, 20, 40, 120, 500].get(rng.random_range(0..9)).unwrap_or(&5)
}

fn flags(rng: &mut StdRng, rows: usize) -> Vec<bool> {
    let often = *[0.0, 0.1, 0.4, 0.5, 0.9, 1.0].get(rng.random_range(0..6)).unwrap_or(&0.5);
    (0..rows).map(|_| rng.random_bool(often)).collect()
}

/// Probabilities, at times with many ties.
fn scores(rng: &mut StdRng, rows: usize) -> Vec<f64> {
    let ties = rng.random_bool(0.5);
    let score =
        |rng: &mut StdRng| if ties { f64::from(rng.random_range(0..9_u8)) / 8.0 } else { rng.random() };
    (0..rows).map(|_| score(rng)).collect()
}

fn both_kinds(flags: &[bool]) -> bool {
    flags.contains(&true) && flags.contains(&false)
}

fn fairness_case(rng: &mut StdRng) -> anyhow::Result<Case> {
    let rows = rows(rng);
    let (truths, selected) = (flags(rng, rows), flags(rng, rows));
    let column = |rng: &mut StdRng, most: u8| -> Vec<String> {
        let count = rng.random_range(1..=most);
        (0..rows).map(|_| format!("g{}", rng.random_range(0..count))).collect()
    };
    let columns = [column(rng, 5), column(rng, 3)];
    let first = Groups::of_column("a", &columns[0])?;
    let both = Groups::intersection(&[&first, &Groups::of_column("b", &columns[1])?])?;
    let outcomes = Outcomes { truths: &truths, selected: &selected, scores: None };
    let measure = |groups: &Groups, against: Against| {
        let settings = Fairness { against, bootstrap: None, ..Fairness::fairlearn() };
        fairness_of_class("yes", &outcomes, groups, &settings)
    };
    let between = measure(&first, Against::BetweenGroups)?;
    let overall = measure(&first, Against::ToOverall)?;
    let crossed = measure(&both, Against::BetweenGroups)?;
    let figures = |of: &ClassFairness| -> Value {
        of.figures().into_iter().map(|(name, value, _)| (name.to_owned(), json!(value))).collect()
    };
    let ours = json!({
        "groups": between.groups.iter().map(rates).collect::<Vec<_>>(),
        "overall": rates(&between.overall),
        "between": figures(&between),
        "to_overall": figures(&overall),
        "crossed": crossed.groups.iter().map(rates).collect::<Vec<_>>(),
        "crossed_figures": figures(&crossed),
        "extremes": extremes(&between, &between.demographic_parity),
    });
    let named = rng.random_bool(0.05);
    let input = json!({
        "kind": "fairness", "truths": truths, "selected": selected, "columns": columns, "named": named,
    });
    Ok(Case::exact(input, ours))
}

fn rates(group: &GroupRates) -> Value {
    let value = |rate: Option<Rate>| json!(rate.map(|rate| rate.value));
    json!([
        json!(group.count),
        value(group.selection_rate),
        value(group.accuracy),
        value(group.precision),
        value(group.true_positive_rate),
        value(group.false_positive_rate),
        value(group.true_negative_rate),
        value(group.false_negative_rate),
    ])
}

/// The selection rates of the groups that are named as lowest and highest.
fn extremes(fairness: &ClassFairness, of: &Disparity) -> Value {
    let rate = |name: &Option<String>| {
        let group = fairness.groups.iter().find(|group| Some(&group.group) == name.as_ref());
        group.and_then(|group| group.selection_rate).map(|rate| rate.value)
    };
    json!([rate(&of.lowest), rate(&of.highest)])
}

fn numbers_fairness_case(rng: &mut StdRng) -> anyhow::Result<Case> {
    let rows = rows(rng);
    let exact = rng.random_bool(0.1);
    let truths: Vec<f64> = (0..rows).map(|_| rng.random_range(-3.0..3.0)).collect();
    let told: Vec<f64> =
        truths.iter().map(|truth| if exact { *truth } else { truth + rng.random_range(-1.0..1.5) }).collect();
    let groups: Vec<String> = (0..rows).map(|_| format!("g{}", rng.random_range(0..4_u8))).collect();
    let settings = Fairness { bootstrap: None, ..Fairness::fairlearn() };
    let found = fairness_of_numbers(&truths, &told, &Groups::of_column("a", &groups)?, &settings)?;
    let overall = Fairness { against: Against::ToOverall, ..settings };
    let to_overall = fairness_of_numbers(&truths, &told, &Groups::of_column("a", &groups)?, &overall)?;
    let ours = json!({
        "mae": found.groups.iter().map(|group| group.mae).collect::<Vec<_>>(),
        "mean_error": found.groups.iter().map(|group| group.mean_error).collect::<Vec<_>>(),
        "figures": found.figures().map(|figure| figure.1),
        "to_overall": to_overall.figures().map(|figure| figure.1),
    });
    let input = json!({ "kind": "numbers_fairness", "truths": truths, "told": told, "groups": groups });
    Ok(Case::exact(input, ours))
}

fn reweighing_case(rng: &mut StdRng) -> anyhow::Result<Case> {
    let rows = rows(rng);
    let groups: Vec<String> = (0..rows).map(|_| format!("g{}", rng.random_range(0..3_u8))).collect();
    let labels: Vec<u32> = (0..rows).map(|_| rng.random_range(0..3)).collect();
    let of = Groups::of_column("a", &groups)?;
    let found = reweighing(&["x", "y", "z"].map(str::to_owned), &labels, &of)?;
    let weights: Vec<f64> =
        labels.iter().zip(of.of_row()).map(|(label, group)| found.weight(*group, *label)).collect();
    let input = json!({ "kind": "reweighing", "groups": groups, "labels": labels });
    Ok(Case::exact(input, json!({ "weights": weights })))
}

/// Two classifiers on the same rows.
fn pairs_case(rng: &mut StdRng) -> anyhow::Result<Case> {
    let rows = rows(rng);
    let (a, b) = (scores(rng, rows), scores(rng, rows));
    let truths = flags(rng, rows);
    let right = |scores: &[f64]| -> Vec<bool> {
        scores.iter().zip(&truths).map(|(score, truth)| (*score >= 0.5) == *truth).collect()
    };
    let test = mcnemar(&right(&a), &right(&b))?;
    let delong = delong_test(&a, &b, &truths, 0.9).ok().filter(|_| truths.len() > 2);
    let ours = json!({
        "exact_p": test.exact_p,
        "chi_squared": test.chi_squared,
        "chi_squared_p": test.chi_squared_p,
        "delong": delong.map(|test| {
            json!([test.roc_auc_a, test.roc_auc_b, test.standard_error, test.lower, test.upper, test.p])
        }),
    });
    let input = json!({ "kind": "pairs", "a": a, "b": b, "truths": truths });
    Ok(Case { input, ours, tolerance: 1e-8 })
}

/// Two regressions on the same rows.
fn errors_case(rng: &mut StdRng) -> anyhow::Result<Case> {
    let rows = rows(rng);
    let whole = rng.random_bool(0.5);
    let error = |rng: &mut StdRng| if whole { f64::from(rng.random_range(0..6_u8)) } else { rng.random() };
    let a: Vec<f64> = (0..rows).map(|_| error(rng)).collect();
    let b: Vec<f64> = (0..rows).map(|_| error(rng)).collect();
    let (t, ranks) = (paired_t(&a, &b, 0.9)?, wilcoxon(&a, &b)?);
    let ours = json!({
        "t": [t.p, t.lower, t.upper],
        "wilcoxon": [ranks.ranks_above.min(ranks.ranks_below), ranks.p],
    });
    let input = json!({ "kind": "errors", "a": a, "b": b, "exact": ranks.exact });
    Ok(Case { input, ours, tolerance: 1e-8 })
}

fn interval_case(rng: &mut StdRng) -> anyhow::Result<Case> {
    let trials = rng.random_range(1..300_u64);
    let hits = rng.random_range(0..=trials);
    let level = *[0.8, 0.9, 0.95, 0.99].get(rng.random_range(0..4)).unwrap_or(&0.9);
    let wilson = wilson_interval(hits, trials, level)?;
    let mut values: Vec<f64> = (0..rng.random_range(20..200)).map(|_| rng.random::<f64>().powi(3)).collect();
    values.sort_unstable_by(f64::total_cmp);
    let estimate = values[values.len() * rng.random_range(3..7) / 10];
    let left_out: Vec<(f64, f64)> = (0..30).map(|_| (rng.random::<f64>().powi(2), 1.0)).collect();
    let folds: Vec<f64> = (0..rng.random_range(2..12)).map(|_| rng.random()).collect();
    let crossed = cross_validated("f1", &folds, 0.25, level)?;
    let ours = json!({
        "wilson": [wilson.lower, wilson.upper],
        "percentile": percentile_ends(&values, level),
        "bca": bca_ends(estimate, &values, &left_out, level),
        "folds": [crossed.mean, crossed.deviation, crossed.lower, crossed.upper],
        "corrected": [crossed.corrected_lower, crossed.corrected_upper],
    });
    let left_out: Vec<f64> = left_out.into_iter().map(|(value, _)| value).collect();
    let input = json!({
        "kind": "interval", "hits": hits, "trials": trials, "level": level, "values": values,
        "estimate": estimate, "left_out": left_out, "folds": folds,
    });
    Ok(Case { input, ours, tolerance: 1e-8 })
}

fn calibration_case(rng: &mut StdRng) -> anyhow::Result<Case> {
    let rows = rows(rng).max(5);
    let told = scores(rng, rows);
    let happened = flags(rng, rows);
    let bins = rng.random_range(1..15);
    let curve = |binning| -> anyhow::Result<Value> {
        let found = calibration(&told, &happened, binning, bins)?;
        let shares: Vec<f64> = found.bins.iter().map(|bin| bin.share).collect();
        let means: Vec<f64> = found.bins.iter().map(|bin| bin.mean_probability).collect();
        Ok(json!({ "shares": shares, "means": means, "error": found.expected_error }))
    };
    let isotonic = fit_isotonic(&told, &happened)?;
    let asked: Vec<f64> = (0..40).map(|at| f64::from(at) / 40.0).collect();
    let ours = json!({
        "uniform": curve(Binning::Uniform)?,
        "quantile": curve(Binning::Quantile)?,
        "brier": brier_parts(&told, &happened, bins)?.brier,
        "isotonic": asked.iter().map(|score| isotonic.apply(*score)).collect::<Vec<_>>(),
    });
    let input =
        json!({ "kind": "calibration", "told": told, "happened": happened, "bins": bins, "asked": asked });
    Ok(Case::exact(input, ours))
}

/// Fits by search, which each side ends where it likes.
fn scaling_case(rng: &mut StdRng) -> anyhow::Result<Case> {
    let rows = rows(rng).max(5);
    let told: Vec<f64> = scores(rng, rows).into_iter().map(|told| told.clamp(0.01, 0.99)).collect();
    let happened = flags(rng, rows);
    let odds: Vec<f64> = told.iter().map(|told| (told / (1.0 - told)).ln()).collect();
    let platt = fit_platt(&odds, &happened)?;
    let pairs: Vec<f64> = told.iter().flat_map(|told| [1.0 - told, *told]).collect();
    let truths: Vec<u32> = happened.iter().map(|happened| u32::from(*happened)).collect();
    let mut cooled = pairs.clone();
    fit_temperature(&pairs, &truths, 2)?.apply(&mut cooled, 2);
    let loss =
        cooled.chunks_exact(2).zip(&truths).map(|(row, truth)| -row[*truth as usize].ln()).sum::<f64>();
    let ours = json!({
        "platt": both_kinds(&happened)
            .then(|| odds.iter().map(|odds| platt.apply(*odds)).collect::<Vec<_>>()),
        "temperature_loss": loss / rows as f64,
    });
    let input = json!({ "kind": "scaling", "odds": odds, "happened": happened });
    Ok(Case { input, ours, tolerance: 1e-5 })
}

fn threshold_case(rng: &mut StdRng) -> anyhow::Result<Case> {
    let rows = rows(rng);
    let (told, happened) = (scores(rng, rows), flags(rng, rows));
    let recall = rng.random_range(0.1..1.0);
    let chosen = |goal| choose_threshold(&told, &happened, goal).ok().map(|chosen| chosen.validation);
    let goal = Goal::Recall { at_least: recall };
    let ours = json!({
        "f1": chosen(Goal::FBeta { beta: 1.0 }).map(|at| at.f1),
        "youden": chosen(Goal::Youden).map(|at| at.recall - at.false_positive_rate),
        "precision_at_recall": chosen(goal).map(|at| at.precision),
    });
    let input = json!({ "kind": "threshold", "told": told, "happened": happened, "recall": recall });
    Ok(Case::exact(input, ours))
}

fn folds_case(rng: &mut StdRng) -> anyhow::Result<Case> {
    let rows = rows(rng);
    let folds = rng.random_range(2..6);
    let classes: Vec<u32> = (0..rows).map(|_| rng.random_range(0..3)).collect();
    let groups: Vec<u32> = (0..rows).map(|_| rng.random_range(0..8)).collect();
    let gap = rng.random_range(0..3);
    let settings = TimeSeries { folds, gap, test_rows: None, train_rows_max: None };
    let times: Vec<i64> = (0..rows as i64).collect();
    let plain = |folds: Vec<Fold>| -> Value {
        folds.iter().map(|fold| json!([fold.train, fold.test])).collect::<Vec<_>>().into()
    };
    let sizes = |folds: Vec<Fold>| {
        let mut sizes: Vec<usize> = folds.iter().map(|fold| fold.test.len()).collect();
        sizes.sort_unstable();
        json!(sizes)
    };
    let ours = json!({
        "k": k_folds(rows, folds, None).ok().map(plain),
        "stratified": stratified_folds(&classes, folds, None).ok().map(plain),
        "group_sizes": group_folds(&groups, folds, None).ok().map(sizes),
        "stratified_group": stratified_group_folds(&classes, &groups, folds, None).ok().map(plain),
        "time": time_series_folds(&times, &settings).ok().map(plain),
        "leave_one_out": leave_one_group_out(&groups).ok().map(plain),
    });
    let input = json!({ "kind": "folds", "folds": folds, "classes": classes, "groups": groups, "gap": gap });
    Ok(Case::exact(input, ours))
}

/// Corrections for many tests.
fn correction_case(rng: &mut StdRng) -> anyhow::Result<Case> {
    let rows = 300;
    let values: Vec<f64> = (0..rows).map(|_| rng.random()).collect();
    let names: Vec<Option<String>> =
        (0..rows).map(|_| Some(format!("v{}", rng.random_range(0..6_u8)))).collect();
    let metric = MeanMetric::new(&values)?;
    let bootstrap = Bootstrap { resamples: 50, ..Bootstrap::default() };
    let settings = SliceSettings { bootstrap, ..SliceSettings::default() };
    let slices = measure_slices("mae", false, &metric, &column_slices("v", &names, 9)?, &settings)?.slices;
    let slice_ps: Vec<_> = slices.iter().filter_map(|slice| slice.p).collect();
    let model = contrast("mae", false, &metric, &metric, &bootstrap)?;
    let ps: Vec<f64> = (0..rng.random_range(1..8)).map(|_| rng.random::<f64>().powi(4)).collect();
    let contrasts = ps.iter().map(|p| Contrast { p: *p, ..model.clone() }).collect();
    let compared = Comparison::new("a", "b", contrasts, PairedTests::default()).contrasts;
    let ours = json!({
        "benjamini_hochberg": slices.iter().filter_map(|slice| slice.p_adjusted).collect::<Vec<_>>(),
        "holm": compared.iter().map(|contrast| contrast.p_adjusted).collect::<Vec<_>>(),
    });
    Ok(Case::exact(json!({ "kind": "correction", "slice_ps": slice_ps, "ps": ps }), ours))
}

/// Thresholds without dice beside fairlearn's with: as fair to the tolerance, and nearly as accurate
/// where one rate is to be alike. Of two rates at once, dice reach points that no thresholds do.
fn group_thresholds_case(rng: &mut StdRng) -> anyhow::Result<Case> {
    let rows = 3_000;
    let groups: Vec<String> = (0..rows).map(|_| format!("g{}", rng.random_range(0..3_u8))).collect();
    let told: Vec<f64> = groups
        .iter()
        .map(|group| (rng.random::<f64>() + if group == "g0" { 0.0 } else { 0.4 }) / 1.4)
        .collect();
    let happened: Vec<bool> = told.iter().map(|told| rng.random_bool(*told)).collect();
    let of = Groups::of_column("a", &groups)?;
    let mut found = Vec::new();
    for constraint in [Constraint::DemographicParity, Constraint::EqualOpportunity, Constraint::EqualizedOdds]
    {
        let thresholds = group_thresholds(&told, &happened, &of, constraint, (0.5, 0.02, 30))?;
        ensure!(thresholds.within_tolerance, "{thresholds:?}");
        if constraint != Constraint::EqualizedOdds {
            found.push(thresholds.after.accuracy);
        }
    }
    let input = json!({ "kind": "group_thresholds", "told": told, "happened": happened, "groups": groups });
    // Without dice the constraint is met to 0.02, which may be dearer or cheaper than exactly.
    Ok(Case { input, ours: json!({ "accuracy": found }), tolerance: 0.015 })
}

#[test]
fn resampled_intervals_are_near_scipys() -> anyhow::Result<()> {
    let Some(python) = env::var_os("PHALANX_PYTHON").filter(|python| !python.is_empty()) else {
        eprintln!("SKIPPED: resampled_intervals_are_near_scipys needs PHALANX_PYTHON=$(scripts/venv.sh)");
        return Ok(());
    };
    let mut cases = Vec::new();
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let values: Vec<f64> = (0..60).map(|_| -rng.random::<f64>().ln()).collect();
        let metric = MeanMetric::new(&values)?;
        let ends = |bca: bool| -> anyhow::Result<Value> {
            let settings = Bootstrap { resamples: 20_000, bca, seed, ..Bootstrap::default() };
            let interval = bootstrap(&metric, None, &settings)?;
            Ok(json!([interval.lower, interval.upper, interval.standard_error]))
        };
        let ours = json!({ "percentile": ends(false)?, "bca": ends(true)? });
        let input = json!({ "kind": "bootstrap", "values": values });
        // The two draw other resamples: the ends, about 0.3 from the middle, vary by that much.
        cases.push(Case { input, ours, tolerance: 0.015 });
    }
    for (case, theirs) in cases.iter().zip(answers(&python, &cases)?) {
        agree(&case.ours, &theirs, case.tolerance, "")?;
    }
    Ok(())
}

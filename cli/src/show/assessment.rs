//! A report in short: gates, metrics with their intervals, the worst slices, how groups are treated,
//! and what disturbances do. All of it is in the page and in the JSON.

use phalanx_evaluate::{
    compare::{Comparison, Side},
    cross_validation::CrossValidated,
    interval::Interval,
    learning_curve::{LearningCurve, LearningPoint},
    robustness::{Disturbance, Disturbed},
};
use phalanx_report::{FairnessOf, OnSplit, Report, SplitMetrics};

use super::{
    number::{count, figure},
    style::{BAD, DIM, GOOD, STRONG, styled},
    table::{Column, bare, indented, table},
};

/// The most rows of each table.
const SHOWN_MAX: usize = 10;

/// A report in short.
pub(crate) fn assessment(report: &Report) -> String {
    let identity = &report.identity;
    let version = identity.version.map_or_else(String::new, |version| format!(" version {version}"));
    let mut text = format!("{}{version}, made by {}\n", styled(STRONG, &identity.model), identity.job);
    if let Some(verdict) = &report.verdict {
        text.push_str(&section("gates"));
        for gate in &verdict.gates {
            let (mark, style) = if gate.holds { ("✓", GOOD) } else { ("✗", BAD) };
            text.push_str(&format!("  {style}{mark}{style:#} {}\n", gate.summary));
        }
    }
    for split in &report.splits {
        text.push_str(&section(&format!("{}, {} rows", split.split, count(split.rows))));
        text.push_str(&metrics(split));
    }
    report.slices.iter().for_each(|slices| text.push_str(&self::slices(slices)));
    if let Some(fairness) = &report.fairness {
        text.push_str(&section("fairness"));
        text.push_str(&groups(&fairness.found.columns));
    }
    for importance in &report.importance {
        text.push_str(&section(&format!(
            "importance: what {} loses without a column",
            importance.found.metric
        )));
        let mut rows = bare();
        for column in importance.found.columns.iter().take(SHOWN_MAX) {
            rows.add_row([
                column.column.clone(),
                figure(column.importance),
                format!("± {}", figure(column.deviation)),
            ]);
        }
        text.push_str(&indented(&rows));
    }
    for robustness in &report.robustness {
        text.push_str(&section(&format!("robustness: {} with disturbed inputs", robustness.found.metric)));
        text.push_str(&disturbed(&robustness.found.disturbed));
    }
    if let Some(OnSplit { found, .. }) = &report.comparison {
        text.push('\n');
        text.push_str(&comparison(found));
    }
    text
}

fn section(title: &str) -> String {
    format!("\n{}\n", styled(STRONG, title))
}

/// Those of all rows; figures of single classes, slices and groups have tables of their own.
fn metrics(split: &SplitMetrics) -> String {
    let mut rows = bare();
    for (name, measured) in split.metrics.iter().filter(|(name, _)| !name.contains('[')) {
        rows.add_row([
            name.clone(),
            figure(measured.value),
            measured.interval.as_ref().map_or_else(String::new, ends),
        ]);
    }
    let mut text = indented(&rows);
    for (name, reason) in &split.undefined {
        text.push_str(&format!("  {DIM}no {name}: {reason}{DIM:#}\n"));
    }
    text
}

/// `0.9012 to 0.9213 at 95 %`.
fn ends(interval: &Interval) -> String {
    range(interval.lower, interval.upper, interval.level)
}

fn range(lower: f64, upper: f64, level: f64) -> String {
    let percent = (level * 1e6).round() / 1e4;
    format!("{} to {} at {percent} %", figure(lower), figure(upper))
}

fn slices(slices: &OnSplit<phalanx_evaluate::slices::Slices>) -> String {
    let found = &slices.found;
    let mut text = section(&format!("slices by {}, the worst first", found.metric));
    let mut rows = table(&[
        Column::Text("slice"),
        Column::Figure("rows"),
        Column::Figure("value"),
        Column::Figure("worse by"),
        Column::Text(""),
    ]);
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), figure);
    for slice in found.slices.iter().take(SHOWN_MAX) {
        let remark = match (slice.small, slice.differs) {
            (true, _) => "few rows",
            (false, true) => "differs",
            (false, false) => "",
        };
        rows.add_row([
            slice.slice.clone(),
            count(slice.rows),
            shown(slice.value),
            shown(slice.worse_by),
            remark.to_owned(),
        ]);
    }
    text.push_str(&indented(&rows));
    text
}

/// How far groups are apart, column by column.
fn groups(columns: &[FairnessOf]) -> String {
    let mut rows = table(&[
        Column::Text("columns"),
        Column::Text("class"),
        Column::Text("figure"),
        Column::Figure("apart"),
        Column::Text("interval"),
        Column::Text("least and most"),
    ]);
    let mut add = |column: &str, class: &str, of: &phalanx_evaluate::fairness::Disparity, name: &str| {
        let Some(difference) = of.difference else { return };
        let between = [&of.lowest, &of.highest].map(|group| group.clone().unwrap_or_default()).join(" / ");
        let interval = of.difference_interval.as_ref().map_or_else(String::new, ends);
        rows.add_row([
            column.to_owned(),
            class.to_owned(),
            name.to_owned(),
            figure(difference),
            interval,
            between,
        ]);
    };
    for column in columns {
        match column {
            FairnessOf::Classes(classes) => {
                for class in classes {
                    for (name, of) in [
                        ("demographic parity", &class.demographic_parity),
                        ("equalised odds", &class.equalized_odds),
                        ("equal opportunity", &class.equal_opportunity),
                        ("predictive parity", &class.predictive_parity),
                    ] {
                        add(&class.column, &class.class, of, name);
                    }
                }
            }
            FairnessOf::Numbers(numbers) => {
                add(&numbers.column, "", &numbers.mean_error, "mean error");
                add(&numbers.column, "", &numbers.mae, "mean absolute error");
            }
        }
    }
    indented(&rows)
}

fn disturbed(all: &[Disturbed]) -> String {
    let mut rows = bare();
    let (columns, others): (Vec<&Disturbed>, Vec<_>) =
        all.iter().partition(|disturbed| matches!(disturbed.disturbance, Disturbance::MissingColumn { .. }));
    for Disturbed { disturbance, value, loss, .. } in
        others.into_iter().chain(columns.into_iter().take(SHOWN_MAX))
    {
        let what = match disturbance {
            Disturbance::Noise { deviation } => format!("noise of {deviation}"),
            Disturbance::MissingColumn { column } => format!("without {column}"),
            Disturbance::Fgsm { eps } => format!("FGSM, {eps}"),
            Disturbance::Pgd { eps, steps, .. } => format!("PGD, {eps} in {steps} steps"),
        };
        rows.add_row([what, figure(*value), format!("{} lost", figure(*loss))]);
    }
    indented(&rows)
}

/// What the folds of a cross-validation say together.
pub(crate) fn folds(metrics: &[CrossValidated], jobs: usize, gates_hold: usize) -> String {
    let mut rows = table(&[
        Column::Text("metric"),
        Column::Figure("mean"),
        Column::Figure("deviation"),
        Column::Text("interval of the mean"),
    ]);
    for of_metric in metrics.iter().filter(|of_metric| !of_metric.metric.contains('[')) {
        let CrossValidated { metric, mean, deviation, corrected_lower, corrected_upper, level, .. } =
            of_metric;
        let interval = range(*corrected_lower, *corrected_upper, *level);
        rows.add_row([metric.clone(), figure(*mean), figure(*deviation), interval]);
    }
    let mut text = indented(&rows);
    text.push_str(&format!(
        "\n  {DIM}{jobs} jobs; intervals are corrected for the rows that folds share in training{DIM:#}\n"
    ));
    if gates_hold < jobs {
        text.push_str(&format!("  {BAD}gates hold in {gates_hold} of {jobs} jobs{BAD:#}\n"));
    }
    text
}

/// What metrics are with more and more rows to learn from.
pub(crate) fn learning_curves(curves: &[LearningCurve], jobs: usize) -> String {
    let mut rows = table(&[
        Column::Text("metric"),
        Column::Figure("rows"),
        Column::Figure("mean"),
        Column::Figure("deviation"),
        Column::Text(""),
    ]);
    for curve in curves.iter().filter(|curve| !curve.metric.contains('[')) {
        let mut name = curve.metric.as_str();
        for LearningPoint { rows: learned, models, mean, deviation, .. } in &curve.points {
            let deviation = if *models > 1 { figure(*deviation) } else { String::new() };
            rows.add_row([name.to_owned(), count(*learned), figure(*mean), deviation, String::new()]);
            name = "";
        }
        if let (Some(guess), Some(last)) = (curve.with_twice_the_rows, curve.points.last()) {
            let doubled = last.rows.saturating_mul(2);
            let blank = String::new();
            rows.add_row([blank.clone(), count(doubled), figure(guess), blank, "a guess".to_owned()]);
        }
    }
    let mut text = indented(&rows);
    text.push_str(&format!("\n  {DIM}{jobs} jobs, all of a seed measured on the same rows{DIM:#}\n"));
    text
}

/// Two models beside each other.
pub(crate) fn comparison(comparison: &Comparison) -> String {
    let Comparison { a, b, contrasts, tests, better, summary } = comparison;
    let verdict = match better {
        Some(Side::A) => format!("{} is better than {b}", styled(STRONG, a)),
        Some(Side::B) => format!("{} is better than {a}", styled(STRONG, b)),
        None => format!("{} and {} are not told apart", styled(STRONG, a), styled(STRONG, b)),
    };
    let mut text = format!("{verdict}\n\n");
    let mut rows = table(&[
        Column::Text("metric"),
        Column::Figure("A"),
        Column::Figure("B"),
        Column::Figure("B less A"),
        Column::Text("interval"),
        Column::Figure("p"),
        Column::Text("better"),
    ]);
    for contrast in contrasts {
        let better = match contrast.better {
            Some(Side::A) => "A",
            Some(Side::B) => "B",
            None => "",
        };
        rows.add_row([
            contrast.metric.clone(),
            figure(contrast.a),
            figure(contrast.b),
            figure(contrast.difference.estimate),
            ends(&contrast.difference),
            probability(contrast.p_adjusted),
            better.to_owned(),
        ]);
    }
    text.push_str(&indented(&rows));
    text.push_str(&format!("\n  {DIM}A is {a}, B is {b}; p is corrected for the number of metrics{DIM:#}\n"));
    if let Some(test) = &tests.mcnemar {
        text.push_str(&format!(
            "  McNemar: {} rows are right for A alone, {} for B alone, p {}\n",
            count(test.only_a_right),
            count(test.only_b_right),
            probability(test.exact_p)
        ));
    }
    if let Some(test) = &tests.delong {
        text.push_str(&format!("  DeLong: ROC-AUC {:+.4}, p {}\n", test.difference, probability(test.p)));
    }
    if let Some(test) = &tests.wilcoxon {
        text.push_str(&format!("  Wilcoxon, of absolute errors: p {}\n", probability(test.p)));
    }
    text.push_str(&format!("\n{summary}\n"));
    text
}

fn probability(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}

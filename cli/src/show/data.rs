//! Data sets for people: where rows came from, what became of them step by step,
//! what columns hold, and how two versions differ.

use anstyle::Style;
use phalanx_data::{
    ColumnProfile, DatasetManifest, Diff, Funnel, LabelReport, Outcome, ProfileValues, Split, Validation,
};
use phalanx_protocol::spec::Then;

use super::{
    number::{bytes, count, figure},
    style::{BAD, DIM, GOOD, STRONG, styled},
    table::{Column, indented, table},
};

/// The most characters of a text in a table.
const TEXT_CHARS: usize = 28;

/// The most files that are listed.
const FILES_MAX: usize = 10;

/// The most pairs of annotators that are listed.
const PAIRS_MAX: usize = 20;

/// From this index on values have changed a little, and from the next on much.
const PSI_LITTLE: f64 = 0.1;
const PSI_MUCH: f64 = 0.25;

/// A dataset version.
pub(crate) fn dataset(manifest: &DatasetManifest) -> String {
    let mut text = format!("{STRONG}{}{STRONG:#}\n\n", manifest.version);
    for source in manifest.lineage.sources.iter().take(FILES_MAX) {
        let hash: String = source.blake3.chars().take(12).collect();
        text += &line("from", &format!("{} ({}, {hash})", super::path(&source.path), bytes(source.bytes)));
    }
    if let Some(more) = manifest.lineage.sources.len().checked_sub(FILES_MAX + 1) {
        text += &line("", &format!("and {} more", more + 1));
    }
    text += &line("made by", &format!("phalanx {}", manifest.lineage.code_version));
    let rows = |split| format!("{} {split}", count(manifest.split(split).rows));
    text += &line("rows", &Split::ALL.map(rows).join(", "));
    if let Some(quarantine) = &manifest.lineage.quarantine {
        text += &line("put aside", &format!("{} rows, in {}", count(quarantine.rows), quarantine.file.path));
    }
    text += &funnel_and_outcomes(manifest.lineage.funnel.as_ref(), &manifest.lineage.outcomes);
    text + &columns(&manifest.profile)
}

/// What came of looking at a source.
pub(crate) fn validation(validation: &Validation) -> String {
    let mut text = funnel_and_outcomes(Some(&validation.funnel), &validation.outcomes);
    text += &columns(&validation.columns);
    if validation.quarantined > 0 {
        text += &format!("\n{} rows would be put aside\n", count(validation.quarantined));
    }
    let verdict =
        if validation.is_met() { styled(GOOD, "as expected") } else { styled(BAD, "not as expected") };
    text + &format!("\n{verdict}\n")
}

/// How two versions differ.
pub(crate) fn diff(diff: &Diff) -> String {
    let short = |version: &str| version.chars().take(12).collect::<String>();
    let mut text = format!("{STRONG}{} → {}{STRONG:#}\n\n", short(&diff.before), short(&diff.after));
    for (split, (before, after)) in Split::ALL.into_iter().zip(diff.rows) {
        text += &line(split.as_str(), &format!("{} → {} rows", count(before), count(after)));
    }
    for (what, names) in [("added", &diff.added), ("removed", &diff.removed)] {
        if !names.is_empty() {
            text += &line(what, &names.join(", "));
        }
    }
    for (name, before, after) in &diff.retyped {
        text += &line("type", &format!("{name}: {before} → {after}"));
    }
    if diff.recipe_changed {
        text += &line("recipe", "not the same");
    }
    let mut shown = table(&[
        Column::Text("column"),
        Column::Figure("missing"),
        Column::Figure("distinct"),
        Column::Figure("mean"),
        Column::Figure("PSI"),
        Column::Figure("KS"),
        Column::Text(""),
    ]);
    for column in &diff.columns {
        let arrow = |(before, after): (String, String)| match before == after {
            true => before,
            false => format!("{before} → {after}"),
        };
        let share = |share: f64| format!("{:.1} %", share * 100.0);
        let optional = |value: Option<f64>| value.map(|value| format!("{value:.3}")).unwrap_or_default();
        let verdict = match column.psi {
            Some(psi) if psi > PSI_MUCH => styled(BAD, "changed much"),
            Some(psi) if psi > PSI_LITTLE => "changed a little".to_owned(),
            Some(_) | None => String::new(),
        };
        shown.add_row([
            cut(&column.name),
            arrow((share(column.missing.0), share(column.missing.1))),
            arrow((count(column.distinct.0), count(column.distinct.1))),
            column.mean.map(|(before, after)| arrow((figure(before), figure(after)))).unwrap_or_default(),
            optional(column.psi),
            optional(column.ks),
            verdict,
        ]);
    }
    text + "\n" + &indented(&shown)
}

fn line(name: &str, value: &str) -> String {
    format!("  {DIM}{name:<10}{DIM:#} {value}\n")
}

fn funnel_and_outcomes(funnel: Option<&Funnel>, outcomes: &[Outcome]) -> String {
    let mut text = funnel.map(|shown| "\n".to_owned() + &self::funnel(shown)).unwrap_or_default();
    let reports = funnel.iter().flat_map(|funnel| &funnel.steps).filter_map(|step| step.labels.as_ref());
    text.extend(reports.map(labels));
    if !outcomes.is_empty() {
        text += "\n";
    }
    for outcome in outcomes {
        let (look, sign): (Style, &str) = match (outcome.met, outcome.expectation.then()) {
            (true, _) => (GOOD, "✓"),
            (false, Then::Fail) => (BAD, "✗"),
            (false, Then::Quarantine | Then::Warn) => (STRONG, "!"),
        };
        text += &format!("  {look}{sign}{look:#} {}\n", outcome.sentence());
    }
    text
}

fn funnel(funnel: &Funnel) -> String {
    let mut shown = table(&[
        Column::Text("step"),
        Column::Figure("rows"),
        Column::Figure("dropped"),
        Column::Figure("cells changed"),
        Column::Text("learnt from the training split"),
    ]);
    let some = |number: u64| if number == 0 { String::new() } else { count(number) };
    shown.add_row([
        "read".to_owned(),
        count(funnel.rows_read),
        some(funnel.rows_malformed),
        String::new(),
        String::new(),
    ]);
    for step in &funnel.steps {
        let dropped = step.rows_before.saturating_sub(step.rows_after);
        let learnt: Vec<String> =
            step.learnt.iter().map(|(column, value)| format!("{column}: {value}")).collect();
        shown.add_row([
            step.step.clone(),
            count(step.rows_after),
            some(dropped),
            some(step.cells),
            super::style::styled(DIM, learnt.join(", ")),
        ]);
    }
    if funnel.rows_unexpected > 0 {
        let rows = count(funnel.rows_clean);
        shown.add_row([
            "expect".to_owned(),
            rows,
            count(funnel.rows_unexpected),
            String::new(),
            String::new(),
        ]);
    }
    indented(&shown)
}

/// What annotators or rules have said, and how far they agree.
fn labels(report: &LabelReport) -> String {
    let share = |rows: u64, of: u64| format!("{:.1} %", rows as f64 / of.max(1) as f64 * 100.0);
    let mut sources = table(&[
        Column::Text("who"),
        Column::Figure("weight"),
        Column::Figure("coverage"),
        Column::Figure("overlaps"),
        Column::Figure("conflicts"),
        Column::Figure("right"),
    ]);
    for source in &report.sources {
        sources.add_row([
            cut(&source.name),
            figure(source.weight),
            share(source.labelled, report.rows),
            share(source.overlaps, report.rows),
            share(source.conflicts, report.rows),
            source.judged.map(|(rows, right)| share(right, rows)).unwrap_or_default(),
        ]);
    }
    let mut text = format!("\n  {}\n\n{}", report.sentence(), indented(&sources));
    let mut pairs = table(&[
        Column::Text("of both"),
        Column::Text(""),
        Column::Figure("rows"),
        Column::Figure("the same"),
        Column::Figure("Cohen's kappa"),
        Column::Figure("apart"),
    ]);
    for pair in report.pairs.iter().take(PAIRS_MAX) {
        pairs.add_row([
            cut(&pair.a),
            cut(&pair.b),
            count(pair.rows),
            share(pair.same, pair.rows),
            pair.cohen_kappa.map(|kappa| format!("{kappa:.3}")).unwrap_or_default(),
            pair.difference.map(figure).unwrap_or_default(),
        ]);
    }
    if !report.pairs.is_empty() {
        text += &format!("\n{}", indented(&pairs));
    }
    if let Some(more) = report.pairs.len().checked_sub(PAIRS_MAX + 1) {
        text += &format!("  and {} more pairs: `--json` has all\n", count(more as u64 + 1));
    }
    text
}

fn columns(columns: &[ColumnProfile]) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let mut shown = table(&[
        Column::Text("column"),
        Column::Text("type"),
        Column::Figure("missing"),
        Column::Figure("distinct"),
        Column::Figure("mean"),
        Column::Figure("deviation"),
        Column::Figure("least"),
        Column::Figure("median"),
        Column::Figure("greatest"),
        Column::Text("values"),
    ]);
    for column in columns {
        let missing = match column.missing {
            0 => String::new(),
            missing => format!("{:.1} %", missing as f64 / column.rows.max(1) as f64 * 100.0),
        };
        let distinct = match column.values {
            ProfileValues::Numbers { .. } | ProfileValues::Texts { .. } => count(column.distinct),
            ProfileValues::Other => String::new(),
        };
        let mut row = vec![cut(&column.name), column.data_type.to_lowercase(), missing, distinct];
        row.extend(values(&column.values));
        shown.add_row(row);
    }
    "\n".to_owned() + &indented(&shown)
}

/// Mean, deviation, least, median, greatest, and a picture of all.
fn values(values: &ProfileValues) -> [String; 6] {
    match values {
        ProfileValues::Numbers { mean, deviation, percentiles, histogram } => {
            let at =
                |percent: usize| percentiles.get(percent).map(|value| figure(*value)).unwrap_or_default();
            [figure(*mean), figure(*deviation), at(0), at(50), at(100), bars(histogram)]
        }
        ProfileValues::Texts { top, other } => {
            let all = top.iter().map(|(_, rows)| rows).sum::<u64>() + other;
            let share = |(text, rows): &(String, u64)| {
                format!("{} {:.0} %", cut(text), *rows as f64 / all.max(1) as f64 * 100.0)
            };
            let some: Vec<String> = top.iter().take(3).map(share).collect();
            let none = String::new;
            [none(), none(), none(), none(), none(), some.join(", ")]
        }
        ProfileValues::Other => Default::default(),
    }
}

/// A histogram in one line.
fn bars(histogram: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = histogram.iter().copied().max().unwrap_or(0).max(1);
    let bar = |rows: &u64| match rows {
        0 => ' ',
        rows => BARS[((*rows * 8).div_ceil(most).clamp(1, 8) - 1) as usize],
    };
    histogram.iter().map(bar).collect()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_shows_few_as_few_and_none_as_none() {
        assert_eq!(bars(&[0, 1, 50, 100]), " ▁▄█");
        assert_eq!(bars(&[]), "");
    }
}

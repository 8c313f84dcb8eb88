//! What the model is worth, to whom, and what it rests on. Owns no state.

use phalanx_evaluate::{fairness::GroupRates, interval::Interval, slices::SliceResult};

use super::{
    NEEDED, head,
    markdown::{Document, code, text},
};
use crate::{
    FairnessOf, Measured, Report,
    digits::{NONE, Shown, count},
};

/// The most rows of a table of the card; the report has all of them.
const ROWS_MAX: usize = 10;

/// The most classes of one column whose groups are shown.
const CLASSES_MAX: usize = 3;

pub(super) fn risks(card: &mut Document, report: &Report) {
    let about = &report.identity.about;
    card.heading(2, "Bias, Risks, and Limitations");
    card.paragraph(about.limitations.as_deref().unwrap_or(NEEDED));
    for slices in &report.slices {
        let found = &slices.found;
        let worst: Vec<&SliceResult> = found
            .slices
            .iter()
            .filter(|slice| slice.differs && slice.worse_by.is_some_and(|by| by > 0.0))
            .collect();
        if worst.is_empty() {
            continue;
        }
        card.paragraph(&format!("{} is worse than on all rows where:", code(&found.metric)));
        let rows: Vec<Vec<String>> = worst
            .iter()
            .take(ROWS_MAX)
            .map(|slice| {
                vec![code(&slice.slice), count(slice.rows), value(slice.value, slice.interval.as_ref())]
            })
            .collect();
        card.table(&["Slice", "Rows", "Value"], &rows);
    }
    if let Some(fairness) = &report.fairness {
        fairness.found.columns.iter().for_each(|column| groups(card, column));
    }
    card.heading(3, "Recommendations");
    card.paragraph(
        "Users (both direct and downstream) should be made aware of the risks, biases and limitations of the model. The \
         whole report lies beside this card (`report.html`, `report.json`).",
    );
}

fn groups(card: &mut Document, column: &FairnessOf) {
    match column {
        FairnessOf::Classes(classes) => {
            for of in classes.iter().take(CLASSES_MAX) {
                card.paragraph(&format!("By {}, selected for {}:", text(&of.column), text(&of.class)));
                let rows: Vec<Vec<String>> =
                    of.groups.iter().take(ROWS_MAX).chain([&of.overall]).map(group).collect();
                card.table(&["Group", "Rows", "Selected", "Accuracy", "True positive rate"], &rows);
                let figure =
                    |value: Option<f64>| value.map_or(NONE.to_owned(), |value| Shown::Number.text(value));
                card.list(&[
                    format!("Demographic parity difference: {}", figure(of.demographic_parity.difference)),
                    format!("Equalized odds difference: {}", figure(of.equalized_odds.difference)),
                ]);
            }
        }
        FairnessOf::Numbers(of) => {
            card.paragraph(&format!("By {}:", text(&of.column)));
            let rows: Vec<Vec<String>> = of
                .groups
                .iter()
                .take(ROWS_MAX)
                .chain([&of.overall])
                .map(|group| {
                    let figures = [group.mean_error, group.mae].map(|value| Shown::Number.text(value));
                    [text(&group.group), count(group.count)].into_iter().chain(figures).collect()
                })
                .collect();
            card.table(&["Group", "Rows", "Mean error", "MAE"], &rows);
        }
    }
}

fn group(group: &GroupRates) -> Vec<String> {
    let rates = [group.selection_rate, group.accuracy, group.true_positive_rate];
    let rates = rates.map(|rate| rate.map_or(NONE.to_owned(), |rate| Shown::Percent.text(rate.value)));
    let few = if group.small { " (few rows)" } else { "" };
    [format!("{}{few}", text(&group.group)), count(group.count)].into_iter().chain(rates).collect()
}

pub(super) fn evaluation(card: &mut Document, report: &Report) {
    card.heading(2, "Evaluation");
    card.heading(3, "Testing Data, Factors & Metrics");
    card.heading(4, "Testing Data");
    let Some(split) = report.splits.first() else { return card.paragraph(NEEDED) };
    card.paragraph(&format!("The split {}, {} rows.", text(&split.split), count(split.rows)));
    if let Some(fairness) = &report.fairness {
        card.heading(4, "Factors");
        let columns = fairness.found.columns.iter().flat_map(|column| match column {
            FairnessOf::Classes(classes) => {
                classes.iter().map(|of| of.column.as_str()).take(1).collect::<Vec<_>>()
            }
            FairnessOf::Numbers(of) => vec![of.column.as_str()],
        });
        card.list(&columns.map(text).collect::<Vec<_>>());
    }
    card.heading(4, "Metrics");
    card.paragraph("With scikit-learn's names and conventions; in brackets, how far they may be off.");
    card.heading(3, "Results");
    let rows: Vec<Vec<String>> =
        head::whole(split).map(|(name, found)| vec![code(name), measured(found)]).collect();
    card.table(&["Metric", "Value"], &rows);
    if let Some(verdict) = report.verdict.as_ref().filter(|verdict| !verdict.gates.is_empty()) {
        card.heading(4, "Summary");
        card.paragraph(if verdict.passes {
            "It meets every gate of its job."
        } else {
            "It does not meet its gates."
        });
        let mark = |holds: bool| if holds { "met" } else { "not met" };
        let gates = verdict.gates.iter().map(|gate| format!("{}: {}", code(&gate.gate), mark(gate.holds)));
        card.list(&gates.collect::<Vec<_>>());
    }
}

pub(super) fn examination(card: &mut Document, report: &Report) {
    if report.importance.is_empty() {
        return;
    }
    card.heading(2, "Model Examination");
    for importance in &report.importance {
        let found = &importance.found;
        card.paragraph(&format!("What {} loses without a column's information:", code(&found.metric)));
        let rows: Vec<Vec<String>> = found
            .columns
            .iter()
            .take(ROWS_MAX)
            .map(|column| vec![code(&column.column), Shown::Change.text(column.importance)])
            .collect();
        card.table(&["Column", "Loss"], &rows);
    }
}

fn measured(found: &Measured) -> String {
    value(Some(found.value), found.interval.as_ref())
}

fn value(value: Option<f64>, interval: Option<&Interval>) -> String {
    let Some(value) = value else { return NONE.to_owned() };
    match interval {
        Some(of) => {
            let shown = Shown::by_interval(of.lower, of.upper);
            format!("{} [{}, {}]", shown.text(value), shown.text(of.lower), shown.text(of.upper))
        }
        None => Shown::Number.text(value),
    }
}

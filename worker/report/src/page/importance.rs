//! What the model rests on. Owns no state.

use std::collections::BTreeMap;

use maud::{Markup, html};
use phalanx_evaluate::importance::{IntegratedGradients, PermutationImportance};

use super::{
    figure::{count, figure},
    parts::{Section, cut, row_head, table, tag},
};
use crate::{
    OnSplit, Report,
    digits::Shown,
    plot::{RowScale, Tone},
    pointer::Pointer,
};

/// The most columns of one table, and classes with a table.
const COLUMNS_MAX: usize = 30;
const CLASSES_MAX: usize = 8;

pub(super) fn section(report: &Report) -> Option<Section> {
    if report.importance.is_empty() && report.gradients.is_empty() {
        return None;
    }
    let body = html! {
        @for (at, of) in Pointer::root().field("importance").items(&report.importance) { (permutation(of, &at)) }
        @if !report.importance.is_empty() {
            p.note { "Of two columns that say the same, each looks unimportant: the model still has the other." }
        }
        (gradients(&report.gradients))
    };
    Some(Section { id: "importance", title: "What it rests on", body })
}

fn permutation(of: &OnSplit<PermutationImportance>, at: &Pointer) -> Markup {
    let (found, rows_at, at) = (&of.found, at.field("rows"), at.field("found"));
    let shown = found.columns.get(..COLUMNS_MAX).unwrap_or(&found.columns);
    let ends = |at: usize| {
        let column = &shown[at];
        (column.importance - column.deviation, column.importance + column.deviation)
    };
    let scale = RowScale::over((0..shown.len()).flat_map(|at| [ends(at).0, ends(at).1]), Some(0.0));
    let head = html! {
        th { "Column" } (row_head(scale.as_ref())) th.number { "Loss of " (found.metric) } th.number { "Deviation" } th { "" }
    };
    let rows = html! {
        @for (index, (at, column)) in at.field("columns").items(shown).enumerate() {
            @let tone = if column.matters { Tone::Plain } else { Tone::Faint };
            tr {
                th scope="row" { (column.column) }
                td.drawing { @if let Some(scale) = scale { (scale.bar(column.importance, Some(ends(index)), tone)) } }
                td.number { (figure(&at.field("importance"), column.importance, Shown::Change)) }
                td.number { (figure(&at.field("deviation"), column.deviation, Shown::Decimals(4))) }
                td { @if !column.matters { (tag("no more than chance")) } }
            }
        }
    };
    html! {
        h3 { "What " code { (found.metric) } " loses without a column" }
        p {
            "A column's values are shuffled among the " (count(&rows_at, of.rows)) " rows of the split " (of.split)
            ". With all columns as they are, it is " (figure(&at.field("baseline"), found.baseline, Shown::Number)) "."
        }
        (table("Permutation importance", head, rows))
        (cut(shown.len(), found.columns.len()))
    }
}

fn gradients(all: &BTreeMap<String, OnSplit<IntegratedGradients>>) -> Markup {
    let field = Pointer::root().field("gradients");
    html! {
        @for (class, of) in all.iter().take(CLASSES_MAX) {
            @let at = field.field(class);
            @let shown = of.found.columns.get(..COLUMNS_MAX).unwrap_or(&of.found.columns);
            @let scale = RowScale::over(shown.iter().map(|column| column.mean_absolute), Some(0.0));
            h3 { "What columns contribute" @if !class.is_empty() { " to " (class) } }
            p {
                "Integrated gradients of " (count(&at.fields("found/rows"), of.found.rows)) " rows of the split "
                (of.split) "; attributions miss what they should sum to by "
                (figure(&at.fields("found/completeness_gap"), of.found.completeness_gap, Shown::Number))
                " on average."
            }
            (table("Integrated gradients", html! {
                th { "Column" } (row_head(scale.as_ref())) th.number { "Contribution" } th.number { "Share" }
                th.number { "For or against" }
            }, html! {
                @for (at, column) in at.fields("found/columns").items(shown) {
                    tr {
                        th scope="row" { (column.column) }
                        td.drawing {
                            @if let Some(scale) = scale { (scale.bar(column.mean_absolute, None, Tone::Plain)) }
                        }
                        td.number { (figure(&at.field("mean_absolute"), column.mean_absolute, Shown::Number)) }
                        td.number { (figure(&at.field("share"), column.share, Shown::Percent)) }
                        td.number { (figure(&at.field("mean"), column.mean, Shown::Change)) }
                    }
                }
            }))
            (cut(shown.len(), of.found.columns.len()))
        }
        (cut(CLASSES_MAX, all.len()))
    }
}

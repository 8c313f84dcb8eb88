//! What the model was made of. Owns no state.

use maud::{Markup, html};

use super::{
    figure::{count, figure, maybe},
    parts::{Section, code, cut, facts, mark, prose, table},
};
use crate::{
    Dataset, Expectation, Funnel, Step,
    digits::Shown,
    plot::{RowScale, Tone},
    pointer::Pointer,
};

/// The most sources, steps, expectations and columns that are shown.
const SOURCES_MAX: usize = 50;
const STEPS_MAX: usize = 100;
const EXPECTATIONS_MAX: usize = 100;
const COLUMNS_MAX: usize = 100;

pub(super) fn section(data: &Dataset) -> Section {
    let at = Pointer::root().field("dataset");
    let body = html! {
        (identity(data))
        (splits(data, &at))
        (sources(data, &at))
        @if let Some(funnel) = &data.funnel { (steps(funnel, &at.field("funnel"))) }
        @if !data.expectations.is_empty() { (expectations(&data.expectations, &at.field("expectations"))) }
        @if !data.columns.is_empty() { (columns(data, &at)) }
        @if let Some(recipe) = &data.recipe { details { summary { "The recipe" } pre { code { (recipe) } } } }
    };
    Section { id: "data", title: "Data and where it came from", body }
}

fn identity(data: &Dataset) -> Markup {
    let mut rows = vec![
        ("Dataset version", code(&data.version)),
        ("Prepared by", html! { "Phalanx " (data.code_version) }),
    ];
    if let Some(split_by) = &data.split_by {
        rows.push(("Split", html! { (split_by) }));
    }
    facts(rows)
}

fn splits(data: &Dataset, at: &Pointer) -> Markup {
    let rows = data.splits.iter().map(|split| split.rows as f64);
    let scale = RowScale::over(rows.chain([0.0]), None);
    let head = html! { th { "Split" } th.number { "Rows" } th.drawing aria-hidden="true" {} };
    let rows = html! {
        @for (at, split) in at.field("splits").items(&data.splits) {
            tr {
                th scope="row" { (split.split) }
                td.number { (count(&at.field("rows"), split.rows)) }
                td.drawing { @if let Some(scale) = scale { (scale.bar(split.rows as f64, None, Tone::Plain)) } }
            }
        }
    };
    html! { @if !data.splits.is_empty() { (table("Splits", head, rows)) } }
}

fn sources(data: &Dataset, at: &Pointer) -> Markup {
    let shown = data.sources.get(..SOURCES_MAX).unwrap_or(&data.sources);
    let head = html! { th { "Source" } th.number { "Size" } th.number { "Rows" } th { "BLAKE3" } };
    let rows = html! {
        @for (at, source) in at.field("sources").items(shown) {
            tr {
                th scope="row" { (code(&source.path)) }
                td.number { (figure(&at.field("bytes"), source.bytes as f64, Shown::Bytes)) }
                td.number { @match source.rows {
                    Some(rows) => { (count(&at.field("rows"), rows)) }
                    None => { (super::figure::absent()) }
                } }
                td { (code(&source.blake3)) }
            }
        }
    };
    html! { @if !shown.is_empty() { (table("Sources", head, rows)) (cut(shown.len(), data.sources.len())) } }
}

fn steps(funnel: &Funnel, at: &Pointer) -> Markup {
    let rows = funnel.steps.iter().flat_map(|step| [step.rows_before, step.rows_after]);
    let all = rows.chain([funnel.rows_read, funnel.rows_clean, 0]).map(|rows| rows as f64);
    let scale = RowScale::over(all, None);
    let drawn = |rows: u64| {
        html! {
            td.drawing { @if let Some(scale) = scale { (scale.bar(rows as f64, None, Tone::Plain)) } }
        }
    };
    let end = |name: &str, field: &str, rows: u64| {
        html! {
            tr.whole {
                th scope="row" { (name) }
                (drawn(rows))
                td.number { (count(&at.field(field), rows)) } td {}
            }
        }
    };
    let row = |at: &Pointer, step: &Step| {
        html! {
            tr {
                th scope="row" { code { (step.step) } @if let Some(about) = &step.about { span.about { (prose(about)) } } }
                (drawn(step.rows_after))
                td.number { (count(&at.field("rows_after"), step.rows_after)) }
                td.number { (count(&at.field("cells"), step.cells)) }
            }
        }
    };
    let head = html! {
        th { "Step" } th.drawing aria-hidden="true" {} th.number { "Rows after it" } th.number { "Cells changed" }
    };
    let rows = html! {
        (end("read", "rows_read", funnel.rows_read))
        @if funnel.rows_malformed > 0 { (end("put aside: cannot be read", "rows_malformed", funnel.rows_malformed)) }
        @for (at, step) in at.field("steps").items(&funnel.steps).take(STEPS_MAX) { (row(&at, step)) }
        @if funnel.rows_unexpected > 0 { (end("put aside: not as expected", "rows_unexpected", funnel.rows_unexpected)) }
        (end("clean", "rows_clean", funnel.rows_clean))
    };
    html! { h3 { "What became of the rows" } (table("Cleaning", head, rows)) (cut(STEPS_MAX, funnel.steps.len())) }
}

fn expectations(all: &[Expectation], at: &Pointer) -> Markup {
    let head = html! {
        th { "Expected" } th { "Outcome" } th { "Otherwise" } th.number { "Looked at" } th.number { "Not so" }
        th.number { "Figure" }
    };
    let rows = html! {
        @for (at, of) in at.items(all).take(EXPECTATIONS_MAX) {
            tr {
                th scope="row" { (code(&of.expectation)) }
                td { (mark(of.met, "met", "not met")) }
                td { (of.then) }
                td.number { (count(&at.field("checked"), of.checked)) }
                td.number { (count(&at.field("unexpected"), of.unexpected)) }
                td.number { (maybe(&at.field("observed"), of.observed, Shown::Number)) }
            }
        }
    };
    html! { h3 { "Expectations" } (table("Expectations", head, rows)) (cut(EXPECTATIONS_MAX, all.len())) }
}

fn columns(data: &Dataset, at: &Pointer) -> Markup {
    let shown = data.columns.get(..COLUMNS_MAX).unwrap_or(&data.columns);
    let head = html! {
        th { "Column" } th { "Role" } th { "Holds" } th.number { "Missing cells" } th { "Encoded" }
    };
    let rows = html! {
        @for (at, column) in at.field("columns").items(shown) {
            tr {
                th scope="row" { (column.name) }
                td { (column.role) }
                td { (column.kind) }
                td.number { (count(&at.field("missing"), column.missing)) }
                td { @if let Some(encoding) = &column.encoding { (encoding) } }
            }
        }
    };
    html! {
        details { summary { "Columns" } (table("Columns", head, rows)) (cut(shown.len(), data.columns.len())) }
    }
}

//! How often each class was taken for each other. Owns no state.

use maud::{Markup, html};
use phalanx_protocol::message::Confusion;

use super::{
    figure::count,
    parts::{Section, table},
};
use crate::pointer::Pointer;

/// With more classes a matrix can no longer be read, and the commonest confusions are listed.
const CLASSES_MAX: usize = 20;

/// As many of those.
const LISTED_MAX: usize = 20;

pub(super) fn section(confusion: &Confusion, split: &str, at: &Pointer) -> Section {
    let body = html! {
        @if confusion.classes.len() <= CLASSES_MAX {
            p { "Rows are what is true on the split " (split) ", columns what was predicted. The stronger a cell's colour, "
                "the larger its share of the row; what lies off the diagonal is wrong." }
            (matrix(confusion, at))
        } @else {
            p { "The commonest confusions on the split " (split) "; all of them are in " code { "report.json" } "." }
            (list(confusion, at))
        }
    };
    Section { id: "confusion", title: "Confusion matrix", body }
}

fn matrix(confusion: &Confusion, at: &Pointer) -> Markup {
    let head = html! {
        th { "True \\ predicted" }
        @for class in &confusion.classes { th.number scope="col" { (class) } }
    };
    let counts = at.field("counts");
    let rows = html! {
        @for ((row_at, row), class) in counts.items(&confusion.counts).zip(&confusion.classes) {
            @let all = row.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
            tr {
                th scope="row" { (class) }
                @for (cell_at, cell) in row_at.items(row) { (heat(&cell_at, *cell, all)) }
            }
        }
    };
    html! { div.matrix { (table("Confusion matrix", head, rows)) } }
}

fn heat(at: &Pointer, cell: u64, all: u64) -> Markup {
    let share = if all > 0 { cell as f64 / all as f64 } else { 0.0 };
    html! { td.heat style=(format!("--share:{share:.3}")) { (count(at, cell)) } }
}

fn list(confusion: &Confusion, at: &Pointer) -> Markup {
    let counts = at.field("counts");
    let mut wrong = Vec::new();
    for ((row_at, row), truth) in counts.items(&confusion.counts).zip(&confusion.classes) {
        for ((cell_at, cell), prediction) in row_at.items(row).zip(&confusion.classes) {
            if truth != prediction && *cell > 0 {
                wrong.push((*cell, truth, prediction, cell_at));
            }
        }
    }
    wrong.sort_by_key(|(cell, ..)| std::cmp::Reverse(*cell));
    wrong.truncate(LISTED_MAX);
    let head = html! { th { "True" } th { "Predicted" } th.number { "Rows" } };
    let rows = html! {
        @for (cell, truth, prediction, at) in &wrong {
            tr { th scope="row" { (truth) } td { (prediction) } td.number { (count(at, *cell)) } }
        }
    };
    table("Commonest confusions", head, rows)
}

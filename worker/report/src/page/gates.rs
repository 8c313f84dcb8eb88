//! Gates: what the job asked of its model, and whether it is so. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::verdict::{GateResult, Verdict};

use super::{
    figure::{figure, maybe},
    parts::{Section, code, mark, prose, table},
};
use crate::{digits::Shown, pointer::Pointer};

pub(super) fn section(verdict: &Verdict) -> Section {
    let gates = Pointer::root().fields("verdict/gates");
    let head = html! {
        th { "Gate" } th { "Outcome" } th.number { "Measured" } th.number { "Bound" } th.number { "To spare" }
    };
    let rows = html! { @for (at, gate) in gates.items(&verdict.gates) { (row(&at, gate)) } };
    let body = html! {
        @if verdict.gates.is_empty() {
            p { "The job sets no gates, so nothing could fail." }
        } @else {
            (table("Gates", head, rows))
            @for gate in verdict.gates.iter().filter(|gate| gate.value.is_none()) {
                p.note { (prose(&gate.summary)) "." }
            }
        }
    };
    Section { id: "gates", title: "Gates", body }
}

fn row(at: &Pointer, gate: &GateResult) -> Markup {
    html! {
        tr {
            th scope="row" { (code(&gate.gate)) }
            td { (mark(gate.holds, "met", "not met")) }
            td.number { (maybe(&at.field("value"), gate.value, Shown::Number)) }
            td.number { (figure(&at.field("bound"), gate.bound, Shown::Chosen)) }
            td.number { (maybe(&at.field("slack"), gate.slack, Shown::Change)) }
        }
    }
}

//! What the model withstands. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::robustness::{Disturbance, Disturbed, Robustness};

use super::{
    figure::{figure, maybe},
    parts::{Section, code, row_head, table},
};
use crate::{
    OnSplit,
    digits::Shown,
    plot::{RowScale, Tone},
    pointer::Pointer,
};

pub(super) fn section(all: &[OnSplit<Robustness>]) -> Option<Section> {
    if all.is_empty() {
        return None;
    }
    let body = html! {
        p { "The same rows, disturbed. Strengths are in the unit of the encoded features; on standardised columns that is "
            "their standard deviation." }
        @for (at, of) in Pointer::root().field("robustness").items(all) {
            h3 { code { (of.found.metric) } " on the split " (of.split) }
            (disturbed(&of.found, &at.field("found")))
            (sweeps(&of.found, &at.field("found")))
        }
    };
    Some(Section { id: "robustness", title: "Robustness", body })
}

fn disturbed(found: &Robustness, at: &Pointer) -> Markup {
    let scale = RowScale::over(found.disturbed.iter().map(|of| of.value), Some(found.baseline));
    let head = html! {
        th { "Disturbance" } th.number { "Strength" } (row_head(scale.as_ref())) th.number { (found.metric) }
        th.number { "Lost" } th.number { "Of it" }
    };
    let rows = html! {
        tr.whole {
            th scope="row" { "none" } td {} td.drawing {}
            td.number { (figure(&at.field("baseline"), found.baseline, Shown::Number)) } td {} td {}
        }
        @for (at, of) in at.field("disturbed").items(&found.disturbed) { (row(&at, of, found, scale.as_ref())) }
    };
    table("Disturbances", head, rows)
}

fn row(at: &Pointer, of: &Disturbed, found: &Robustness, scale: Option<&RowScale>) -> Markup {
    let withstood = of.relative_loss.is_some_and(|loss| loss <= found.tolerated_loss);
    let tone = if withstood { Tone::Plain } else { Tone::Bad };
    html! {
        tr {
            th scope="row" { (kind(&of.disturbance)) }
            td.number { (strength(&of.disturbance, &at.field("disturbance"))) }
            td.drawing { @if let Some(scale) = scale { (scale.bar(of.value, None, tone)) } }
            td.number { (figure(&at.field("value"), of.value, Shown::Number)) }
            td.number { (figure(&at.field("loss"), of.loss, Shown::Signed(4))) }
            td.number { (maybe(&at.field("relative_loss"), of.relative_loss, Shown::Percent)) }
        }
    }
}

fn kind(disturbance: &Disturbance) -> Markup {
    match disturbance {
        Disturbance::Noise { .. } => html! { "normal noise" },
        Disturbance::MissingColumn { column } => html! { "without " (code(column)) },
        Disturbance::Fgsm { .. } => html! { "one step against it (FGSM)" },
        Disturbance::Pgd { .. } => html! { "many steps against it (PGD)" },
    }
}

fn strength(disturbance: &Disturbance, at: &Pointer) -> Markup {
    match disturbance {
        Disturbance::Noise { deviation } => figure(&at.field("deviation"), *deviation, Shown::Number),
        Disturbance::MissingColumn { .. } => html! {},
        Disturbance::Fgsm { eps } | Disturbance::Pgd { eps, .. } => {
            figure(&at.field("eps"), *eps, Shown::Number)
        }
    }
}

fn sweeps(found: &Robustness, at: &Pointer) -> Markup {
    html! {
        @if !found.sweeps.is_empty() {
            ul {
                @for (at, sweep) in at.field("sweeps").items(&found.sweeps) {
                    li {
                        b { (sweep.family) } ": "
                        @match sweep.withstands {
                            Some(strength) => {
                                "withstood up to a strength of "
                                (figure(&at.field("withstands"), strength, Shown::Number))
                            }
                            None => { "even the weakest costs more than is tolerated" }
                        }
                        ", " (figure(&at.field("mean_value"), sweep.mean_value, Shown::Number)) " on average over all strengths"
                    }
                }
            }
            p.note {
                "A loss of up to " (figure(&at.field("tolerated_loss"), found.tolerated_loss, Shown::Percent))
                " of the metric counts as withstood."
            }
        }
    }
}

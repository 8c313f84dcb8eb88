//! What the model withstands. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::robustness::{Disturbance, Disturbed, Robustness};

use super::{
    figure::{chosen_share, figure, maybe},
    parts::{Section, code, cut, row_head, table},
};
use crate::{
    OnSplit,
    digits::Shown,
    plot::{RowScale, Tone},
    pointer::Pointer,
};

/// The most columns without which the metric is shown: those that cost most.
const COLUMNS_MAX: usize = 20;

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
    let shown = shown(found, at);
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
        @for (at, of) in &shown { (row(at, of, found, scale.as_ref())) }
    };
    html! { (table("Disturbances", head, rows)) (cut(shown.len(), found.disturbed.len())) }
}

/// All disturbances but most of many columns.
fn shown<'a>(found: &'a Robustness, at: &Pointer) -> Vec<(Pointer, &'a Disturbed)> {
    let mut columns = 0;
    let is_shown = |(_, of): &(Pointer, &Disturbed)| match of.disturbance {
        Disturbance::MissingColumn { .. } => {
            columns += 1;
            columns <= COLUMNS_MAX
        }
        Disturbance::Noise { .. } | Disturbance::Fgsm { .. } | Disturbance::Pgd { .. } => true,
    };
    at.field("disturbed").items(&found.disturbed).filter(is_shown).collect()
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
            td.number { (figure(&at.field("loss"), of.loss, Shown::Change)) }
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
        Disturbance::Noise { deviation } => figure(&at.field("deviation"), *deviation, Shown::Chosen),
        Disturbance::MissingColumn { .. } => html! {},
        Disturbance::Fgsm { eps } | Disturbance::Pgd { eps, .. } => {
            figure(&at.field("eps"), *eps, Shown::Chosen)
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
                                (figure(&at.field("withstands"), strength, Shown::Chosen))
                            }
                            None => { "even the weakest costs more than is tolerated" }
                        }
                        ", " (figure(&at.field("mean_value"), sweep.mean_value, Shown::Number)) " on average over all strengths"
                    }
                }
            }
            p.note {
                "A loss of up to " (chosen_share(&at.field("tolerated_loss"), found.tolerated_loss))
                " of the metric counts as withstood."
            }
        }
    }
}

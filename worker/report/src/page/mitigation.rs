//! What was done so that groups are treated more alike, and what it costs. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::fairness::{Constraint, GroupThresholds, Reweighing, Thresholded};

use super::{
    figure::{absent, count, figure, maybe},
    parts::{mark, table, tag},
};
use crate::{Mitigation, digits::Shown, pointer::Pointer};

pub(super) fn of_all(mitigations: &[Mitigation], at: &Pointer) -> Markup {
    html! {
        @for (at, mitigation) in at.items(mitigations) {
            @match mitigation {
                Mitigation::Reweighing(weights) => { (reweighing(weights, &at.field("reweighing"))) }
                Mitigation::GroupThresholds { class, chosen_on, chosen, before, after, price_in_accuracy } => {
                    @let at = at.field("group_thresholds");
                    h3 { "A threshold for each group of " (chosen.column) }
                    p {
                        "For " (class) ", chosen on the split " (chosen_on) " so that " (constraint(chosen.constraint))
                        " is within " (figure(&at.fields("chosen/tolerance"), chosen.tolerance, Shown::Chosen)) ": "
                        (mark(chosen.within_tolerance, "it is, there", "out of reach; this comes nearest")) "."
                    }
                    (thresholds(chosen, &at.field("chosen")))
                    (price(chosen_on, chosen, (before, after, *price_in_accuracy), &at))
                }
            }
        }
    }
}

fn constraint(constraint: Constraint) -> &'static str {
    match constraint {
        Constraint::DemographicParity => "the difference of selection rates",
        Constraint::EqualOpportunity => "the difference of true positive rates",
        Constraint::EqualizedOdds => "the difference of true and of false positive rates",
    }
}

fn thresholds(chosen: &GroupThresholds, at: &Pointer) -> Markup {
    let head = html! { th { "Group" } th.number { "Rows" } th.number { "Threshold" } };
    let rows = html! {
        tr.whole {
            th scope="row" { "one for all" } td {}
            td.number { (figure(&at.field("common_threshold"), chosen.common_threshold, Shown::Number)) }
        }
        @for (at, group) in at.field("groups").items(&chosen.groups) {
            tr {
                th scope="row" { (group.group) @if group.small { " " (tag("few rows")) } }
                td.number { (count(&at.field("count"), group.count)) }
                td.number { (figure(&at.field("threshold"), group.threshold, Shown::Number)) }
            }
        }
    };
    table("Thresholds of groups", head, rows)
}

fn price(
    chosen_on: &str,
    chosen: &GroupThresholds,
    (before, after, price): (&Thresholded, &Thresholded, f64),
    at: &Pointer,
) -> Markup {
    let head = html! {
        th { "" } th.number { "Accuracy" } th.number { "Difference of groups" } th.number { "Price in accuracy" }
    };
    let row = |name: &str, of: &Thresholded, at: &Pointer, price: Option<(f64, Pointer)>| {
        html! {
            tr {
                th scope="row" { (name) }
                td.number { (figure(&at.field("accuracy"), of.accuracy, Shown::Decimals(4))) }
                td.number { (maybe(&at.field("difference"), of.difference, Shown::Decimals(4))) }
                td.number { @match price {
                    Some((price, at)) => { (figure(&at, price, Shown::Change)) }
                    None => { (absent()) }
                } }
            }
        }
    };
    let there = at.field("chosen");
    let paid_there = Some((chosen.price_in_accuracy, there.field("price_in_accuracy")));
    let rows = html! {
        (row(&format!("one threshold, on {chosen_on}"), &chosen.before, &there.field("before"), None))
        (row(&format!("one each, on {chosen_on}"), &chosen.after, &there.field("after"), paid_there))
        (row("one threshold, here", before, &at.field("before"), None))
        (row("one each, here", after, &at.field("after"), Some((price, at.field("price_in_accuracy")))))
    };
    table("What group thresholds cost", head, rows)
}

fn reweighing(weights: &Reweighing, at: &Pointer) -> Markup {
    let head = html! { th { "Group" } th { "Class" } th.number { "Rows" } th.number { "Weight" } };
    let rows = html! {
        @for (at, cell) in at.field("cells").items(&weights.cells) {
            tr {
                th scope="row" { (cell.group) }
                td { (cell.class) }
                td.number { (count(&at.field("count"), cell.count)) }
                td.number { (maybe(&at.field("weight"), cell.weight, Shown::Number)) }
            }
        }
    };
    html! {
        h3 { "Rows weighed in training, by " (weights.column) }
        p { "So that what is true does not depend on the group. What that costs shows against the same job without it." }
        (table("Weights", head, rows))
    }
}

//! How the model treats groups of people. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::fairness::{
    Against, ClassFairness, Disparity, GroupErrors, GroupRates, NumbersFairness, Rate,
};

use super::{
    figure::{chosen_share, count, figure, maybe, measured, rate},
    mitigation,
    parts::{Section, cut, mark, row_head, table, tag},
};
use crate::{
    FairnessOf, FairnessPart, OnSplit,
    digits::Shown,
    plot::{RowScale, Tone},
    pointer::Pointer,
};

/// The most classes of one column, and groups of one class, that are shown.
const CLASSES_MAX: usize = 8;
const GROUPS_MAX: usize = 50;

pub(super) fn section(fairness: &OnSplit<FairnessPart>) -> Section {
    let at = Pointer::root().fields("fairness/found");
    let part = &fairness.found;
    let body = html! {
        p {
            "On the split " (fairness.split) ". "
            @match part.settings.against {
                Against::BetweenGroups => { "Groups are compared with each other: the highest with the lowest. " }
                Against::ToOverall => { "Each group is compared with all rows. " }
            }
            "Groups with fewer than " (count(&at.fields("settings/small_below"), part.settings.small_below))
            " rows are shown, but do not decide how far groups are apart."
        }
        @for (at, of) in at.field("columns").items(&part.columns) {
            @match of {
                FairnessOf::Classes(classes) => {
                    @for (at, class) in worst(classes, &at.field("classes")) { (of_class(class, &at)) }
                    (cut(CLASSES_MAX, classes.len()))
                }
                FairnessOf::Numbers(numbers) => { (of_numbers(numbers, &at.field("numbers"))) }
            }
        }
        @if let Some(bootstrap) = &part.settings.bootstrap {
            p.note {
                "Intervals of " (chosen_share(&at.fields("settings/bootstrap/level"), bootstrap.level))
                ". A difference cannot fall below zero, so an interval that begins above it alone proves nothing."
            }
        }
        @if !part.mitigations.is_empty() { (mitigation::of_all(&part.mitigations, &at.field("mitigations"))) }
    };
    Section { id: "fairness", title: "Fairness", body }
}

/// All classes, or of many those whose groups are furthest apart.
fn worst<'a>(classes: &'a [ClassFairness], at: &Pointer) -> Vec<(Pointer, &'a ClassFairness)> {
    let mut placed: Vec<_> = at.items(classes).collect();
    if placed.len() > CLASSES_MAX {
        let apart = |class: &ClassFairness| class.demographic_parity.difference.unwrap_or(0.0);
        placed.sort_by(|(_, a), (_, b)| apart(b).total_cmp(&apart(a)));
        placed.truncate(CLASSES_MAX);
    }
    placed
}

fn of_class(fairness: &ClassFairness, at: &Pointer) -> Markup {
    html! {
        h3 { "By " (fairness.column) ", selected for " (fairness.class) }
        (groups(fairness, at))
        (disparities(at, vec![
            ("Demographic parity", "demographic_parity", &fairness.demographic_parity),
            ("Equalised odds", "equalized_odds", &fairness.equalized_odds),
            ("Equal opportunity", "equal_opportunity", &fairness.equal_opportunity),
            ("Predictive parity", "predictive_parity", &fairness.predictive_parity),
        ]))
        @if let Some(holds) = fairness.four_fifths {
            p { "The four-fifths rule: "
                (mark(holds, "every group is selected nearly as often", "a group is selected too rarely")) }
        }
    }
}

fn groups(fairness: &ClassFairness, at: &Pointer) -> Markup {
    let all: Vec<(Pointer, &GroupRates)> = std::iter::once((at.field("overall"), &fairness.overall))
        .chain(at.field("groups").items(&fairness.groups))
        .take(GROUPS_MAX)
        .collect();
    let ends = |rate: Rate| [rate.value, rate.lower, rate.upper];
    let rates = all.iter().filter_map(|(_, group)| group.selection_rate).flat_map(ends);
    let scale = RowScale::over(rates, fairness.overall.selection_rate.map(|rate| rate.value));
    let has_scores = fairness.overall.scores.is_some();
    let head = html! {
        th { "Group" } th.number { "Rows" } th.number { "Base rate" } (row_head(scale.as_ref()))
        th.number { "Selected" } th.number { "Accuracy" } th.number { "Precision" } th.number { "True positives" }
        th.number { "False positives" }
        @if has_scores { th.number { "ROC-AUC" } th.number { "ECE" } }
    };
    let rows = html! { @for (at, of) in &all { (group(at, of, scale.as_ref(), has_scores)) } };
    html! { (table("Groups", head, rows)) (cut(all.len(), 1 + fairness.groups.len())) }
}

fn group(at: &Pointer, group: &GroupRates, scale: Option<&RowScale>, has_scores: bool) -> Markup {
    let tone = match (group.small, group.four_fifths) {
        (true, _) => Tone::Faint,
        (false, Some(false)) => Tone::Bad,
        (false, Some(true) | None) => Tone::Plain,
    };
    let cell = |name: &str, value: Option<&Rate>| html! { td.number { (rate(&at.field(name), value)) } };
    html! {
        tr {
            th scope="row" { (group.group) @if group.small { " " (tag("few rows")) } }
            td.number { (count(&at.field("count"), group.count)) }
            (cell("base_rate", group.base_rate.as_ref()))
            td.drawing {
                @if let (Some(scale), Some(rate)) = (scale, group.selection_rate) {
                    (scale.dot(rate.value, Some((rate.lower, rate.upper)), tone))
                }
            }
            (cell("selection_rate", group.selection_rate.as_ref()))
            (cell("accuracy", group.accuracy.as_ref()))
            (cell("precision", group.precision.as_ref()))
            (cell("true_positive_rate", group.true_positive_rate.as_ref()))
            (cell("false_positive_rate", group.false_positive_rate.as_ref()))
            @if has_scores {
                @let scores = at.field("scores");
                td.number { (maybe(&scores.field("roc_auc"), group.scores.and_then(|of| of.roc_auc), Shown::Number)) }
                td.number {
                    (maybe(&scores.field("calibration_error"), group.scores.map(|of| of.calibration_error), Shown::Number))
                }
            }
        }
    }
}

fn disparities(at: &Pointer, all: Vec<(&str, &str, &Disparity)>) -> Markup {
    let head = html! {
        th { "How far apart" } th.number { "Difference" } th.number { "Ratio" } th { "Lowest" } th { "Highest" }
    };
    let name = |name: &Option<String>| html! { @if let Some(name) = name { (name) } };
    let rows = html! {
        @for (title, field, disparity) in all {
            @let at = at.field(field);
            tr {
                th scope="row" { (title) span.about { "of " (disparity.of.replace('_', " ")) } }
                td.number { (apart(&at, "difference", disparity.difference, disparity.difference_interval.as_ref())) }
                td.number { (apart(&at, "ratio", disparity.ratio, disparity.ratio_interval.as_ref())) }
                td { (name(&disparity.lowest)) }
                td { (name(&disparity.highest)) }
            }
        }
    };
    table("How far groups are apart", head, rows)
}

fn apart(
    at: &Pointer,
    name: &str,
    value: Option<f64>,
    interval: Option<&phalanx_evaluate::interval::Interval>,
) -> Markup {
    match value {
        Some(value) => measured((&at.field(name), value), (&at.field(&format!("{name}_interval")), interval)),
        None => super::figure::absent(),
    }
}

fn of_numbers(fairness: &NumbersFairness, at: &Pointer) -> Markup {
    let all: Vec<(Pointer, &GroupErrors)> = std::iter::once((at.field("overall"), &fairness.overall))
        .chain(at.field("groups").items(&fairness.groups))
        .take(GROUPS_MAX)
        .collect();
    let scale = RowScale::over(all.iter().map(|(_, group)| group.mean_error), Some(0.0));
    let head = html! {
        th { "Group" } th.number { "Rows" } th.number { "True mean" } th.number { "Predicted mean" }
        (row_head(scale.as_ref())) th.number { "Mean error" } th.number { "MAE" } th.number { "RMSE" }
    };
    let number = |at: &Pointer, name: &str, value: f64| {
        html! {
            td.number { (figure(&at.field(name), value, Shown::Number)) }
        }
    };
    let rows = html! {
        @for (at, group) in &all {
            tr {
                th scope="row" { (group.group) @if group.small { " " (tag("few rows")) } }
                td.number { (count(&at.field("count"), group.count)) }
                (number(at, "mean_truth", group.mean_truth))
                (number(at, "mean_prediction", group.mean_prediction))
                td.drawing {
                    @let tone = if group.small { Tone::Faint } else { Tone::Plain };
                    @if let Some(scale) = scale { (scale.bar(group.mean_error, None, tone)) }
                }
                (number(at, "mean_error", group.mean_error))
                (number(at, "mae", group.mae))
                (number(at, "rmse", group.rmse))
            }
        }
    };
    html! {
        h3 { "By " (fairness.column) }
        p { "Errors are prediction less truth: above zero where the model says too much." }
        (table("Groups", head, rows))
        (cut(all.len(), 1 + fairness.groups.len()))
        (disparities(at, vec![
            ("Mean error", "mean_error", &fairness.mean_error),
            ("Mean absolute error", "mae", &fairness.mae),
        ]))
    }
}

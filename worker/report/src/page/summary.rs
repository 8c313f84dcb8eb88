//! The top of the page: who this is, the verdict, the figures that count, and what stands out. Owns no
//! state.

use maud::{Markup, html};
use phalanx_evaluate::fairness::ClassFairness;

use super::{
    figure::{chosen_share, count, difference, figure, maybe},
    metrics::{about, direction, headline, value},
    parts::code,
    slices::is_worse,
};
use crate::{FairnessOf, Identity, Predictions, Report, Task, digits::Shown, plot::Tone, pointer::Pointer};

/// The most columns whose fairness is spoken of at the top.
const COLUMNS_MAX: usize = 3;

pub(super) fn header(report: &Report) -> Markup {
    let identity = &report.identity;
    html! {
        header {
            p.eyebrow { "Model report" }
            h1 {
                (identity.model)
                @if let Some(version) = identity.version {
                    " " span.version { "version " (version_of(version)) }
                }
                @if let Some(alias) = &identity.alias { " " span.alias { "@" (alias) } }
            }
            p.lead { (lead(identity)) }
            @if let Some(description) = &identity.about.description { p { (description) } }
            (verdict(report))
            (tiles(report))
            (findings(report))
        }
    }
}

fn version_of(version: u64) -> Markup {
    html! { data value=(version) data-at="/identity/version" { (version) } }
}

fn lead(identity: &Identity) -> Markup {
    let task = match identity.task {
        Task::TabularClassification => "a class from a table",
        Task::TabularRegression => "a number from a table",
        Task::ImageClassification => "a class from an image",
        Task::TextClassification => "a class from a text",
        Task::TextGeneration => "how a text goes on",
        Task::Other => "something of its own",
    };
    html! {
        "Predicts "
        @if let Some(target) = &identity.target { code { (target) } ", " }
        (task) ". Model " code { (identity.architecture) }
        @if let Some(parameters) = identity.parameters {
            " with " (count(&Pointer::root().fields("identity/parameters"), parameters)) " parameters"
        }
        ", trained by job " code { (identity.job.as_str()) } "; reported " (super::time(identity.created_at)) "."
    }
}

fn verdict(report: &Report) -> Markup {
    let (tone, sign, text) = match &report.verdict {
        Some(verdict) if verdict.gates.is_empty() => (Tone::Plain, "", html! { "No gates were set." }),
        Some(verdict) if verdict.passes => (Tone::Good, "✓", html! { "Meets every gate of its job." }),
        Some(verdict) => (
            Tone::Bad,
            "✗",
            html! {
                "Does not meet its gates: "
                @for (at, gate) in verdict.gates.iter().filter(|gate| !gate.holds).enumerate() {
                    @if at > 0 { ", " } (code(&gate.gate))
                }
                "."
            },
        ),
        None if report.is_of_several_jobs() => (Tone::Plain, "", html! { "What several jobs have come to." }),
        None => (Tone::Plain, "", html! { "No gates were set, so nobody has said what is good enough." }),
    };
    html! {
        p class={ "verdict " (tone.class()) } {
            @if !sign.is_empty() { span.sign aria-hidden="true" { (sign) } }
            span { (text) }
        }
    }
}

fn tiles(report: &Report) -> Markup {
    let Some(split) = report.splits.first() else { return html! {} };
    html! {
        ul.tiles {
            @for (name, measured, at) in headline(report) {
                li {
                    span.name { code { (name) } }
                    span.value { (value(&at, &measured)) }
                    @if let Some(metric) = about(name) {
                        span.better { (direction(metric)) " is better" }
                    }
                }
            }
        }
        p.note { "On the split " (split.split) ", " (count(&Pointer::root().fields("splits/0/rows"), split.rows)) " rows." }
    }
}

/// What stands out, a sentence each, with a link to where it is shown.
fn findings(report: &Report) -> Markup {
    let mut all: Vec<(&str, Markup)> = Vec::new();
    all.extend(report.comparison.as_ref().map(|of| ("comparison", html! { (of.found.summary) "." })));
    all.extend(calibration(report).map(|text| ("calibration", text)));
    all.extend(worst_slice(report).map(|text| ("slices", text)));
    all.extend(fairness(report).into_iter().map(|text| ("fairness", text)));
    all.extend(importance(report).map(|text| ("importance", text)));
    all.extend(robustness(report).map(|text| ("robustness", text)));
    all.extend(expectations(report).map(|text| ("data", text)));
    html! {
        @if !all.is_empty() {
            h2.short { "In short" }
            ul.findings { @for (id, text) in all { li { (text) " " a href=(format!("#{id}")) { "more" } } } }
        }
    }
}

fn calibration(report: &Report) -> Option<Markup> {
    let Predictions::Classes(part) = &report.predictions.as_ref()?.found else { return None };
    let error = part.calibration.as_ref()?.curve.expected_error;
    let at = Pointer::root().fields("predictions/found/classes/calibration/curve/expected_error");
    Some(html! { "Its probabilities are " b { (figure(&at, error, Shown::Decimals(3))) } " off on average." })
}

fn worst_slice(report: &Report) -> Option<Markup> {
    let slices = &report.slices.first()?.found;
    let found = slices.slices.iter().position(|slice| slice.differs && !slice.small && is_worse(slice));
    let Some((index, slice)) = found.and_then(|index| Some((index, slices.slices.get(index)?))) else {
        return Some(html! { "No slice does worse than chance would have it." });
    };
    let at = Pointer::root().fields("slices/0/found/slices").item(index);
    let apart = slice.difference.as_ref()?;
    let place = at.field("difference");
    Some(html! {
        "It does worst where " (code(&slice.slice)) ": " (slices.metric) " is "
        b { (maybe(&at.field("value"), slice.value, super::figure::digits_of(slice.interval.as_ref()))) }
        ", " (difference((&place.field("estimate"), apart.estimate), (&place, None))) " against all rows."
    })
}

fn fairness(report: &Report) -> Vec<Markup> {
    let Some(found) = &report.fairness else { return Vec::new() };
    let columns = Pointer::root().fields("fairness/found/columns");
    let of = |(at, of): (Pointer, &FairnessOf)| match of {
        FairnessOf::Classes(classes) => {
            let apart = |class: &ClassFairness| class.demographic_parity.difference.unwrap_or(0.0);
            let worst = at.field("classes").items(classes).max_by(|a, b| apart(a.1).total_cmp(&apart(b.1)));
            worst.and_then(|(at, class)| selected(class, &at))
        }
        FairnessOf::Numbers(numbers) => {
            let at = at.fields("numbers/mae/difference");
            numbers.mae.difference.map(|apart| {
                html! {
                    "By " (numbers.column) ", mean absolute errors are "
                    b { (figure(&at, apart, Shown::Number)) } " apart."
                }
            })
        }
    };
    columns.items(&found.found.columns).filter_map(of).take(COLUMNS_MAX).collect()
}

fn selected(class: &ClassFairness, at: &Pointer) -> Option<Markup> {
    let parity = &class.demographic_parity;
    let at = at.field("demographic_parity");
    let apart = parity.difference?;
    Some(html! {
        "By " (class.column) ", rates of " (class.class) " differ by "
        b { (figure(&at.field("difference"), apart, Shown::Decimals(3))) }
        @if let (Some(lowest), Some(highest)) = (&parity.lowest, &parity.highest) {
            " (lowest " (lowest) ", highest " (highest) ")"
        }
        @match class.four_fifths {
            Some(true) => { "; the four-fifths rule is met." }
            Some(false) => { "; the four-fifths rule is " b { "not met" } "." }
            None => { "." }
        }
    })
}

fn importance(report: &Report) -> Option<Markup> {
    let found = &report.importance.first()?.found;
    let column = found.columns.first().filter(|column| column.matters)?;
    let at = Pointer::root().fields("importance/0/found/columns/0/importance");
    Some(html! {
        "It rests most on " b { (column.column) } ": without it " (found.metric) " loses "
        (figure(&at, column.importance, Shown::Decimals(3))) "."
    })
}

fn robustness(report: &Report) -> Option<Markup> {
    let found = &report.robustness.first()?.found;
    let at = Pointer::root().fields("robustness/0/found");
    let weak: Vec<&str> = found
        .sweeps
        .iter()
        .filter(|sweep| sweep.withstands.is_none())
        .map(|sweep| sweep.family.as_str())
        .collect();
    let tolerated = chosen_share(&at.field("tolerated_loss"), found.tolerated_loss);
    Some(if weak.is_empty() {
        html! { "It loses no more than " (tolerated) " of " (found.metric) " to the weakest disturbance of every kind." }
    } else {
        html! {
            "Even the weakest disturbance by " (weak.join(" and ")) " costs it more than " (tolerated) " of "
            (found.metric) "."
        }
    })
}

fn expectations(report: &Report) -> Option<Markup> {
    let data = report.dataset.as_ref()?;
    let unmet: Vec<_> = data.expectations.iter().filter(|of| !of.met).collect();
    (!unmet.is_empty()).then(|| {
        html! {
            "Its data is not all as expected: "
            @for (at, of) in unmet.iter().enumerate() { @if at > 0 { ", " } (code(&of.expectation)) }
            "."
        }
    })
}

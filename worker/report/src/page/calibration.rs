//! Whether probabilities mean what they say. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::calibration::{BrierParts, Calibration, ProbabilityScores, ReliabilityBin};

use super::{
    figure::{count, ends, figure},
    parts::{Section, facts, legend, plot, table},
};
use crate::{
    CalibrationPart, Mending, MendingMethod,
    digits::Shown,
    plot::{Axis, Chart, Mark, Scale, Shape},
    pointer::Pointer,
};

pub(super) fn section(part: &CalibrationPart, split: &str, at: &Pointer) -> Section {
    let of = part.class.as_deref();
    let mended = part.mended.iter().find_map(|mending| mending.curve.as_ref().map(|curve| (mending, curve)));
    let names: Vec<&str> = match mended {
        Some((mending, _)) => vec!["as the model says it", method(&mending.method)],
        None => Vec::new(),
    };
    let body = html! {
        p {
            "Of all rows of the split " (split) " with the same probability "
            @match of { Some(class) => { "of " b { (class) } }, None => { "of the class that the model takes" } }
            ", that share should come true: dots on the diagonal."
        }
        (errors(part, at))
        (legend(&names))
        div.plots { (reliability(part, mended.map(|(_, curve)| curve), at)) (rows_of_bins(part, at)) }
        @if let Some(brier) = &part.brier { (parts_of_brier(brier, &at.field("brier"))) }
        @if !part.mended.is_empty() { (mendings(&part.mended, &at.field("mended"))) }
    };
    Section { id: "calibration", title: "Calibration", body }
}

fn errors(part: &CalibrationPart, at: &Pointer) -> Markup {
    let curve = at.field("curve");
    let mut rows = vec![
        (
            "Expected calibration error",
            figure(&curve.field("expected_error"), part.curve.expected_error, Shown::Decimals(4)),
        ),
        (
            "Largest error of a bin",
            figure(&curve.field("maximum_error"), part.curve.maximum_error, Shown::Decimals(4)),
        ),
    ];
    if let Some(adaptive) = &part.adaptive {
        let error =
            figure(&at.fields("adaptive/expected_error"), adaptive.expected_error, Shown::Decimals(4));
        rows.push(("The same in bins of as many rows", error));
    }
    facts(rows)
}

fn reliability(part: &CalibrationPart, mended: Option<&Calibration>, at: &Pointer) -> Markup {
    let dots = |curve: &Calibration| {
        curve.bins.iter().map(|bin| (bin.mean_probability, bin.share)).collect::<Vec<_>>()
    };
    let whiskers = part.curve.bins.iter().map(|bin| (bin.mean_probability, bin.share_lower, bin.share_upper));
    let mut marks = vec![
        Mark::Reference { from: (0.0, 0.0), to: (1.0, 1.0) },
        Mark::Whiskers { series: 0, ranges: whiskers.collect() },
        Mark::Line { series: 0, points: dots(&part.curve) },
        Mark::Dots { series: 0, points: dots(&part.curve) },
    ];
    if let Some(mended) = mended {
        marks.push(Mark::Line { series: 1, points: dots(mended) });
        marks.push(Mark::Dots { series: 1, points: dots(mended) });
    }
    let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::UNIT };
    let chart = Chart {
        title: "Reliability curve: the share that came true over what the model says".to_owned(),
        shape: Shape::Square,
        x: axis("What the model says"),
        y: axis("What came true"),
        marks,
    };
    plot(
        &chart,
        html! { "Reliability, with how far each share may be off" },
        bins(&part.curve, &at.field("curve")),
    )
}

fn rows_of_bins(part: &CalibrationPart, at: &Pointer) -> Markup {
    let bars: Vec<_> = part.curve.bins.iter().map(|bin| (bin.from, bin.to, bin.count as f64)).collect();
    let Some(y) = Scale::over(bars.iter().map(|bar| bar.2).chain([0.0])) else { return html! {} };
    let chart = Chart {
        title: "How many rows each bin has".to_owned(),
        shape: Shape::Square,
        x: Axis { label: "What the model says".to_owned(), scale: Scale::UNIT },
        y: Axis { label: "Rows".to_owned(), scale: y.rounded() },
        marks: vec![Mark::Bars { bars }],
    };
    plot(&chart, html! { "How sure the model is" }, bins(&part.curve, &at.field("curve")))
}

fn bins(curve: &Calibration, at: &Pointer) -> Markup {
    let head = html! {
        th.number { "From" } th.number { "To" } th.number { "Rows" } th.number { "Says" } th.number { "Came true" }
        th.number { "May be" }
    };
    let row = |at: &Pointer, bin: &ReliabilityBin| {
        html! {
            tr {
                td.number { (figure(&at.field("from"), bin.from, Shown::Decimals(2))) }
                td.number { (figure(&at.field("to"), bin.to, Shown::Decimals(2))) }
                td.number { (count(&at.field("count"), bin.count)) }
                td.number { (figure(&at.field("mean_probability"), bin.mean_probability, Shown::Decimals(3))) }
                td.number { (figure(&at.field("share"), bin.share, Shown::Decimals(3))) }
                td.number { (ends(
                    (&at.field("share_lower"), bin.share_lower),
                    (&at.field("share_upper"), bin.share_upper),
                    Shown::Decimals(3),
                )) }
            }
        }
    };
    let rows = html! { @for (at, bin) in at.field("bins").items(&curve.bins) { (row(&at, bin)) } };
    table("Bins of the reliability curve", head, rows)
}

fn parts_of_brier(brier: &BrierParts, at: &Pointer) -> Markup {
    let part = |name: &str, value: f64| figure(&at.field(name), value, Shown::Decimals(4));
    html! {
        h3 { "What the Brier score is made of" }
        (facts(vec![
            ("Brier score", part("brier", brier.brier)),
            ("Miscalibration (less is better)", part("reliability", brier.reliability)),
            ("Resolution (more is better)", part("resolution", brier.resolution)),
            ("Uncertainty of the outcome", part("uncertainty", brier.uncertainty)),
            ("Spread within bins", part("within_bins", brier.within_bins)),
        ]))
    }
}

fn mendings(mended: &[Mending], at: &Pointer) -> Markup {
    let head = html! {
        th { "Mended by" } th { "Fitted on" } th { "" } th.number { "Log-loss" } th.number { "Brier" }
        th.number { "Expected error" } th.number { "Largest error" }
    };
    let scores = |at: &Pointer, of: &ProbabilityScores| {
        let score = |name: &str, value: f64| html! { td.number { (figure(&at.field(name), value, Shown::Decimals(4))) } };
        html! {
            (score("log_loss", of.log_loss)) (score("brier", of.brier))
            (score("expected_error", of.expected_error)) (score("maximum_error", of.maximum_error))
        }
    };
    let rows = html! {
        @for (at, mending) in at.items(mended) {
            tr {
                th rowspan="2" scope="rowgroup" {
                    (method(&mending.method))
                    span.about { (parameters(&mending.method, &at.field("method"))) }
                }
                td rowspan="2" { (mending.fitted_on) }
                td { "before" }
                (scores(&at.fields("scores/before"), &mending.scores.before))
            }
            tr { td { "after" } (scores(&at.fields("scores/after"), &mending.scores.after)) }
        }
    };
    html! { h3 { "What mending them would bring" } (table("Mended probabilities", head, rows)) }
}

fn method(method: &MendingMethod) -> &'static str {
    match method {
        MendingMethod::Temperature(_) => "temperature scaling",
        MendingMethod::Platt(_) => "Platt scaling",
        MendingMethod::Isotonic(_) => "isotonic regression",
    }
}

fn parameters(method: &MendingMethod, at: &Pointer) -> Markup {
    match method {
        MendingMethod::Temperature(of) => html! {
            "temperature " (figure(&at.fields("temperature/temperature"), of.temperature, Shown::Number))
        },
        MendingMethod::Platt(of) => html! {
            "slope " (figure(&at.fields("platt/slope"), of.slope, Shown::Number))
            ", intercept " (figure(&at.fields("platt/intercept"), of.intercept, Shown::Number))
        },
        MendingMethod::Isotonic(_) => html! { "a rising step function" },
    }
}

//! How far predicted numbers are from the true ones. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::metrics::Residuals;

use super::{
    figure::{count, figure},
    parts::{Section, facts, plot, table},
};
use crate::{
    Histogram, NumberPart,
    digits::Shown,
    plot::{Axis, Chart, Mark, Scale, Shape},
    pointer::Pointer,
};

pub(super) fn section(part: &NumberPart, split: &str, at: &Pointer) -> Section {
    let unit = part.unit.as_deref();
    let body = html! {
        p { "Residuals on the split " (split) ": prediction less truth, so above zero where the model says too much"
            @if let Some(unit) = unit { ", in " (unit) } "." }
        @if let Some(residuals) = &part.residuals { (errors(residuals, &at.field("residuals"))) }
        div.plots {
            (predicted_over_true(part, unit, at))
            (errors_over_predictions(part, unit))
            @if let Some(bars) = &part.histogram { (histogram(bars, unit, &at.field("histogram"))) }
        }
    };
    Section { id: "residuals", title: "Predictions and residuals", body }
}

fn errors(residuals: &Residuals, at: &Pointer) -> Markup {
    let of = |name: &str, value: f64| figure(&at.field(name), value, Shown::Number);
    facts(vec![
        ("Mean residual", of("mean", residuals.mean)),
        ("Standard deviation", of("deviation", residuals.deviation)),
        ("Lowest", of("min", residuals.min)),
        ("A twentieth below", of("p5", residuals.p5)),
        ("A quarter below", of("p25", residuals.p25)),
        ("Median", of("p50", residuals.p50)),
        ("A quarter above", of("p75", residuals.p75)),
        ("A twentieth above", of("p95", residuals.p95)),
        ("Highest", of("max", residuals.max)),
    ])
}

fn labelled(what: &str, unit: Option<&str>) -> String {
    unit.map_or_else(|| what.to_owned(), |unit| format!("{what} ({unit})"))
}

fn predicted_over_true(part: &NumberPart, unit: Option<&str>, at: &Pointer) -> Markup {
    let both = part.predicted.iter().flat_map(|row| [row.truth, row.prediction]);
    let Some(scale) = Scale::over(both) else { return html! {} };
    let points = part.predicted.iter().map(|row| (row.truth, row.prediction)).collect();
    let chart = Chart {
        title: "Predicted values over true ones; on the diagonal they agree".to_owned(),
        shape: Shape::Square,
        x: Axis { label: labelled("True", unit), scale },
        y: Axis { label: labelled("Predicted", unit), scale },
        marks: vec![
            Mark::Reference { from: (scale.from(), scale.from()), to: (scale.to(), scale.to()) },
            Mark::Cloud { points },
        ],
    };
    plot(&chart, html! { "Predicted over true" }, rows(part, at))
}

fn errors_over_predictions(part: &NumberPart, unit: Option<&str>) -> Markup {
    let points: Vec<_> =
        part.predicted.iter().map(|row| (row.prediction, row.prediction - row.truth)).collect();
    let x = Scale::over(points.iter().map(|point| point.0));
    let y = Scale::over(points.iter().map(|point| point.1).chain([0.0]));
    let (Some(x), Some(y)) = (x, y) else { return html! {} };
    let chart = Chart {
        title: "Residuals over predicted values; a pattern is something that the model has not learnt"
            .to_owned(),
        shape: Shape::Square,
        x: Axis { label: labelled("Predicted", unit), scale: x },
        y: Axis { label: labelled("Residual", unit), scale: y },
        marks: vec![Mark::Reference { from: (x.from(), 0.0), to: (x.to(), 0.0) }, Mark::Cloud { points }],
    };
    plot(
        &chart,
        html! { "Residuals over predictions" },
        html! { p { "They are of the same rows as predicted over true." } },
    )
}

fn rows(part: &NumberPart, at: &Pointer) -> Markup {
    let head = html! { th.number { "True" } th.number { "Predicted" } };
    let rows = html! {
        @for (at, row) in at.field("predicted").items(&part.predicted) {
            tr {
                td.number { (figure(&at.field("truth"), row.truth, Shown::Number)) }
                td.number { (figure(&at.field("prediction"), row.prediction, Shown::Number)) }
            }
        }
    };
    table("Some rows", head, rows)
}

fn histogram(bars: &Histogram, unit: Option<&str>, at: &Pointer) -> Markup {
    let begin = |bar: usize| bars.from + bar as f64 * bars.width;
    let drawn: Vec<_> = bars
        .counts
        .iter()
        .enumerate()
        .map(|(bar, count)| (begin(bar), begin(bar + 1), *count as f64))
        .collect();
    let x = Scale::over([bars.from, begin(bars.counts.len())]);
    let y = Scale::over(drawn.iter().map(|bar| bar.2).chain([0.0]));
    let (Some(x), Some(y)) = (x, y) else { return html! {} };
    let chart = Chart {
        title: "How many rows have which residual".to_owned(),
        shape: Shape::Square,
        x: Axis { label: labelled("Residual", unit), scale: x },
        y: Axis { label: "Rows".to_owned(), scale: y.rounded() },
        marks: vec![Mark::Bars { bars: drawn }],
    };
    let head = html! { th { "Bar" } th.number { "Rows" } };
    let numbers = html! {
        (facts(vec![
            ("First bar from", figure(&at.field("from"), bars.from, Shown::Number)),
            ("Width of a bar", figure(&at.field("width"), bars.width, Shown::Number)),
        ]))
        (table("Bars", head, html! {
            tr { th scope="row" { "below" } td.number { (count(&at.field("below"), bars.below)) } }
            @for (bar_at, bar) in at.field("counts").items(&bars.counts) {
                tr { th scope="row" { "bar" } td.number { (count(&bar_at, *bar)) } }
            }
            tr { th scope="row" { "above" } td.number { (count(&at.field("above"), bars.above)) } }
        }))
    };
    plot(&chart, html! { "How large residuals are; the rarest lie outside" }, numbers)
}

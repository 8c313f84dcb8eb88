//! Whether other rows, or more of them, would have made another model. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::{cross_validation::CrossValidated, learning_curve::LearningCurve};

use super::{
    figure::{count, ends, figure, maybe},
    parts::{Section, plot, table},
};
use crate::{
    Report,
    digits::Shown,
    plot::{Axis, Chart, Mark, RowScale, Scale, Shape},
    pointer::Pointer,
};

pub(super) fn section(report: &Report) -> Option<Section> {
    if report.cross_validation.is_empty() && report.learning_curves.is_empty() {
        return None;
    }
    let body = html! {
        @if !report.cross_validation.is_empty() { (folds(&report.cross_validation)) }
        @if !report.learning_curves.is_empty() {
            h3 { "What more rows would bring" }
            div.plots {
                @for (at, curve) in Pointer::root().field("learning_curves").items(&report.learning_curves) {
                    (learning_curve(curve, &at))
                }
            }
        }
    };
    Some(Section { id: "stability", title: "With other rows", body })
}

fn folds(all: &[CrossValidated]) -> Markup {
    let head = html! {
        th { "Metric" } th.number { "Mean" } th.number { "Interval" } th.number { "Deviation" }
        th.drawing aria-hidden="true" { "folds" } th.number { "Fold by fold" }
    };
    let rows = html! {
        @for (at, of) in Pointer::root().field("cross_validation").items(all) {
            @let shown = Shown::by_interval(of.corrected_lower, of.corrected_upper);
            @let scale = RowScale::over(of.values.iter().copied(), Some(of.mean));
            tr {
                th scope="row" { code { (of.metric) } }
                td.number { (figure(&at.field("mean"), of.mean, shown)) }
                td.number { (ends(
                    (&at.field("corrected_lower"), of.corrected_lower),
                    (&at.field("corrected_upper"), of.corrected_upper),
                    shown,
                )) }
                td.number { (figure(&at.field("deviation"), of.deviation, Shown::Number)) }
                td.drawing {
                    @if let Some(scale) = scale {
                        (scale.dots(&of.values))
                    }
                }
                td.number.values {
                    @for (at, value) in at.field("values").items(&of.values) { (figure(&at, *value, shown)) " " }
                }
            }
        }
    };
    html! {
        h3 { "Cross-validation" }
        p { "The same job, with each part of the rows left out in turn and measured. The interval is corrected for the rows "
            "that folds share (Nadeau & Bengio)." }
        (table("Cross-validation", head, rows))
    }
}

fn learning_curve(curve: &LearningCurve, at: &Pointer) -> Markup {
    let points: Vec<_> = curve.points.iter().map(|point| (point.rows as f64, point.mean)).collect();
    let whiskers: Vec<_> = curve
        .points
        .iter()
        .filter_map(|point| Some((point.rows as f64, point.lower?, point.upper?)))
        .collect();
    let heights = points.iter().map(|point| point.1).chain(whiskers.iter().flat_map(|ends| [ends.1, ends.2]));
    let x = Scale::over(points.iter().map(|point| point.0).chain([0.0]));
    let (Some(x), Some(y)) = (x, Scale::over(heights)) else { return html! {} };
    let chart = Chart {
        title: format!("{} over the number of rows that were learnt from", curve.metric),
        shape: Shape::Wide,
        x: Axis { label: "Rows".to_owned(), scale: x.rounded() },
        y: Axis { label: curve.metric.clone(), scale: y.rounded() },
        marks: vec![
            Mark::Whiskers { series: 0, ranges: whiskers },
            Mark::Line { series: 0, points: points.clone() },
            Mark::Dots { series: 0, points },
        ],
    };
    let head = html! {
        th.number { "Rows" } th.number { "Models" } th.number { "Mean" } th.number { "Deviation" }
    };
    let rows = html! {
        @for (at, point) in at.field("points").items(&curve.points) {
            tr {
                td.number { (count(&at.field("rows"), point.rows)) }
                td.number { (count(&at.field("models"), point.models)) }
                td.number { (figure(&at.field("mean"), point.mean, Shown::Number)) }
                td.number { (figure(&at.field("deviation"), point.deviation, Shown::Number)) }
            }
        }
    };
    let caption = html! {
        code { (curve.metric) }
        @if curve.with_twice_the_rows.is_some() {
            "; with twice the rows, by a power law, about "
            (maybe(&at.field("with_twice_the_rows"), curve.with_twice_the_rows, Shown::Number))
        }
    };
    plot(&chart, caption, table("Points of the learning curve", head, rows))
}

//! ROC curves, and precision over recall. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::{
    metrics::plots::{PrecisionRecallPoint, RocPoint},
    threshold::AtThreshold,
};

use super::{
    figure::{absent, figure, maybe, measured, score},
    parts::{Section, legend, plot, table},
};
use crate::{
    ClassCurves, ClassPart,
    digits::Shown,
    plot::{Axis, Chart, Mark, SERIES_MAX, Scale, Shape},
    pointer::Pointer,
};

/// The curves of a class, and where they stand.
type Placed<'a> = (Pointer, &'a ClassCurves);

pub(super) fn section(part: &ClassPart, split: &str, at: &Pointer) -> Option<Section> {
    let mut placed: Vec<Placed<'_>> = at.field("curves").items(&part.curves).collect();
    if placed.is_empty() {
        return None;
    }
    // Of many classes those that are told apart worst.
    let is_cut = placed.len() > SERIES_MAX;
    if is_cut {
        placed.sort_by(|(_, a), (_, b)| a.roc_auc.unwrap_or(1.0).total_cmp(&b.roc_auc.unwrap_or(1.0)));
        placed.truncate(SERIES_MAX);
    }
    let chosen = part.threshold.as_ref().and_then(|threshold| threshold.measured);
    let names: Vec<&str> = placed.iter().map(|(_, curves)| curves.class.as_str()).collect();
    let body = html! {
        p { "On the split " (split) ", at every threshold."
            @if chosen.is_some() { " The ring is the chosen one." }
            @if is_cut { " Of all classes, those that are told apart worst." } }
        (legend(&names))
        div.plots { (roc(&placed, chosen.as_ref())) (precision_recall(&placed, chosen.as_ref())) }
        (areas(&placed))
    };
    Some(Section { id: "curves", title: "ROC, precision and recall", body })
}

fn roc(placed: &[Placed<'_>], chosen: Option<&AtThreshold>) -> Markup {
    let points = |curves: &ClassCurves| -> Vec<(f64, f64)> {
        curves.roc.iter().map(|point| (point.false_positive_rate, point.true_positive_rate)).collect()
    };
    let mut marks = vec![Mark::Reference { from: (0.0, 0.0), to: (1.0, 1.0) }];
    marks.extend(lines(placed, points));
    marks.extend(chosen.map(|at| Mark::Ring { at: (at.false_positive_rate, at.recall) }));
    let chart = unit_square(
        format!("ROC curve of {}: true positive rate over false positive rate", classes(placed)),
        "False positive rate",
        "True positive rate",
        marks,
    );
    plot(&chart, html! { "ROC curve; a guess is on the diagonal" }, roc_numbers(placed))
}

fn precision_recall(placed: &[Placed<'_>], chosen: Option<&AtThreshold>) -> Markup {
    let points = |curves: &ClassCurves| -> Vec<(f64, f64)> {
        curves.precision_recall.iter().map(|point| (point.recall, point.precision)).collect()
    };
    let guess = |(_, curves): &Placed<'_>| Mark::Reference {
        from: (0.0, curves.base_rate),
        to: (1.0, curves.base_rate),
    };
    let mut marks: Vec<Mark> =
        if placed.len() == 1 { placed.iter().map(guess).collect() } else { Vec::new() };
    marks.extend(lines(placed, points));
    marks.extend(chosen.map(|at| Mark::Ring { at: (at.recall, at.precision) }));
    let chart =
        unit_square(format!("Precision of {} over recall", classes(placed)), "Recall", "Precision", marks);
    let caption = html! {
        "Precision over recall"
        @if placed.len() == 1 { "; a guess is on the dashed line" }
    };
    plot(&chart, caption, precision_recall_numbers(placed))
}

fn lines<'a>(
    placed: &'a [Placed<'_>],
    points: impl Fn(&ClassCurves) -> Vec<(f64, f64)> + 'a,
) -> impl Iterator<Item = Mark> + 'a {
    placed.iter().enumerate().map(move |(series, (_, curves))| Mark::Line { series, points: points(curves) })
}

fn unit_square(title: String, x: &str, y: &str, marks: Vec<Mark>) -> Chart {
    let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::UNIT };
    Chart { title, shape: Shape::Square, x: axis(x), y: axis(y), marks }
}

fn classes(placed: &[Placed<'_>]) -> String {
    placed.iter().map(|(_, curves)| curves.class.as_str()).collect::<Vec<_>>().join(", ")
}

fn areas(placed: &[Placed<'_>]) -> Markup {
    let head = html! {
        th { "Class" } th.number { "Base rate" } th.number { "ROC-AUC" } th.number { "Average precision" }
    };
    let rows = html! {
        @for (at, curves) in placed {
            tr {
                th scope="row" { (curves.class) }
                td.number { (figure(&at.field("base_rate"), curves.base_rate, Shown::Percent)) }
                td.number {
                    @match curves.roc_auc {
                        Some(area) => { (measured(
                            (&at.field("roc_auc"), area),
                            (&at.field("roc_auc_interval"), curves.roc_auc_interval.as_ref()),
                        )) }
                        None => { (absent()) }
                    }
                }
                td.number { (maybe(&at.field("average_precision"), curves.average_precision, Shown::Number)) }
            }
        }
    };
    table("Areas under the curves", head, rows)
}

fn roc_numbers(placed: &[Placed<'_>]) -> Markup {
    let head = html! {
        th { "Class" } th.number { "From score" } th.number { "False positive rate" } th.number { "True positive rate" }
    };
    let row = |at: &Pointer, class: &str, point: &RocPoint| {
        html! {
            tr {
                th scope="row" { (class) }
                td.number { (maybe(&at.field("threshold"), point.threshold.map(score), Shown::Number)) }
                td.number { (figure(&at.field("false_positive_rate"), point.false_positive_rate, Shown::Decimals(4))) }
                td.number { (figure(&at.field("true_positive_rate"), point.true_positive_rate, Shown::Decimals(4))) }
            }
        }
    };
    let rows = html! {
        @for (at, curves) in placed {
            @for (at, point) in at.field("roc").items(&curves.roc) { (row(&at, &curves.class, point)) }
        }
    };
    table("Points of the ROC curve", head, rows)
}

fn precision_recall_numbers(placed: &[Placed<'_>]) -> Markup {
    let head = html! {
        th { "Class" } th.number { "From score" } th.number { "Recall" } th.number { "Precision" }
    };
    let row = |at: &Pointer, class: &str, point: &PrecisionRecallPoint| {
        html! {
            tr {
                th scope="row" { (class) }
                td.number { (maybe(&at.field("threshold"), point.threshold.map(score), Shown::Number)) }
                td.number { (figure(&at.field("recall"), point.recall, Shown::Decimals(4))) }
                td.number { (figure(&at.field("precision"), point.precision, Shown::Decimals(4))) }
            }
        }
    };
    let rows = html! {
        @for (at, curves) in placed {
            @for (at, point) in at.field("precision_recall").items(&curves.precision_recall) {
                (row(&at, &curves.class, point))
            }
        }
    };
    table("Points of precision and recall", head, rows)
}

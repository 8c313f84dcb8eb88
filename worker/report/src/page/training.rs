//! How training went. Owns no state.

use maud::{Markup, html};

use super::{
    figure::{count, figure},
    parts::{Section, facts, legend, plot, prose, table},
};
use crate::{
    StepValue, Training,
    digits::Shown,
    plot::{Axis, Chart, Mark, Scale, Shape},
    pointer::Pointer,
};

/// The most metrics of validation that are drawn.
const DRAWN_MAX: usize = 6;

/// The most points of a curve that stand in a table.
const LISTED_MAX: usize = 200;

/// A curve over steps: its name, where it stands, and its values.
type Curve<'a> = (&'a str, Pointer, &'a [StepValue]);

pub(super) fn section(training: &Training) -> Section {
    let at = Pointer::root().field("training");
    let validation = |name: &str| training.validation.get(name).map(Vec::as_slice);
    let mut losses: Vec<Curve<'_>> = vec![("training", at.field("loss"), &training.loss)];
    losses.extend(validation("loss").map(|values| ("validation", at.fields("validation/loss"), values)));
    losses.retain(|(_, _, values)| !values.is_empty());
    let names: Vec<&str> = losses.iter().map(|(name, _, _)| *name).collect();
    let others = training.validation.iter().filter(|(name, values)| *name != "loss" && !values.is_empty());
    let body = html! {
        (course(training, &at))
        @if let Some(why) = &training.stopped_early { p { "It ended before its time: " (prose(why)) "." } }
        (legend(&names))
        div.plots {
            (curves("Loss", &losses, training))
            @for (name, values) in others.take(DRAWN_MAX) {
                (curves(name, &[("validation", at.field("validation").field(name), values)], training))
            }
        }
        p.note { "The dashed line is the step whose weights the model has." }
    };
    Section { id: "training", title: "Training", body }
}

fn course(training: &Training, at: &Pointer) -> Markup {
    let mut rows = vec![
        (
            "Steps",
            html! {
                (count(&at.field("steps"), training.steps)) " of "
                (count(&at.field("steps_planned"), training.steps_planned))
            },
        ),
        ("Weights from step", count(&at.field("kept_step"), training.kept_step)),
        ("Samples", count(&at.field("samples"), training.samples)),
        ("Samples of a step", count(&at.field("batch_size"), training.batch_size.into())),
    ];
    if let Some(epochs) = training.epochs {
        rows.push(("Epochs", figure(&at.field("epochs"), epochs, Shown::Number)));
    }
    if let Some(seconds) = training.seconds {
        rows.push(("Time", figure(&at.field("seconds"), seconds, Shown::Seconds)));
    }
    for (name, time) in [("Began", training.started_at), ("Ended", training.finished_at)] {
        rows.extend(time.map(|time| (name, html! { (super::time(time)) })));
    }
    facts(rows)
}

fn curves(name: &str, all: &[Curve<'_>], training: &Training) -> Markup {
    let values = || all.iter().flat_map(|(_, _, values)| values.iter());
    let x = Scale::over(values().map(|point| point.step as f64).chain([0.0]));
    let (Some(x), Some(y)) = (x, Scale::over(values().map(|point| point.value))) else { return html! {} };
    if all.is_empty() {
        return html! {};
    }
    let y = y.rounded();
    let kept = training.kept_step as f64;
    let mut marks = vec![Mark::Reference { from: (kept, y.from()), to: (kept, y.to()) }];
    for (_, at, values) in all {
        let points: Vec<_> = values.iter().map(|point| (point.step as f64, point.value)).collect();
        // Validation has the second colour, beside that of training.
        let series = usize::from(!at.to_string().ends_with("training/loss"));
        if points.len() <= 40 && series == 1 {
            marks.push(Mark::Dots { series, points: points.clone() });
        }
        marks.push(Mark::Line { series, points });
    }
    let chart = Chart {
        title: format!("{name} over steps"),
        shape: Shape::Wide,
        x: Axis { label: "Step".to_owned(), scale: x },
        y: Axis { label: name.to_owned(), scale: y },
        marks,
    };
    let head = html! { th { "" } th.number { "Step" } th.number { (name) } };
    let rows = html! {
        @for (what, at, values) in all {
            @for (at, point) in at.items(values).step_by(values.len().div_ceil(LISTED_MAX).max(1)) {
                tr {
                    th scope="row" { (what) }
                    td.number { (count(&at.field("step"), point.step)) }
                    td.number { (figure(&at.field("value"), point.value, Shown::Number)) }
                }
            }
        }
    };
    plot(&chart, html! { code { (name) } }, table("Points of the curve", head, rows))
}

//! Where the model does badly. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::slices::{SliceResult, Slices};

use super::{
    figure::{absent, count, difference, figure, maybe, measured},
    parts::{Section, code, cut, mark, row_head, table, tag},
};
use crate::{
    OnSplit,
    digits::Shown,
    plot::{RowScale, Tone},
    pointer::Pointer,
};

/// The most slices of one metric that are shown.
const SLICES_MAX: usize = 30;

pub(super) fn section(all: &[OnSplit<Slices>]) -> Option<Section> {
    if all.is_empty() {
        return None;
    }
    let body = html! {
        p { "From the worst on: ranked by how much worse a slice is at least, so that few rows with bad luck do not come "
            "first. Slices are compared with all rows, and corrected for their number." }
        @for (at, slices) in Pointer::root().field("slices").items(all) {
            h3 { code { (slices.found.metric) } " on the split " (slices.split) }
            (ranked(&slices.found, &at.field("found")))
        }
    };
    Some(Section { id: "slices", title: "Slices", body })
}

fn ranked(slices: &Slices, at: &Pointer) -> Markup {
    let shown = slices.slices.get(..SLICES_MAX).unwrap_or(&slices.slices);
    let ends = |slice: &SliceResult| {
        let interval = slice.interval.map(|interval| [interval.lower, interval.upper]);
        slice.value.into_iter().chain(interval.into_iter().flatten()).collect::<Vec<_>>()
    };
    let scale = RowScale::over(shown.iter().flat_map(ends), slices.whole);
    let head = html! {
        th { "Slice" } th.number { "Rows" } th.number { "Share" } (row_head(scale.as_ref()))
        th.number { (slices.metric) } th.number { "Against all rows" } th.number { "p, adjusted" }
    };
    let rows = html! {
        tr.whole {
            th scope="row" { "all rows" } td {} td {} td.drawing {}
            td.number { (maybe(&at.field("whole"), slices.whole, Shown::Number)) } td {} td {}
        }
        @for (at, slice) in at.field("slices").items(shown) { (row(&at, slice, scale.as_ref())) }
    };
    html! { (table("Slices", head, rows)) (cut(shown.len(), slices.slices.len())) }
}

fn row(at: &Pointer, slice: &SliceResult, scale: Option<&RowScale>) -> Markup {
    let ends = slice.interval.map(|interval| (interval.lower, interval.upper));
    html! {
        tr {
            th scope="row" { (code(&slice.slice)) (outcome(slice)) }
            td.number { (count(&at.field("rows"), slice.rows)) }
            td.number { (figure(&at.field("share"), slice.share, Shown::Percent)) }
            td.drawing {
                @if let (Some(scale), Some(value)) = (scale, slice.value) { (scale.dot(value, ends, tone(slice))) }
            }
            td.number {
                @match slice.value {
                    Some(value) => { (measured(
                        (&at.field("value"), value),
                        (&at.field("interval"), slice.interval.as_ref()),
                    )) }
                    None => { (absent()) }
                }
            }
            td.number {
                @if let Some(of) = &slice.difference {
                    @let place = at.field("difference");
                    (difference((&place.field("estimate"), of.estimate), (&place, Some(of))))
                }
            }
            td.number { (maybe(&at.field("p_adjusted"), slice.p_adjusted, Shown::Probability)) }
        }
    }
}

fn outcome(slice: &SliceResult) -> Markup {
    html! {
        span.outcome {
            @if slice.small { (tag("few rows")) }
            @else if slice.differs { (mark(!is_worse(slice), "better", "worse")) }
        }
    }
}

pub(super) fn is_worse(slice: &SliceResult) -> bool {
    slice.worse_by.is_some_and(|worse| worse > 0.0)
}

fn tone(slice: &SliceResult) -> Tone {
    match (slice.small, slice.differs) {
        (true, _) => Tone::Faint,
        (false, true) if is_worse(slice) => Tone::Bad,
        (false, true) => Tone::Good,
        (false, false) => Tone::Plain,
    }
}

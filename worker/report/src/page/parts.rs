//! What sections of the page are made of: headings with anchors, tables that scroll by themselves, plots with
//! the numbers behind them. Owns no state.

use maud::{Markup, html};

use crate::plot::{Chart, RowScale, Tone, colour};

/// A section of the page.
pub(super) struct Section {
    /// Its anchor.
    pub(super) id: &'static str,
    /// Its heading.
    pub(super) title: &'static str,
    /// What stands below that.
    pub(super) body: Markup,
}

impl Section {
    /// The section with its heading.
    pub(super) fn draw(&self) -> Markup {
        html! {
            section id=(self.id) aria-labelledby=(format!("{}-title", self.id)) {
                h2 id=(format!("{}-title", self.id)) { a href=(format!("#{}", self.id)) { (self.title) } }
                (self.body)
            }
        }
    }
}

/// A table that scrolls sideways where it is wider than the page. `label` names it for readers' programs.
pub(super) fn table(label: &str, head: Markup, rows: Markup) -> Markup {
    html! {
        div.scroll role="region" tabindex="0" aria-label=(label) {
            table {
                thead { tr { (head) } }
                tbody { (rows) }
            }
        }
    }
}

/// A table of names and what they are.
pub(super) fn facts(rows: Vec<(&str, Markup)>) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in rows {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

/// A chart with what is to be said of it, and the numbers behind it.
pub(super) fn plot(chart: &Chart, caption: Markup, numbers: Markup) -> Markup {
    html! {
        figure.plot {
            figcaption { (caption) }
            (chart.draw())
            details.numbers {
                summary { "The numbers" }
                (numbers)
            }
        }
    }
}

/// Which colour stands for what; nothing where there is one series.
pub(super) fn legend(names: &[&str]) -> Markup {
    html! {
        @if names.len() > 1 {
            ul.legend {
                @for (series, name) in names.iter().enumerate() {
                    li class=(colour(series)) { (name) }
                }
            }
        }
    }
}

/// A mark for something that holds, or does not.
pub(super) fn mark(holds: bool, yes: &str, no: &str) -> Markup {
    let (tone, sign, text) = if holds { (Tone::Good, "✓", yes) } else { (Tone::Bad, "✗", no) };
    html! { span class={ "mark " (tone.class()) } { span aria-hidden="true" { (sign) " " } (text) } }
}

/// A short remark in a table: `small`.
pub(super) fn tag(text: &str) -> Markup {
    html! { span.tag { (text) } }
}

/// The head of a column of drawings: from where to where they go.
pub(super) fn row_head(scale: Option<&RowScale>) -> Markup {
    html! { th.drawing aria-hidden="true" { @if let Some(scale) = scale { (scale.ends()) } } }
}

/// A code, hash or path that may break anywhere.
pub(super) fn code(text: &str) -> Markup {
    html! { code { (text) } }
}

/// A sentence from outside in which code stands between backticks.
pub(super) fn prose(text: &str) -> Markup {
    let is_paired = text.matches('`').count().is_multiple_of(2);
    html! {
        @if is_paired {
            @for (at, part) in text.split('`').enumerate() {
                @if at.is_multiple_of(2) { (part) } @else { code { (part) } }
            }
        } @else { (text) }
    }
}

/// What stands below a list that was cut.
pub(super) fn cut(shown: usize, all: usize) -> Markup {
    html! { @if all > shown { p.note { "The rest stands in " code { "report.json" } "." } } }
}

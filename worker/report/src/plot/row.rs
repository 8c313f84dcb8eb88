//! Small drawings within the rows of a table, all on one scale, so that the table is a plot at the
//! same time. Owns no state. They only repeat what stands beside them, so readers' programs skip them.

use maud::{Markup, html};

use super::{chart::at, scale::Scale};
use crate::digits::Shown;

const WIDTH: f64 = 150.0;
const HEIGHT: f64 = 18.0;
/// Room at both ends, so that a dot at the end is whole.
const MARGIN: f64 = 5.0;

/// What a figure says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing by itself.
    Plain,
    /// Something good.
    Good,
    /// Something bad.
    Bad,
    /// That it should not be taken seriously: too few rows.
    Faint,
}

impl Tone {
    /// The class that gives it its colour.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Faint => "faint",
        }
    }
}

/// The scale of all rows of one table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RowScale {
    scale: Scale,
    /// Where a thin line goes through all rows, and where bars begin.
    reference: Option<f64>,
}

impl RowScale {
    /// One for `values`, with `reference` on it; `None` where there is no finite value.
    pub(crate) fn over(values: impl IntoIterator<Item = f64>, reference: Option<f64>) -> Option<Self> {
        let scale = Scale::over(values.into_iter().chain(reference))?;
        Some(Self { scale, reference })
    }

    /// A dot, with a line for how far it may be off.
    pub(crate) fn dot(&self, value: f64, ends: Option<(f64, f64)>, tone: Tone) -> Markup {
        self.draw(
            tone,
            html! {
                @if let Some((lower, upper)) = ends { (self.line(lower, upper)) }
                @if value.is_finite() { circle cx=(at(self.x(value))) cy=(at(HEIGHT / 2.0)) r="4" {} }
            },
        )
    }

    /// A dot for each of several values that belong together.
    pub(crate) fn dots(&self, values: &[f64]) -> Markup {
        self.draw(
            Tone::Plain,
            html! {
                @for value in values.iter().filter(|value| value.is_finite()) {
                    circle.one cx=(at(self.x(*value))) cy=(at(HEIGHT / 2.0)) r="4" {}
                }
            },
        )
    }

    /// A bar from the reference, or from 0, with a line for how far its end may be off.
    pub(crate) fn bar(&self, value: f64, ends: Option<(f64, f64)>, tone: Tone) -> Markup {
        let (begin, end) = (self.x(self.reference.unwrap_or(0.0)), self.x(value));
        self.draw(tone, html! {
            @if value.is_finite() {
                rect x=(at(begin.min(end))) y="4" width=(at((begin - end).abs().max(1.0))) height=(at(HEIGHT - 8.0)) {}
            }
            @if let Some((lower, upper)) = ends { (self.line(lower, upper)) }
        })
    }

    /// Texts for both ends of the scale.
    pub(crate) fn ends(&self) -> Markup {
        let (from, to) = (self.scale.from(), self.scale.to());
        html! { span.ends { span.tick { (Shown::Number.text(from)) } span.tick { (Shown::Number.text(to)) } } }
    }

    fn draw(&self, tone: Tone, marks: Markup) -> Markup {
        html! {
            svg class={ "row " (tone.class()) } viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) aria-hidden="true" {
                @if let Some(reference) = self.reference {
                    line class="reference" x1=(at(self.x(reference))) x2=(at(self.x(reference))) y1="0" y2=(HEIGHT) {}
                }
                (marks)
            }
        }
    }

    fn line(&self, lower: f64, upper: f64) -> Markup {
        let middle = at(HEIGHT / 2.0);
        html! {
            @if lower.is_finite() && upper.is_finite() {
                line class="whisker" x1=(at(self.x(lower))) x2=(at(self.x(upper))) y1=(middle) y2=(middle) {}
            }
        }
    }

    fn x(&self, value: f64) -> f64 {
        MARGIN + self.scale.share(value) * (WIDTH - 2.0 * MARGIN)
    }
}

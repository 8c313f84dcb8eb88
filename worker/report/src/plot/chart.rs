//! A chart: two axes and what is drawn between them. Owns no state.

use maud::{Markup, html};

use super::scale::Scale;

/// As many series have a colour of their own.
pub(crate) const SERIES_MAX: usize = 6;

/// Units of the drawing: its width, and room for what stands around the plot. A page shows it at about
/// a pixel a unit.
const WIDTH: f64 = 420.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 44.0;

/// What a chart is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As high as wide: both axes are alike.
    Square,
    /// Lower than wide.
    Wide,
}

impl Shape {
    fn height(self) -> f64 {
        match self {
            Self::Square => WIDTH - LEFT - RIGHT + TOP + BOTTOM,
            Self::Wide => 290.0,
        }
    }
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// What it is of.
    pub(crate) label: String,
    /// From where to where it goes.
    pub(crate) scale: Scale,
}

/// Something that is drawn. Points with a number that is not finite are left out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mark {
    /// A line from point to point.
    Line {
        /// Which colour.
        series: usize,
        /// The points, in order.
        points: Vec<(f64, f64)>,
    },
    /// A dot at each point.
    Dots {
        /// Which colour.
        series: usize,
        /// The points.
        points: Vec<(f64, f64)>,
    },
    /// So many dots that they must let each other shine through.
    Cloud {
        /// The points.
        points: Vec<(f64, f64)>,
    },
    /// A line up and down from each point.
    Whiskers {
        /// Which colour.
        series: usize,
        /// Place, lower and upper end.
        ranges: Vec<(f64, f64, f64)>,
    },
    /// Bars that stand on the horizontal axis.
    Bars {
        /// Where each begins, ends, and how high it is.
        bars: Vec<(f64, f64, f64)>,
    },
    /// A thin line to compare with: what a guess would be, where both axes agree.
    Reference {
        /// Where it begins.
        from: (f64, f64),
        /// Where it ends.
        to: (f64, f64),
    },
    /// A ring around one point that is spoken of.
    Ring {
        /// The point.
        at: (f64, f64),
    },
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    /// What it shows, for those who cannot see it.
    pub(crate) title: String,
    /// Its proportions.
    pub(crate) shape: Shape,
    /// From left to right.
    pub(crate) x: Axis,
    /// From bottom to top.
    pub(crate) y: Axis,
    /// What is drawn, the first at the back.
    pub(crate) marks: Vec<Mark>,
}

impl Chart {
    /// The drawing.
    pub(crate) fn draw(&self) -> Markup {
        let (height, y_middle) = (self.shape.height(), self.y(0.5));
        html! {
            svg class="chart" viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(self.title) {
                @for (value, text) in self.x.scale.ticks() {
                    @let x = self.x(self.x.scale.share(value));
                    line class="grid" x1=(at(x)) x2=(at(x)) y1=(at(TOP)) y2=(at(self.y(0.0))) {}
                    text class="tick" x=(at(x)) y=(at(self.y(0.0) + 17.0)) text-anchor="middle" { (text) }
                }
                @for (value, text) in self.y.scale.ticks() {
                    @let y = self.y(self.y.scale.share(value));
                    line class="grid" x1=(at(LEFT)) x2=(at(WIDTH - RIGHT)) y1=(at(y)) y2=(at(y)) {}
                    text class="tick" x=(at(LEFT - 7.0)) y=(at(y + 4.0)) text-anchor="end" { (text) }
                }
                text class="axis" x=(at(self.x(0.5))) y=(at(height - 6.0)) text-anchor="middle" { (self.x.label) }
                text class="axis" text-anchor="middle" transform=(format!("translate(12 {}) rotate(-90)", at(y_middle))) {
                    (self.y.label)
                }
                @for mark in &self.marks { (self.mark(mark)) }
                line class="base" x1=(at(LEFT)) x2=(at(WIDTH - RIGHT)) y1=(at(self.y(0.0))) y2=(at(self.y(0.0))) {}
            }
        }
    }

    fn mark(&self, mark: &Mark) -> Markup {
        match mark {
            Mark::Line { series, points } => html! {
                polyline class={ "line " (colour(*series)) } points=(self.path(points)) {}
            },
            Mark::Dots { series, points } => html! {
                g class={ "dots " (colour(*series)) } { (self.circles(points, 4.5)) }
            },
            Mark::Cloud { points } => html! { g class="cloud" { (self.circles(points, 2.6)) } },
            Mark::Whiskers { series, ranges } => html! {
                g class={ "whiskers " (colour(*series)) } {
                    @for (place, lower, upper) in ranges {
                        @if let (Some((x, low)), Some((_, high))) =
                            (self.point(&(*place, *lower)), self.point(&(*place, *upper)))
                        {
                            line x1=(at(x)) x2=(at(x)) y1=(at(low)) y2=(at(high)) {}
                        }
                    }
                }
            },
            Mark::Bars { bars } => html! {
                g class="bars" { @for bar in bars { (self.bar(bar)) } }
            },
            Mark::Reference { from, to } => html! {
                polyline class="reference" points=(self.path(&[*from, *to])) {}
            },
            Mark::Ring { at: place } => html! {
                @if let Some((x, y)) = self.point(place) {
                    circle class="ring" cx=(at(x)) cy=(at(y)) r="6" {}
                }
            },
        }
    }

    fn bar(&self, (from, to, height): &(f64, f64, f64)) -> Markup {
        let ends = (self.point(&(*from, *height)), self.point(&(*to, self.y.scale.from())));
        html! {
            @if let (Some((left, top)), Some((right, bottom))) = ends {
                // A pixel between neighbours keeps them apart.
                rect x=(at(left + 0.5)) y=(at(top)) width=(at((right - left - 1.0).max(1.0)))
                    height=(at((bottom - top).max(0.0))) {}
            }
        }
    }

    fn circles(&self, points: &[(f64, f64)], radius: f64) -> Markup {
        html! {
            @for (x, y) in points.iter().filter_map(|point| self.point(point)) {
                circle cx=(at(x)) cy=(at(y)) r=(radius) {}
            }
        }
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let places = points.iter().filter_map(|point| self.point(point));
        places.map(|(x, y)| format!("{},{}", at(x), at(y))).collect::<Vec<_>>().join(" ")
    }

    fn point(&self, (x, y): &(f64, f64)) -> Option<(f64, f64)> {
        let is_finite = x.is_finite() && y.is_finite();
        is_finite.then(|| (self.x(self.x.scale.share(*x)), self.y(self.y.scale.share(*y))))
    }

    fn x(&self, share: f64) -> f64 {
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, share: f64) -> f64 {
        let height = self.shape.height();
        height - BOTTOM - share * (height - TOP - BOTTOM)
    }
}

/// The class that gives a series its colour; those beyond the last share one.
pub(crate) fn colour(series: usize) -> String {
    format!("series-{}", series.min(SERIES_MAX) + 1)
}

/// A place, to a tenth of a unit.
pub(super) fn at(place: f64) -> String {
    let text = format!("{place:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_axes_ticks_and_marks_and_leaves_out_what_is_no_number() {
        let axis = |label: &str| Axis { label: label.to_owned(), scale: Scale::UNIT };
        let chart = Chart {
            title: "a < b".to_owned(),
            shape: Shape::Wide,
            x: axis("x"),
            y: axis("y"),
            marks: vec![
                Mark::Reference { from: (0.0, 0.0), to: (1.0, 1.0) },
                Mark::Line { series: 0, points: vec![(0.0, 0.5), (0.5, f64::NAN), (2.0, 1.0)] },
                Mark::Bars { bars: vec![(0.0, 0.1, 0.25)] },
                Mark::Whiskers { series: 9, ranges: vec![(0.5, 0.25, 0.75)] },
                Mark::Ring { at: (0.5, f64::INFINITY) },
            ],
        };
        insta::assert_snapshot!(chart.draw().into_string().replace('>', ">\n"));
    }
}

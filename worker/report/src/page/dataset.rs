//! The page of a dataset version: the same parts as in the report of a model, and a plot of each
//! column. Owns no state.

use maud::{Markup, html};

use super::{
    data, document,
    figure::{count, figure},
    parts::{Section, code, cut, facts, plot, table},
};
use crate::{
    DatasetPage, Histogram, Profile, ProfileOf,
    digits::Shown,
    plot::{Axis, Chart, Mark, RowScale, Scale, Shape, Tone},
    pointer::Pointer,
};

/// The most columns that are drawn.
const COLUMNS_MAX: usize = 200;

/// Percentiles in a column's table, in words.
const PERCENTILES: [(usize, &str); 7] = [
    (1, "One in a hundred below"),
    (5, "A twentieth below"),
    (25, "A quarter below"),
    (50, "Median"),
    (75, "A quarter above"),
    (95, "A twentieth above"),
    (99, "One in a hundred above"),
];

impl DatasetPage {
    /// The page as one HTML file, to be read in a browser or on paper.
    pub fn to_html(&self) -> String {
        let mut sections = vec![data::section(&self.dataset)];
        sections.extend(leakage(&self.leakage));
        if !self.profiles.is_empty() {
            sections.push(overview(&self.profiles));
            sections.push(columns(&self.profiles));
        }
        let header = html! {
            header {
                p.eyebrow { "Dataset report" }
                h1 { (self.dataset.name) }
                p.lead { "Version " (code(&self.dataset.version)) ". What its columns hold is counted over the rows of all splits, "
                    "clean and before they are encoded." }
            }
        };
        let foot = html! { p { code { "phalanx data show --json" } " prints the manifest, which holds these figures." } };
        document(&format!("{}: dataset report", self.dataset.name), &header, &sections, &foot)
    }
}

fn leakage(findings: &[String]) -> Option<Section> {
    let body = html! { ul.findings { @for finding in findings { li { (finding) } } } };
    (!findings.is_empty()).then_some(Section { id: "leakage", title: "In two splits", body })
}

/// All columns in one table.
fn overview(profiles: &[Profile]) -> Section {
    let share = |profile: &Profile| profile.missing as f64 / profile.rows.max(1) as f64;
    let scale = RowScale::over([0.0, 1.0], None);
    let head = html! {
        th { "Column" } th { "Type" } th.number { "Missing" } th.drawing aria-hidden="true" {} th.number { "Mean" }
        th.number { "Deviation" } th.number { "Least" } th.number { "Median" } th.number { "Greatest" } th.number { "Kinds" }
    };
    let rows = html! {
        @for (at, profile) in Pointer::root().field("profiles").items(profiles) {
            tr {
                th scope="row" { (profile.name) }
                td { (profile.data_type) }
                td.number { (count(&at.field("missing"), profile.missing)) }
                td.drawing {
                    @if let (Some(scale), 1..) = (scale, profile.missing) { (scale.bar(share(profile), None, Tone::Bad)) }
                }
                (cells(&at.field("values"), &profile.values))
                td.number {
                    @if profile.values != ProfileOf::Other { (count(&at.field("distinct"), profile.distinct)) }
                }
            }
        }
    };
    Section { id: "columns", title: "Columns", body: table("Columns", head, rows) }
}

/// The figures of a column within the table of all.
fn cells(at: &Pointer, values: &ProfileOf) -> Markup {
    match values {
        ProfileOf::Numbers { mean, deviation, percentiles, .. } => {
            let at = at.field("numbers");
            let percentile = |percent: usize| {
                let at = at.field("percentiles").item(percent);
                html! { @if let Some(value) = percentiles.get(percent) { (figure(&at, *value, Shown::Number)) } }
            };
            html! {
                td.number { (figure(&at.field("mean"), *mean, Shown::Number)) }
                td.number { (figure(&at.field("deviation"), *deviation, Shown::Number)) }
                @for percent in [0, 50, 100] { td.number { (percentile(percent)) } }
            }
        }
        ProfileOf::Texts { .. } | ProfileOf::Other => html! { td colspan="5" {} },
    }
}

/// A plot of each column.
fn columns(profiles: &[Profile]) -> Section {
    let all = Pointer::root().field("profiles");
    let body = html! {
        div.plots {
            @for (at, profile) in all.items(profiles).take(COLUMNS_MAX) {
                @let at = at.field("values");
                @match &profile.values {
                    ProfileOf::Numbers { percentiles, histogram, .. } => {
                        (numbers(&profile.name, percentiles, histogram, &at.field("numbers")))
                    }
                    ProfileOf::Texts { top, other, .. } => { (texts(&profile.name, top, *other, &at.field("texts"))) }
                    ProfileOf::Other => {}
                }
            }
        }
        (cut(COLUMNS_MAX, profiles.len()))
    };
    Section { id: "values", title: "What columns hold", body }
}

fn numbers(name: &str, percentiles: &[f64], bars: &Histogram, at: &Pointer) -> Markup {
    let begin = |bar: usize| bars.from + bar as f64 * bars.width;
    let bar = |(bar, count): (usize, &u64)| (begin(bar), begin(bar + 1), *count as f64);
    let drawn: Vec<_> = bars.counts.iter().enumerate().map(bar).collect();
    let x = Scale::over([bars.from, begin(bars.counts.len())]);
    let y = Scale::over(drawn.iter().map(|bar| bar.2).chain([0.0]));
    let (Some(x), Some(y)) = (x, y) else { return html! {} };
    let chart = Chart {
        title: format!("How many rows have which value of {name}"),
        shape: Shape::Wide,
        x: Axis { label: name.to_owned(), scale: x },
        y: Axis { label: "Rows".to_owned(), scale: y.rounded() },
        marks: vec![Mark::Bars { bars: drawn }],
    };
    let head = html! { th { "Rows" } th.number { "Value" } };
    let rows = html! {
        @for (percent, words) in PERCENTILES {
            @if let Some(value) = percentiles.get(percent) {
                tr {
                    th scope="row" { (words) }
                    td.number { (figure(&at.field("percentiles").item(percent), *value, Shown::Number)) }
                }
            }
        }
    };
    let bars_head = html! { th { "Bar" } th.number { "Rows" } };
    let histogram = at.field("histogram");
    let bar_rows = html! {
        @for (bar_at, rows) in histogram.field("counts").items(&bars.counts) {
            tr { th scope="row" { "bar" } td.number { (count(&bar_at, *rows)) } }
        }
    };
    let behind = html! {
        (table("Percentiles", head, rows))
        (facts(vec![
            ("First bar from", figure(&histogram.field("from"), bars.from, Shown::Number)),
            ("Width of a bar", figure(&histogram.field("width"), bars.width, Shown::Number)),
        ]))
        (table("Bars", bars_head, bar_rows))
    };
    plot(&chart, html! { code { (name) } }, behind)
}

fn texts(name: &str, top: &[(String, u64)], other: u64, at: &Pointer) -> Markup {
    let rows = top.iter().map(|(_, rows)| *rows).chain([other, 0]);
    let scale = RowScale::over(rows.map(|rows| rows as f64), None);
    let bar = |rows: u64| {
        html! {
            td.drawing { @if let Some(scale) = scale { (scale.bar(rows as f64, None, Tone::Plain)) } }
        }
    };
    let head = html! { th { "Value" } th.drawing aria-hidden="true" {} th.number { "Rows" } };
    let rows = html! {
        @for (at, (text, rows)) in at.field("top").items(top) {
            tr { th scope="row" { (text) } (bar(*rows)) td.number { (count(&at.item(1), *rows)) } }
        }
        @if other > 0 {
            tr.whole { th scope="row" { "any other" } (bar(other)) td.number { (count(&at.field("other"), other)) } }
        }
    };
    html! { figure.plot { figcaption { code { (name) } } (table(name, head, rows)) } }
}

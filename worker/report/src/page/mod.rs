//! The page: one HTML file that needs nothing else. Owns its order, and the style sheet.
//!
//! Numbered invariants, each held by a test:
//!
//! 1. It loads nothing and runs nothing: its content security policy forbids both.
//! 2. Every figure is a `<data>` element with its exact value and its JSON pointer in `report.json`.
//! 3. Whatever comes from outside is escaped; any report gives a well-formed page.
//! 4. Whoever sees no plots finds their numbers in tables.

mod absent;
mod calibration;
mod comparison;
mod confusion;
mod curves;
mod data;
mod dataset;
mod fairness;
mod figure;
mod gates;
mod importance;
mod metrics;
mod mitigation;
mod numbers;
mod origin;
mod parts;
mod robustness;
mod slices;
mod stability;
mod summary;
mod threshold;
mod training;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::parts::Section;
use crate::{OnSplit, Predictions, Report, pointer::Pointer};

const STYLE: &str = include_str!("style.css");

/// No script, no font, no picture, no connection.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

impl Report {
    /// The report as one HTML file, to be read in a browser or on paper.
    pub fn to_html(&self) -> String {
        let sections = sections(self);
        let title = match self.identity.version {
            Some(version) => format!("{} {version}: model report", self.identity.model),
            None => format!("{}: model report", self.identity.model),
        };
        let foot = html! {
            p { "Every figure here is a field of " code { "report.json" } ", which lies beside this page; "
                "each carries its place there (" code { "data-at" } ", a JSON pointer)." }
        };
        document(&title, &summary::header(self), &sections, &foot)
    }
}

/// A page of its own.
fn document(title: &str, header: &Markup, sections: &[Section], foot: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "To the content" }
                (contents(sections))
                main id="content" {
                    (header)
                    @for section in sections { (section.draw()) }
                    footer { (foot) }
                }
            }
        }
    };
    page.into_string()
}

fn sections(report: &Report) -> Vec<Section> {
    let mut sections = Vec::new();
    sections.extend(report.verdict.as_ref().map(gates::section));
    sections.extend(metrics::section(report));
    if let Some(on) = &report.predictions {
        sections.extend(of_predictions(on));
    }
    sections.extend(slices::section(&report.slices));
    sections.extend(report.fairness.as_ref().map(fairness::section));
    sections.extend(importance::section(report));
    sections.extend(robustness::section(&report.robustness));
    sections.extend(report.comparison.as_ref().map(comparison::section));
    sections.extend(stability::section(report));
    sections.extend(report.training.as_ref().map(training::section));
    sections.extend(report.dataset.as_ref().map(data::section));
    sections.extend(report.environment.as_ref().map(origin::environment));
    sections.extend(origin::reproduction(report));
    sections.extend(absent::section(report));
    sections
}

fn of_predictions(on: &OnSplit<Predictions>) -> Vec<Section> {
    let at = Pointer::root().fields("predictions/found");
    let mut sections = Vec::new();
    match &on.found {
        Predictions::Classes(part) => {
            let at = at.field("classes");
            let confusion = part.confusion.as_ref();
            sections.extend(confusion.map(|of| confusion::section(of, &on.split, &at.field("confusion"))));
            sections.extend(curves::section(part, &on.split, &at));
            let calibration = part.calibration.as_ref();
            sections
                .extend(calibration.map(|of| calibration::section(of, &on.split, &at.field("calibration"))));
            let threshold = part.threshold.as_ref();
            sections.extend(threshold.map(|of| threshold::section(of, &on.split, &at.field("threshold"))));
        }
        Predictions::Numbers(part) => sections.push(numbers::section(part, &on.split, &at.field("numbers"))),
        Predictions::Text(part) => sections.extend(part.sample.as_ref().map(|sample| Section {
            id: "sample",
            title: "A sample of its own",
            body: html! { pre.sample { (sample) } },
        })),
    }
    sections
}

fn contents(sections: &[Section]) -> Markup {
    html! {
        nav aria-label="Contents" {
            ol { @for section in sections { li { a href=(format!("#{}", section.id)) { (section.title) } } } }
        }
    }
}

/// A time, to the second, in UTC.
fn time(time: Timestamp) -> Markup {
    html! { time datetime=(time) { (time.strftime("%Y-%m-%d %H:%M:%S UTC")) } }
}

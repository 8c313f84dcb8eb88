//! Metrics, split by split and class by class. Owns no state.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use phalanx_protocol::spec::{MeasuredOn, Metric, MetricName};

use super::{
    figure::{absent, chosen_share, measured},
    parts::{Section, cut, table},
};
use crate::{Measured, Report, SplitMetrics, pointer::Pointer};

/// The most classes of which the metrics are shown.
const CLASSES_MAX: usize = 50;

/// The most metrics that are shown large.
const HEADLINE_MAX: usize = 4;

/// What is shown large where the job names nothing, of what there is.
const USUAL: &[&str] = &[
    "roc_auc",
    "accuracy",
    "f1",
    "log_loss",
    "r2",
    "rmse",
    "mae",
    "mape",
    "bits_per_byte",
    "perplexity",
    "loss",
];

pub(super) fn section(report: &Report) -> Option<Section> {
    let first = report.splits.first()?;
    let body = html! {
        (of_splits(report))
        (of_classes(first))
        @for split in report.splits.iter().filter(|split| !split.undefined.is_empty()) {
            details {
                summary { "Without a value on the split " (split.split) }
                ul { @for (name, reason) in &split.undefined { li { code { (name) } ": " (reason) } } }
            }
        }
    };
    Some(Section { id: "metrics", title: "Metrics", body })
}

/// The metrics that are shown large, with the first split that has them.
pub(super) fn headline(report: &Report) -> Vec<(&str, Measured, Pointer)> {
    let Some(split) = report.splits.first() else { return Vec::new() };
    let of = |name: &'_ str| {
        let (name, measured) = split.metrics.get_key_value(name)?;
        let at = Pointer::root().fields("splits/0/metrics").field(name);
        Some((name.as_str(), *measured, at))
    };
    let asked = report.headline.iter().filter_map(|name| of(name));
    let mut seen = BTreeSet::new();
    let all = asked.chain(USUAL.iter().filter_map(|name| of(name)));
    all.filter(|(name, _, _)| seen.insert(*name)).take(HEADLINE_MAX).collect()
}

/// What a metric is, and which way is better.
pub(super) fn about(metric: &str) -> Option<&'static Metric> {
    Metric::named(metric).filter(|found| found.measured_on != MeasuredOn::Everything)
}

fn of_splits(report: &Report) -> Markup {
    let headline: Vec<&str> = headline(report).into_iter().map(|(name, _, _)| name).collect();
    let all: BTreeSet<&str> =
        report.splits.iter().flat_map(|split| split.metrics.keys()).map(String::as_str).collect();
    let rest = all.iter().copied().filter(|name| !headline.contains(name) && class_of(name).is_none());
    let names: Vec<&str> = headline.iter().copied().chain(rest).collect();
    let head = html! {
        th { "Metric" }
        @for split in &report.splits { th.number { (split.split) } }
        th { "Better" }
    };
    let splits = Pointer::root().field("splits");
    let rows = html! {
        @for name in names {
            tr {
                th scope="row" {
                    code { (name) }
                    @if let Some(metric) = about(name) { span.about { (metric.about) } }
                }
                @for (at, split) in splits.items(&report.splits) { td.number { (cell(&at, split, name)) } }
                td { @if let Some(metric) = about(name) { (direction(metric)) } }
            }
        }
    };
    let interval = report.splits.iter().enumerate().find_map(|(index, split)| {
        let (name, interval) =
            split.metrics.iter().find_map(|(name, found)| Some((name, found.interval?)))?;
        let at = splits.item(index).field("metrics").field(name).fields("interval/level");
        Some(chosen_share(&at, interval.level))
    });
    html! {
        (table("Metrics of each split", head, rows))
        @if let Some(level) = interval {
            p.note { "In brackets: the interval that holds the true figure in " (level) " of cases." }
        }
    }
}

fn of_classes(split: &SplitMetrics) -> Markup {
    let mut by_class: BTreeMap<String, BTreeMap<String, (&str, Measured)>> = BTreeMap::new();
    for (name, measured) in &split.metrics {
        if let Some((metric, class)) = class_of(name) {
            by_class.entry(class).or_default().insert(metric, (name, *measured));
        }
    }
    let metrics: BTreeSet<&String> = by_class.values().flat_map(BTreeMap::keys).collect();
    let at = Pointer::root().fields("splits/0/metrics");
    let head = html! {
        th { "Class" }
        @for metric in &metrics { th.number { code { (metric) } } }
    };
    let rows = html! {
        @for (class, found) in by_class.iter().take(CLASSES_MAX) {
            tr {
                th scope="row" { (class) }
                @for metric in &metrics {
                    td.number {
                        @match found.get(*metric) {
                            Some((name, found)) => { (value(&at.field(name), found)) }
                            None => { (absent()) }
                        }
                    }
                }
            }
        }
    };
    html! {
        @if !by_class.is_empty() {
            h3 { "Class by class, on the split " (split.split) }
            (table("Metrics of each class", head, rows))
            (cut(CLASSES_MAX, by_class.len()))
        }
    }
}

fn cell(at: &Pointer, split: &SplitMetrics, name: &str) -> Markup {
    match split.metrics.get(name) {
        Some(found) => value(&at.field("metrics").field(name), found),
        None => absent(),
    }
}

/// A figure of the report with its interval; it stands at `at`.
pub(super) fn value(at: &Pointer, found: &Measured) -> Markup {
    measured((&at.field("value"), found.value), (&at.field("interval"), found.interval.as_ref()))
}

/// Which way is better. What may have either sign without limit is a mean error of some kind.
pub(super) fn direction(metric: &Metric) -> Markup {
    let has_either_sign = metric.range == (f64::NEG_INFINITY, f64::INFINITY);
    html! {
        span.direction {
            @if has_either_sign { "near zero" }
            @else if metric.more_is_better { "↑ higher" }
            @else { "↓ lower" }
        }
    }
}

/// The metric and the class, where a name is that of one class.
fn class_of(name: &str) -> Option<(String, String)> {
    let class = MetricName::parse(name).ok()?.class?;
    let metric = name.strip_suffix(&format!("[{class}]"))?;
    Some((metric.to_owned(), class))
}

//! How figures stand in the page: each as an element with its exact value and its place in
//! `report.json`, so that whoever doubts one can look it up, and a test does so for all. Owns no state.

use maud::{Markup, html};
use phalanx_evaluate::{fairness::Rate, interval::Interval};

use crate::{
    digits::{self, NONE, Shown},
    pointer::Pointer,
};

/// A figure.
pub(super) fn figure(at: &Pointer, value: f64, shown: Shown) -> Markup {
    html! {
        @if value.is_finite() {
            data value=(format!("{value:?}")) data-at=(at) { (shown.text(value)) }
        } @else {
            (NONE)
        }
    }
}

/// A figure that may be absent.
pub(super) fn maybe(at: &Pointer, value: Option<f64>, shown: Shown) -> Markup {
    html! { @match value {
        Some(value) => { (figure(at, value, shown)) }
        None => { (absent()) }
    } }
}

/// The number that JSON has for a score: the shortest one that stands for it, not its binary value.
pub(super) fn score(score: f32) -> f64 {
    score.to_string().parse().unwrap_or_else(|_| f64::from(score))
}

/// How many.
pub(super) fn count(at: &Pointer, value: u64) -> Markup {
    html! { data value=(value) data-at=(at) { (digits::count(value)) } }
}

/// What stands where there is no figure.
pub(super) fn absent() -> Markup {
    html! { span.none title="no value" { (NONE) } }
}

/// The digits that a figure with this interval deserves.
pub(super) fn digits_of(interval: Option<&Interval>) -> Shown {
    interval.map_or(Shown::Number, |interval| Shown::by_interval(interval.lower, interval.upper))
}

/// The interval that stands at `at`.
pub(super) fn interval(at: &Pointer, interval: &Interval, shown: Shown) -> Markup {
    ends((&at.field("lower"), interval.lower), (&at.field("upper"), interval.upper), shown)
}

/// The two ends of an interval.
pub(super) fn ends(lower: (&Pointer, f64), upper: (&Pointer, f64), shown: Shown) -> Markup {
    html! { span.interval { "[" (figure(lower.0, lower.1, shown)) ", " (figure(upper.0, upper.1, shown)) "]" } }
}

/// A figure with its interval, where it has one, in as many digits as that leaves.
pub(super) fn measured(
    (at, value): (&Pointer, f64),
    (interval_at, ends_of): (&Pointer, Option<&Interval>),
) -> Markup {
    let shown = digits_of(ends_of);
    html! {
        (figure(at, value, shown))
        @if let Some(ends_of) = ends_of { " " (interval(interval_at, ends_of, shown)) }
    }
}

/// A difference with its interval, where it has one.
pub(super) fn difference(
    (at, value): (&Pointer, f64),
    (interval_at, ends_of): (&Pointer, Option<&Interval>),
) -> Markup {
    let shown = if let Shown::Decimals(decimals) = digits_of(ends_of) {
        Shown::Signed(decimals)
    } else {
        Shown::Change
    };
    html! {
        (figure(at, value, shown))
        @if let Some(ends_of) = ends_of { " " (interval(interval_at, ends_of, shown)) }
    }
}

/// A share of rows, which may be absent.
pub(super) fn rate(at: &Pointer, rate: Option<&Rate>) -> Markup {
    maybe(&at.field("value"), rate.map(|rate| rate.value), Shown::Percent)
}

/// A share that somebody chose, in percent.
pub(super) fn chosen_share(at: &Pointer, share: f64) -> Markup {
    let decimals = if (100.0 * share).fract() == 0.0 { 0 } else { 1 };
    html! {
        @if share.is_finite() {
            data value=(format!("{share:?}")) data-at=(at) { (format!("{:.decimals$} %", 100.0 * share)) }
        } @else { (NONE) }
    }
}

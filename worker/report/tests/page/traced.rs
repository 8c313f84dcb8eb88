//! Whether every figure of a page is a field of its JSON.

use anyhow::{Context as _, ensure};
use phalanx_protocol::spec::METRICS;
use phalanx_report::Report;
use serde_json::Value;

use crate::html::{Page, Text};

/// Words of the page itself that have digits in them.
const WORDS: &[&str] = &["F1", "BLAKE3", "< 0.001"];

/// Reads the page of a report and follows each of its figures.
pub(crate) fn check(report: &Report) -> anyhow::Result<usize> {
    check_page(&serde_json::from_str(&report.to_json()?)?, &report.to_html())
}

/// Reads a page and follows each of its figures into `json`.
pub(crate) fn check_page(json: &Value, html: &str) -> anyhow::Result<usize> {
    let page = Page::read(html)?;
    let mut known = Vec::new();
    strings(json, &mut known);
    known.extend(METRICS.iter().map(|metric| metric.about.to_owned()));
    known.retain(|name| name.contains(|c: char| c.is_ascii_digit()));
    // The longest first, since one may be a part of another.
    known.sort_by_key(|name| std::cmp::Reverse(name.len()));
    known.dedup();
    let mut figures = 0;
    for text in &page.texts {
        if let Some(data) = text.within.last().filter(|element| element.name == "data") {
            let value = data.attribute("value").context("a figure without a value")?;
            let at = data.attribute("data-at").context("a figure without a place")?;
            let field = json.pointer(at).with_context(|| format!("{at} is no field"))?;
            let exact: f64 = value.parse().with_context(|| format!("`{value}` at {at}"))?;
            ensure!(field.as_f64() == Some(exact), "{at} is {field} and stands here as {value}");
            shown_rightly(&text.text, exact).with_context(|| at.to_owned())?;
            figures += 1;
        } else {
            untraced(text, &known)?;
        }
    }
    Ok(figures)
}

/// Text that is no figure has no digits but those of names, axes and times.
fn untraced(text: &Text, known: &[String]) -> anyhow::Result<()> {
    let is = |name: &str, class: &str| {
        text.within.iter().any(|element| element.name == name || element.has_class(class))
    };
    if is("style", "tick") || is("time", "example") || is("title", "axis") {
        return Ok(());
    }
    let words = WORDS.iter().copied();
    let rest = known.iter().map(String::as_str).chain(words).fold(text.text.clone(), |rest, name| {
        if rest.contains(|c: char| c.is_ascii_digit()) { rest.replace(name, "") } else { rest }
    });
    let has_digits = rest.contains(|c: char| c.is_ascii_digit());
    ensure!(!has_digits, "`{}` has a number that is in no field of the JSON", text.text);
    Ok(())
}

/// The text is the value, rounded to the digits that it has.
fn shown_rightly(text: &str, exact: f64) -> anyhow::Result<()> {
    let plain = text.replace(',', "").replace('−', "-");
    if WORDS.contains(&text) {
        ensure!((0.0..0.001).contains(&exact), "`{text}` stands for {exact}");
        return Ok(());
    }
    let (number, unit) = plain.split_once(' ').unwrap_or((&plain, ""));
    let number = number.trim_start_matches('+');
    let scale = match unit {
        "" | "s" | "bytes" => 1.0,
        "%" => 0.01,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "PB" => 1e15,
        // Times of more than a minute have units within them; `digits` tests those.
        _ => return Ok(()),
    };
    let shown: f64 = number.parse().with_context(|| format!("`{text}` is no number"))?;
    let (digits, power) = number.split_once('e').unwrap_or((number, "0"));
    let decimals = digits.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    if exact != 0.0 && !(1e-290..1e300).contains(&exact.abs()) {
        return Ok(()); // Here the last digit's unit is no number any more, or what is shown is not.
    }
    let unit_of_last = scale * 10_f64.powi(power.parse::<i32>()? - decimals as i32);
    let off = (shown * scale - exact).abs();
    ensure!(off <= 0.5001 * unit_of_last + 1e-12 * exact.abs(), "`{text}` stands for {exact}");
    Ok(())
}

/// All texts and names of fields. Sentences stand in the page in pieces, code between backticks in an element of its own.
fn strings(json: &Value, all: &mut Vec<String>) {
    match json {
        Value::String(text) => {
            all.extend([text.clone(), text.replace('_', " ")]);
            all.extend(text.split('`').map(str::to_owned));
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, all)),
        Value::Object(fields) => {
            for (name, item) in fields {
                all.push(name.clone());
                strings(item, all);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

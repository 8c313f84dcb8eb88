//! Pages, cards and JSON of reports: of four samples, and of whatever else a report can be.

mod dataset;
mod html;
#[path = "../sample/mod.rs"]
mod sample;
mod traced;

use std::sync::LazyLock;

use html::Page;
use phalanx_report::{FORMAT, Report, ReportError};
use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

#[test]
fn every_figure_of_a_page_is_a_field_of_its_json() -> anyhow::Result<()> {
    for (name, report) in sample::all()? {
        let figures = traced::check(&report).map_err(|error| error.context(name))?;
        assert!(figures > 0, "{name} has no figure");
    }
    Ok(())
}

#[test]
fn a_report_is_read_back_as_it_was_written() -> anyhow::Result<()> {
    for (name, report) in sample::all()? {
        assert_eq!(Report::from_json(&report.to_json()?)?, report, "{name}");
    }
    Ok(())
}

#[test]
fn what_is_no_report_is_refused_with_its_place() -> anyhow::Result<()> {
    let mut json: Value = serde_json::from_str(&sample::diamonds()?.to_json()?)?;
    json["splits"][0]["metrics"]["mae"]["value"] = json!("many");
    let error = Report::from_json(&json.to_string()).unwrap_err();
    let place = "`splits[0].metrics.mae.value` is not as a report has it: invalid type: string \"many\", expected f64";
    assert!(error.to_string().starts_with(place), "{error}");
    json["format"] = json!(FORMAT + 1);
    assert_eq!(Report::from_json(&json.to_string()), Err(ReportError::Format { actual: FORMAT + 1 }));
    assert!(matches!(Report::from_json("{"), Err(ReportError::Invalid { .. })));
    Ok(())
}

#[test]
fn a_number_that_is_none_is_not_written_but_drawn_as_a_dash() -> anyhow::Result<()> {
    let mut report = sample::diamonds()?;
    for measured in report.splits[0].metrics.values_mut() {
        measured.value = f64::NAN;
    }
    let place = "splits[0].metrics.mae.value".to_owned();
    assert_eq!(report.to_json(), Err(ReportError::NotFinite { place }));
    assert!(!report.to_html().contains("NaN") && !report.to_model_card().contains("NaN"));
    Page::read(&report.to_html())?;
    Ok(())
}

#[test]
fn a_report_of_nothing_says_what_could_be_asked_for() -> anyhow::Result<()> {
    let report = Report::new(sample::verse()?.identity);
    let html = report.to_html();
    Page::read(&html)?;
    assert!(html.contains("What else could be asked for") && html.contains("gates = ["), "{html}");
    Ok(())
}

#[test]
fn a_model_card_has_the_sections_of_hugging_faces_template() -> anyhow::Result<()> {
    for (name, report) in sample::all()? {
        insta::assert_snapshot!(format!("card-{name}"), report.to_model_card());
    }
    Ok(())
}

/// A change of one place of a report's JSON.
#[derive(Debug, Clone)]
enum Change {
    Number(f64),
    Count(u64),
    Text(String),
    Drop,
    Empty,
}

fn change() -> impl Strategy<Value = Change> {
    let nasty = prop::sample::select(vec![
        "<script>alert(1)</script>",
        "\"><b>",
        "&amp;",
        "]]>",
        "a|b`c`",
        "---",
        "",
    ]);
    prop_oneof![
        any::<f64>()
            .prop_filter("JSON has no other numbers", |value| value.is_finite())
            .prop_map(Change::Number),
        prop::sample::select(vec![0.0, -0.0, 1.0, 1e-300, -1e300, f64::MAX]).prop_map(Change::Number),
        prop::sample::select(vec![0, 1, u64::MAX]).prop_map(Change::Count),
        nasty.prop_map(|text| Change::Text(text.to_owned())),
        any::<String>().prop_map(Change::Text),
        Just(Change::Drop),
        Just(Change::Empty),
    ]
}

/// Places of values, as JSON pointers.
fn places(json: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match json {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), all));
        }
        Value::Object(fields) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            fields.iter().for_each(|(name, item)| places(item, &format!("{at}/{}", escaped(name)), all));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The report with a change, where it still is one.
fn changed(report: &Report, place: &Index, change: Change) -> Option<Report> {
    let mut json = serde_json::to_value(report).ok()?;
    let mut all = Vec::new();
    places(&json, "", &mut all);
    let at = place.get(&all).clone();
    match (change, json.pointer_mut(&at)?) {
        (Change::Number(number), value) => *value = json!(number),
        (Change::Count(count), value) => *value = json!(count),
        (Change::Text(text), value) => *value = json!(text),
        (Change::Empty, Value::Array(items)) => items.clear(),
        (Change::Empty, value) => *value = Value::Null,
        (Change::Drop, _) => {
            let (parent, name) = at.rsplit_once('/')?;
            match json.pointer_mut(parent)? {
                Value::Array(items) => drop(items.remove(name.parse().ok()?)),
                Value::Object(fields) => drop(fields.remove(&name.replace("~1", "/").replace("~0", "~"))),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
            }
        }
    }
    Report::from_json(&json.to_string()).ok()
}

static SAMPLES: LazyLock<Vec<Report>> = LazyLock::new(|| {
    sample::all().expect("samples are checked by other tests").into_iter().map(|(_, report)| report).collect()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn any_report_has_a_page_whose_figures_are_fields_and_a_card(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<Index>(), change()), 1..40),
    ) {
        let mut report = SAMPLES[which].clone();
        for (place, change) in changes {
            report = changed(&report, &place, change).unwrap_or(report);
        }
        traced::check(&report).map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
        let card = report.to_model_card();
        let head = card.strip_prefix("---\n").and_then(|card| card.split_once("\n---\n")).map(|(head, _)| head);
        let lines = head.ok_or_else(|| TestCaseError::fail("no head"))?.lines();
        for line in lines {
            let is_line = line.ends_with(':') || line.contains(": ") || line.starts_with("- \"");
            prop_assert!(is_line, "no YAML: {line}");
        }
    }
}

//! Labels: of several annotators, of rules, and to and from Label Studio.

use std::sync::{Arc, Mutex};

use phalanx_data::{ExportFormat, Exporter, LabelReport, PrepareError, undivided_rows, validate};
use phalanx_protocol::spec::DataSpec;
use serde_json::{Value, json};

use crate::support::{Bench, spec, train_only};

/// The clean rows as tasks for Label Studio, and the report of the one step that labels.
async fn labelled(spec: &DataSpec) -> (Vec<Value>, LabelReport) {
    let validation = validate(spec, &mut |_| {}).await.unwrap();
    let mut reports = validation.funnel.steps.into_iter().filter_map(|step| step.labels);
    (tasks(spec).await.unwrap(), reports.next().unwrap())
}

async fn tasks(spec: &DataSpec) -> Result<Vec<Value>, PrepareError> {
    let format = ExportFormat::LabelStudio { target: "mood".to_owned(), numbers: true };
    let written = Shared::default();
    let exporter = Arc::new(Mutex::new(Some(Exporter::new(format, None, written.clone()))));
    let writing = exporter.clone();
    undivided_rows(spec, &mut |_| {}, move |batch| {
        writing.lock().unwrap().as_mut().unwrap().write(batch, &[]).unwrap();
        Ok(())
    })
    .await?;
    exporter.lock().unwrap().take().unwrap().finish().unwrap();
    let bytes = written.0.lock().unwrap().clone();
    Ok(serde_json::from_slice(&bytes).unwrap())
}

/// Bytes that are looked at when all are written.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the tasks say: the choice or the number of each, null without one.
fn said(tasks: &[Value]) -> Vec<Value> {
    let value = |task: &Value| {
        let value = &task["annotations"][0]["result"][0]["value"];
        value["choices"].get(0).or(value.get("number")).cloned().unwrap_or_default()
    };
    tasks.iter().map(value).collect()
}

fn annotated(data: &Value, by: &[(&str, Value)]) -> Value {
    let annotation = |(who, value): &(&str, Value)| {
        json!({ "completed_by": { "email": who }, "result": [
            { "from_name": "mood", "to_name": "text", "type": "choices", "value": value }
        ] })
    };
    json!({ "data": data, "annotations": by.iter().map(annotation).collect::<Vec<_>>() })
}

fn choice(label: &str) -> Value {
    json!({ "choices": [label] })
}

fn studio(bench: &Bench, tasks: &[Value], clean: &str) -> DataSpec {
    let content = serde_json::to_vec(&tasks).unwrap();
    let settings = format!(r#""target": "mood", "clean": [{clean}]"#);
    train_only(spec("label_studio", &bench.file("tasks.json", content), &settings))
}

#[tokio::test]
async fn annotators_of_label_studio_vote_and_their_agreement_is_told() {
    let bench = Bench::new();
    let tasks = [
        annotated(
            &json!({ "text": "fine", "words": 1 }),
            &[("a@x", choice("good")), ("b@x", choice("good"))],
        ),
        annotated(&json!({ "text": "awful", "words": 1 }), &[("a@x", choice("bad")), ("b@x", choice("bad"))]),
        annotated(&json!({ "text": "well", "words": 1 }), &[("a@x", choice("bad")), ("b@x", choice("good"))]),
        annotated(&json!({ "text": "so so", "words": 2 }), &[]),
    ];
    let (found, report) = labelled(&studio(&bench, &tasks, r#"{"vote": {"into": "mood"}}"#)).await;
    assert_eq!(said(&found), [json!("good"), json!("bad"), Value::Null, Value::Null]);
    assert_eq!(found[0]["data"], json!({ "text": "fine", "words": 1 }));
    assert_eq!((report.rows, report.labelled, report.tied), (4, 2, 1));
    assert_eq!(report.pairs[0].cohen_kappa, Some(0.4));
    // Pooled, both labels are as frequent: (2/3 - 1/2) / (1/2).
    assert!((report.fleiss_kappa.unwrap() - 1.0 / 3.0).abs() < 1e-12);

    let weighted = r#"{"vote": {"into": "mood", "weights": {"b@x": 2}}}, {"impute": {"columns": ["mood"], "with": "drop"}}"#;
    let (found, _) = labelled(&studio(&bench, &tasks, weighted)).await;
    assert_eq!(said(&found), [json!("good"), json!("bad"), json!("good")]);

    // What was exported can be read again, and a model be trained on it.
    let again = bench.file("again.json", serde_json::to_vec(&found).unwrap());
    let settings = r#""target": "mood", "features": ["words"], "clean": [{"vote": {"into": "mood"}}]"#;
    let again = train_only(spec("label_studio", &again, settings));
    assert_eq!(said(&self::tasks(&again).await.unwrap()), said(&found));
    assert!(bench.prepare(&again).await.unwrap().summary.contains("2 classes"));
}

#[tokio::test]
async fn numbers_of_annotators_meet_in_the_middle() {
    let bench = Bench::new();
    let number = |number: f64| json!({ "number": number });
    let tasks = [
        annotated(&json!({ "text": "a" }), &[("a", number(1.0)), ("b", number(4.0)), ("c", number(2.0))]),
        annotated(&json!({ "text": "b" }), &[("a", number(1.5)), ("c", number(0.5))]),
    ];
    let (found, report) =
        labelled(&studio(&bench, &tasks, r#"{"vote": {"into": "mood", "by": "median"}}"#)).await;
    assert_eq!(said(&found), [json!(2.0), json!(1.0)]);
    assert_eq!((report.fleiss_kappa, report.pairs[1].difference), (None, Some(1.0)));
}

#[tokio::test]
async fn rules_label_rows_and_are_judged_by_labels_that_are_there() {
    let bench = Bench::new();
    let rows = "text,stars,mood\nfree money,1,bad\nlovely,5,\nfree love,5,\nhm,3,\nlovely,1,bad\n";
    let rules = r#"{"weak_label": {"into": "mood", "rules": [
        {"when": "text LIKE '%free%'", "label": "bad", "name": "free"},
        {"when": "text LIKE '%love%'", "label": "good"},
        {"when": "stars = 5", "label": "good", "weight": 0.5}]}}"#;
    let settings = format!(r#""target": "mood", "clean": [{rules}]"#);
    let spec = train_only(spec("csv", &bench.file("rows.csv", rows), &settings));
    let (found, report) = labelled(&spec).await;
    assert_eq!(said(&found), [json!("bad"), json!("good"), json!("good"), Value::Null, json!("bad")]);
    let counts: Vec<_> = report
        .sources
        .iter()
        .map(|rule| (rule.name.as_str(), rule.labelled, rule.overlaps, rule.conflicts, rule.judged))
        .collect();
    assert_eq!(
        counts,
        [
            ("free", 2, 1, 1, Some((1, 1))),
            ("text LIKE '%love%'", 3, 2, 1, Some((1, 0))),
            ("stars = 5", 2, 2, 1, None)
        ]
    );
}

#[tokio::test]
async fn a_vote_that_cannot_be_held_says_why() {
    let bench = Bench::new();
    let refused = async |clean: &str, part: &str| {
        let settings = format!(r#""target": "mood", "clean": [{clean}]"#);
        let csv = spec("csv", &bench.file("rows.csv", "text,mood.a,mood.b\nx,1,p\ny,2,q\n"), &settings);
        let error = validate(&train_only(csv), &mut |_| {}).await.unwrap_err().to_string();
        assert!(error.contains(part), "{clean}: {error}");
    };
    refused(r#"{"vote": {"into": "anger"}}"#, "no column begins with `anger.`; name `columns`").await;
    refused(r#"{"vote": {"into": "mood", "columns": ["mood.c"]}}"#, "there is no column `mood.c`").await;
    refused(r#"{"vote": {"into": "mood", "weights": {"c": 2}}}"#, "`weights` names `c`").await;
    refused(
        r#"{"vote": {"into": "mood", "by": "mean"}}"#,
        "column `mood.b` is of type Utf8, expected numbers",
    )
    .await;
    refused(r#"{"weak_label": {"into": "mood", "rules": [{"when": "tex = 1", "label": "a"}]}}"#, "`tex = 1`")
        .await;
}

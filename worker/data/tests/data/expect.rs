//! Expectations: what holds and what does not, and what is done about it.

use phalanx_data::{Validation, find_version, validate};

use crate::support::{Bench, spec};

const ROWS: &str = "id,age,mail,y\n1,20,a@b,p\n2,30,nope,q\n2,,c@d,p\n4,200,e@f,q\n";

async fn validated(expect: &str) -> Validation {
    let bench = Bench::new();
    let settings = format!(r#""target": "y", "expect": [{expect}]"#);
    let spec = spec("csv", &bench.file("rows.csv", ROWS), &settings);
    validate(&spec, &mut |_| {}).await.unwrap()
}

/// Whether one expectation is met, and how many cells are not as expected.
async fn check(expect: &str, met: bool, unexpected: u64) {
    let validation = validated(expect).await;
    let outcome = &validation.outcomes[0];
    assert_eq!((outcome.met, outcome.unexpected), (met, unexpected), "{}", outcome.sentence());
}

#[tokio::test]
async fn every_expectation_tells_right_from_wrong() {
    check(r#"{"not_be_null": {"column": "age"}}"#, false, 1).await;
    check(r#"{"not_be_null": {"column": "age", "mostly": 0.75}}"#, true, 1).await;
    check(r#"{"be_null": {"column": "age"}}"#, false, 3).await;
    check(r#"{"be_unique": {"column": "id"}}"#, false, 1).await;
    check(r#"{"be_unique": {"column": "mail"}}"#, true, 0).await;
    check(r#"{"be_in_set": {"column": "y", "values": ["p", "q"]}}"#, true, 0).await;
    check(r#"{"be_in_set": {"column": "id", "values": ["1", "2"]}}"#, false, 1).await;
    check(r#"{"not_be_in_set": {"column": "y", "values": ["q"]}}"#, false, 2).await;
    check(r#"{"be_between": {"column": "age", "min": 0, "max": 120}}"#, false, 1).await;
    check(r#"{"be_of_type": {"column": "age", "type": "int"}}"#, true, 0).await;
    check(r#"{"be_of_type": {"column": "age", "type": "float"}}"#, true, 0).await;
    check(r#"{"be_of_type": {"column": "age", "type": "text"}}"#, false, 0).await;
    check(r#"{"match_regex": {"column": "mail", "regex": "^[^@]+@[^@]+$"}}"#, false, 1).await;
    check(r#"{"not_match_regex": {"column": "mail", "regex": "@"}}"#, false, 3).await;
    check(r#"{"value_lengths_to_be_between": {"column": "mail", "max": 3}}"#, false, 1).await;
    check(r#"{"satisfy_sql": {"sql": "id < age"}}"#, false, 1).await;
    check(r#"{"column_to_exist": {"column": "age"}}"#, true, 0).await;
    check(r#"{"column_to_exist": {"column": "none"}}"#, false, 0).await;
    check(r#"{"column_mean_to_be_between": {"column": "age", "min": 83, "max": 84}}"#, true, 0).await;
    check(r#"{"column_min_to_be_between": {"column": "age", "min": 21}}"#, false, 0).await;
    check(r#"{"column_max_to_be_between": {"column": "age", "max": 200}}"#, true, 0).await;
    check(r#"{"column_stdev_to_be_between": {"column": "id", "min": 1, "max": 1.2}}"#, true, 0).await;
    check(r#"{"table_row_count_to_be_between": {"min": 5}}"#, false, 0).await;
    check(r#"{"table_column_count_to_be_between": {"min": 4, "max": 4}}"#, true, 0).await;
}

#[tokio::test]
async fn one_that_must_hold_and_does_not_ends_preparing_with_the_place() {
    let bench = Bench::new();
    let settings = r#""target": "y", "expect": [{"be_between": {"column": "age", "max": 120}}, {"be_unique": {"column": "id"}}, {"not_be_null": {"column": "age", "then": "warn"}}]"#;
    let spec = spec("csv", &bench.file("rows.csv", ROWS), settings);
    let error = bench.prepare(&spec).await.unwrap_err().to_string();
    assert!(
        error.contains("be_between `age`: 1 of 3 are not as expected: ") && error.contains("line 5: `200`"),
        "{error}"
    );
    assert!(error.contains("be_unique `id`: 1 of 4") && error.contains("line 4"), "{error}");
    assert!(!error.contains("not_be_null"), "{error}");
}

#[tokio::test]
async fn rows_are_put_aside_into_a_file_with_reason_file_and_line() {
    let bench = Bench::new();
    let settings = r#""target": "y", "malformed": "quarantine", "split": {"train": 1.0, "validation": 0.0, "test": 0.0},
        "expect": [{"be_between": {"column": "age", "max": 120, "then": "quarantine"}}]"#;
    let spec = spec("csv", &bench.file("rows.csv", format!("{ROWS}5,x\n6,40,g@h,p\n")), settings);
    let prepared = bench.prepare(&spec).await.unwrap();
    assert_eq!(prepared.dataset.train_rows, 4);
    let manifest = find_version(&prepared.dataset.version, &bench.store).await.unwrap();
    let quarantine = manifest.lineage.quarantine.unwrap();
    assert_eq!(quarantine.rows, 2);
    let content = bench.store.read(&quarantine.file).await.unwrap();
    let lines: Vec<serde_json::Value> = std::str::from_utf8(&content)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["place"], "line 6");
    assert_eq!(
        lines[0]["reason"],
        "expected 4 cells, as in the header line, found 2; there is none for column `mail`"
    );
    assert_eq!(lines[0]["row"], "5,x");
    assert_eq!(lines[1]["place"], "line 5");
    assert_eq!(lines[1]["reason"], "be_between `age`");
    assert!(lines[1]["file"].as_str().unwrap().ends_with("rows.csv"));
}

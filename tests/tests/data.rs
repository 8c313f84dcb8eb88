//! `phalanx data` over the census example, as a user has it: checked, prepared, shown, compared and
//! exported.

use std::{fs, process::Command};

use phalanx_tests::{Ended, Home, Running, binary, examples};
use serde_json::Value;

/// Rows of the example, and those that come twice.
const ROWS: u64 = 32_561;
const TWICE: u64 = 24;

fn example() -> String {
    examples().join("adult.toml").to_str().expect("the examples' path is UTF-8").to_owned()
}

/// Runs `phalanx data ARGS`, which must go well.
fn data(home: &Home, args: &[&str]) -> Ended {
    let ended = home.phalanx(&[&["data"], args].concat());
    assert_eq!(ended.code, Some(0), "{args:?}\n{ended:#?}");
    ended
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).expect("it is JSON")
}

#[test]
fn the_census_is_cleaned_as_its_job_file_says() {
    let mut command = Command::new(binary("phalanx"));
    command.args(["data", "validate", &example(), "--json"]);
    let ended = Running::start(command).wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let validation = json(&ended);
    let steps = &validation["funnel"]["steps"];
    assert_eq!(validation["funnel"]["rows_read"], ROWS);
    assert_eq!(steps[1]["step"], "drop_duplicates");
    assert_eq!(steps[1]["rows_after"], ROWS - TWICE);
    assert_eq!(steps[2]["learnt"]["workclass"], "Private");
    // Every `?` is gone, and an indicator says where one was.
    let columns = validation["columns"].as_array().expect("a list of columns");
    assert!(columns.iter().all(|column| column["missing"] == 0), "{columns:#?}");
    assert!(columns.iter().any(|column| column["name"] == "occupation_missing"));
    assert!(validation["outcomes"].as_array().expect("a list").iter().all(|outcome| outcome["met"] == true));
}

#[test]
fn a_version_is_made_once_and_shown_compared_and_exported() {
    let home = Home::new();
    let example = example();
    let first = json(&data(&home, &["prepare", &example, "--json"]));
    let again = json(&data(&home, &["prepare", &example, "--json"]));
    assert_eq!((&first["found"], &again["found"]), (&false.into(), &true.into()));
    assert_eq!(first["version"], again["version"]);
    let version = first["version"].as_str().expect("a text");
    let rows = |split: &str| first[split].as_u64().expect("a number");
    let [train, validation, test] = ["train_rows", "validation_rows", "test_rows"].map(rows);
    assert_eq!(train + validation + test, ROWS - TWICE);

    let shown = data(&home, &["show", &version[..12]]).stdout;
    assert!(shown.contains("drop_duplicates") && shown.contains("workclass: Private"), "{shown}");
    let page = home.folder().join("adult.html");
    data(&home, &["show", &version[..12], "--html", page.to_str().expect("UTF-8")]);
    let page = fs::read_to_string(page).expect("the page is written");
    assert!(page.contains("Dataset report") && page.contains("hours_per_week") && !page.contains("<script"));

    let other = json(&data(&home, &["prepare", &example, "--set", "data.split.seed=1", "--json"]));
    let other = other["version"].as_str().expect("a text");
    let diff = json(&data(&home, &["diff", version, other, "--json"]));
    assert_eq!(diff["recipe_changed"], true);
    let changed = diff["columns"].as_array().expect("a list").iter().filter(|column| column["psi"] != 0.0);
    assert_eq!(changed.count(), 0, "the same rows are distributed alike: {diff:#}");

    let csv = data(&home, &["export", version, "--split", "test"]).stdout;
    assert_eq!(csv.lines().count() as u64, test + 1);
    let file = home.folder().join("adult.parquet");
    let file = file.to_str().expect("UTF-8");
    let told = data(&home, &["export", &example, "--format", "parquet", "--output", file]).stderr;
    assert!(told.contains("32,537 rows") && fs::metadata(file).is_ok_and(|file| file.len() > 0), "{told}");
}

#[test]
fn data_that_is_not_as_expected_is_told_and_ends_with_2() {
    let home = Home::new();
    let set = "data.expect=[{be_between={column='age',max=80}}]";
    let ended = home.phalanx(&["data", "prepare", &example(), "--set", set]);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(
        ended.stderr.contains("be_between `age`: ") && ended.stderr.contains("adult.csv, line "),
        "{ended:#?}"
    );
}

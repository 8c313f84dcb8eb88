//! What `[evaluate]` asks for, from the job file to the report: gates of all kinds, and the commands that
//! look at what was found out.

use std::{fs, path::Path};

use phalanx_protocol::view::JobView;
use phalanx_tests::{Cluster, Ended, Home, Job, examples};
use serde_json::Value;

/// A job over the census data that registers what comes out.
fn census(name: &str, evaluate: &str) -> Job {
    let tables = format!("[evaluate]\n{evaluate}\n[register]\nmodel = {name:?}\nalias = \"champion\"\n");
    Job::mlp().steps(150).with(&tables)
}

const EVERYTHING: &str = r#"
slices = ["education", "age", "hours_per_week >= 60 and sex = 'Male'"]
sensitive = ["sex", "race"]
calibration = "temperature"
threshold = { goal = "balanced_accuracy" }
intervals = { replicates = 200 }
importance = { repeats = 2, rows = 500, gradient_steps = 5 }
robustness = { noise = [0.3], fgsm = [0.1], pgd = [0.1], pgd_steps = 3, rows = 500 }
gates = [
  "roc_auc.lower >= 0.8",
  "accuracy[slice: sex = 'Female'] >= 0.6",
  "fairness.demographic_parity_difference[sex] <= 0.9",
  "fairness.equalized_odds_ratio[sex, race].upper >= 0.0",
]
"#;

#[track_caller]
fn done(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

fn json(home: &Home, args: &[&str]) -> Value {
    let ended = home.phalanx(args);
    done(&ended);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

fn run(home: &Home, job: &Job, workers: u32) -> Ended {
    home.start(job, workers).wait()
}

#[test]
fn everything_that_is_asked_for_is_in_the_report() {
    let home = Home::new();
    done(&run(&home, &census("income", EVERYTHING), 2));
    let report = json(&home, &["report", "income@champion", "--json"]);
    assert_eq!(report["verdict"]["passes"], true, "{}", report["verdict"]);
    assert_eq!(report["verdict"]["gates"].as_array().map(Vec::len), Some(4));
    let metrics = &report["splits"][0]["metrics"];
    let interval = &metrics["roc_auc"]["interval"];
    assert!(interval["lower"].as_f64() < metrics["roc_auc"]["value"].as_f64(), "{metrics}");
    assert_eq!(interval["resamples"], 200);
    let slices = report["slices"][0]["found"]["slices"].as_array().expect("slices");
    assert!(
        slices.iter().any(|slice| slice["slice"] == "hours_per_week >= 60 and sex = 'Male'"),
        "{slices:?}"
    );
    assert!(slices.iter().any(|slice| slice["slice"] == "education = 'HS-grad'"), "{slices:?}");
    let columns = report["fairness"]["found"]["columns"].as_array().expect("columns");
    let names: Vec<&Value> = columns.iter().map(|column| &column["classes"][0]["column"]).collect();
    assert_eq!(names, ["sex", "race", "sex, race"]);
    assert_eq!(report["fairness"]["found"]["mitigations"].as_array().map(Vec::len), Some(6));
    assert_eq!(report["importance"][0]["found"]["columns"].as_array().map(Vec::len), Some(14));
    assert_eq!(report["robustness"][0]["found"]["disturbed"].as_array().map(Vec::len), Some(17));
    assert!(report["gradients"][">50K"]["found"]["columns"].is_array());
    let classes = &report["predictions"]["found"]["classes"];
    assert!(classes["threshold"]["measured"].is_object() && classes["calibration"]["mended"].is_array());
    assert!(report["training"]["loss"].as_array().is_some_and(|points| points.len() > 50));
    assert_eq!(report["identity"]["version"], 1);

    let page = home.folder().join("income.html");
    done(&home.phalanx(&["report", "income", "--html", page.to_str().expect("UTF-8")]));
    let page = fs::read_to_string(page).expect("it was written");
    assert!(page.starts_with("<!") && page.contains("equalized") && page.contains("income"), "a page");
    let traced = every_figure_is_a_field(&page, &report);
    assert!(traced > 1_000, "{traced} figures");
    let card = home.phalanx(&["report", "income", "--card"]);
    assert!(card.stdout.starts_with("---\n"), "{}", card.stdout);
    let artifact = home.job("mlp-1").artifact.expect("it is done");
    for file in artifact.files() {
        assert!(home.path().join("store").join(&file.path).is_file(), "{file:?}");
    }
    assert_eq!(artifact.files().count(), 6);
}

#[test]
fn reports_have_the_same_figures_on_any_number_of_workers() {
    let figures = |workers| {
        let home = Home::new();
        done(&run(&home, &census("income", EVERYTHING), workers));
        let mut report = json(&home, &["report", "income", "--json"]);
        report["environment"] = Value::Null;
        // The job file says how many workers there were, and files that hold it or a time have other hashes.
        let identity = &mut report["identity"];
        (identity["created_at"], identity["job_file"]) = (Value::Null, Value::Null);
        for file in ["description", "report", "page", "card"] {
            identity["artifact"][file] = Value::Null;
        }
        report
    };
    let expected = figures(1);
    assert_eq!(figures(3), expected);
}

#[test]
fn a_fairness_gate_that_fails_keeps_the_model_out_and_the_report_says_why() {
    let home = Home::new();
    let gates = "gates = [\"fairness.demographic_parity_difference[sex] <= 0.001\"]";
    let ended = run(&home, &census("income", gates), 1);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let words = "fairness.demographic_parity_difference[sex] is 0.";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    let report = json(&home, &["report", "mlp-1", "--json"]);
    assert_eq!(report["verdict"]["passes"], false);
    let shown = home.phalanx(&["report", "mlp-1"]);
    done(&shown);
    assert!(
        shown.stdout.contains("✗ `fairness.demographic_parity_difference[sex] <= 0.001` fails"),
        "{}",
        shown.stdout
    );
    assert_eq!(home.phalanx(&["report", "income"]).code, Some(2), "no version was made");
}

#[test]
fn reweighing_before_training_brings_groups_nearer_and_the_report_has_the_weights() {
    let home = Home::new();
    let apart = |name: &str, reweigh: &str| {
        let job = home.write_job(&census(name, "sensitive = [\"sex\"]"));
        let job = job.to_str().expect("UTF-8");
        done(&home.phalanx(&["run", job, "--workers", "1", "--set", reweigh]));
        let report = json(&home, &["report", name, "--json"]);
        let found = &report["fairness"]["found"];
        let parity = &found["columns"][0]["classes"][0]["demographic_parity"]["difference"];
        (parity.as_f64().expect("a difference"), found["mitigations"][0].clone())
    };
    let (before, _) = apart("plain", "data.reweigh=[]");
    let (after, weights) = apart("weighed", "data.reweigh=[\"sex\"]");
    assert!(after < 0.7 * before, "{after}, before {before}");
    // The same rows, weighed otherwise: what it costs is told without a warning.
    let price = home.phalanx(&["compare", "plain", "weighed", "--json"]);
    done(&price);
    assert!(
        price.stdout.contains("\"contrasts\"") && !price.stderr.contains("other rows"),
        "{}",
        price.stderr
    );
    assert_eq!(weights["reweighing"]["cells"].as_array().map(Vec::len), Some(4), "{weights}");
}

#[test]
fn a_column_that_is_not_there_fails_its_gate_with_those_that_are() {
    let home = Home::new();
    let gates = "gates = [\"fairness.equal_opportunity_ratio[gender] >= 0.5\"]";
    let ended = run(&home, &census("income", gates), 1);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.stderr.contains("there is no column `gender`; "), "{}", ended.stderr);
}

#[test]
fn a_version_is_registered_only_if_it_is_not_worse_than_the_champion() {
    let home = Home::new();
    let gate = "gates = [\"roc_auc >= @champion - 0.005 at 95%\"]";
    let first = run(&home, &census("income", gate), 1);
    done(&first);
    let events = |id: &str| -> Vec<String> {
        let job: JobView = home.job(id);
        job.messages.into_iter().map(|message| message.text).collect()
    };
    assert!(
        events("mlp-1").iter().any(|text| text.contains("no version yet to compare with")),
        "{:?}",
        events("mlp-1")
    );

    let worse = run(&home, &census("income", gate).steps(3), 1);
    assert_eq!(worse.code, Some(1), "{worse:#?}");
    assert!(worse.stderr.contains("roc_auc - @champion at 95% is -0."), "{}", worse.stderr);

    let same = run(&home, &census("income", gate).steps(160), 2);
    done(&same);
    let report = json(&home, &["report", "income", "--json"]);
    assert_eq!(report["comparison"]["found"]["a"], "income@1");
    assert!(report["comparison"]["found"]["tests"]["mcnemar"].is_object());

    let compared = json(&home, &["compare", "income@1", "income@2", "--json"]);
    assert!(compared["contrasts"].as_array().is_some_and(|contrasts| contrasts.len() >= 6), "{compared}");
    let told = home.phalanx(&["compare", "income@1", "income@2"]);
    assert!(told.stdout.contains("McNemar: "), "{}", told.stdout);
    let itself = json(&home, &["compare", "income@1", "income@1", "--json"]);
    assert_eq!(itself["better"], Value::Null);
}

#[test]
fn a_version_is_measured_on_other_data() {
    let home = Home::new();
    done(&run(&home, &census("income", "sensitive = [\"sex\"]\ngates = [\"accuracy >= 0.7\"]"), 1));
    let file = first_rows(&home, &examples().join("data/adult.csv"), 800);
    let report = json(&home, &["evaluate", "income", &file, "--json"]);
    assert_eq!(report["splits"][0]["rows"], 800);
    assert_eq!(report["splits"][0]["split"], "people.csv");
    assert!(report["splits"][0]["metrics"]["roc_auc"]["value"].as_f64().is_some_and(|auc| auc > 0.8));
    let unlabelled = home.write("unlabelled.csv", "age\n1\n");
    let ended = home.phalanx(&["evaluate", "income", unlabelled.to_str().expect("UTF-8")]);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
}

#[test]
fn a_job_is_cross_validated_by_jobs_side_by_side() {
    let mut cluster = Cluster::start();
    for _ in 0..2 {
        cluster.add_worker();
    }
    let home = Home::new();
    let job = home.write_job(&census("income", "gates = [\"accuracy >= 0.7\"]"));
    let (job, file) = (job.to_str().expect("UTF-8"), home.folder().join("folds.parquet"));
    let file = file.to_str().expect("UTF-8");
    let ended = cluster.ask(&["cross-validate", job, "--folds", "3", "--json", "--predictions", file]);
    done(&ended);
    let folds: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(folds["gates_hold"], 3, "{folds}");
    let metrics = folds["metrics"].as_array().expect("metrics");
    let auc = metrics.iter().find(|metric| metric["metric"] == "roc_auc").expect("ROC-AUC");
    assert!(auc["mean"].as_f64().is_some_and(|mean| mean > 0.8), "{auc}");
    assert!(auc["deviation"].as_f64().is_some_and(|deviation| deviation > 0.0 && deviation < 0.05), "{auc}");
    assert!(fs::read(file).is_ok_and(|content| content.starts_with(b"PAR1")));
    let curve = home.folder().join("curve.html");
    let curve = curve.to_str().expect("UTF-8");
    let shares = ["learning-curve", job, "--shares", "0.1,0.2,0.5,1", "--json", "--html", curve];
    let ended = cluster.ask(&shares);
    done(&ended);
    let curves: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let of_auc = |curve: &&Value| curve["metric"] == "roc_auc";
    let auc = curves.as_array().and_then(|curves| curves.iter().find(of_auc)).expect("ROC-AUC");
    let rows = auc["points"].as_array().expect("points").iter().map(|point| point["rows"].as_u64());
    assert!(rows.clone().is_sorted() && rows.count() == 4, "{auc}");
    assert!(auc["power_law"]["limit"].is_f64(), "{auc}");
    assert!(fs::read_to_string(curve).is_ok_and(|page| page.contains("What more rows would bring")));
    assert!(cluster.job("mlp-fold-3-3").is_some_and(|job| job.model.is_none()), "folds register nothing");

    let by_column =
        ["cross-validate", job, "--set", "data.split.by=column", "--set", "data.split.column=sex"];
    let ended = cluster.ask(&by_column);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("needs rows that may be divided anew"), "{}", ended.stderr);
}

/// Follows each figure of a page to its place in the JSON; tells how many there are.
#[track_caller]
fn every_figure_is_a_field(page: &str, report: &Value) -> usize {
    let mut figures = 0;
    for element in page.split("<data ").skip(1) {
        let attribute = |name: &str| {
            let (_, rest) = element.split_once(&format!("{name}=\"")).expect("a figure has it");
            let text = rest.split('"').next().unwrap_or_default();
            text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
        };
        let (value, at) = (attribute("value"), attribute("data-at"));
        let field = report.pointer(&at).unwrap_or_else(|| panic!("{at} is no field"));
        assert_eq!(field.as_f64(), value.parse().ok(), "{at}");
        figures += 1;
    }
    figures
}

/// The header and the first rows of a CSV file, as another one.
fn first_rows(home: &Home, csv: &Path, rows: usize) -> String {
    let text = fs::read_to_string(csv).expect("the example is there");
    let lines: Vec<&str> = text.lines().take(rows + 1).collect();
    home.write("people.csv", &(lines.join("\n") + "\n")).to_str().expect("UTF-8").to_owned()
}

//! What lies in `k8s/`: that manifests are what Kubernetes takes, alerts fire when they should, dashboards
//! and alerts ask for metrics that exist, and the image is what it says. No node is needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use phalanx_protocol::view::JobState;
use phalanx_tests::{binary, root, script};
use serde_json::Value;

/// Where metrics are named.
const NAMED_IN: [&str; 2] = ["coordinator/server/src/metrics.rs", "worker/agent/src/metrics.rs"];

/// What every metric's name begins with.
const PREFIX: &str = "phalanx_";

/// What Prometheus makes of one histogram.
const OF_HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every metric that the code names, and what Prometheus calls its series.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics = BTreeMap::new();
    for file in NAMED_IN {
        let source = text(file);
        let constants = source.lines().filter_map(|line| {
            let (constant, name) = line.strip_prefix("const ")?.split_once(": &str = \"phalanx_")?;
            Some((constant, format!("{PREFIX}{}", name.strip_suffix("\";")?)))
        });
        for (constant, name) in constants {
            let is_histogram = source.contains(&format!("histogram!({constant}"));
            let series = OF_HISTOGRAM.map(|suffix| format!("{name}{suffix}"));
            let series = if is_histogram { series.into() } else { BTreeSet::from([name.clone()]) };
            metrics.insert(name, series);
        }
    }
    assert!(metrics.len() > 20, "found {metrics:?}");
    metrics
}

/// The series that a text names.
fn series(text: &str) -> BTreeSet<String> {
    let begins = text.match_indices(PREFIX).map(|(begin, _)| &text[begin..]);
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    begins.map(|rest| rest.chars().take_while(|c| is_of_name(*c)).collect()).collect()
}

/// Everything that is asked of Prometheus, with the file that asks.
fn queries() -> Vec<(String, String)> {
    let rules = "k8s/monitoring/phalanx-prometheusrule.yaml";
    let mut queries = vec![(rules.to_owned(), text(rules))];
    for file in dashboards() {
        let name = file.strip_prefix(root()).expect("it lies in the workspace").display().to_string();
        let dashboard: Value = serde_json::from_str(&text(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let panels = dashboard["panels"].as_array().expect("a dashboard has panels");
        let asked = panels.iter().flat_map(|panel| panel["targets"].as_array()).flatten();
        queries.extend(asked.map(|target| (name.clone(), target["expr"].as_str().expect("a query").into())));
        let variables = dashboard["templating"]["list"].as_array().into_iter().flatten();
        let asked = variables.filter_map(|variable| variable["query"].as_str());
        queries.extend(asked.map(|query| (name.clone(), query.to_owned())));
    }
    queries
}

fn dashboards() -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("k8s/monitoring/dashboards")).expect("there are dashboards");
    folder.map(|entry| entry.expect("it can be listed").path()).collect()
}

/// Every YAML file of `k8s/`, with its path.
fn yaml() -> Vec<(PathBuf, String)> {
    let (mut found, mut open) = (Vec::new(), vec![root().join("k8s")]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("it can be listed") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml") {
                let text = fs::read_to_string(&path).expect("a manifest is text");
                found.push((path, text));
            }
        }
    }
    found
}

/// Those that are an object, or change one.
fn manifests() -> Vec<(PathBuf, String)> {
    let is_object =
        |path: &Path, text: &str| !path.ends_with("kustomization.yaml") && text.contains("\nkind: ");
    yaml().into_iter().filter(|(path, text)| is_object(path, text)).collect()
}

#[test]
fn each_object_has_a_file_of_its_own_that_is_named_after_it() {
    for (path, text) in manifests() {
        let field = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
        let [kind, name] = ["kind: ", "  name: "].map(|prefix| field(prefix).expect("an object has a name"));
        let expected = format!("{name}-{}.yaml", kind.to_lowercase());
        assert_eq!(
            path.file_name().and_then(|name| name.to_str()),
            Some(expected.as_str()),
            "{}",
            path.display()
        );
        assert!(!text.contains("\n---"), "{}: has more than one object", path.display());
    }
}

#[test]
fn containers_are_given_flags_that_the_binary_has() {
    let help = |role: &str| {
        let output = Command::new(binary("phalanx")).args([role, "--help"]).output().expect("it was built");
        String::from_utf8(output.stdout).expect("help is UTF-8")
    };
    let known = help("coordinator") + &help("worker");
    for (path, text) in yaml() {
        let values =
            text.lines().map(|line| line.trim_start().trim_start_matches("value: ").trim_start_matches("- "));
        for flag in values.filter_map(|value| value.strip_prefix("--")?.split('=').next()) {
            let is_known = known.split_whitespace().any(|word| word.strip_prefix("--") == Some(flag));
            assert!(is_known, "{}: there is no --{flag}", path.display());
        }
    }
}

#[test]
fn manifests_are_what_kubernetes_takes() {
    script("manifests.sh", &[]);
}

#[test]
fn every_overlay_is_taken_by_a_real_api_server_and_gives_nobody_too_much() {
    script("test-k8s.sh", &[]);
}

#[test]
fn alerts_fire_when_they_should() {
    script("alerts.sh", &[]);
}

#[test]
fn the_recipe_of_the_image_passes_its_linter() {
    script("image.sh", &["--lint"]);
}

#[test]
fn the_image_has_one_binary_that_runs_as_nobody_and_writes_nothing() {
    let phalanx = binary("phalanx");
    script("image.sh", &["--binary", phalanx.to_str().expect("its path is UTF-8")]);
}

#[test]
fn dashboards_and_alerts_ask_for_metrics_that_exist() {
    let exist: BTreeSet<String> = metrics().into_values().flatten().collect();
    for (file, query) in queries() {
        let unknown: Vec<_> = series(&query).into_iter().filter(|name| !exist.contains(name)).collect();
        assert!(unknown.is_empty(), "{file}: nothing is called {unknown:?}");
    }
}

#[test]
fn every_metric_is_shown_somewhere() {
    let asked: BTreeSet<String> = queries().iter().flat_map(|(_, query)| series(query)).collect();
    let unseen: Vec<_> = metrics()
        .into_iter()
        .filter(|(_, series)| series.is_disjoint(&asked))
        .map(|(name, _)| name)
        .collect();
    assert!(unseen.is_empty(), "no dashboard and no alert shows {unseen:?}");
}

#[test]
fn dashboards_and_alerts_name_states_that_jobs_can_be_in() {
    for (file, query) in queries() {
        let after = query.split("state=").skip(1).chain(query.split("state!~").skip(1));
        for states in
            after.filter_map(|rest| rest.trim_start_matches('~').strip_prefix('"')?.split('"').next())
        {
            for state in states.split('|') {
                let known: Result<JobState, _> = serde_json::from_value(state.into());
                assert!(known.is_ok(), "{file}: no job is ever `{state}`");
            }
        }
    }
}

//! A real Prometheus scrapes a real run, and is asked everything that dashboards and alerts ask: no
//! question is wrong, and each has an answer.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use phalanx_protocol::view::{JobState, WorkerView};
use phalanx_tests::{Cluster, Deadline, Job, Running, eventually, free_addresses, root, script};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What dashboards put in when they ask, and what is put in here.
const VARIABLES: [(&str, &str); 4] =
    [("$__rate_interval", "1m"), ("\"$namespace\"", "\"phalanx\""), ("$pool", ".*"), ("$pod", ".*")];

/// What only several coordinators tell of.
const OF_SEVERAL: &str = "phalanx_coordinator_leads";

/// A Prometheus, ended when dropped.
struct Prometheus {
    address: String,
    _process: Running,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts the one in `programs`, which scrapes a coordinator and workers as it would in the cluster.
    fn start(programs: &Path, coordinator: &str, workers: &[String]) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let [address] = free_addresses();
        let labelled = |addresses: &[String], job: &str| {
            let targets = addresses.iter().enumerate().map(|(number, address)| {
                let pod = format!("{job}-{number}");
                json!({"targets": [address], "labels": {"namespace": "phalanx", "pool": "cpu", "pod": pod}})
            });
            json!({"job_name": job, "static_configs": targets.collect::<Vec<_>>()})
        };
        // JSON is YAML, too.
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [labelled(&[coordinator.to_owned()], "coordinator"), labelled(workers, "worker-cpu")],
        });
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config.to_string()).expect("the temporary folder can be written");
        let mut command = Command::new(programs.join("prometheus"));
        command.arg("--config.file").arg(&file).arg("--storage.tsdb.path").arg(folder.path().join("data"));
        command.args(["--web.listen-address", &address]);
        let process = Running::start(command);
        let prometheus = Self { address, _process: process, _folder: folder };
        eventually("Prometheus to answer", Deadline::default(), || prometheus.ask("up").ok());
        prometheus
    }

    /// What it answers to a query.
    fn ask(&self, query: &str) -> Result<Vec<Value>, String> {
        let body = format!("query={}", escaped(query));
        let length = body.len();
        // Of version 1.0 the answer comes in one piece.
        let request = format!(
            "POST /api/v1/query HTTP/1.0\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = asked().map_err(|error| error.to_string())?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        let answer: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?;
        let found = answer["data"]["result"].as_array().filter(|_| answer["status"] == "success");
        found.cloned().ok_or_else(|| answer.to_string())
    }
}

/// As a form carries it.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"))
}

/// The queries of all dashboards, as Grafana would send them.
fn dashboards() -> Vec<(String, String)> {
    let folder = fs::read_dir(root().join("k8s/monitoring/dashboards")).expect("there are dashboards");
    let mut queries = Vec::new();
    for path in folder.map(|entry| entry.expect("it can be listed").path()) {
        let text = fs::read_to_string(&path).expect("it can be read");
        let dashboard: Value = serde_json::from_str(&text).expect("a dashboard is JSON");
        let panels = dashboard["panels"].as_array().expect("a dashboard has panels");
        for panel in panels {
            for target in panel["targets"].as_array().expect("a panel asks") {
                let query = target["expr"].as_str().expect("a query is text").to_owned();
                let query = VARIABLES.iter().fold(query, |query, (name, value)| query.replace(name, value));
                queries.push((format!("{}: {}", path.display(), panel["title"]), query));
            }
        }
    }
    queries
}

/// Scrapes until the dashboards have had their answers, and asks.
#[test]
fn every_panel_of_every_dashboard_has_an_answer() {
    let Some(programs) = script("prometheus.sh", &[]) else { return };
    let cluster = Cluster::start();
    let metrics = ["--metrics".to_owned(), "127.0.0.1:0".to_owned()];
    let _workers = [cluster.start_worker(&metrics), cluster.start_worker(&metrics)];
    let workers = eventually("two workers to attach", Deadline::default(), || {
        let workers: Vec<WorkerView> = cluster.api().get("/v1/workers").ok()?;
        let addresses: Vec<_> =
            workers.iter().filter_map(|worker| Some(worker.metrics_addr?.to_string())).collect();
        (addresses.len() == 2).then_some(addresses)
    });
    let prometheus = Prometheus::start(&PathBuf::from(programs.trim()), cluster.http(), &workers);

    let job = Job::mlp().steps(20_000).with("[checkpoint]\nevery = 200\n[workers]\nmin = 2\n");
    cluster.submit(&job);
    cluster.wait_for("mlp-1", JobState::Training);
    for (place, query) in dashboards() {
        let what = format!("an answer to {place}: {query}");
        eventually(&what, Deadline::default(), || {
            let answer = prometheus.ask(&query).unwrap_or_else(|error| panic!("{place}: {query}: {error}"));
            (!answer.is_empty() || query.contains(OF_SEVERAL)).then_some(())
        });
    }
    let steps = prometheus.ask("sum(phalanx_worker_steps_total)").expect("it answers");
    let steps = steps[0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
    assert!(steps.is_some_and(|steps| steps > 1.0), "{steps:?}");
}

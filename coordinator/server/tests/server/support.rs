//! A coordinator in a folder of its own, a user, and a worker that computes nothing.

use std::{
    net::SocketAddr,
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use phalanx_protocol::{
    codec::{self, Codec},
    id::{Generation, JobId, Rank, WorkerId},
    message::{
        Assignment, Attached, CheckpointPart, Directive, Event, Finished, Hello, Metrics, Numbered, Progress,
        Report, StateSource,
    },
    reference::{DatasetRef, FileRef, ModelArtifact},
    rpc::{CoordinatorClient, Rejected, VERSION},
    view::JobView,
};
use phalanx_server::{Config, EtcdAccess, Server, start};
use phalanx_telemetry::{MetricsHandle, install_metrics};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tarpc::{client, context, serde_transport, tokio_util::codec::Framed};

/// Nothing in these tests takes that long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Long enough that no lease ends on a busy machine.
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(60);

pub(crate) fn metrics() -> MetricsHandle {
    static METRICS: OnceLock<MetricsHandle> = OnceLock::new();
    METRICS.get_or_init(|| install_metrics().unwrap()).clone()
}

pub(crate) fn config(folder: &Path) -> Config {
    Config {
        http_addr: "127.0.0.1:0".parse().unwrap(),
        rpc_addr: None,
        state_url: folder.join("state.redb").to_str().unwrap().to_owned(),
        etcd: EtcdAccess::default(),
        advertise: None,
        store_url: folder.join("store").to_str().unwrap().to_owned(),
        lease: LONG_LEASE,
        workers_end_with_it: false,
        quotas: Default::default(),
        tls: None,
        metrics: metrics(),
    }
}

/// A running coordinator and the folder that it lives in.
pub(crate) struct Cluster {
    pub(crate) server: Server,
    pub(crate) user: User,
    pub(crate) folder: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::with_lease(LONG_LEASE).await
    }

    pub(crate) async fn with_lease(lease: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = start(Config { lease, ..config(folder.path()) }).await.unwrap();
        Self { user: User::of(&server), server, folder }
    }

    /// Drops the coordinator where it stands and starts another on its state.
    pub(crate) async fn crash_and_restart(self) -> Self {
        let Self { server, folder, .. } = self;
        drop(server);
        let begin = Instant::now();
        let server = loop {
            // The state's lock is let go when the last transaction has ended.
            match start(config(folder.path())).await {
                Ok(server) => break server,
                Err(error) => assert!(begin.elapsed() < DEADLINE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        Self { user: User::of(&server), server, folder }
    }

    pub(crate) async fn worker(&self) -> Worker {
        Worker::attach(self.server.rpc_addr()).await
    }
}

/// Somebody on the HTTP interface.
#[derive(Clone)]
pub(crate) struct User {
    client: reqwest::Client,
    base: String,
}

impl User {
    pub(crate) fn of(server: &Server) -> Self {
        Self::at(server.http_addr())
    }

    pub(crate) fn at(addr: SocketAddr) -> Self {
        phalanx_tls::use_ring();
        Self { client: reqwest::Client::new(), base: format!("http://{addr}") }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).timeout(DEADLINE)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let response = self.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }

    /// Sends `body` and expects a success.
    pub(crate) async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: &Value) -> T {
        let response = self.request(method, path).json(body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn submit(&self, spec: Value) -> JobView {
        self.send(Method::POST, "/v1/jobs", &json!({ "spec": spec })).await
    }

    pub(crate) async fn job(&self, id: &JobId) -> JobView {
        self.get(&format!("/v1/jobs/{id}")).await
    }

    /// Waits until the job looks right.
    pub(crate) async fn until(&self, id: &JobId, right: impl Fn(&JobView) -> bool) -> JobView {
        let begin = Instant::now();
        loop {
            let job = self.job(id).await;
            if right(&job) {
                return job;
            }
            assert!(begin.elapsed() < DEADLINE, "{job:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A small job that is right.
pub(crate) fn spec(name: &str) -> Value {
    json!({
        "name": name,
        "data": { "target": "y", "csv": { "path": "/data/points.csv" } },
        "model": { "linear": {} },
        "train": { "batch_size": 8, "steps": 10, "learning_rate": 0.1 },
        "workers": { "min": 1, "max": 1 },
        "register": { "model": name, "alias": "best" },
    })
}

/// A worker on the RPC.
pub(crate) struct Worker {
    pub(crate) client: CoordinatorClient,
    pub(crate) attached: Attached,
    seen: u64,
}

impl Worker {
    pub(crate) async fn attach(addr: SocketAddr) -> Self {
        let client = connect(addr).await;
        let attached = client.attach(context(), hello()).await.unwrap().unwrap();
        Self { client, attached, seen: 0 }
    }

    pub(crate) fn id(&self) -> WorkerId {
        self.attached.worker
    }

    pub(crate) async fn poll(&self) -> Result<Vec<Numbered>, Rejected> {
        self.client.directives(context(), self.id(), self.seen, None).await.unwrap()
    }

    /// The next directive.
    pub(crate) async fn next(&mut self) -> Directive {
        let begin = Instant::now();
        loop {
            if let Some(first) = self.poll().await.unwrap().into_iter().next() {
                self.seen = first.number;
                return first.directive;
            }
            assert!(begin.elapsed() < DEADLINE, "no directive came");
        }
    }

    pub(crate) async fn report(
        &self,
        job: &JobId,
        generation: Generation,
        event: Event,
    ) -> Result<(), Rejected> {
        let report = Report { job: job.clone(), generation, event };
        self.client.report(context(), self.id(), report).await.unwrap()
    }

    /// Prepares and joins the next generation; returns its place in it.
    pub(crate) async fn begin(&mut self) -> Box<Assignment> {
        loop {
            match self.next().await {
                Directive::Prepare { job, generation, .. } => {
                    let summary = "80 rows, 2 columns".to_owned();
                    let prepared = Event::Prepared { dataset: dataset(), found: false, summary };
                    self.report(&job, generation, prepared).await.unwrap();
                }
                Directive::Train(assignment) => {
                    assert_eq!(assignment.world_size(), 1);
                    let (step, from) = match &assignment.resume {
                        Some(resume) => (resume.step, StateSource::Checkpoint),
                        None => (0, StateSource::Seed),
                    };
                    let formed = Event::Formed { step, from };
                    self.report(&assignment.job, assignment.generation, formed).await.unwrap();
                    return assignment;
                }
                Directive::Release { .. } => {}
                other @ (Directive::Fetch { .. } | Directive::Stop { .. } | Directive::Leave) => {
                    panic!("expected to train, not {other:?}")
                }
            }
        }
    }

    /// Reports that so many steps are done.
    pub(crate) async fn step(&self, job: &JobId, generation: Generation, step: u64) {
        let progress = Progress {
            step,
            epoch: 0,
            cursor: step * 8,
            loss: 1.0 / step as f64,
            learning_rate: 0.1,
            samples_per_second: 100.0,
            curve: vec![(step, 1.0 / step as f64)],
        };
        self.report(job, generation, Event::Progress(progress)).await.unwrap();
    }

    /// Reports its part of a checkpoint.
    pub(crate) async fn checkpoint(&self, job: &JobId, generation: Generation, step: u64) {
        let part = CheckpointPart {
            step,
            cursor: step * 8,
            rank: Rank::new(0),
            state_hash: "5".repeat(64),
            file: file(&format!("jobs/{job}/part-{step}")),
            progress_json: "{}".to_owned(),
        };
        self.report(job, generation, Event::CheckpointPart(Box::new(part))).await.unwrap();
    }

    /// Reports the end of the job.
    pub(crate) async fn finish(&self, job: &JobId, generation: Generation) {
        self.report(job, generation, Event::Evaluating).await.unwrap();
        let finished = Finished {
            step: 10,
            cursor: 80,
            stopped_early: None,
            metrics: Metrics::from([("r2".to_owned(), 0.9)]),
            undefined: Default::default(),
            moot: Default::default(),
            compared: Default::default(),
            confusion: None,
            state_hash: "6".repeat(64),
            artifact: ModelArtifact::new(file("weights"), file("description")),
            sample: None,
        };
        self.report(job, generation, Event::Finished(Box::new(finished))).await.unwrap();
    }

    /// Works a job off from its beginning to its end.
    pub(crate) async fn work_off(&mut self) -> JobId {
        let Assignment { job, generation, .. } = *self.begin().await;
        self.step(&job, generation, 10).await;
        self.checkpoint(&job, generation, 10).await;
        self.finish(&job, generation).await;
        job
    }
}

/// How a worker introduces itself.
pub(crate) fn hello() -> Hello {
    Hello {
        host: "somewhere".to_owned(),
        pid: 7,
        data_addr: "127.0.0.1:9".parse().unwrap(),
        kind: "test".to_owned(),
        tasks: Vec::new(),
        version: VERSION.to_owned(),
        metrics_addr: None,
    }
}

pub(crate) async fn connect(addr: SocketAddr) -> CoordinatorClient {
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let transport = serde_transport::new(Framed::new(stream, codec::framing()), Codec::default());
    CoordinatorClient::new(client::Config::default(), transport).spawn()
}

pub(crate) fn context() -> context::Context {
    let mut context = context::current();
    context.deadline = Instant::now() + DEADLINE;
    context
}

pub(crate) fn dataset() -> DatasetRef {
    DatasetRef {
        version: "7".repeat(64),
        manifest: file("datasets/7"),
        train_rows: 80,
        validation_rows: 10,
        test_rows: 10,
    }
}

fn file(path: &str) -> FileRef {
    FileRef { path: path.to_owned(), bytes: 100, blake3: "8".repeat(64) }
}

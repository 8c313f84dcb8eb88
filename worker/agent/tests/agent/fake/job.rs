//! A small job over a small file, and the worker processes' parts that tests need
//! to take it through its life.

use std::{fmt::Write as _, path::Path, time::Duration};

use phalanx_agent::{AgentError, Config, run_until};
use phalanx_data::Cache;
use phalanx_protocol::{
    id::{Generation, JobId, Rank, TraceParent, WorkerId},
    message::{Assignment, CheckpointPart, Directive, Event, Hello, Peer},
    reference::{CheckpointRef, DatasetRef},
    spec::{JobFile, JobSpec},
};
use phalanx_storage::{Store, manifest::CheckpointManifest};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Fake;

/// A job that separates two clouds of points; `steps` and `every` as in the job file.
pub(crate) fn points_job(folder: &Path, steps: u64, every: u64) -> JobSpec {
    let mut csv = "x,y,side\n".to_owned();
    for row in 0..400_u32 {
        let (side, sign) = if row.is_multiple_of(2) { ("left", -1.0) } else { ("right", 1.0) };
        let angle = f64::from(row) * 0.7;
        writeln!(csv, "{:.4},{:.4},{side}", sign + angle.cos() * 0.8, angle.sin()).expect("a string grows");
    }
    std::fs::write(folder.join("points.csv"), csv).expect("the folder can be written");
    let text = format!(
        r#"
        name = "points"
        [data]
        target = "side"
        [data.csv]
        path = "points.csv"
        [model.mlp]
        hidden = [8]
        [train]
        batch_size = 16
        lanes = 2
        steps = {steps}
        learning_rate = 0.01
        [checkpoint]
        every = {every}
        "#
    );
    JobFile::parse(&text, &folder.join("job.toml"), &[]).expect("the job file is right").spec
}

pub(crate) fn job() -> JobId {
    JobId::new("points", 1)
}

/// A worker in this process.
pub(crate) struct Worker {
    end: CancellationToken,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Worker {
    /// Starts a worker of the coordinator at `coordinator`, with its cache in `folder`.
    pub(crate) fn start(coordinator: &str, folder: &Path) -> Self {
        let config = Config {
            coordinators: coordinator.split(',').map(str::to_owned).collect(),
            listen: ([127, 0, 0, 1], 0).into(),
            cache: Cache::new(folder.join("cache"), Cache::BYTES_MAX),
            ..Config::new(coordinator)
        };
        let end = CancellationToken::new();
        let told = end.clone().cancelled_owned();
        Self { end, task: tokio::spawn(run_until(config, told)) }
    }

    /// How it ends by itself.
    pub(crate) async fn ended(self) -> Result<(), AgentError> {
        let ended = tokio::time::timeout(super::DEADLINE, self.task).await;
        ended.expect("it ends").expect("it does not panic")
    }

    /// Ends it and waits for that.
    pub(crate) async fn end(self) {
        self.end.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.task).await;
        ended.expect("it ends promptly").expect("it does not panic").expect("it had no reason to end");
    }
}

/// Lets `worker` prepare the job's data and gives the dataset version.
pub(crate) async fn prepare(
    fake: &Fake,
    worker: WorkerId,
    generation: Generation,
    spec: &JobSpec,
) -> DatasetRef {
    let spec = Box::new(spec.clone());
    fake.direct(worker, Directive::Prepare { job: job(), generation, spec, trace: None });
    fake.reported(generation, |_, event| match event {
        Event::Prepared { dataset, .. } => Some(dataset.clone()),
        Event::Failed(failure) => panic!("not prepared: {failure:?}"),
        _ => None,
    })
    .await
}

/// Lets all `workers` train together.
pub(crate) fn train(
    fake: &Fake,
    workers: &[(WorkerId, Hello)],
    generation: Generation,
    spec: &JobSpec,
    dataset: &DatasetRef,
    resume: Option<&CheckpointRef>,
) {
    train_within(None, fake, workers, generation, spec, dataset, resume);
}

/// Lets all `workers` train together, within a span.
pub(crate) fn train_within(
    trace: Option<TraceParent>,
    fake: &Fake,
    workers: &[(WorkerId, Hello)],
    generation: Generation,
    spec: &JobSpec,
    dataset: &DatasetRef,
    resume: Option<&CheckpointRef>,
) {
    let peer = |(worker, hello): &(WorkerId, Hello)| Peer { worker: *worker, data_addr: hello.data_addr };
    let peers: Vec<Peer> = workers.iter().map(peer).collect();
    for (rank, (worker, _)) in (0..).zip(workers) {
        let assignment = Assignment {
            job: job(),
            generation,
            rank: Rank::new(rank),
            peers: peers.clone(),
            spec: Box::new(spec.clone()),
            dataset: dataset.clone(),
            resume: resume.cloned(),
            disputed: None,
            incumbents: Default::default(),
            verify_at: None,
            trace: trace.clone(),
        };
        fake.direct(*worker, Directive::Train(Box::new(assignment)));
    }
}

/// Waits for the parts of all ranks of the first checkpoint that is whole, after `step`, and
/// writes its manifest, as the coordinator does.
pub(crate) async fn checkpoint(
    fake: &Fake,
    store: &Store,
    generation: Generation,
    world_size: usize,
    spec: &JobSpec,
    dataset: &DatasetRef,
) -> CheckpointRef {
    let mut parts = Vec::new();
    for rank in 0..world_size {
        let part = fake.reported(generation, |_, event| match event {
            Event::CheckpointPart(part) if part.rank.get() as usize == rank => Some(part.clone()),
            Event::Failed(failure) => panic!("no checkpoint: {failure:?}"),
            _ => None,
        });
        parts.push(*part.await);
    }
    let CheckpointPart { step, cursor, state_hash, progress_json, .. } = parts[0].clone();
    for part in &parts {
        assert_eq!((part.step, &part.state_hash), (step, &state_hash), "all ranks hold the same state");
    }
    let bytes = parts.iter().map(|part| part.file.bytes).sum();
    let manifest = CheckpointManifest {
        job: job(),
        job_hash: spec.hash(),
        generation,
        step,
        cursor,
        seed: spec.train.seed,
        lanes: spec.train.lanes,
        dataset: dataset.version.clone(),
        state_hash: state_hash.clone(),
        parts: parts.into_iter().map(|part| part.file).collect(),
        progress_json,
    };
    let path = format!("checkpoints/{}/g{generation}-s{step}/manifest.json", job());
    let content = bytes::Bytes::from(serde_json::to_vec(&manifest).expect("plain values"));
    let manifest = store.create(&path, content).await.expect("the store takes it");
    let written_at = "2024-01-01T00:00:00Z".parse().expect("a time");
    CheckpointRef { step, cursor, generation, state_hash, manifest, bytes, written_at }
}

//! Values that tests of the state machine share. Owns no state.

use std::path::Path;

use phalanx_protocol::{
    id::{Generation, JobId},
    message::{Finished, Hello, Metrics},
    reference::{DatasetRef, FileRef, ModelArtifact},
    rpc::VERSION,
    spec::{JobFile, JobSpec},
};

const JOB: &str = r#"
name = "demo"
[data]
target = "label"
objective = "classification"

[data.csv]
path = "demo.csv"
[model.mlp]
[train]
batch_size = 8
lanes = 4
steps = 20
learning_rate = 0.01
[checkpoint]
every = 5
keep = 2
"#;

/// A job of 20 steps over 4 lanes with `settings`, each a key and its value.
pub(crate) fn spec(settings: &[(&str, &str)]) -> Box<JobSpec> {
    let settings: Vec<_> =
        settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Box::new(JobFile::parse(JOB, Path::new("/demo.toml"), &settings).expect("a right job").spec)
}

/// A worker process that introduces itself.
pub(crate) fn hello(pid: u32) -> Hello {
    Hello {
        host: "host".to_owned(),
        pid,
        data_addr: ([127, 0, 0, 1], 9_000).into(),
        kind: "x86-64-v4".to_owned(),
        tasks: Vec::new(),
        version: VERSION.to_owned(),
        metrics_addr: None,
    }
}

/// A file of the object store.
pub(crate) fn file(path: impl Into<String>) -> FileRef {
    FileRef { path: path.into(), bytes: 1_000, blake3: "00".to_owned() }
}

/// The data set of every job.
pub(crate) fn dataset() -> DatasetRef {
    DatasetRef {
        version: "d1".to_owned(),
        manifest: file("datasets/d1/manifest.json"),
        train_rows: 80,
        validation_rows: 10,
        test_rows: 10,
    }
}

/// The state of a job after `step` steps: a function of its seed and nothing else.
pub(crate) fn state_hash(spec: &JobSpec, step: u64) -> String {
    format!("state-{}-{step}", spec.train.seed)
}

/// Where a rank puts its part.
pub(crate) fn part_path(job: &JobId, generation: Generation, step: u64, rank: u32) -> String {
    format!("checkpoints/{job}/g{generation}-s{step}/part-{rank}.safetensors")
}

/// The end of a job, with an accuracy of 0.9.
pub(crate) fn finished(spec: &JobSpec, job: &JobId, generation: Generation) -> Finished {
    let step = spec.train.total_steps(dataset().train_rows);
    Finished {
        step,
        cursor: step * u64::from(spec.train.batch_size),
        stopped_early: None,
        metrics: Metrics::from([("accuracy".to_owned(), 0.9)]),
        undefined: Default::default(),
        moot: Default::default(),
        compared: Default::default(),
        confusion: None,
        state_hash: state_hash(spec, step),
        artifact: ModelArtifact::new(
            file(format!("jobs/{job}/model-g{generation}/weights.safetensors")),
            file(format!("jobs/{job}/model-g{generation}/model.json")),
        ),
        sample: None,
    }
}

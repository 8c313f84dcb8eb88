//! Jobs to test the looks of.

use phalanx_protocol::{
    id::{Generation, JobId},
    message::{Confusion, Metrics},
    reference::{DatasetRef, FileRef, ModelArtifact},
    view::{JobState, JobView, ModelVersionRef},
};

/// A job that waits, and why.
pub(crate) fn queued(reason: &str) -> JobView {
    JobView {
        id: JobId::new("mnist", 3),
        name: "mnist".to_owned(),
        state: JobState::Queued,
        reason: Some(reason.to_owned()),
        step: 0,
        total_steps: 0,
        epoch: 0,
        cursor: 0,
        loss: None,
        samples_per_second: None,
        learning_rate: None,
        metrics: Metrics::new(),
        validation: Metrics::new(),
        confusion: None,
        workers: Vec::new(),
        ranks: Vec::new(),
        world_size: 0,
        lanes: 4,
        batch_size: 64,
        ledger: false,
        generation: Generation::default(),
        state_hash: None,
        checkpoints: Vec::new(),
        store_away: None,
        dataset: None,
        model: None,
        artifact: None,
        sample: None,
        messages: Vec::new(),
        submitted_at: "2026-11-24T17:05:00Z".parse().unwrap(),
        started_at: None,
        finished_at: None,
    }
}

/// A job in the middle of its training.
pub(crate) fn training() -> JobView {
    JobView {
        state: JobState::Training,
        reason: None,
        step: 300,
        total_steps: 600,
        epoch: 5,
        cursor: 19_200,
        loss: Some(0.123_456),
        samples_per_second: Some(12_345.6),
        learning_rate: Some(0.001),
        world_size: 2,
        generation: Generation::new(1),
        started_at: Some("2026-11-24T17:05:01Z".parse().unwrap()),
        ..queued("")
    }
}

/// A job that is done.
pub(crate) fn done() -> JobView {
    let file = |path: &str, bytes| FileRef { path: path.to_owned(), bytes, blake3: "ab".repeat(32) };
    let metrics = [("accuracy", 0.9775), ("log_loss", 0.0712), ("f1[no]", 0.97), ("f1[yes]", 0.98)];
    JobView {
        state: JobState::Done,
        step: 600,
        epoch: 10,
        metrics: metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        confusion: Some(Confusion {
            classes: vec!["no".to_owned(), "yes".to_owned()],
            counts: vec![vec![390, 9], vec![0, 401]],
        }),
        state_hash: Some("0f".repeat(32)),
        dataset: Some(DatasetRef {
            version: "3c".repeat(32),
            manifest: file("data/3c/manifest.json", 900),
            train_rows: 6_400,
            validation_rows: 800,
            test_rows: 800,
        }),
        model: Some(ModelVersionRef { name: "digits".to_owned(), version: 2 }),
        artifact: Some(ModelArtifact::new(
            file("models/digits/2/weights.safetensors", 1_638_400),
            file("models/digits/2/description.json", 4_000),
        )),
        sample: Some("In the beginning\nwas a fixture".to_owned()),
        finished_at: Some("2026-11-24T17:06:13Z".parse().unwrap()),
        ..training()
    }
}

//! A job's whole life, seen from both sides.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use phalanx_protocol::{
    id::WorkerId,
    message::{Assignment, Directive},
    rpc::Rejected,
    view::{Curve, JobState, JobView, ModelView, WorkerView},
};
use phalanx_storage::Store;
use reqwest::Method;
use serde_json::json;

use crate::support::{Cluster, context, spec};

#[tokio::test]
async fn a_job_goes_from_submission_to_the_registry() {
    let cluster = Cluster::start().await;
    let user = &cluster.user;
    let submitted = user.submit(spec("points")).await;
    assert_eq!(submitted.state, JobState::Queued);
    assert!(submitted.reason.is_some(), "a job that waits says for what");

    let mut worker = cluster.worker().await;
    let Assignment { job, generation, .. } = *worker.begin().await;
    assert_eq!(job, submitted.id);
    worker.step(&job, generation, 5).await;
    let training = user.job(&job).await;
    assert_eq!((training.state, training.step), (JobState::Training, 5));
    let workers: Vec<WorkerView> = user.get("/v1/workers").await;
    assert_eq!((workers[0].id, workers[0].job.as_ref()), (worker.id(), Some(&job)));

    worker.step(&job, generation, 10).await;
    worker.checkpoint(&job, generation, 10).await;
    let saved = user.until(&job, |job| !job.checkpoints.is_empty()).await;
    let store = Store::open(&worker.attached.store_url).unwrap();
    store.read(&saved.checkpoints[0].manifest).await.unwrap();

    worker.finish(&job, generation).await;
    let done = user.until(&job, |job| job.state.is_over()).await;
    assert_eq!(done.state, JobState::Done, "{:?}", done.reason);
    assert_eq!(done.metrics["r2"], 0.9);
    let curve: Curve = user.get(&format!("/v1/jobs/{job}/curve")).await;
    assert_eq!(curve.train.last().map(|point| point.0), Some(10));

    let models: Vec<ModelView> = user.get("/v1/models").await;
    let model: ModelView = user.get("/v1/models/points").await;
    assert_eq!(models, std::slice::from_ref(&model));
    assert_eq!(model.aliases["best"], 1);
    assert_eq!((model.versions[0].job.clone(), model.versions[0].metrics["r2"]), (job, 0.9));
}

#[tokio::test]
async fn a_waiting_worker_hears_of_a_job_at_once() {
    let cluster = Cluster::start().await;
    let mut worker = cluster.worker().await;
    assert!(worker.attached.timeouts.heartbeat > Duration::from_secs(10));
    let client = worker.client.clone();
    let mut waiting = pin!(worker.next());
    assert!(futures::poll!(&mut waiting).is_pending());
    // Calls on a connection are taken in their order: once a later one is answered, the first one waits.
    let stranger = WorkerId::new(99);
    let refused = client.directives(context(), stranger, 0, None).await.unwrap();
    assert_eq!(refused, Err(Rejected::UnknownWorker(stranger)));

    let submitted_at = Instant::now();
    cluster.user.submit(spec("points")).await;
    assert!(matches!(waiting.await, Directive::Prepare { .. }));
    let took = submitted_at.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}, and the heartbeat would have ended the wait anyway");
}

#[tokio::test]
async fn jobs_wait_for_workers_and_run_one_after_the_other() {
    let cluster = Cluster::start().await;
    for _ in 0..3 {
        cluster.user.submit(spec("points")).await;
    }
    let mut worker = cluster.worker().await;
    for number in 1..=3 {
        let job = worker.work_off().await;
        assert_eq!(job.to_string(), format!("points-{number}"));
        cluster.user.until(&job, |job| job.state == JobState::Done).await;
        assert!(matches!(worker.next().await, Directive::Release { .. }));
    }
    let model: ModelView = cluster.user.get("/v1/models/points").await;
    assert_eq!(model.versions.iter().map(|version| version.version).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn a_cancelled_job_goes_on_when_it_is_resumed() {
    let cluster = Cluster::start().await;
    cluster.user.submit(spec("points")).await;
    let mut worker = cluster.worker().await;
    let Assignment { job, generation, .. } = *worker.begin().await;
    worker.step(&job, generation, 5).await;

    let path = format!("/v1/jobs/{job}");
    let stopping: JobView = cluster.user.send(Method::POST, &format!("{path}/cancel"), &json!({})).await;
    assert_eq!(stopping.state, JobState::Stopping);
    assert!(matches!(worker.next().await, Directive::Stop { .. }));
    worker.checkpoint(&job, generation, 5).await;
    worker.report(&job, generation, phalanx_protocol::message::Event::Stopped { step: 5 }).await.unwrap();
    cluster.user.until(&job, |job| job.state == JobState::Cancelled).await;

    let resumed = cluster.user.request(Method::POST, &format!("{path}/resume")).send().await.unwrap();
    assert!(resumed.status().is_success());
    let assignment = worker.begin().await;
    assert!(assignment.generation > generation);
    assert_eq!(assignment.resume.map(|checkpoint| checkpoint.step), Some(5));
}

#[tokio::test]
async fn an_alias_moves_and_leaves_a_history() {
    let cluster = Cluster::start().await;
    let mut worker = cluster.worker().await;
    for _ in 0..2 {
        cluster.user.submit(spec("points")).await;
        let job = worker.work_off().await;
        cluster.user.until(&job, |job| job.state == JobState::Done).await;
        assert!(matches!(worker.next().await, Directive::Release { .. }));
    }
    let path = "/v1/models/points/aliases/best";
    let model: ModelView = cluster.user.send(Method::PUT, path, &json!({ "version": 1 })).await;
    assert_eq!(model.aliases["best"], 1);
    let last = model.alias_history.last().unwrap();
    assert_eq!((last.from, last.to, last.by.as_str()), (Some(2), 1, "user"));
}

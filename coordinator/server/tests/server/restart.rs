//! A coordinator that is gone, and the one after it.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use phalanx_protocol::{
    message::{Assignment, Directive},
    view::{JobState, JobView, ModelView},
};
use phalanx_server::{Config, ServerError, StateError, start};
use phalanx_tests::SmallDisk;

use crate::support::{Cluster, DEADLINE, User, config, spec};

#[tokio::test]
async fn a_crash_loses_no_job_and_no_model() {
    let cluster = Cluster::start().await;
    let mut worker = cluster.worker().await;
    for _ in 0..3 {
        cluster.user.submit(spec("points")).await;
    }
    let done = worker.work_off().await;
    cluster.user.until(&done, |job| job.state == JobState::Done).await;
    assert!(matches!(worker.next().await, Directive::Release { .. }));
    let Assignment { job: running, generation, .. } = *worker.begin().await;
    worker.step(&running, generation, 5).await;
    worker.checkpoint(&running, generation, 5).await;
    cluster.user.until(&running, |job| !job.checkpoints.is_empty()).await;
    let before: Vec<JobView> = cluster.user.get("/v1/jobs").await;
    let models: Vec<ModelView> = cluster.user.get("/v1/models").await;

    let cluster = cluster.crash_and_restart().await;
    let after: Vec<JobView> = cluster.user.get("/v1/jobs").await;
    let ids = |jobs: &[JobView]| jobs.iter().map(|job| job.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&after), ids(&before));
    assert_eq!(after[0], before[0]);
    assert_eq!(cluster.user.get::<Vec<ModelView>>("/v1/models").await, models);

    let mut worker = cluster.worker().await;
    let assignment = worker.begin().await;
    assert_eq!(assignment.job, running);
    assert!(assignment.generation > generation);
    assert_eq!(assignment.resume.map(|checkpoint| checkpoint.step), Some(5));
    assert_eq!(cluster.user.submit(spec("points")).await.id.as_str(), "points-4");
}

#[tokio::test]
async fn a_shutdown_lets_the_next_one_start_at_once() {
    let cluster = Cluster::start().await;
    cluster.user.submit(spec("points")).await;
    cluster.server.shutdown().await.unwrap();
    let server = start(config(cluster.folder.path())).await.unwrap();
    assert_eq!(User::of(&server).get::<Vec<JobView>>("/v1/jobs").await.len(), 1);
}

/// The child of the test below: a coordinator in a process of its own.
#[tokio::test]
#[ignore = "run by another test as a process of its own"]
async fn coordinator_that_is_killed() {
    let folder = std::path::PathBuf::from(std::env::var("PHALANX_TEST_FOLDER").unwrap());
    let mut config = config(&folder);
    if let Ok(state_url) = std::env::var("PHALANX_TEST_STATE") {
        config = Config { state_url, lease: Duration::from_secs(3), ..config };
    }
    let mut server = start(config).await.unwrap();
    let begin = Instant::now();
    while !server.leads() {
        assert!(begin.elapsed() < DEADLINE, "it does not come to lead");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::fs::write(folder.join("addr.new"), server.http_addr().to_string()).unwrap();
    std::fs::rename(folder.join("addr.new"), folder.join("addr")).unwrap();
    panic!("{}", server.failed().await);
}

#[tokio::test]
async fn a_killed_coordinator_keeps_every_job_that_it_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let mut confirmed = 0;
    for _ in 0..4 {
        let mut child = spawn(folder.path(), None);
        let user = User::at(address(folder.path(), &mut child).await);
        assert_eq!(user.get::<Vec<JobView>>("/v1/jobs").await.len(), confirmed);
        // The kill comes while another submission is under way, which may then be there or not.
        for _ in 0..5 {
            user.submit(spec("points")).await;
            confirmed += 1;
        }
        let late = tokio::spawn(async move {
            let body = serde_json::json!({ "spec": spec("points") });
            user.request(reqwest::Method::POST, "/v1/jobs").json(&body).send().await.is_ok()
        });
        child.kill().unwrap();
        child.wait().unwrap();
        late.await.unwrap();
        let server = start(config(folder.path())).await.unwrap();
        let found = User::of(&server).get::<Vec<JobView>>("/v1/jobs").await.len();
        assert!(found == confirmed || found == confirmed + 1, "{found} jobs of {confirmed}");
        confirmed = found;
        server.shutdown().await.unwrap();
    }
}

/// Starts the test above as a process, with the state in the folder or at `state_url`.
pub(crate) fn spawn(folder: &std::path::Path, state_url: Option<&str>) -> Child {
    let _ = std::fs::remove_file(folder.join("addr"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["restart::coordinator_that_is_killed", "--exact", "--ignored"]);
    command.env("PHALANX_TEST_FOLDER", folder);
    if let Some(state_url) = state_url {
        command.env("PHALANX_TEST_STATE", state_url);
    }
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// Where that process serves, once it does.
pub(crate) async fn address(folder: &std::path::Path, child: &mut Child) -> std::net::SocketAddr {
    let begin = Instant::now();
    loop {
        if let Ok(addr) = std::fs::read_to_string(folder.join("addr")) {
            return addr.parse().unwrap();
        }
        assert!(child.try_wait().unwrap().is_none(), "the coordinator has ended");
        assert!(begin.elapsed() < DEADLINE, "the coordinator does not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_coordinator_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().join("disk"), "512k") else {
        eprintln!("SKIPPED: a small file system cannot be mounted here (it takes root)");
        return;
    };
    let store = tempfile::tempdir().unwrap();
    let mut config = config(disk.path());
    config.store_url = store.path().to_str().unwrap().to_owned();

    let mut server = start(config.clone()).await.unwrap();
    let user = User::of(&server);
    let mut confirmed = 0;
    loop {
        let body = serde_json::json!({ "spec": spec("points") });
        let response = user.request(reqwest::Method::POST, "/v1/jobs").json(&body).send().await.unwrap();
        if response.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
        confirmed += 1;
        assert!(confirmed < 10_000, "the disk does not get full");
    }
    let error = tokio::time::timeout(DEADLINE, server.failed()).await.unwrap();
    assert!(matches!(error, ServerError::State(StateError::Full { .. })), "{error}");
    assert!(error.to_string().contains("state.redb"), "{error}");
    // Its end was told by `failed`.
    server.shutdown().await.unwrap();

    assert!(disk.resize("8m"));
    let server = start(config).await.unwrap();
    let found = User::of(&server).get::<Vec<JobView>>("/v1/jobs").await.len();
    assert!(found == confirmed || found == confirmed + 1, "{found} jobs of {confirmed}");
}

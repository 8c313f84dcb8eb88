//! Garbage collection over the HTTP interface, on a store that is a folder.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use phalanx_protocol::{
    message::Assignment,
    view::{GarbageKind, GcView, JobState},
};
use reqwest::{Method, StatusCode};

use crate::support::{Cluster, User, spec};

/// What a collection tells at its end.
async fn collect(user: &User, query: &str) -> GcView {
    let response = user.request(Method::POST, &format!("/v1/gc{query}")).send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, StatusCode::OK, "{text}");
    let lines: Vec<GcView> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line.done).count(), 1, "{text}");
    lines.last().unwrap().clone()
}

/// A file of the store that was written `age` ago.
fn put(cluster: &Cluster, path: &str, age: Duration) {
    let file = cluster.folder.path().join("store").join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "content").unwrap();
    age_by(&file, age);
}

fn age_by(file: &Path, age: Duration) {
    fs::File::options().write(true).open(file).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn is_there(cluster: &Cluster, path: &str) -> bool {
    cluster.folder.path().join("store").join(path).exists()
}

const OLD: Duration = Duration::from_secs(7_200);

#[tokio::test]
async fn what_no_record_names_is_deleted_and_a_running_jobs_files_are_not() {
    let cluster = Cluster::start().await;
    let done = cluster.user.submit(spec("points")).await.id;
    let mut worker = cluster.worker().await;
    let Assignment { generation: first, .. } = *worker.begin().await;
    worker.step(&done, first, 10).await;
    worker.checkpoint(&done, first, 10).await;
    cluster.user.until(&done, |job| !job.checkpoints.is_empty()).await;
    worker.finish(&done, first).await;
    cluster.user.until(&done, |job| job.state == JobState::Done).await;
    let running = cluster.user.submit(spec("more")).await.id;
    let Assignment { generation, .. } = *worker.begin().await;

    let paths = |job: &str, generation: &str| {
        [
            format!("checkpoints/{job}/g{generation}-s5/part-0-of-1.safetensors"),
            format!("artifacts/{job}/g{generation}/model.safetensors"),
        ]
    };
    let garbage =
        [&paths(done.as_str(), "1")[..], &[format!("datasets/{}/manifest.json", "0".repeat(64))]].concat();
    let kept = [
        &paths(running.as_str(), &generation.to_string())[..],
        &[format!("datasets/{}/train-00000.arrow", "7".repeat(64)), "notes.txt".to_owned()],
    ]
    .concat();
    for path in garbage.iter().chain(&kept) {
        put(&cluster, path, OLD);
    }
    put(&cluster, ".tmp/put-old", OLD);
    put(&cluster, ".tmp/put-young", Duration::ZERO);
    let young = format!("checkpoints/{done}/g1-s6/part-0-of-1.safetensors");
    put(&cluster, &young, Duration::from_secs(3_000));
    let manifest = cluster.user.job(&done).await.checkpoints[0].manifest.path.clone();
    age_by(&cluster.folder.path().join("store").join(&manifest), OLD);

    let dry = collect(&cluster.user, "?dry_run=true").await;
    let mut found: Vec<_> = dry.files.iter().map(|file| file.path.as_str()).collect();
    found.sort_unstable();
    let mut expected: Vec<_> = garbage.iter().map(String::as_str).chain([".tmp/put-old"]).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(dry.garbage.values().all(|of_kind| of_kind.deleted_files == 0));
    assert!(garbage.iter().all(|path| is_there(&cluster, path)));

    let real = collect(&cluster.user, "").await;
    assert_eq!(real.problem, None);
    for (kind, of_kind) in &real.garbage {
        assert_eq!((of_kind.files, of_kind.bytes), (1, 7), "{kind:?}");
        assert_eq!((of_kind.deleted_files, of_kind.deleted_bytes), (1, 7), "{kind:?}");
    }
    assert!(real.garbage.contains_key(&GarbageKind::Unfinished));
    assert!(!garbage.iter().any(|path| is_there(&cluster, path)));
    assert!(kept.iter().chain([&young, &manifest]).all(|path| is_there(&cluster, path)));
    assert!(is_there(&cluster, ".tmp/put-young") && !is_there(&cluster, ".tmp/put-old"));

    let older = collect(&cluster.user, "?older_than_seconds=86400").await;
    assert_eq!((older.garbage.len(), older.older_than_seconds), (0, 86_400));
    worker.step(&running, generation, 1).await;
}

#[tokio::test]
async fn data_sets_are_left_alone_while_a_worker_prepares_one() {
    let cluster = Cluster::start().await;
    let shard = format!("datasets/{}/train-00000.arrow", "0".repeat(64));
    put(&cluster, &shard, OLD);
    let job = cluster.user.submit(spec("points")).await.id;
    let _worker = cluster.worker().await;
    cluster.user.until(&job, |job| job.state == JobState::Preparing).await;
    let view = collect(&cluster.user, "").await;
    assert_eq!((view.preparing, view.garbage.len()), (Some(job), 0));
    assert!(is_there(&cluster, &shard));
}

#[tokio::test]
async fn nothing_is_deleted_from_a_store_that_another_coordinator_writes_to() {
    let cluster = Cluster::start().await;
    let shard = format!("datasets/{}/train-00000.arrow", "0".repeat(64));
    for path in ["checkpoints/other-9/g1-s5/manifest.json", &shard] {
        put(&cluster, path, OLD);
    }
    let response = cluster.user.request(Method::POST, "/v1/gc").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let text = response.text().await.unwrap();
    assert!(text.contains("job other-9") && text.contains("of its own"), "{text}");
    assert!(is_there(&cluster, &shard));
}

#[tokio::test]
async fn a_wrong_age_is_refused() {
    let cluster = Cluster::start().await;
    for (query, part) in [
        ("?older_than_seconds=3599", "at least 3600"),
        ("?older_than=1h", "older_than"),
        ("?dry_run=perhaps", "`true` or `false`"),
    ] {
        let response = cluster.user.request(Method::POST, &format!("/v1/gc{query}")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        let text = response.text().await.unwrap();
        assert!(text.contains(part), "{text}");
    }
}

//! Which files of the object store nobody needs, after what has happened to jobs and models.

use jiff::{SignedDuration, Timestamp};
use phalanx_core::{Input, Verdict};
use phalanx_protocol::{
    id::Rank,
    ledger,
    message::Event,
    view::{GarbageKind, JobState},
};
use phalanx_storage::Listed;

use crate::{bench::Bench, support::part_path};

const LIMIT: Timestamp = Timestamp::UNIX_EPOCH;

fn listed(path: &str, age: i64) -> Listed {
    Listed { path: path.to_owned(), bytes: 1, modified: LIMIT - SignedDuration::from_secs(age) }
}

#[track_caller]
fn check(bench: &Bench, path: &str, expected: Option<GarbageKind>) {
    let named = bench.coordinator.named();
    let verdict = expected.map_or(Verdict::Kept, Verdict::Garbage);
    assert_eq!(named.judge(&listed(path, 1), LIMIT), verdict, "{path}");
    assert_eq!(named.judge(&listed(path, 0), LIMIT), Verdict::Kept, "{path} is young");
}

#[test]
fn parts_that_no_checkpoint_names_are_garbage_once_their_generation_is_over() {
    let (mut bench, job, members) = Bench::train(2, &[("checkpoint.keep", "1")]);
    let first = bench.job(&job).generation;
    bench.save(&job, 5);
    bench.save(&job, 10);
    // Replaced but not deleted, and one in the making.
    let [replaced, half] = [5, 15].map(|step| part_path(&job, first, step, 0));
    check(&bench, &replaced, None);
    check(&bench, &half, None);
    let artifact = format!("artifacts/{job}/g{first}/model.safetensors");
    check(&bench, &artifact, None);
    let ledger = ledger::path(&job, first, Rank::new(0), 0);
    check(&bench, &ledger, None);

    bench.call(Input::Detach { worker: members[1] }).expect("it may leave");
    bench.attach(1);
    for worker in [members[0], bench.coordinator.workers()[1].id] {
        bench.confirm(worker);
    }
    bench.form(&job);
    assert!(bench.job(&job).generation > first);
    check(&bench, &replaced, Some(GarbageKind::Checkpoint));
    check(&bench, &half, Some(GarbageKind::Checkpoint));
    check(&bench, &artifact, Some(GarbageKind::Artifact));
    check(&bench, &ledger, None);
    let kept = &bench.job(&job).checkpoints[0];
    check(&bench, &kept.manifest.path, None);
    check(&bench, &part_path(&job, first, 10, 1), None);
    check(&bench, &part_path(&job, bench.job(&job).generation, 15, 1), None);

    bench.finish(&job);
    bench.check(&job, JobState::Done);
    let view = bench.job(&job);
    check(&bench, &part_path(&job, view.generation, 15, 1), Some(GarbageKind::Checkpoint));
    check(&bench, &kept.manifest.path, None);
    check(&bench, &ledger, None);
    check(&bench, &view.artifact.expect("it has finished").weights.path, None);
}

#[test]
fn a_version_and_its_data_are_kept_and_what_was_given_up_is_not() {
    let (mut bench, job, _) = Bench::train(1, &[("register.model", "demo")]);
    let manifest = |version: u64| format!("models/demo/{version}/manifest.json");
    bench.finish(&job);
    check(&bench, &manifest(1), None);
    bench.fail_to_write();
    bench.check(&job, JobState::Paused);
    check(&bench, &manifest(1), None);
    bench.call(Input::Cancel { job: job.clone() }).expect("a paused job can be cancelled");
    check(&bench, &manifest(1), Some(GarbageKind::Model));

    let second = bench.submit(&[("register.model", "demo")]);
    for worker in bench.coordinator.workers() {
        bench.confirm(worker.id);
    }
    bench.form(&second);
    bench.finish(&second);
    bench.write();
    check(&bench, &manifest(2), None);
    for records in [false, true] {
        check(&bench, "datasets/d1/train-00000.arrow", None);
        check(&bench, "datasets/d1/manifest.json", None);
        check(&bench, "datasets/d0/train-00000.arrow", Some(GarbageKind::Dataset));
        if !records {
            bench.restart();
        }
    }
}

#[test]
fn dataset_versions_are_left_alone_while_one_is_prepared() {
    let mut bench = Bench::new();
    let shard = "datasets/d0/train-00000.arrow";
    check(&bench, shard, Some(GarbageKind::Dataset));
    bench.attach(1);
    let job = bench.submit(&[]);
    bench.check(&job, JobState::Preparing);
    assert_eq!(bench.coordinator.named().preparing(), Some(&job));
    check(&bench, shard, None);
    assert!(!bench.coordinator.named().is_abandoned(&listed(shard, 9), LIMIT));
    bench.prepared(&job);
    check(&bench, shard, Some(GarbageKind::Dataset));
    assert!(bench.coordinator.named().is_abandoned(&listed(shard, 9), LIMIT));
}

#[test]
fn an_upload_is_abandoned_when_it_is_old_and_its_job_is_over() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    let path = part_path(&job, bench.job(&job).generation, 5, 0);
    let abandoned =
        |bench: &Bench, path: &str, age| bench.coordinator.named().is_abandoned(&listed(path, age), LIMIT);
    assert!(!abandoned(&bench, &path, 9), "it is being written");
    let reason = "its loss is no number".to_owned();
    bench.report(members[0], &job, Event::Failed(phalanx_protocol::message::Failure::Job { reason }));
    bench.check(&job, JobState::Failed);
    assert!(abandoned(&bench, &path, 9));
    assert!(!abandoned(&bench, &path, 0), "it is young");
    assert!(abandoned(&bench, ".tmp/put-x", 9));
    assert!(!abandoned(&bench, "checkpoints/other-9/g1-s5/part-0.safetensors", 9), "it is somebody else's");
}

#[test]
fn what_is_not_ours_is_kept_and_what_another_coordinator_has_written_is_told() {
    let (bench, job, _) = Bench::train(1, &[]);
    for path in [
        "notes.txt",
        "checkpoints/readme",
        "checkpoints/other-9/latest/part",
        "artifacts/other-9/model/weights",
        "datasets/list.json",
        "models/demo/newest/manifest.json",
        &format!("checkpoints/{job}/gx-s5/part"),
    ] {
        check(&bench, path, None);
    }
    let foreign = |path: &str| match bench.coordinator.named().judge(&listed(path, 1), LIMIT) {
        Verdict::Foreign { owner } => owner,
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(foreign("checkpoints/other-9/g1-s5/manifest.json"), "job other-9");
    assert_eq!(foreign("artifacts/other-9/g1/model.safetensors"), "job other-9");
    assert_eq!(foreign("models/other/1/manifest.json"), "version 1 of model other");
}

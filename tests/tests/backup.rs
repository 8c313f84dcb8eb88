//! A backup of the state, as k8s/README.md describes it: what is restored knows what the backup knew, and
//! new jobs train, although the object store has files of jobs that came after it.

use std::fs;

use phalanx_protocol::view::JobState;
use phalanx_tests::{Cluster, Job};

#[test]
fn a_state_that_is_restored_knows_what_the_backup_knew_and_new_jobs_train() {
    let mut cluster = Cluster::start();
    cluster.add_worker();
    cluster.submit(&Job::mlp());
    let before = cluster.wait_for("mlp-1", JobState::Done);
    cluster.kill_coordinator();
    let state = cluster.store().with_file_name("state.redb");
    let backup = state.with_file_name("backup.redb");
    fs::copy(&state, &backup).expect("nobody has it open");

    cluster.start_coordinator();
    cluster.submit(&Job::mlp());
    let lost = cluster.wait_for("mlp-2", JobState::Done);
    cluster.kill_coordinator();
    fs::copy(&backup, &state).expect("nobody has it open");

    cluster.start_coordinator();
    let restored = cluster.job("mlp-1").expect("the backup knew it");
    assert_eq!((restored.state, &restored.state_hash), (JobState::Done, &before.state_hash));
    assert!(cluster.job("mlp-2").is_none(), "it came after the backup");

    // It gets the number of the one that is lost, whose files are there, and is another job than that.
    let other = Job::mlp().train("learning_rate", "0.001");
    cluster.submit(&other);
    let done = cluster.wait_for("mlp-2", JobState::Done);
    assert!(done.state_hash.is_some() && done.state_hash != lost.state_hash, "{done:#?}");
}

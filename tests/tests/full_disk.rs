//! A disk that is full: the job pauses with its reason, and goes on when there is
//! room again. Needs to mount a small file system of its own; says so where it
//! may not.

use std::{fs, path::Path};

use phalanx_protocol::view::JobState;
use phalanx_tests::{Cluster, Deadline, Home, Job, SmallDisk, eventually};

fn holds_a_part_of_a_checkpoint(store: &Path) -> bool {
    store.join("checkpoints").is_dir()
}

#[test]
fn a_job_whose_store_is_full_pauses_with_its_reason_and_goes_on_when_there_is_room() {
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(home.folder().join("disk"), "48m") else {
        eprintln!("SKIPPED: this machine does not let the test mount a file system");
        return;
    };
    let store = disk.path().join("store");
    let job = Job::mlp().steps(8_000).with("[checkpoint]\nevery = 100\nkeep = 1\n");
    let mut cluster = Cluster::with_store(home, store.clone());
    cluster.add_worker();
    cluster.submit(&job);
    eventually("a checkpoint", Deadline::default(), || holds_a_part_of_a_checkpoint(&store).then_some(()));
    let ballast = disk.fill();
    let paused = cluster.wait_for("mlp-1", JobState::Paused);
    let reason = paused.reason.expect("it says why");
    assert!(reason.contains("space") || reason.contains("full"), "{reason}");

    fs::remove_file(ballast).expect("the ballast can be removed");
    assert_eq!(cluster.ask(&["resume", "mlp-1"]).code, Some(0));
    let done = cluster.wait_for("mlp-1", JobState::Done);
    assert_eq!(done.state_hash, Some(Home::new().run(&job, 1)));
}

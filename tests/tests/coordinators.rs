//! Coordinators in numbers over a real etcd, as processes: one leads, the other takes its place, and
//! training goes on meanwhile.

use phalanx_protocol::view::JobState;
use phalanx_tests::{Cluster, Deadline, Etcd, Home, Job, eventually};

#[test]
fn training_goes_on_while_the_leader_is_killed_and_etcd_is_restarted() {
    let Some(mut etcd) = Etcd::for_coordinators() else { return };
    let mut cluster = Cluster::over_etcd(&etcd, 2, &["--lease", "3"]);
    (0..2).for_each(|_| cluster.add_worker());
    let job = Job::mlp().steps(8_000).with("[checkpoint]\nevery = 200\n[workers]\nmin = 2\n");
    cluster.submit(&job);
    let reaches = |cluster: &Cluster, step: u64| {
        eventually(&format!("step {step}"), Deadline::default(), || {
            cluster.job("mlp-1").filter(|job| job.step >= step)
        })
    };
    let before = reaches(&cluster, 20);
    let killed = cluster.kill_leader();
    let leader = eventually("the other one to lead", Deadline::default(), || cluster.leader());
    assert_ne!(leader, killed);
    let after = reaches(&cluster, before.step + 1);
    assert_eq!(after.generation.get(), 1, "workers did not notice: {:#?}", after.messages);

    etcd.kill(0);
    etcd.restart(0);
    let done = cluster.wait_for("mlp-1", JobState::Done);
    assert_eq!(done.generation.get(), 1, "{:#?}", done.messages);
    assert_eq!(done.state_hash, Some(Home::new().run(&job, 1)));
}

//! A cluster whose processes talk over TLS, and what is said where it does not come about.

use phalanx_protocol::view::JobState;
use phalanx_tests::{Certificates, Cluster, Deadline, Home, Job, Running, eventually};

#[test]
fn a_cluster_with_certificates_ends_in_the_same_bits() {
    let mut cluster = Cluster::start_secured();
    cluster.submit(&Job::mlp().with("[workers]\nmin = 2\n"));
    cluster.add_worker();
    cluster.add_worker();
    let job = cluster.wait_for("mlp-1", JobState::Done);
    assert_eq!(job.state_hash, Some(Home::new().run(&Job::mlp(), 1)));
}

/// Waits until the worker and the coordinator each have said one of these.
fn both_say(worker: &Running, workers: &str, cluster: &Cluster, coordinators: &str) {
    let deadline = Deadline(std::time::Duration::from_secs(30));
    eventually(&format!("the worker to say {workers:?}"), deadline, || {
        worker.said().contains(workers).then_some(())
    });
    eventually(&format!("the coordinator to say {coordinators:?}"), deadline, || {
        cluster.coordinator_said().contains(coordinators).then_some(())
    });
}

#[test]
fn a_worker_without_certificates_and_a_coordinator_with_them_say_so() {
    let mut cluster = Cluster::start_secured();
    let worker = cluster.start_worker(&[]);
    both_say(&worker, "give this worker --tls-ca, --tls-cert and --tls-key", &cluster, "does not speak TLS");
    let other = Certificates::new();
    let worker = cluster.start_worker(&other.flags("worker"));
    both_say(&worker, "not signed by this cluster's CA", &cluster, "it has another CA");
    drop(worker);
    cluster.submit(&Job::mlp());
    cluster.add_worker();
    cluster.wait_for("mlp-1", JobState::Done);
}

#[test]
fn a_worker_with_certificates_and_a_coordinator_without_them_say_so() {
    let (cluster, certificates) = (Cluster::start(), Certificates::new());
    let worker = cluster.start_worker(&certificates.flags("worker"));
    both_say(
        &worker,
        "(--tls-ca, --tls-cert and --tls-key)",
        &cluster,
        "this coordinator has no certificates",
    );
}

#[test]
fn certificates_that_cannot_work_end_a_process_at_its_start() {
    let certificates = Certificates::new();
    let cluster = Cluster::start();
    let ended = cluster.start_worker(&certificates.flags("coordinator")).wait();
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(
        ended.stderr.contains("coordinator.pem cannot be used as this process' certificate"),
        "{ended:#?}"
    );
    assert!(ended.stderr.contains("phalanx-worker"), "{ended:#?}");
    let ended = cluster.start_worker(&certificates.flags("worker")[..4]).wait();
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("--tls-key"), "{ended:#?}");
}

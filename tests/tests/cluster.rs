//! A cluster by hand: a coordinator, workers that come by themselves, jobs that
//! are submitted, wait, run side by side and survive the coordinator's death.

use phalanx_protocol::view::{JobState, JobView};
use phalanx_tests::{Cluster, Deadline, Home, Job, eventually};

#[test]
fn a_job_waits_for_workers_and_says_so_and_runs_when_they_come() {
    let mut cluster = Cluster::start();
    cluster.submit(&Job::mlp().with("[workers]\nmin = 2\n"));
    let job = cluster.wait_for("mlp-1", JobState::Queued);
    assert!(job.reason.is_some_and(|reason| reason.contains("worker")), "it says what it waits for");
    cluster.add_worker();
    cluster.add_worker();
    let job = cluster.wait_for("mlp-1", JobState::Done);
    assert_eq!(job.state_hash, Some(Home::new().run(&Job::mlp(), 1)));
}

#[test]
fn jobs_run_side_by_side_where_workers_suffice_and_queue_where_they_do_not() {
    let mut cluster = Cluster::start();
    for _ in 0..2 {
        cluster.add_worker();
    }
    let job = Job::mlp().steps(3_000).with("[workers]\nmin = 1\nmax = 1\n");
    for _ in 0..3 {
        cluster.submit(&job);
    }
    let running = |job: &JobView| job.workers.len() == 1;
    eventually("two jobs to run and one to wait", Deadline::default(), || {
        let jobs = ["mlp-1", "mlp-2", "mlp-3"].map(|id| cluster.job(id));
        let at_work = jobs.iter().flatten().filter(|job| running(job)).count();
        let waits = jobs[2].as_ref().is_some_and(|job| job.state == JobState::Queued);
        (at_work == 2 && waits).then_some(())
    });
    for id in ["mlp-1", "mlp-2", "mlp-3"] {
        cluster.wait_for(id, JobState::Done);
    }
}

#[test]
fn a_coordinator_that_is_killed_and_started_again_loses_no_job() {
    let mut cluster = Cluster::start();
    cluster.add_worker();
    let job = Job::mlp().steps(1_500).with("[checkpoint]\nevery = 100\n");
    cluster.submit(&job);
    cluster.submit(&Job::mlp());
    eventually("a checkpoint", Deadline::default(), || {
        (!cluster.job("mlp-1")?.checkpoints.is_empty()).then_some(())
    });
    cluster.kill_coordinator();
    cluster.start_coordinator();
    let first = cluster.wait_for("mlp-1", JobState::Done);
    cluster.wait_for("mlp-2", JobState::Done);
    assert_eq!(first.state_hash, Some(Home::new().run(&job, 1)));
}

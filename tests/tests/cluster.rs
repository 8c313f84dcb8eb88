//! A cluster by hand: a coordinator, workers that come by themselves, jobs that
//! are submitted, wait, run side by side and survive the coordinator's death.

use std::process::Command;

use phalanx_protocol::view::{JobState, JobView};
use phalanx_tests::{Deadline, Home, Job, Running, Signal, binary, eventually};

/// A coordinator on ports of its own, with its stores in the home's folder.
struct Cluster {
    home: Home,
    address: String,
    coordinator: Option<Running>,
    workers: Vec<Running>,
}

impl Cluster {
    fn start() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be had");
        let address = free.local_addr().expect("it is bound").to_string();
        drop(free);
        let mut cluster = Self { home: Home::new(), address, coordinator: None, workers: Vec::new() };
        cluster.start_coordinator();
        cluster
    }

    fn start_coordinator(&mut self) {
        let folder = self.home.folder().display();
        let mut command = Command::new(binary("phalanx"));
        command.args(["coordinator", "--listen", &self.address]);
        command.args(["--state", &format!("redb://{folder}/state.redb")]);
        command.args(["--store", &format!("file://{folder}/store")]);
        self.coordinator = Some(Running::start(command));
        eventually("the coordinator to answer", Deadline::default(), || {
            (self.ask(&["jobs", "--json"]).code == Some(0)).then_some(())
        });
    }

    fn kill_coordinator(&mut self) {
        let coordinator = self.coordinator.take().expect("it runs");
        coordinator.signal(Signal::KILL);
        coordinator.wait();
    }

    fn add_worker(&mut self) {
        let mut command = Command::new(binary("phalanx"));
        command.args(["worker", "--coordinator", &format!("http://{}", self.address)]);
        command.current_dir(self.home.folder());
        self.workers.push(Running::start(command));
    }

    fn ask(&self, args: &[&str]) -> phalanx_tests::Ended {
        let mut command = Command::new(binary("phalanx"));
        command.args(args).args(["--coordinator", &format!("http://{}", self.address)]);
        Running::start(command).wait()
    }

    fn submit(&self, job: &Job) {
        let file = self.home.write_job(job);
        let ended = self.ask(&["submit", file.to_str().expect("temporary paths are UTF-8")]);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    }

    fn job(&self, id: &str) -> Option<JobView> {
        serde_json::from_str(&self.ask(&["job", id, "--json"]).stdout).ok()
    }

    fn wait_for(&self, id: &str, state: JobState) -> JobView {
        eventually(&format!("{id} to be {state:?}"), Deadline::default(), || {
            let job = self.job(id)?;
            assert!(!job.state.is_over() || job.state == state, "{id}: {:?} {:?}", job.state, job.reason);
            (job.state == state).then_some(job)
        })
    }
}

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
    let running = |job: &JobView| job.world_size == 1;
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

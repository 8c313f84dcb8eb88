//! What a large fleet costs its coordinator: a benchmark of the real `phalanx coordinator` with
//! simulated workers in this process, which compute nothing and speak the real RPC.
//!
//!   cargo run --release -p phalanx-tests --bin fleet -- [--workers 1000] [--seconds 60]
//!
//! Workers attach, tell their paces with their heartbeats, form the generations of jobs of 4 to 64
//! workers, and report progress as often as real ones do. Every second something happens: a worker
//! dies or hangs, and another comes; a job is cancelled and saved, and another submitted. Printed are the
//! cores that the coordinator takes, and how long its directives take to arrive.

mod figures;
mod options;
mod process;
mod user;
mod worker;

use std::{sync::Arc, time::Duration};

use figures::{Row, print_head};
use options::Options;
use phalanx_tests::{Cluster, Deadline, eventually};
use process::{Coordinator, raise_descriptors};
use user::User;
use worker::Fleet;

/// How long heartbeats alone are measured.
const IDLE: Duration = Duration::from_secs(10);

/// How long the fleet settles before it is measured.
const SETTLES: Duration = Duration::from_secs(5);

fn main() {
    let options = Options::read();
    raise_descriptors();
    let cluster = Cluster::start_with(&["--lease", &options.lease.to_string()]);
    let coordinator = Coordinator { pid: cluster.coordinator_pid() };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let fleet = Arc::new(Fleet::new(cluster.rpc()));
    for _ in 0..options.workers {
        runtime.spawn(worker::live(Arc::clone(&fleet)));
    }
    let mut user = User::new(cluster.api(), Arc::clone(&fleet));
    eventually("all workers to attach", Deadline::default(), || {
        (fleet.living() == options.workers).then_some(())
    });
    std::thread::sleep(SETTLES);
    println!("{} workers, a lease of {} s", options.workers, options.lease);
    print_cores("heartbeats alone", coordinator.cores_during(|| std::thread::sleep(IDLE)));
    user.submit_for(options.workers);
    eventually("all jobs to train", Deadline::default(), || user.all_train().then_some(()));
    std::thread::sleep(SETTLES);
    let jobs = user.jobs();
    print_cores(
        &format!("{jobs} jobs that nothing disturbs"),
        coordinator.cores_during(|| std::thread::sleep(IDLE)),
    );
    fleet.arrivals.clear();
    let time = Duration::from_secs(options.seconds);
    let cores = coordinator.cores_during(|| user.disturb(time));
    print_cores(&format!("{jobs} jobs, something happens every second"), cores);
    print_head();
    user.rows(&fleet.arrivals).iter().for_each(Row::print);
}

fn print_cores(what: &str, cores: f64) {
    println!("{what:<60} {cores:>7.3} cores");
}

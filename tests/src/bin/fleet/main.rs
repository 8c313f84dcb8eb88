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
mod user;
mod worker;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use figures::{Arrivals, Row};
use phalanx_tests::{Cluster, Deadline, eventually};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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
    println!("\n{:<60} {:>7} {:>8} {:>8} {:>8}", "milliseconds", "count", "median", "p99", "worst");
    rows(&fleet.arrivals, &mut user).iter().for_each(Row::print);
}

struct Options {
    workers: usize,
    seconds: u64,
    lease: u64,
}

impl Options {
    fn read() -> Self {
        let mut options = Self { workers: 1_000, seconds: 60, lease: 5 };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().unwrap_or_else(|| usage(&format!("{name} wants a value")));
            let number = || value.parse().unwrap_or_else(|_| usage(&format!("{name}: {value} is no number")));
            match name.as_str() {
                "--workers" => options.workers = number() as usize,
                "--seconds" => options.seconds = number(),
                "--lease" => options.lease = number(),
                _ => usage(&format!("unknown option {name}")),
            }
        }
        options
    }
}

fn usage(problem: &str) -> ! {
    eprintln!("error: {problem}\nusage: fleet [--workers N] [--seconds N] [--lease SECONDS]");
    std::process::exit(2);
}

/// A connection for each worker takes more than the usual 1,024.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the limit can be raised");
}

/// The coordinator's process.
struct Coordinator {
    pid: i32,
}

impl Coordinator {
    /// The cores that it takes while `act` goes on.
    fn cores_during(&self, act: impl FnOnce()) -> f64 {
        let (before, begun) = (self.cpu(), Instant::now());
        act();
        (self.cpu() - before) / begun.elapsed().as_secs_f64()
    }

    /// Processor time until now, in seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("it runs");
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        // user and system time are fields 14 and 15; the state, after the name, is field 3.
        let ticks = after_name.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|field| field.parse::<u64>().expect("a number of ticks")).sum();
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }
}

fn print_cores(what: &str, cores: f64) {
    println!("{what:<60} {cores:>7.3} cores");
}

fn rows(arrivals: &Arrivals, user: &mut User) -> Vec<Row> {
    let from_users = user.latencies(arrivals);
    let lost = user.losses(arrivals);
    let regrouped = user.regroupings(arrivals);
    let [submitted, prepared, cancelled, broken] = from_users;
    let all = [&submitted, &prepared, &cancelled, &lost, &regrouped];
    let all = all.into_iter().flatten().copied().collect();
    vec![
        Row::new("a job is submitted → Prepare at its first rank", submitted),
        Row::new("a data set is reported → Train at each rank", prepared),
        Row::new("a job is cancelled → Stop at each rank", cancelled),
        Row::new("lost by its lease, as the job's log has it → Release", lost),
        Row::new("the next generation starts, as the log has it → Train", regrouped),
        Row::new("all of these", all),
        Row::new("a connection breaks → the next Train at each survivor", broken),
    ]
}

//! What elasticity costs a step that nothing disturbs: a benchmark on this machine.
//!
//!   cargo run --release -p phalanx-tests --bin overhead -- [--workers 4] [--rounds 30] [--seconds 3]
//!
//! In each round three contenders have a turn, in changing order: `phalanx bench step`, whose workers
//! make the same steps without a coordinator and compare nothing; a cluster with everything on, that is
//! heartbeats with paces, reports, votes, metrics, and states compared every 1,000 steps; and the same with
//! checkpoints. The first is as near to a bare training loop as can be had. Printed are samples a
//! second, and how much longer a step takes for the others: the median over the rounds,
//! and between what half of them lie.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use phalanx_protocol::view::{JobState, JobView, WorkerView};
use phalanx_tests::{Cluster, Deadline, Home, Job, Running, eventually};

/// Samples of a step of the job.
const BATCH: f64 = 128.0;

/// Steps until a worker's caches are full and its buffers have their size.
const WARM_UP_STEPS: u64 = 200;

fn main() {
    let options = Options::read();
    let Options { workers, rounds, seconds } = options;
    println!("{workers} workers, {rounds} rounds of {seconds} s; samples a second");
    let contenders: [Contender; 3] = [bare, everything, everything_and_checkpoints];
    let mut rates = vec![[0.0; 3]; rounds];
    for (round, rates) in rates.iter_mut().enumerate() {
        for turn in 0..contenders.len() {
            let which = (round + turn) % contenders.len();
            rates[which] = contenders[which](&options);
        }
        let [bare, everything, saving] = *rates;
        println!(
            "round {round:>2}: bare {bare:.0}, everything {everything:.0}, with checkpoints {saving:.0}"
        );
    }
    for (which, what) in [(1, "everything on"), (2, "everything and a checkpoint every 500 steps")] {
        let mut more: Vec<f64> = rates.iter().map(|rates| 100.0 * (rates[0] / rates[which] - 1.0)).collect();
        more.sort_by(f64::total_cmp);
        let at = |share: f64| more[((more.len() - 1) as f64 * share).round() as usize];
        let (low, middle, high) = (at(0.25), at(0.5), at(0.75));
        println!("{what}: a step takes {middle:.2} % longer (half of the rounds: {low:.2} to {high:.2})");
    }
}

/// Measures one way to train, in samples a second.
type Contender = fn(&Options) -> f64;

struct Options {
    workers: usize,
    rounds: usize,
    seconds: u64,
}

impl Options {
    fn read() -> Self {
        let mut options = Self { workers: 4, rounds: 30, seconds: 3 };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().unwrap_or_else(|| usage(&format!("{name} wants a value")));
            let number: u64 =
                value.parse().unwrap_or_else(|_| usage(&format!("{name}: {value} is no number")));
            match name.as_str() {
                "--workers" => options.workers = number.max(2) as usize,
                "--rounds" => options.rounds = number.max(1) as usize,
                "--seconds" => options.seconds = number.max(1),
                _ => usage(&format!("unknown option {name}")),
            }
        }
        options
    }
}

fn usage(problem: &str) -> ! {
    eprintln!("error: {problem}\nusage: overhead [--workers N] [--rounds N] [--seconds N]");
    std::process::exit(2);
}

/// Workers that make the steps and nothing else.
fn bare(options: &Options) -> f64 {
    let home = Home::new();
    let file = home.write_job(&Job::wide_mlp());
    let mut command = std::process::Command::new(phalanx_tests::binary("phalanx"));
    command.args(["bench", "step", file.to_str().expect("temporary paths are UTF-8"), "--json"]);
    command.args(["--workers", &options.workers.to_string(), "--seconds", &options.seconds.to_string()]);
    command.args(["--rounds", "1", "--set", "train.verify_every=0"]);
    let ended = Running::start(command).wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let measured: serde_json::Value = serde_json::from_str(&ended.stdout).expect("it is JSON");
    measured["samples_per_second"].as_f64().expect("a number of samples")
}

fn everything(options: &Options) -> f64 {
    in_a_cluster(options, 0)
}

fn everything_and_checkpoints(options: &Options) -> f64 {
    in_a_cluster(options, 500)
}

/// Workers that train a job for a coordinator, with a checkpoint every so many steps.
fn in_a_cluster(options: &Options, every: u64) -> f64 {
    let cluster = Cluster::start();
    let metrics = ["--metrics".to_owned(), "127.0.0.1:0".to_owned()];
    let _workers: Vec<Running> = (0..options.workers).map(|_| cluster.start_worker(&metrics)).collect();
    let job = Job::wide_mlp()
        .steps(100_000_000)
        .with(&format!("[checkpoint]\nevery = {every}\n[workers]\nstart = {}\n", options.workers));
    cluster.submit(&job);
    let api = cluster.api();
    eventually("the job to train", Deadline::default(), || {
        let job: JobView = api.get("/v1/jobs/wide-1").ok()?;
        let is_warm = job.state == JobState::Training && job.step >= WARM_UP_STEPS;
        (is_warm && job.world_size as usize == options.workers).then_some(())
    });
    let workers: Vec<WorkerView> = api.get("/v1/workers").expect("the coordinator answers");
    let metrics = workers[0].metrics_addr.expect("it serves metrics");
    let (before, begun) = (steps(metrics), Instant::now());
    std::thread::sleep(Duration::from_secs(options.seconds));
    let (after, elapsed) = (steps(metrics), begun.elapsed());
    (after - before) * BATCH / elapsed.as_secs_f64()
}

/// Steps that the worker has made whose metrics are served there.
fn steps(metrics: SocketAddr) -> f64 {
    let mut stream = TcpStream::connect(metrics).expect("the worker serves metrics");
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {metrics}\r\nconnection: close\r\n\r\n");
    let mut text = String::new();
    let asked = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut text));
    asked.expect("the worker answers");
    let line = text.lines().find_map(|line| line.strip_prefix("phalanx_worker_steps_total "));
    line.and_then(|number| number.trim().parse().ok()).expect("it counts steps")
}

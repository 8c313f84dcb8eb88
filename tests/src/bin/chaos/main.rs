//! A real cluster under real faults: does a job still end in the same bits, with every sample in
//! exactly one step?
//!
//!   cargo run --release -p phalanx-tests --bin chaos -- [--job JOB] [--workers 4] \\
//!       [--faults kill,stop,partition,coordinator,etcd,store] [--seed S] [--minutes M]
//!
//! Trains the job once undisturbed, and then again and again in a cluster of processes of this
//! machine where things go wrong at random moments, each round by another seed. Needs the binary
//! `phalanx`, for etcd with its feature `cluster`. Ends with 1 if anything was not as it should be.

mod ground;
mod log;
mod options;
mod plan;
mod report;
mod round;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use ground::Ground;
use options::Options;
use phalanx_tests::{Home, Job, Running};
use round::Subject;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    let mut ground = Ground::start(&options);
    let kinds: Vec<_> = ground.kinds().iter().map(ToString::to_string).collect();
    println!("{}; faults: {}", ground.described(), kinds.join(", "));
    let file = job_file(&options, ground.home());
    let expected = undisturbed(&file, options.workers);
    println!("undisturbed, it ends in {expected}");
    let until = Instant::now() + options.time;
    let (subject, mut outcomes) = (Subject { file: &file, expected: &expected }, Vec::new());
    while outcomes.is_empty() || Instant::now() < until {
        let seed = options.seed + outcomes.len() as u64;
        println!("\nround with seed {seed}");
        outcomes.push(round::run(&mut ground, &subject, seed, until));
    }
    if report::print(&outcomes) {
        return ExitCode::SUCCESS;
    }
    let logs = std::env::temp_dir().join(format!("phalanx-chaos-{}", options.seed));
    match ground.write_logs(&logs) {
        Ok(()) => println!("what the processes said is in {}", logs.display()),
        Err(error) => println!("what the processes said could not be written: {error}"),
    }
    ExitCode::FAILURE
}

/// The job that is trained.
fn job_file(options: &Options, home: &Home) -> PathBuf {
    let job = || Job::mlp().steps(4_000).with("[checkpoint]\nevery = 250\n");
    options.job.clone().unwrap_or_else(|| home.write_job(&job()))
}

/// The state hash of a run that nothing disturbs.
fn undisturbed(file: &std::path::Path, workers: usize) -> String {
    let (home, workers) = (Home::new(), workers.min(2).to_string());
    let file = std::path::absolute(file).expect("there is a current folder");
    let file = file.to_string_lossy();
    let ended = Running::start(home.command(&["run", &file, "--workers", &workers, "--json"])).wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let job: phalanx_protocol::view::JobView =
        serde_json::from_str(&ended.stdout).expect("it prints the job");
    job.state_hash.expect("a finished job has a state hash")
}

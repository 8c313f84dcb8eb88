//! What a checkpoint costs: a benchmark of a job with a gibibyte of state on one worker.
//!
//!   cargo run --release -p phalanx-tests --bin checkpoint -- [--rounds 5]
//!
//! In each round the job saves its state once, and the same number of bytes is written to the same disk and
//! synced by this process, while the job goes on. A step counts as undisturbed where neither was under
//! way. Training stands still until the state is taken out, which the worker itself measures. What a
//! checkpoint takes from it beside that is the time of all steps until it is durable beyond that of
//! as many undisturbed ones; what the first of them takes beyond one is told apart.

use std::{
    fs::File,
    io::{self, Write as _},
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use phalanx_protocol::view::JobView;
use phalanx_tests::{Api, Cluster, Home, Job, free_addresses};

/// How often the job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The longest that one round may take.
const ROUND_MAX: Duration = Duration::from_secs(300);

/// Steps from one checkpoint to the next.
const EVERY: u64 = 16;

fn main() -> io::Result<()> {
    let rounds = rounds();
    let home = Home::new();
    let folder = home.folder().to_owned();
    let cluster = Cluster::with_store(home, folder.join("store"));
    let [metrics] = free_addresses();
    let _worker = cluster.start_worker(&["--metrics".to_owned(), metrics.clone()]);
    // 784 × 9088 + 9088 × 9088 + … parameters of 4 bytes, with two moments each: 1.004 GiB.
    let job = Job::wide_mlp().hidden("[9088, 9088]").train("batch_size", "8").lanes(1);
    let tables = format!("[train.optimizer]\nkind = \"adamw\"\n[checkpoint]\nevery = {EVERY}\nkeep = 1\n");
    cluster.submit(&job.steps(1_000_000).with(&tables));
    let mut watch = Watch { api: cluster.api(), seen: Vec::new() };
    let mut all = Figures::default();
    // The first one finds memory that was never used.
    for round in 0..=rounds {
        watch.until(|view| view.step % EVERY == EVERY - 2)?;
        let saved = watch.until(|view| view.step % EVERY == 0)?;
        let begun = watch.seen.last().map_or_else(Instant::now, |(at, _)| *at);
        let durable = watch.until(|view| view.checkpoints.last().is_some_and(|c| c.step == saved.step))?;
        let saving = begun..Instant::now();
        let bytes = durable.checkpoints.last().map_or(0, |checkpoint| checkpoint.bytes);
        watch.until(|view| view.step >= saved.step + 4)?;
        let plain = write_plainly(&folder.join("plain"), bytes)?;
        watch.until(|view| view.step >= saved.step + 8)?;
        if round > 0 {
            all.add(&watch, saving, plain);
        }
    }
    all.print(standstill(&Api::new(&metrics))?);
    Ok(())
}

/// The mean time in milliseconds for which the worker's training stood still for a checkpoint.
fn standstill(worker: &Api) -> io::Result<f64> {
    let metrics = worker.text("/metrics")?;
    let read = |name: &str| -> Option<f64> {
        let line = metrics.lines().find(|line| line.starts_with(name))?;
        line.rsplit_once(' ')?.1.parse().ok()
    };
    let [sum, count] =
        ["phalanx_worker_snapshot_seconds_sum", "phalanx_worker_snapshot_seconds_count"].map(read);
    let mean = sum.zip(count).map(|(sum, count)| sum / count * 1e3);
    mean.ok_or_else(|| io::Error::other("the worker's metrics do not tell how long it stood still"))
}

fn rounds() -> usize {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => 5,
        [name, value] if name == "--rounds" && value.parse().is_ok_and(|rounds: usize| rounds > 0) => {
            value.parse().unwrap_or(5)
        }
        _ => {
            eprintln!("usage: checkpoint [--rounds N]");
            std::process::exit(2);
        }
    }
}

/// When steps were seen to be finished.
struct Watch {
    api: Api,
    seen: Vec<(Instant, u64)>,
}

impl Watch {
    /// Looks at the job until `there`.
    fn until(&mut self, there: impl Fn(&JobView) -> bool) -> io::Result<JobView> {
        let begun = Instant::now();
        while begun.elapsed() < ROUND_MAX {
            if let Ok(view) = self.api.get::<JobView>("/v1/jobs/wide-1") {
                if self.seen.last().is_none_or(|(_, step)| *step < view.step) {
                    self.seen.push((Instant::now(), view.step));
                }
                if there(&view) {
                    return Ok(view);
                }
                if view.state.is_over() {
                    return Err(io::Error::other(format!("{:?}: {:?}", view.state, view.reason)));
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Err(io::Error::other("the job does not get there"))
    }

    /// Begin, end and time of a step, for each that was seen.
    fn steps(&self) -> impl Iterator<Item = (Range<Instant>, Duration)> + '_ {
        let pairs = self.seen.windows(2).map(|pair| (pair[0], pair[1]));
        pairs.map(|((begin, first), (end, last))| (begin..end, (end - begin) / (last - first) as u32))
    }
}

#[derive(Default)]
struct Figures {
    undisturbed: Vec<Duration>,
    first_step: Vec<f64>,
    all_steps: Vec<f64>,
    durable: Vec<f64>,
    plain: Vec<f64>,
}

impl Figures {
    fn add(&mut self, watch: &Watch, saving: Range<Instant>, plain: Range<Instant>) {
        let overlaps = |a: &Range<Instant>, b: &Range<Instant>| a.start < b.end && b.start < a.end;
        let since = saving.start - Duration::from_secs(60);
        let recent: Vec<_> = watch.steps().filter(|(when, _)| when.start > since).collect();
        let calm = recent.iter().filter(|(when, _)| !overlaps(when, &saving) && !overlaps(when, &plain));
        let calm: Vec<_> = calm.map(|(_, time)| *time).collect();
        let usual = median(&calm.iter().map(Duration::as_secs_f64).collect::<Vec<_>>());
        let beyond: Vec<_> = recent
            .iter()
            .filter(|(when, _)| overlaps(when, &saving))
            .map(|(_, time)| time.as_secs_f64() - usual)
            .collect();
        self.undisturbed.extend(calm);
        self.first_step.extend(beyond.first());
        self.all_steps.push(beyond.iter().sum());
        self.durable.push((saving.end - saving.start).as_secs_f64());
        self.plain.push((plain.end - plain.start).as_secs_f64());
    }

    fn print(&self, standstill: f64) {
        let steps: Vec<_> = self.undisturbed.iter().map(Duration::as_secs_f64).collect();
        println!("{:<58} {:>8} {:>8} {:>8}", "milliseconds", "median", "least", "worst");
        row("an undisturbed step", &steps);
        println!("{:<58} {standstill:>8.2}", "a checkpoint of 1 GiB: training stands still (mean)");
        row("the next step takes longer by", &self.first_step);
        row("all steps until it is durable take longer by", &self.all_steps);
        row("durable after", &self.durable);
        row("the same bytes written and synced", &self.plain);
        println!("{:<58} {:>8.2}", "durable by that", median(&self.durable) / median(&self.plain));
    }
}

fn row(what: &str, seconds: &[f64]) {
    let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let worst = seconds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let [median, least, worst] = [median(seconds), least, worst].map(|seconds| seconds * 1e3);
    println!("{what:<58} {median:>8.0} {least:>8.0} {worst:>8.0}");
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Writes so many bytes to a new file, and waits until they are on the disk; from when to when.
fn write_plainly(path: &Path, bytes: u64) -> io::Result<Range<Instant>> {
    let content: Vec<u8> = (0..8 << 20).map(|i: u32| (i ^ (i >> 8)) as u8).collect();
    let begun = Instant::now();
    let mut file = File::create(path)?;
    let mut left = usize::try_from(bytes).map_err(io::Error::other)?;
    while left > 0 {
        let piece = &content[..left.min(content.len())];
        file.write_all(piece)?;
        left -= piece.len();
    }
    file.sync_all()?;
    let took = begun..Instant::now();
    std::fs::remove_file(path)?;
    Ok(took)
}

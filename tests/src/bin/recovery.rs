//! How fast a job recovers: a benchmark of a cluster of processes on this machine.
//!
//!   cargo run --release -p phalanx-tests --bin recovery -- [--workers 4] [--rounds 50] [--only NAME]
//!
//! Each part prints a line of figures, in milliseconds: median, 90th percentile and worst. The job
//! is a perceptron (784-512-512-10) on the digits of the examples.

use std::{
    io::IsTerminal as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use phalanx_protocol::view::{JobState, JobView};
use phalanx_tests::{Api, Cluster, Job, Running, Signal, free_addresses};

/// The longest that a job may take to go on; beyond it, it has not survived.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// How often the job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long training runs undisturbed between two faults.
const REST: Duration = Duration::from_millis(1_500);

fn main() {
    let options = Options::read();
    println!("{} workers, {} rounds; milliseconds", options.workers, options.rounds);
    println!("{:<58} {:>8} {:>8} {:>8}  survived", "", "median", "p90", "worst");
    let parts: [(&str, Part); 4] =
        [("kill", kill), ("stop", stop), ("coordinator", coordinator), ("goodput", goodput)];
    for (name, part) in parts {
        if options.only.as_ref().is_none_or(|only| only == name) {
            part(&options).iter().for_each(Row::print);
        }
    }
}

/// Measures one kind of fault.
type Part = fn(&Options) -> Vec<Row>;

struct Options {
    workers: usize,
    rounds: usize,
    only: Option<String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Self { workers: 4, rounds: 50, only: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().unwrap_or_else(|| usage(&format!("{name} wants a value")));
            let number = || value.parse().unwrap_or_else(|_| usage(&format!("{name}: {value} is no number")));
            match name.as_str() {
                "--workers" => options.workers = number(),
                "--rounds" => options.rounds = number(),
                "--only" => options.only = Some(value),
                _ => usage(&format!("unknown option {name}")),
            }
        }
        options
    }

    /// Counts the rounds for whoever waits.
    fn rounds(&self, what: &str) -> impl Iterator<Item = usize> {
        let (rounds, is_watched) = (self.rounds, std::io::stderr().is_terminal());
        (0..rounds).inspect(move |round| {
            if is_watched {
                eprint!("{what}: {} of {rounds}\r", round + 1);
            }
        })
    }
}

fn usage(problem: &str) -> ! {
    eprintln!(
        "error: {problem}\nusage: recovery [--workers N] [--rounds N] [--only kill|stop|coordinator|goodput]"
    );
    std::process::exit(2);
}

/// A line of the table.
struct Row {
    what: String,
    times: Vec<Duration>,
    rounds: usize,
}

impl Row {
    fn print(&self) {
        let mut millis: Vec<f64> = self.times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        millis.sort_by(f64::total_cmp);
        let at = |share: f64| millis.get(((millis.len().max(1) - 1) as f64 * share).round() as usize);
        let shown = |share| at(share).map_or("-".to_owned(), |value| format!("{value:.0}"));
        let (median, p90, worst) = (shown(0.5), shown(0.9), shown(1.0));
        println!("{:<58} {median:>8} {p90:>8} {worst:>8}  {}/{}", self.what, millis.len(), self.rounds);
    }
}

/// A cluster with a job that trains on all its workers.
struct Ground {
    cluster: Cluster,
    api: Api,
    workers: Vec<Running>,
    job: &'static str,
}

impl Ground {
    fn new(workers: usize, lease: &str) -> Self {
        Self::with_flags(workers, lease, &[])
    }

    /// Its first worker serves its metrics at this address.
    fn with_metrics(workers: usize, lease: &str, address: &str) -> Self {
        Self::with_flags(workers, lease, &["--metrics".to_owned(), address.to_owned()])
    }

    fn with_flags(workers: usize, lease: &str, first: &[String]) -> Self {
        let cluster = Cluster::start_with(&["--lease", lease]);
        let api = cluster.api();
        let flags = |place| if place == 0 { first } else { &[] };
        let workers: Vec<_> = (0..workers).map(|place| cluster.start_worker(flags(place))).collect();
        let start = workers.len();
        let job = Job::wide_mlp()
            .steps(100_000_000)
            .with(&format!("[checkpoint]\nevery = 500\n[workers]\nmin = 1\nstart = {start}\n"));
        cluster.submit(&job);
        let ground = Self { cluster, api, workers, job: "wide-1" };
        ground.wait_until(|view| view.world_size as usize == start && has_stepped(view));
        ground
    }

    fn view(&self) -> Option<JobView> {
        self.api.get(&format!("/v1/jobs/{}", self.job)).ok()
    }

    /// Looks at the job until `there`; how long that took, unless it takes too long.
    fn wait_until(&self, there: impl Fn(&JobView) -> bool) -> Option<(Duration, JobView)> {
        let begun = Instant::now();
        while begun.elapsed() < LOST_AFTER {
            if let Some(view) = self.view().filter(|view| there(view)) {
                return Some((begun.elapsed(), view));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        None
    }

    fn generation(&self) -> u64 {
        self.view().map_or(0, |view| view.generation.get())
    }
}

/// Whether its generation has finished a step.
fn has_stepped(view: &JobView) -> bool {
    view.state == JobState::Training && view.samples_per_second.is_some()
}

/// `kill -9` of a worker, without and with another one in its place.
fn kill(options: &Options) -> Vec<Row> {
    let mut ground = Ground::new(options.workers, "5");
    let (mut to_step, mut to_heal, mut lost) = (Vec::new(), Vec::new(), 0);
    for round in options.rounds("killed") {
        std::thread::sleep(REST);
        let (generation, before) = (ground.generation(), ground.view().map_or(0, |view| view.step));
        let place = round % ground.workers.len();
        ground.workers[place].signal(Signal::KILL);
        let went_on = ground.wait_until(|view| view.generation.get() > generation && has_stepped(view));
        if let Some((time, view)) = went_on {
            to_step.push(time);
            lost += before.saturating_sub(view.step);
        }
        ground.workers[place] = ground.cluster.start_worker(&[]);
        ground.wait_until(|view| view.world_size as usize == options.workers && has_stepped(view));
    }
    for round in options.rounds("killed and replaced") {
        std::thread::sleep(REST);
        let generation = ground.generation();
        let place = round % ground.workers.len();
        ground.workers[place].signal(Signal::KILL);
        ground.workers[place] = ground.cluster.start_worker(&[]);
        let is_whole = |view: &JobView| view.world_size as usize == options.workers;
        let healed = ground
            .wait_until(|view| view.generation.get() > generation && is_whole(view) && has_stepped(view));
        to_heal.extend(healed.map(|(time, _)| time));
    }
    let rounds = options.rounds;
    vec![
        Row { what: "SIGKILL of a worker to the next finished step".into(), times: to_step, rounds },
        Row { what: "the same, replaced and healed to full size".into(), times: to_heal, rounds },
        Row {
            what: format!("steps reported before a kill and lost by it: {lost} in all"),
            times: vec![],
            rounds,
        },
    ]
}

/// `SIGSTOP` of a worker, with a lease of two seconds.
fn stop(options: &Options) -> Vec<Row> {
    let mut ground = Ground::new(options.workers, "2");
    let mut times = Vec::new();
    let rounds = options.rounds.min(10);
    for round in 0..rounds {
        std::thread::sleep(REST);
        let generation = ground.generation();
        let place = round % ground.workers.len();
        ground.workers[place].signal(Signal::STOP);
        let went_on = ground.wait_until(|view| view.generation.get() > generation && has_stepped(view));
        times.extend(went_on.map(|(time, _)| time));
        ground.workers[place].signal(Signal::KILL);
        ground.workers[place] = ground.cluster.start_worker(&[]);
        ground.wait_until(|view| view.world_size as usize == options.workers && has_stepped(view));
    }
    vec![Row { what: "SIGSTOP to the next finished step, lease 2 s".into(), times, rounds }]
}

/// `kill -9` of the coordinator: the longest time in which a worker finishes no step, beside that of
/// a time as long in which nothing happens.
fn coordinator(options: &Options) -> Vec<Row> {
    let [metrics] = free_addresses();
    let mut ground = Ground::with_metrics(options.workers, "5", &metrics);
    let rounds = options.rounds.min(10);
    let (mut undisturbed, mut killed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        undisturbed.push(longest_pause(&metrics, || std::thread::sleep(REST * 2)));
        let generation = ground.generation();
        let pause = longest_pause(&metrics, || {
            ground.cluster.kill_coordinator();
            std::thread::sleep(REST);
            ground.cluster.start_coordinator();
            std::thread::sleep(REST);
        });
        ground.wait_until(has_stepped);
        if ground.generation() == generation {
            killed.push(pause);
        }
    }
    vec![
        Row { what: "longest time without a step in 3 s, undisturbed".into(), times: undisturbed, rounds },
        Row { what: "the same, coordinator killed for 1.5 s".into(), times: killed, rounds },
    ]
}

/// The longest time in which the worker with these metrics finishes no step while something is done.
fn longest_pause(metrics: &str, done: impl FnOnce()) -> Duration {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let worker = Api::new(metrics);
            let (mut steps, mut since, mut longest) = (None, Instant::now(), Duration::ZERO);
            while !over.load(Ordering::Relaxed) {
                let now = finished_steps(&worker);
                if now != steps {
                    longest = longest.max(since.elapsed());
                    (steps, since) = (now, Instant::now());
                }
                std::thread::sleep(LOOK_EVERY);
            }
            longest.max(since.elapsed())
        });
        done();
        over.store(true, Ordering::Relaxed);
        watching.join().expect("it does not panic")
    })
}

/// The steps that a worker has finished, by its metrics.
fn finished_steps(worker: &Api) -> Option<u64> {
    let metrics = worker.text("/metrics").ok()?;
    let line = metrics.lines().find(|line| line.starts_with("phalanx_worker_steps_total"))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// A worker killed every ten seconds, and replaced.
fn goodput(options: &Options) -> Vec<Row> {
    let ten = Duration::from_secs(10);
    let mut ground = Ground::new(options.workers, "5");
    let steps_in = |ground: &Ground, time: Duration| {
        let begin = ground.view().map_or(0, |view| view.step);
        let begun = Instant::now();
        std::thread::sleep(time);
        (ground.view().map_or(0, |view| view.step) - begin) as f64 / begun.elapsed().as_secs_f64()
    };
    let mut shares = Vec::new();
    for round in 0..(options.rounds / 5).clamp(1, 6) {
        let undisturbed = steps_in(&ground, ten);
        let place = round % ground.workers.len();
        ground.workers[place].signal(Signal::KILL);
        ground.workers[place] = ground.cluster.start_worker(&[]);
        shares.push(steps_in(&ground, ten) / undisturbed * 100.0);
    }
    shares.sort_by(f64::total_cmp);
    println!(
        "{:<58} {:>7.1} %",
        "goodput with a worker killed every 10 s and replaced",
        shares[shares.len() / 2]
    );
    Vec::new()
}

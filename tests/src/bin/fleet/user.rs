//! Who submits and cancels jobs, lets workers die, and remembers when.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use phalanx_protocol::{
    id::{Generation, JobId},
    view::{JobState, JobView},
};
use phalanx_tests::{Api, Deadline, eventually};
use serde_json::json;

use crate::{
    figures::{Arrivals, Kind, Row},
    worker::{Death, Fleet},
};

/// The most workers of the jobs, by turns.
const SIZES: [usize; 5] = [4, 8, 16, 32, 64];

/// How often something happens.
const EVERY: Duration = Duration::from_secs(1);

/// A directive that comes later than this after a line of the job's log has another cause.
const LATE: Duration = Duration::from_secs(1);

/// The time in which workers have seen that they are released.
const RELEASED: Duration = Duration::from_millis(300);

/// Somebody at the coordinator's HTTP interface.
pub(crate) struct User {
    api: Api,
    fleet: Arc<Fleet>,
    /// Those that train, the oldest first, and how many workers they take.
    jobs: Vec<(JobId, usize)>,
    /// All that were ever submitted.
    known: Vec<JobId>,
    submitted: Vec<(JobId, Instant)>,
    cancelled: Vec<(JobId, Instant)>,
    broken: Vec<(JobId, Generation, Instant)>,
    chance: u64,
}

impl User {
    pub(crate) fn new(api: Api, fleet: Arc<Fleet>) -> Self {
        let (jobs, known, submitted) = Default::default();
        Self { api, fleet, jobs, known, submitted, cancelled: Vec::new(), broken: Vec::new(), chance: 1 }
    }

    /// How many jobs train.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Submits as many jobs as so many workers can serve.
    pub(crate) fn submit_for(&mut self, workers: usize) {
        let mut left = workers;
        for size in SIZES.into_iter().cycle() {
            if size > left {
                return;
            }
            left -= size;
            self.submit(size);
        }
    }

    pub(crate) fn all_train(&self) -> bool {
        let training = self.jobs.iter().filter_map(|(job, _)| self.job(job));
        training.filter(|job| job.state == JobState::Training).count() == self.jobs.len()
    }

    /// Lets something happen again and again.
    pub(crate) fn disturb(&mut self, time: Duration) {
        let begun = Instant::now();
        for turn in 0_u32.. {
            let next = begun + EVERY * turn;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            if begun.elapsed() >= time {
                return;
            }
            match turn % 4 {
                0 | 2 => self.kill(Death::Breaks),
                1 => self.replace(),
                _ => self.kill(Death::Hangs),
            }
        }
    }

    fn submit(&mut self, size: usize) {
        let spec = json!({
            "name": "fleet",
            "data": { "target": "y", "csv": { "path": "/data/points.csv" } },
            "model": { "linear": {} },
            "train": { "batch_size": 8 * size, "lanes": size, "steps": 100_000_000, "learning_rate": 0.1 },
            "workers": { "min": size / 2, "max": size },
            "checkpoint": { "every": 0 },
        });
        let begun = Instant::now();
        let job: JobView = self.api.post("/v1/jobs", &json!({ "spec": spec })).expect("a right job");
        self.submitted.push((job.id.clone(), begun));
        self.known.push(job.id.clone());
        self.jobs.push((job.id, size));
    }

    /// Cancels the oldest job, and submits another one once its workers are free.
    fn replace(&mut self) {
        let (job, size) = self.jobs.remove(0);
        if self.job(&job).is_some_and(|view| view.state == JobState::Training) {
            self.cancelled.push((job.clone(), Instant::now()));
        }
        let cancelled: std::io::Result<JobView> =
            self.api.post(&format!("/v1/jobs/{job}/cancel"), &json!({}));
        cancelled.expect("a job that trains can be cancelled");
        eventually("a job to be cancelled", Deadline::default(), || {
            self.job(&job).filter(|view| view.state == JobState::Cancelled)
        });
        std::thread::sleep(RELEASED);
        self.submit(size);
    }

    /// Lets a member of some job die.
    fn kill(&mut self, death: Death) {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chance = (self.chance >> 33) as usize;
        let (job, _) = self.jobs[chance % self.jobs.len()].clone();
        let Some(view) = self.job(&job).filter(|view| view.state == JobState::Training) else { return };
        let victim = view.workers[chance / 64 % view.workers.len()];
        let at = Instant::now();
        if self.fleet.kill(victim, death) && death == Death::Breaks {
            self.broken.push((job, view.generation, at));
        }
    }

    fn job(&self, job: &JobId) -> Option<JobView> {
        self.api.get(&format!("/v1/jobs/{job}")).ok()
    }

    /// All that was measured.
    pub(crate) fn rows(&self, arrivals: &Arrivals) -> Vec<Row> {
        let from_users = self.latencies(arrivals);
        let lost = self.losses(arrivals);
        let regrouped = self.regroupings(arrivals);
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

    /// How long directives took to arrive after somebody wanted something: jobs submitted, data
    /// sets reported, jobs cancelled, connections broken.
    fn latencies(&self, arrivals: &Arrivals) -> [Vec<Duration>; 4] {
        let submitted = self
            .submitted
            .iter()
            .filter_map(|(job, at)| arrivals.of(job, Kind::Prepare).first().map(|first| first.at - *at));
        let prepared = self.fleet.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let prepared = prepared.iter().flat_map(|((job, generation), at)| {
            let of_it = arrivals.of(job, Kind::Train).into_iter().filter(|one| one.generation == *generation);
            of_it.map(|one| one.at - *at).collect::<Vec<_>>()
        });
        let cancelled = self.cancelled.iter().flat_map(|(job, at)| {
            let later = arrivals.of(job, Kind::Stop).into_iter().filter(|one| one.at >= *at);
            later.map(|one| one.at - *at).collect::<Vec<_>>()
        });
        let broken = self.broken.iter().flat_map(|(job, generation, at)| {
            let next = arrivals.of(job, Kind::Train).into_iter();
            next.filter(|one| one.generation == generation.next()).map(|one| one.at - *at).collect::<Vec<_>>()
        });
        [submitted.collect(), prepared.collect(), cancelled.collect(), broken.collect()]
    }

    /// From the line in a job's log that a worker was lost by its lease to the arrival of what follows.
    fn losses(&self, arrivals: &Arrivals) -> Vec<Duration> {
        self.after("was lost: it was not heard of", Kind::Release, arrivals)
    }

    /// The same for the start of a generation that is not the first.
    fn regroupings(&self, arrivals: &Arrivals) -> Vec<Duration> {
        self.after("starts with", Kind::Train, arrivals)
    }

    fn after(&self, text: &str, kind: Kind, arrivals: &Arrivals) -> Vec<Duration> {
        let mut times = Vec::new();
        for view in self.known.iter().filter_map(|job| self.job(job)) {
            let told = view.messages.iter().filter(|message| message.text.contains(text));
            let told: BTreeMap<Timestamp, ()> = told.map(|message| (message.at, ())).collect();
            for arrival in arrivals
                .of(&view.id, kind)
                .into_iter()
                .filter(|one| one.generation.get() > 1 || kind == Kind::Release)
            {
                let Some((at, ())) = told.range(..=arrival.wall).next_back() else { continue };
                let time = Duration::try_from(arrival.wall.duration_since(*at)).unwrap_or_default();
                times.extend((time < LATE).then_some(time));
            }
        }
        times
    }
}

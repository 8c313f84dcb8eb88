//! A simulated worker: it attaches, follows directives and reports, and computes nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use phalanx_protocol::{
    codec::{self, Codec},
    id::{Generation, JobId, Rank, WorkerId},
    message::{
        Assignment, CheckpointPart, Directive, Event, Failure, Hello, Progress, Report, StateSource, Timeouts,
    },
    pace::Pace,
    reference::{DatasetRef, FileRef},
    rpc::{CoordinatorClient, VERSION},
};
use tarpc::{client, context, serde_transport, tokio_util::codec::Framed};
use tokio::{
    net::TcpStream,
    sync::{broadcast, oneshot},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::figures::Arrivals;

/// How often rank 0 of a real job reports.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// Steps of a job in that time.
const STEPS: u64 = 40;

/// How long the step under way takes when ranks are told to stop: they stop after the same one.
const STOPS: Duration = Duration::from_millis(100);

/// How long ranks take to connect.
const CONNECTS: Duration = Duration::from_millis(20);

/// Another worker comes in the place of one that has died after this.
const REPLACED_AFTER: Duration = Duration::from_secs(2);

/// The longest that a report may take.
const REPORT_MAX: Duration = Duration::from_secs(10);

/// How a worker dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Its connections break.
    Breaks,
    /// It is silent, and nobody sees why.
    Hangs,
}

/// What simulated workers share.
#[derive(Debug)]
pub(crate) struct Fleet {
    rpc: String,
    pub(crate) arrivals: Arrivals,
    /// When which data set was reported.
    pub(crate) prepared: Mutex<BTreeMap<(JobId, Generation), Instant>>,
    living: Mutex<BTreeMap<WorkerId, oneshot::Sender<Death>>>,
    /// Steps finished.
    steps: Mutex<BTreeMap<JobId, u64>>,
    /// Workers whose connections break.
    broken: broadcast::Sender<WorkerId>,
    processes: AtomicU32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet {
    /// Nobody yet, of workers that find their coordinator at `rpc`.
    pub(crate) fn new(rpc: &str) -> Self {
        Self {
            rpc: rpc.to_owned(),
            arrivals: Arrivals::default(),
            prepared: Mutex::default(),
            living: Mutex::default(),
            steps: Mutex::default(),
            broken: broadcast::Sender::new(1_024),
            processes: AtomicU32::new(1),
        }
    }

    /// How many are attached.
    pub(crate) fn living(&self) -> usize {
        lock(&self.living).len()
    }

    /// Lets a worker die; `false` where it is dead.
    pub(crate) fn kill(&self, worker: WorkerId, death: Death) -> bool {
        lock(&self.living).remove(&worker).is_some_and(|kill| kill.send(death).is_ok())
    }
}

/// One worker after the other, for ever.
pub(crate) async fn live(fleet: Arc<Fleet>) {
    loop {
        if let Err(error) = one_life(&fleet).await {
            eprintln!("a simulated worker ended: {error}");
        }
        sleep(REPLACED_AFTER).await;
    }
}

async fn one_life(fleet: &Arc<Fleet>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(&fleet.rpc).await?;
    stream.set_nodelay(true)?;
    let transport = serde_transport::new(Framed::new(stream, codec::framing()), Codec::default());
    let client = CoordinatorClient::new(client::Config::default(), transport).spawn();
    let pid = fleet.processes.fetch_add(1, Ordering::Relaxed);
    let attached = client.attach(within(REPORT_MAX), hello(pid)).await??;
    let (kill, killed) = oneshot::channel();
    lock(&fleet.living).insert(attached.worker, kill);
    let voice = Voice { fleet: Arc::clone(fleet), client, worker: attached.worker };
    let mut worker = Worker { voice, timeouts: attached.timeouts, work: JoinSet::new(), trains: None };
    tokio::select! {
        death = killed => match death {
            Ok(Death::Hangs) => {
                worker.work.abort_all();
                sleep(attached.timeouts.lease * 2).await;
            }
            Ok(Death::Breaks) | Err(_) => {
                let _ = fleet.broken.send(attached.worker);
            }
        },
        ended = worker.follow() => ended?,
    }
    Ok(())
}

/// How a worker says something.
#[derive(Debug, Clone)]
struct Voice {
    fleet: Arc<Fleet>,
    client: CoordinatorClient,
    worker: WorkerId,
}

impl Voice {
    async fn tell(&self, job: &JobId, generation: Generation, event: Event) {
        let report = Report { job: job.clone(), generation, event };
        // A report of a generation that is over is refused, which is all there is to it.
        let _ = self.client.report(within(REPORT_MAX), self.worker, report).await;
    }
}

struct Worker {
    voice: Voice,
    timeouts: Timeouts,
    work: JoinSet<()>,
    trains: Option<Place>,
}

/// A worker's place in the generation that it trains in.
#[derive(Debug, Clone)]
struct Place {
    job: JobId,
    generation: Generation,
    rank: Rank,
    lanes: u32,
}

impl Worker {
    async fn follow(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let limit = self.timeouts.heartbeat + self.timeouts.lease / 2;
        let (client, worker) = (self.voice.client.clone(), self.voice.worker);
        let mut last = 0;
        loop {
            for numbered in client.directives(within(limit), worker, last, self.pace()).await?? {
                last = numbered.number;
                self.voice.fleet.arrivals.note(&numbered.directive);
                if numbered.directive == Directive::Leave {
                    return Ok(());
                }
                self.obey(numbered.directive);
            }
        }
    }

    fn pace(&self) -> Option<Pace> {
        let Place { job, generation, lanes, .. } = self.trains.clone()?;
        let steps = 200;
        let time = |millis: u64| Duration::from_millis(millis * steps);
        Some(Pace { job, generation, steps, lanes, gradients: time(4), reduction: time(1), update: time(1) })
    }

    fn obey(&mut self, directive: Directive) {
        let voice = self.voice.clone();
        match directive {
            Directive::Prepare { job, generation, .. } => {
                self.work.spawn(async move {
                    lock(&voice.fleet.prepared).insert((job.clone(), generation), Instant::now());
                    let summary = "1,000,000 rows".to_owned();
                    let prepared = Event::Prepared { dataset: dataset(), found: true, summary };
                    voice.tell(&job, generation, prepared).await;
                });
            }
            Directive::Train(assignment) => {
                self.work.abort_all();
                let lanes = assignment.spec.train.lanes / assignment.world_size();
                let Assignment { job, generation, rank, .. } = &*assignment;
                let (job, generation, rank) = (job.clone(), *generation, *rank);
                self.trains = Some(Place { job, generation, rank, lanes });
                self.work.spawn(train(voice, *assignment));
            }
            Directive::Fetch { job, generation, .. } => {
                self.work.spawn(async move { voice.tell(&job, generation, Event::Fetched).await });
            }
            Directive::Stop { save, .. } => {
                self.work.abort_all();
                if let Some(place) = self.trains.take() {
                    self.work.spawn(stop(voice, place, save));
                }
            }
            Directive::Release { .. } => {
                self.work.abort_all();
                self.trains = None;
            }
            Directive::Leave => {}
        }
        while self.work.try_join_next().is_some() {}
    }
}

/// Connects with its peers, and trains until one of them is gone.
async fn train(voice: Voice, assignment: Assignment) {
    let Assignment { job, generation, rank, peers, .. } = assignment;
    let mut broken = voice.fleet.broken.subscribe();
    let fails = |step| Event::Failed(Failure::Peer { reason: "a connection broke".to_owned(), step });
    let mut step = lock(&voice.fleet.steps).get(&job).copied().unwrap_or(0);
    sleep(CONNECTS).await;
    let all_live = {
        let living = lock(&voice.fleet.living);
        peers.iter().all(|peer| living.contains_key(&peer.worker))
    };
    if !all_live {
        return voice.tell(&job, generation, fails(step)).await;
    }
    let from = if step == 0 { StateSource::Seed } else { StateSource::Members { healed: 0 } };
    voice.tell(&job, generation, Event::Formed { step, from }).await;
    let mut reports = interval(REPORT_EVERY);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = reports.tick(), if rank.is_leader() => {
                step += STEPS;
                lock(&voice.fleet.steps).insert(job.clone(), step);
                voice.tell(&job, generation, Event::Progress(progress(step))).await;
            }
            dead = broken.recv() => {
                if dead.is_ok_and(|dead| peers.iter().any(|peer| peer.worker == dead)) {
                    return voice.tell(&job, generation, fails(step)).await;
                }
            }
        }
    }
}

/// Stops as it was told.
async fn stop(voice: Voice, place: Place, save: bool) {
    let Place { job, generation, rank, .. } = place;
    sleep(STOPS).await;
    let step = lock(&voice.fleet.steps).get(&job).copied().unwrap_or(0);
    if save {
        let part = CheckpointPart {
            step,
            cursor: step,
            rank,
            state_hash: "5".repeat(64),
            file: file(&format!("checkpoints/{job}/g{generation}-s{step}/part-{rank}.safetensors")),
            progress_json: "{}".to_owned(),
        };
        voice.tell(&job, generation, Event::CheckpointPart(Box::new(part))).await;
    }
    voice.tell(&job, generation, Event::Stopped { step }).await;
}

fn progress(step: u64) -> Progress {
    Progress {
        step,
        epoch: 0,
        cursor: step,
        loss: 1.0 / step as f64,
        learning_rate: 0.1,
        samples_per_second: 1_000.0,
        curve: (step - STEPS + 1..=step).map(|step| (step, 1.0 / step as f64)).collect(),
    }
}

fn within(limit: Duration) -> context::Context {
    let mut context = context::current();
    context.deadline = Instant::now() + limit;
    context
}

fn hello(pid: u32) -> Hello {
    Hello {
        host: format!("node-{}.cluster.example", pid / 8),
        pid,
        data_addr: ([127, 0, 0, 1], 9).into(),
        kind: "x86-64-v4-5d0a81f7".to_owned(),
        tasks: Vec::new(),
        version: VERSION.to_owned(),
        metrics_addr: None,
    }
}

fn dataset() -> DatasetRef {
    DatasetRef {
        version: "7".repeat(64),
        manifest: file("datasets/7"),
        train_rows: 1_000_000,
        validation_rows: 1_000,
        test_rows: 1_000,
    }
}

fn file(path: &str) -> FileRef {
    FileRef { path: path.to_owned(), bytes: 100, blake3: "8".repeat(64) }
}

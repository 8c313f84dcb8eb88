//! A coordinator that does what a test says, over real tarpc: it lets workers in,
//! hands out directives, and keeps what it is told.
//!
//! It takes the coordinator's place on the wire only: it decides nothing.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::StreamExt as _;
use phalanx_protocol::{
    codec::{self, Codec},
    id::{Generation, WorkerId},
    message::{Attached, Directive, Event, Hello, Numbered, Report, Timeouts},
    pace::Pace,
    rpc::{Coordinator, NotAttached, Rejected},
};
use tarpc::{
    context::Context,
    server::{BaseChannel, Channel as _},
};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::{codec::Framed, sync::CancellationToken};

/// The longest that a test waits for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Known {
    attached: Vec<(WorkerId, Hello)>,
    queues: BTreeMap<WorkerId, Vec<Directive>>,
    reports: Vec<(WorkerId, Report)>,
    detached: Vec<WorkerId>,
    drained: Vec<WorkerId>,
    /// What workers that want to attach are told.
    refusal: Option<NotAttached>,
    /// How many have been told so.
    refused: usize,
    /// Workers are let in, and not told yet.
    holds_answers: bool,
    /// What workers told of their pace.
    paces: Vec<(WorkerId, Pace)>,
    /// Workers ever attached.
    workers: u64,
    /// Reports of generations before this one are stale.
    generation: Generation,
}

/// The fake.
#[derive(Clone)]
pub(crate) struct Fake {
    store_url: String,
    timeouts: Timeouts,
    known: Arc<Mutex<Known>>,
    changed: Arc<watch::Sender<()>>,
}

/// A running server of the fake.
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    /// Closes the port and all connections.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("the server ends");
    }
}

impl Fake {
    pub(crate) fn new(store_url: String) -> Self {
        let timeouts = Timeouts::from_lease(Duration::from_secs(2));
        let changed = Arc::new(watch::Sender::new(()));
        Self { store_url, timeouts, known: Arc::default(), changed }
    }

    /// Serves at `addr` until stopped.
    pub(crate) async fn serve(&self, addr: &str) -> Served {
        let listener = TcpListener::bind(addr).await.expect("the port is free");
        let addr = listener.local_addr().expect("it is bound");
        let (fake, stop) = (self.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (fake, stopped) = (fake.clone(), stopped.clone());
                tokio::spawn(async move {
                    let framed = Framed::new(stream, codec::framing());
                    let transport = tarpc::serde_transport::new(framed, Codec::default());
                    let calls = BaseChannel::with_defaults(transport).execute(Coordinator::serve(fake));
                    let each = calls.for_each(async |call| {
                        tokio::spawn(call);
                    });
                    stopped.run_until_cancelled(each).await;
                });
            }
        });
        Served { addr, stop, task }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no test panics with it")
    }

    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        let changed = change(&mut self.known());
        self.changed.send_replace(());
        changed
    }

    /// Tells `worker` to do something.
    pub(crate) fn direct(&self, worker: WorkerId, directive: Directive) {
        self.change(|known| known.queues.entry(worker).or_default().push(directive));
    }

    /// From here on, reports of generations before `generation` are stale.
    pub(crate) fn begin_generation(&self, generation: Generation) {
        self.change(|known| known.generation = generation);
    }

    /// From here on, refuses workers that want to attach; or no longer.
    pub(crate) fn refuse(&self, refusal: Option<NotAttached>) {
        self.change(|known| known.refusal = refusal);
    }

    /// From here on, lets workers in without telling them; or tells them.
    pub(crate) fn hold_answers(&self, holds_answers: bool) {
        self.change(|known| known.holds_answers = holds_answers);
    }

    /// Waits until each of so many workers has told its pace.
    pub(crate) async fn paced(&self, workers: usize) -> Vec<(WorkerId, Pace)> {
        self.eventually("workers tell their paces", |known| {
            let told: BTreeMap<_, _> = known.paces.iter().cloned().collect();
            (told.len() == workers).then(|| told.into_iter().collect())
        })
        .await
    }

    /// Knows none of its workers any more.
    pub(crate) fn forget(&self) {
        self.change(|known| {
            known.queues.clear();
            known.attached.clear();
        });
    }

    /// Waits until `count` workers are attached.
    pub(crate) async fn attached(&self, count: usize) -> Vec<(WorkerId, Hello)> {
        self.eventually("workers attach", |known| {
            (known.attached.len() == count).then(|| known.attached.clone())
        })
        .await
    }

    /// Waits until workers were refused so often.
    pub(crate) async fn refused(&self, count: usize) {
        self.eventually("workers are refused", |known| (known.refused >= count).then_some(())).await;
    }

    /// Waits for the first report of `generation` for which `pick` has an answer.
    pub(crate) async fn reported<T>(
        &self,
        generation: Generation,
        mut pick: impl FnMut(WorkerId, &Event) -> Option<T>,
    ) -> T {
        self.eventually("the report comes", |known| {
            let of_generation = known.reports.iter().filter(|(_, report)| report.generation == generation);
            of_generation.into_iter().find_map(|(worker, report)| pick(*worker, &report.event))
        })
        .await
    }

    /// Waits until `worker` has left.
    pub(crate) async fn detached(&self, worker: WorkerId) {
        self.eventually("the worker leaves", |known| known.detached.contains(&worker).then_some(())).await;
    }

    /// All reports so far.
    pub(crate) fn reports(&self) -> Vec<(WorkerId, Report)> {
        self.known().reports.clone()
    }

    async fn eventually<T>(&self, what: &str, mut look: impl FnMut(&Known) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        let waiting = async {
            loop {
                if let Some(found) = look(&self.known()) {
                    return found;
                }
                changes.changed().await.expect("the fake lives");
            }
        };
        match timeout(DEADLINE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("not within {DEADLINE:?}: {what}; reports: {:#?}", self.reports()),
        }
    }
}

impl Coordinator for Fake {
    async fn attach(self, _: Context, hello: Hello) -> Result<Attached, NotAttached> {
        self.change(|known| match &known.refusal {
            Some(refusal) => {
                known.refused += 1;
                Err(refusal.clone())
            }
            None => Ok(()),
        })?;
        let worker = self.change(|known| {
            known.workers += 1;
            let worker = WorkerId::new(known.workers);
            known.attached.push((worker, hello));
            known.queues.insert(worker, Vec::new());
            worker
        });
        self.eventually("answers are given", |known| (!known.holds_answers).then_some(())).await;
        Ok(Attached { worker, store_url: self.store_url, timeouts: self.timeouts })
    }

    async fn drain(self, _: Context, worker: WorkerId) -> Result<(), Rejected> {
        self.change(|known| known.drained.push(worker));
        Ok(())
    }

    async fn directives(
        self,
        _: Context,
        worker: WorkerId,
        after: u64,
        pace: Option<Pace>,
    ) -> Result<Vec<Numbered>, Rejected> {
        if let Some(pace) = pace {
            self.change(|known| known.paces.push((worker, pace)));
        }
        let mut changes = self.changed.subscribe();
        let waiting = async {
            loop {
                {
                    let known = self.known();
                    let queue = known.queues.get(&worker).ok_or(Rejected::UnknownWorker(worker))?;
                    let numbered = (1..).zip(queue).skip(after as usize);
                    let new: Vec<Numbered> = numbered
                        .map(|(number, directive)| Numbered { number, directive: directive.clone() })
                        .collect();
                    if !new.is_empty() {
                        return Ok(new);
                    }
                }
                changes.changed().await.expect("the fake lives");
            }
        };
        timeout(self.timeouts.heartbeat, waiting).await.unwrap_or(Ok(Vec::new()))
    }

    async fn report(self, _: Context, worker: WorkerId, report: Report) -> Result<(), Rejected> {
        self.change(|known| {
            if !known.queues.contains_key(&worker) {
                return Err(Rejected::UnknownWorker(worker));
            }
            if report.generation < known.generation {
                return Err(Rejected::StaleGeneration { got: report.generation, current: known.generation });
            }
            known.reports.push((worker, report));
            Ok(())
        })
    }

    async fn detach(self, _: Context, worker: WorkerId) {
        self.change(|known| {
            known.queues.remove(&worker);
            known.detached.push(worker);
        });
    }
}

//! The driver on a state store that does what no healthy disk does.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use phalanx_protocol::{
    message::{Hello, Timeouts},
    rpc::VERSION,
    spec::JobSpec,
};
use tokio::{sync::watch, task::JoinHandle};

use super::*;
use crate::{
    handle::{self, CallError, Handle},
    seat::{Seat, Term},
    state::Snapshot,
};

/// A state store that is slow or broken, as it is told.
#[derive(Debug)]
struct Disk {
    state: Box<dyn StateStore>,
    /// How long the next commits take, in milliseconds; `BROKEN` for never again.
    delay_ms: Arc<AtomicU64>,
}

const BROKEN: u64 = u64::MAX;

#[async_trait]
impl StateStore for Disk {
    async fn load(&self) -> Result<Snapshot, StateError> {
        self.state.load().await
    }

    async fn commit(&self, expected: Revision, changes: Vec<Put>) -> Result<Revision, StateError> {
        match self.delay_ms.load(Ordering::SeqCst) {
            BROKEN => Err(StateError::Full { place: "here".to_owned() }),
            delay_ms => {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                self.state.commit(expected, changes).await
            }
        }
    }
}

struct Rig {
    handle: Handle,
    delay_ms: Arc<AtomicU64>,
    driver: JoinHandle<Result<(), StateError>>,
    _seat: watch::Sender<Seat>,
    _folder: tempfile::TempDir,
}

async fn rig(lease: Duration) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("state.redb").to_str().unwrap().to_owned();
    let state = crate::state::open(&url).await.unwrap();
    let revision = state.load().await.unwrap().revision;
    let delay_ms = Arc::new(AtomicU64::new(0));
    let disk = Box::new(Disk { state, delay_ms: Arc::clone(&delay_ms) });
    let clock = Clock::start();
    let (line, inbox) = handle::line(clock, Term::endless());
    let (seat, taken) = watch::channel(Seat::Leading(line.into()));
    let timeouts = Timeouts::from_lease(lease);
    let coordinator = Coordinator::new(phalanx_core::Config { timeouts, ..phalanx_core::Config::default() });
    let store = Store::open("memory://").unwrap();
    let driver = Driver::new(coordinator, clock, (disk, revision), store, inbox);
    let driver = tokio::spawn(driver.run(Vec::new(), CancellationToken::new()));
    Rig { handle: Handle::new(taken), delay_ms, driver, _seat: seat, _folder: folder }
}

async fn attach(rig: &Rig, pid: u32) -> WorkerId {
    let hello = Hello {
        host: "somewhere".to_owned(),
        pid,
        data_addr: "127.0.0.1:9".parse().unwrap(),
        kind: "test".to_owned(),
        tasks: Vec::new(),
        version: VERSION.to_owned(),
        metrics_addr: None,
    };
    rig.handle.attach(hello).await.unwrap()
}

async fn attached(rig: &Rig) -> Vec<WorkerId> {
    let ids = |coordinator: &Coordinator| coordinator.workers().into_iter().map(|worker| worker.id).collect();
    rig.handle.read(ids).await.unwrap()
}

fn spec() -> JobSpec {
    serde_json::from_value(serde_json::json!({
        "name": "points",
        "data": { "target": "y", "csv": { "path": "/data/points.csv" } },
        "model": { "linear": {} },
        "train": { "batch_size": 8, "steps": 10, "learning_rate": 0.1 },
        // More than there are, so that the job stays in the queue.
        "workers": { "min": 4 },
    }))
    .unwrap()
}

#[tokio::test]
async fn a_slow_disk_does_not_end_the_lease_of_a_worker_that_was_heard() {
    let lease = Duration::from_secs(4);
    let rig = rig(lease).await;
    let worker = attach(&rig, 7).await;
    rig.delay_ms.store(6_000, Ordering::SeqCst);
    let submission = rig.handle.submit(spec(), None);
    let heartbeats = async {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(6_500) {
            rig.handle.directives(worker, (0, None), lease / 8).await.unwrap();
        }
    };
    let (submitted, ()) = tokio::join!(submission, heartbeats);
    submitted.unwrap();
    assert_eq!(attached(&rig).await, [worker]);
}

#[tokio::test]
async fn a_heartbeat_behind_more_messages_than_fit_into_a_batch_counts_too() {
    let lease = Duration::from_secs(8);
    let rig = rig(lease).await;
    let worker = attach(&rig, 7).await;
    let silent = attach(&rig, 8).await;
    assert_eq!(attached(&rig).await, [worker, silent]);
    rig.delay_ms.store(9_000, Ordering::SeqCst);
    // Heard well before the lease ends after 8 seconds; the driver gets to it after 9.
    let heartbeat = async {
        tokio::time::sleep(lease * 3 / 4).await;
        let crowd = (0..2 * MESSAGES_MAX).map(|_| rig.handle.read(|_| ()));
        let heard = rig.handle.directives(worker, (0, None), Duration::ZERO);
        let (crowd, heard) = tokio::join!(futures::future::join_all(crowd), heard);
        assert!(crowd.iter().all(Result::is_ok) && heard.is_ok());
    };
    let (submitted, ()) = tokio::join!(rig.handle.submit(spec(), None), heartbeat);
    submitted.unwrap();
    assert_eq!(attached(&rig).await, [worker], "of the other one nothing was heard");
}

#[tokio::test]
async fn what_cannot_be_stored_is_neither_confirmed_nor_shown() {
    let rig = rig(Duration::from_secs(60)).await;
    rig.handle.submit(spec(), None).await.unwrap();
    rig.delay_ms.store(BROKEN, Ordering::SeqCst);
    let (submitted, seen) =
        tokio::join!(rig.handle.submit(spec(), None), rig.handle.read(|c| c.jobs().len()));
    assert!(matches!(submitted, Err(CallError::Stopped)), "{submitted:?}");
    assert!(matches!(seen, Ok(1) | Err(CallError::Stopped)), "{seen:?}");
    assert!(matches!(rig.handle.read(|_| ()).await, Err(CallError::Stopped)));
    assert!(matches!(rig.driver.await.unwrap(), Err(StateError::Full { .. })));
}

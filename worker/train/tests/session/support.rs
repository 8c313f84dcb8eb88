//! A prepared data set, and ranks as threads of one process over loopback.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use phalanx_collective::{AbortHandle, Group, GroupConfig, Listener, Transport};
use phalanx_data::{Cache, Dataset};
use phalanx_protocol::{
    id::{Generation, JobId, Rank, WorkerId},
    message::{Assignment, Event, Failure, Peer},
    pace::StepTime,
    reference::{CheckpointRef, DatasetRef, FileRef},
    spec::JobSpec,
};
use phalanx_storage::Store;
use phalanx_train::{Ending, Host, Ledger, Session, Snapshot, StopVote, Tasks, TrainError, run};

/// A table that a small model learns: two classes with some noise.
fn table() -> String {
    let row = |i: usize| {
        let (x, y) = ((i * 37 % 101) as f64 / 101.0, (i * 53 % 89) as f64 / 89.0);
        let class = if x + y + (i % 7) as f64 / 70.0 > 1.0 { "above" } else { "below" };
        format!("{x},{y},{class}\n")
    };
    std::iter::once("x,y,class\n".to_owned()).chain((0..600).map(row)).collect()
}

fn spec(csv: &Path, model: &str, train: &str) -> JobSpec {
    let json = format!(
        r#"{{"name": "lines", "model": {model},
            "data": {{"target": "class", "csv": {{"path": {csv:?}}}}},
            "train": {{"batch_size": 24, "lanes": 4, "learning_rate": 0.01, {train}}},
            "checkpoint": {{"every": 0}}}}"#
    );
    serde_json::from_str(&json).expect("a job")
}

/// A prepared data set.
pub(crate) struct Ground {
    _folder: tempfile::TempDir,
    pub(crate) spec: JobSpec,
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) reference: DatasetRef,
    /// Of each rank, where the job keeps one.
    pub(crate) ledgers: [Arc<Ledger>; 4],
}

pub(crate) fn ground(model: &str, train: &str) -> Ground {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let csv = folder.path().join("lines.csv");
    std::fs::write(&csv, table()).expect("the folder can be written");
    let spec = spec(&csv, model, train);
    let store = Store::open(folder.path().join("store").to_str().expect("UTF-8")).expect("the store opens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (reference, dataset) = runtime.block_on(async {
        let prepared =
            phalanx_data::prepare(&spec.data, &store, &mut |_| {}).await.expect("the table is fine");
        let cache = Cache::new(folder.path().join("cache"), Cache::BYTES_MAX);
        let dataset = Dataset::open(&prepared.dataset, &store, &cache).await;
        (prepared.dataset, dataset.expect("it was just written"))
    });
    Ground { _folder: folder, spec, dataset: Arc::new(dataset), reference, ledgers: Default::default() }
}

/// Keeps the snapshots, and wants to stop from its `stop_at`th step on.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) stop_at: Option<u64>,
    steps: AtomicU64,
    rank: usize,
    /// A rank, and the steps during which it is still busy with the last snapshot.
    saving: Option<(usize, std::ops::Range<u64>)>,
    restored: Option<Snapshot>,
    snapshots: Arc<Mutex<Vec<(usize, Snapshot)>>>,
}

impl Host for Recorder {
    fn event(&mut self, _: Event) {}

    fn stepped(&mut self, _: &StepTime) {}

    fn stop_vote(&self) -> StopVote {
        // Asked once a step.
        let step = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        if self.stop_at.is_some_and(|at| step >= at) { StopVote::SaveAndStop } else { StopVote::Continue }
    }

    fn is_saving(&self) -> bool {
        let step = self.steps.load(Ordering::Relaxed);
        self.saving.as_ref().is_some_and(|(rank, steps)| *rank == self.rank && steps.contains(&step))
    }

    fn checkpoint(&mut self, snapshot: Snapshot, _took: Duration) {
        self.snapshots.lock().expect("no rank panics").push((self.rank, snapshot));
    }

    fn restore(&mut self) -> Result<Snapshot, Failure> {
        Ok(self.restored.clone().expect("only what was saved is restored"))
    }

    fn failing(&mut self, _: &TrainError) {}
}

/// Runs `ranks` ranks to their end; returns rank 0's ending and all snapshots, by rank.
pub(crate) fn train(
    ground: &Ground,
    ranks: u32,
    restored: Option<Snapshot>,
    stop_at: Option<u64>,
) -> (Ending, Vec<Snapshot>) {
    train_while(ground, ranks, restored, stop_at, None)
}

/// [`train`], in the course of which one rank is busy with a snapshot during some steps.
pub(crate) fn train_while(
    ground: &Ground,
    ranks: u32,
    restored: Option<Snapshot>,
    stop_at: Option<u64>,
    saving: Option<(usize, std::ops::Range<u64>)>,
) -> (Ending, Vec<Snapshot>) {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let listeners: Vec<_> = (0..ranks).map(|_| Listener::bind(any).expect("a port can be had")).collect();
    let addresses: Vec<_> = listeners.iter().map(Listener::local_addr).collect();
    let snapshots = Arc::new(Mutex::new(Vec::new()));
    let endings = std::thread::scope(|scope| {
        let ranks: Vec<_> = listeners
            .iter()
            .zip(0..)
            .map(|(listener, rank)| {
                let (addresses, restored, snapshots) = (&addresses, restored.clone(), Arc::clone(&snapshots));
                let saving = saving.clone();
                scope.spawn(move || {
                    let session = session(ground, listener, addresses, rank, restored.as_ref());
                    // One rank's vote stops all of them.
                    let stop_at = stop_at.filter(|_| rank + 1 == ranks);
                    let rank = rank as usize;
                    let mut recorder =
                        Recorder { stop_at, rank, saving, restored, snapshots, ..Recorder::default() };
                    run(session, &mut recorder).ending.expect("training goes well")
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().expect("no rank panics")).collect::<Vec<_>>()
    });
    let mut snapshots = snapshots.lock().expect("no rank panics").clone();
    snapshots.sort_by_key(|(rank, snapshot)| (*rank, snapshot.step()));
    let snapshots = snapshots.into_iter().map(|(_, snapshot)| snapshot).collect();
    (endings.into_iter().next().expect("there is a rank"), snapshots)
}

pub(crate) fn session(
    ground: &Ground,
    listener: &Listener,
    addresses: &[SocketAddr],
    rank: u32,
    restored: Option<&Snapshot>,
) -> Session {
    let generation = 1;
    let group = Group::connect(
        listener,
        GroupConfig {
            job: "lines-1".to_owned(),
            generation,
            rank,
            lanes: ground.spec.train.lanes,
            peers: addresses.to_vec(),
            timeout: Duration::from_secs(60),
            silence: Duration::from_secs(30),
            transport: Transport::Auto,
        },
        &AbortHandle::new().expect("a handle can be made"),
    );
    let peer = |addr: &SocketAddr| Peer { worker: WorkerId::new(1), data_addr: *addr };
    Session {
        assignment: Assignment {
            job: JobId::new("lines", 1),
            generation: Generation::new(generation),
            rank: Rank::new(rank),
            peers: addresses.iter().map(peer).collect(),
            spec: Box::new(ground.spec.clone()),
            dataset: ground.reference.clone(),
            resume: restored.map(checkpoint),
            disputed: None,
            verify_at: None,
            trace: None,
        },
        dataset: Arc::clone(&ground.dataset),
        tasks: Arc::new(Tasks::new()),
        held: None,
        ledger: ground.spec.train.ledger.then(|| Arc::clone(&ground.ledgers[rank as usize])),
        group: group.expect("the ranks reach each other"),
    }
}

/// A checkpoint that holds this.
fn checkpoint(snapshot: &Snapshot) -> CheckpointRef {
    CheckpointRef {
        step: snapshot.step(),
        cursor: snapshot.cursor(),
        generation: Generation::new(1),
        state_hash: snapshot.state_hash().to_owned(),
        manifest: FileRef { path: "manifest.json".to_owned(), bytes: 0, blake3: String::new() },
        bytes: 0,
        written_at: Default::default(),
    }
}

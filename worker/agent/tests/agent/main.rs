//! Workers against a fake coordinator over real tarpc: the way of a job through
//! them, and what they do when something is away, damaged or over.

mod fake;
mod trace;

use std::{path::Path, time::Duration};

use fake::{Fake, Served, Worker, checkpoint, job, points_job, prepare, train};
use phalanx_protocol::{
    id::{Generation, WorkerId},
    ledger::{self, Audit, Expected},
    message::{Directive, Event, Failure, Finished, Hello, StateSource},
    reference::CheckpointRef,
    rpc::{NotAttached, Standby},
};
use phalanx_storage::Store;

const G1: Generation = Generation::new(1);
const G2: Generation = Generation::new(2);
const G3: Generation = Generation::new(3);

/// Steps that no test waits for.
const ENDLESS: u64 = 100_000_000;

/// A fake coordinator with workers, over a store in a folder of their own.
struct Cluster {
    folder: tempfile::TempDir,
    store: Store,
    fake: Fake,
    served: Served,
    running: Vec<Worker>,
    workers: Vec<(WorkerId, Hello)>,
}

impl Cluster {
    async fn start(workers: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        let store = Store::open(store.to_str().expect("a plain path")).expect("the store opens");
        let fake = Fake::new(store.url().to_owned());
        let served = fake.serve("127.0.0.1:0").await;
        let coordinator = served.addr.to_string();
        let running = (0..workers).map(|_| Worker::start(&coordinator, folder.path())).collect();
        let workers = fake.attached(workers).await;
        Self { folder, store, fake, served, running, workers }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn end(self) {
        for worker in self.running {
            worker.end().await;
        }
        for (worker, _) in &self.workers {
            self.fake.detached(*worker).await;
        }
        self.served.stop().await;
    }
}

async fn formed(fake: &Fake, generation: Generation) {
    fake.reported(generation, |_, event| match event {
        Event::Formed { .. } => Some(()),
        Event::Failed(failure) => panic!("not formed: {failure:?}"),
        _ => None,
    })
    .await;
}

/// The workers drop what they hold of the job's state.
fn drop_state(fake: &Fake, workers: &[(WorkerId, Hello)], generation: Generation) {
    for (worker, _) in workers {
        fake.direct(*worker, Directive::Release { job: job(), generation, keep: false });
    }
}

async fn finished(fake: &Fake, generation: Generation) -> Finished {
    fake.reported(generation, |_, event| match event {
        Event::Finished(finished) => Some((**finished).clone()),
        Event::Failed(failure) => panic!("not finished: {failure:?}"),
        _ => None,
    })
    .await
}

async fn stopped(fake: &Fake, generation: Generation, worker: WorkerId) -> u64 {
    fake.reported(generation, |who, event| match event {
        Event::Stopped { step } if who == worker => Some(*step),
        Event::Failed(failure) => panic!("not stopped: {failure:?}"),
        _ => None,
    })
    .await
}

async fn failed(fake: &Fake, generation: Generation) -> Failure {
    fake.reported(generation, |_, event| match event {
        Event::Failed(failure) => Some(failure.clone()),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_prepare_train_stop_and_resume_to_a_finished_model() {
    let cluster = Cluster::start(2).await;
    let Cluster { fake, store, workers, .. } = &cluster;
    let endless = points_job(cluster.folder(), ENDLESS, 0);
    let dataset = prepare(fake, workers[0].0, G1, &endless).await;

    train(fake, workers, G1, &endless, &dataset, None);
    formed(fake, G1).await;
    for (worker, _) in workers {
        fake.direct(*worker, Directive::Stop { job: job(), generation: G1, save: true });
    }
    let steps = [stopped(fake, G1, workers[0].0).await, stopped(fake, G1, workers[1].0).await];
    assert_eq!(steps[0], steps[1], "all ranks stop after the same step");

    let mut short = endless.clone();
    short.train.steps = Some(steps[0] + 300);
    let saved = checkpoint(fake, store, G1, 2, &short, &dataset).await;
    assert_eq!(saved.step, steps[0]);
    drop_state(fake, workers, G1);
    train(fake, workers, G2, &short, &dataset, Some(&saved));
    let finished = finished(fake, G2).await;
    assert_eq!(finished.step, steps[0] + 300);
    assert!(finished.metrics["accuracy"] > 0.8, "{:?}", finished.metrics);
    assert!(store.read(&finished.artifact.weights).await.is_ok());
    assert!(store.read(&finished.artifact.description).await.is_ok());
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_takes_the_state_from_those_who_hold_it() {
    let cluster = Cluster::start(3).await;
    let Cluster { fake, workers, .. } = &cluster;
    let mut endless = points_job(cluster.folder(), ENDLESS, 0);
    endless.train.lanes = 4;
    let dataset = prepare(fake, workers[0].0, G1, &endless).await;
    train(fake, &workers[..2], G1, &endless, &dataset, None);
    formed(fake, G1).await;
    let newcomer = workers[2].0;
    let fetch = Directive::Fetch { job: job(), generation: G1, dataset: dataset.clone(), trace: None };
    fake.direct(newcomer, fetch);
    fake.reported(G1, |who, event| (who == newcomer && *event == Event::Fetched).then_some(())).await;
    for (worker, _) in &workers[..2] {
        fake.direct(*worker, Directive::Stop { job: job(), generation: G1, save: false });
    }
    let stopped_at = stopped(fake, G1, workers[0].0).await;
    assert_eq!(stopped(fake, G1, workers[1].0).await, stopped_at);
    train(fake, workers, G2, &endless, &dataset, None);
    let begins = fake.reported(G2, |who, event| match event {
        Event::Formed { step, from } if who == newcomer => Some((*step, *from)),
        Event::Failed(failure) => panic!("not formed: {failure:?}"),
        _ => None,
    });
    assert_eq!(begins.await, (stopped_at, StateSource::Members { healed: 1 }));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_the_state_alone_makes_the_whole_ledger_durable() {
    let cluster = Cluster::start(2).await;
    let Cluster { fake, store, workers, .. } = &cluster;
    let mut spec = points_job(cluster.folder(), ENDLESS, 0);
    spec.train.ledger = true;
    let dataset = prepare(fake, workers[0].0, G1, &spec).await;
    // The first trains alone, the other takes the state from it, and goes on alone.
    for (generation, members) in [(G1, &workers[..1]), (G2, &workers[..])] {
        train(fake, members, generation, &spec, &dataset, None);
        formed(fake, generation).await;
        for (worker, _) in members {
            fake.direct(*worker, Directive::Stop { job: job(), generation, save: false });
        }
        for (worker, _) in members {
            stopped(fake, generation, *worker).await;
        }
    }
    train(fake, &workers[1..], G3, &spec, &dataset, None);
    formed(fake, G3).await;
    fake.direct(workers[1].0, Directive::Stop { job: job(), generation: G3, save: true });
    let steps = stopped(fake, G3, workers[1].0).await;

    let train_rows = dataset.train_rows;
    let mut audit = Audit::new(Expected { lanes: 2, batch_size: 16, train_rows, steps });
    for file in store.list_prefix(&ledger::folder(&job())).await.expect("the store answers") {
        let text = store.read_path(&file.path, ledger::FILE_BYTES_MAX).await.expect("it was listed");
        let entries = ledger::from_text(std::str::from_utf8(&text).expect("text")).expect("a ledger");
        entries.into_iter().for_each(|entry| audit.take(entry));
    }
    let verdict = audit.finish();
    assert!(verdict.is_right(), "{:?}", verdict.violations);
    assert_eq!((verdict.generations, verdict.steps_repeated), (3, 0));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_was_stopped_ends_in_the_bits_of_one_that_was_not() {
    let cluster = Cluster::start(1).await;
    let Cluster { fake, store, workers, .. } = &cluster;
    let spec = points_job(cluster.folder(), 400, 50);
    let dataset = prepare(fake, workers[0].0, G1, &spec).await;
    train(fake, workers, G1, &spec, &dataset, None);
    let undisturbed = finished(fake, G1).await;

    let saved = checkpoint(fake, store, G1, 1, &spec, &dataset).await;
    assert_eq!(saved.step, 50);
    drop_state(fake, workers, G1);
    train(fake, workers, G2, &spec, &dataset, Some(&saved));
    let resumed = finished(fake, G2).await;
    assert_eq!(resumed.state_hash, undisturbed.state_hash);
    assert_eq!(resumed.metrics, undisturbed.metrics);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn training_goes_on_while_the_coordinator_is_away() {
    let mut cluster = Cluster::start(1).await;
    let spec = points_job(cluster.folder(), 3_000, 1_000);
    let dataset = prepare(&cluster.fake, cluster.workers[0].0, G1, &spec).await;
    train(&cluster.fake, &cluster.workers, G1, &spec, &dataset, None);
    formed(&cluster.fake, G1).await;

    let addr = cluster.served.addr.to_string();
    cluster.served.stop().await;
    let artifact = format!("artifacts/{}/g1", job());
    let written = async {
        while cluster.store.list_prefix(&artifact).await.expect("the store answers").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(fake::DEADLINE, written).await.expect("training goes on");
    cluster.served = cluster.fake.serve(&addr).await;

    assert_eq!(finished(&cluster.fake, G1).await.step, 3_000);
    let reports = cluster.fake.reports();
    let parts = reports.iter().filter_map(|(_, report)| match &report.event {
        Event::CheckpointPart(part) => Some(part.step),
        _ => None,
    });
    assert_eq!(parts.collect::<std::collections::BTreeSet<_>>(), [1_000, 2_000, 3_000].into());
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_forgotten_attaches_again_with_nothing() {
    let mut cluster = Cluster::start(1).await;
    let spec = points_job(cluster.folder(), ENDLESS, 0);
    let dataset = prepare(&cluster.fake, cluster.workers[0].0, G1, &spec).await;
    train(&cluster.fake, &cluster.workers, G1, &spec, &dataset, None);
    formed(&cluster.fake, G1).await;

    cluster.fake.forget();
    let again = cluster.fake.attached(1).await;
    assert_ne!(again[0].0, cluster.workers[0].0);
    cluster.workers = again;
    let mut short = spec.clone();
    short.train.steps = Some(30);
    train(&cluster.fake, &cluster.workers, G2, &short, &dataset, None);
    finished(&cluster.fake, G2).await;
    let reports = cluster.fake.reports();
    let again = cluster.workers[0].0;
    assert!(reports.iter().all(|(worker, report)| *worker != again || report.generation == G2));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_generation_ends_the_older() {
    let cluster = Cluster::start(1).await;
    let Cluster { fake, workers, .. } = &cluster;
    let spec = points_job(cluster.folder(), ENDLESS, 0);
    let dataset = prepare(fake, workers[0].0, G1, &spec).await;
    train(fake, workers, G1, &spec, &dataset, None);
    formed(fake, G1).await;
    fake.begin_generation(G2);
    let mut short = spec.clone();
    short.train.steps = Some(30);
    drop_state(fake, workers, G1);
    train(fake, workers, G2, &short, &dataset, None);
    assert_eq!(finished(fake, G2).await.step, 30);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_is_stale_ends_what_it_was_about() {
    let cluster = Cluster::start(1).await;
    let Cluster { fake, workers, .. } = &cluster;
    let spec = points_job(cluster.folder(), ENDLESS, 10);
    let dataset = prepare(fake, workers[0].0, G1, &spec).await;
    train(fake, workers, G1, &spec, &dataset, None);
    formed(fake, G1).await;
    fake.begin_generation(G2);
    let folder = format!("checkpoints/{}", job());
    let quiet = async {
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = cluster.store.list_prefix(&folder).await.expect("the store answers").len();
            if now == before {
                break;
            }
            before = now;
        }
    };
    tokio::time::timeout(fake::DEADLINE, quiet).await.expect("no more checkpoints are written");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_released_rank_does_not_wait_for_a_peer_that_never_comes() {
    let cluster = Cluster::start(1).await;
    let Cluster { fake, workers, .. } = &cluster;
    let spec = points_job(cluster.folder(), 30, 0);
    let dataset = prepare(fake, workers[0].0, G1, &spec).await;
    let mut absent = workers[0].clone();
    absent.0 = WorkerId::new(99);
    train(fake, &[workers[0].clone(), absent], G1, &spec, &dataset, None);
    fake.direct(workers[0].0, Directive::Release { job: job(), generation: G1, keep: true });
    train(fake, workers, G2, &spec, &dataset, None);
    finished(fake, G2).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_is_told_and_not_trained_from() {
    let cluster = Cluster::start(1).await;
    let Cluster { fake, store, workers, .. } = &cluster;
    let spec = points_job(cluster.folder(), 60, 20);
    let dataset = prepare(fake, workers[0].0, G1, &spec).await;
    train(fake, workers, G1, &spec, &dataset, None);
    let saved = checkpoint(fake, store, G1, 1, &spec, &dataset).await;
    finished(fake, G1).await;

    let path = cluster.folder().join(format!("store/checkpoints/{}/g1-s20/part-0-of-1.safetensors", job()));
    let mut content = std::fs::read(&path).expect("the part is there");
    let last = content.len() - 1;
    content[last] ^= 1;
    std::fs::remove_file(&path).expect("it can be removed");
    std::fs::write(&path, content).expect("it can be written");
    drop_state(fake, workers, G1);
    train(fake, workers, G2, &spec, &dataset, Some(&saved));
    damaged_manifest_is(&failed(fake, G2).await, &saved);

    let mut elsewhere = saved.clone();
    elsewhere.step = 21;
    train(fake, workers, G3, &spec, &dataset, Some(&elsewhere));
    damaged_manifest_is(&failed(fake, G3).await, &saved);
    cluster.end().await;
}

fn damaged_manifest_is(failure: &Failure, saved: &CheckpointRef) {
    let Failure::CheckpointDamaged { manifest, .. } = failure else { panic!("{failure:?}") };
    assert_eq!(*manifest, saved.manifest.path);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_the_data_is_told_with_its_line() {
    let cluster = Cluster::start(1).await;
    let Cluster { fake, workers, .. } = &cluster;
    let spec = points_job(cluster.folder(), 30, 0);
    let path = cluster.folder().join("points.csv");
    let mut csv = std::fs::read_to_string(&path).expect("it was written");
    csv.push_str("1.5,left\n");
    std::fs::write(&path, csv).expect("it can be written");
    let directive = Directive::Prepare { job: job(), generation: G1, spec: Box::new(spec), trace: None };
    fake.direct(workers[0].0, directive);
    let Failure::Job { reason } = failed(fake, G1).await else { panic!("the job is at fault") };
    assert!(reason.contains("points.csv") && reason.contains("line 402"), "{reason}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_written_pauses_the_job() {
    let cluster = Cluster::start(1).await;
    let Cluster { fake, workers, .. } = &cluster;
    let spec = points_job(cluster.folder(), ENDLESS, 20);
    let dataset = prepare(fake, workers[0].0, G1, &spec).await;
    // A file in the place of the folder: no checkpoint can be written.
    std::fs::write(cluster.folder().join("store/checkpoints"), "").expect("it can be written");
    train(fake, workers, G1, &spec, &dataset, None);
    let failure = failed(fake, G1).await;
    assert!(matches!(failure, Failure::Storage { .. }), "{failure:?}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_worker_too_many_waits() {
    let mut cluster = Cluster::start(0).await;
    let coordinator = cluster.served.addr.to_string();
    cluster.fake.refuse(Some(NotAttached::Full { limit: 0 }));
    let waiting = Worker::start(&coordinator, cluster.folder());
    cluster.fake.refused(1).await;
    cluster.fake.refuse(None);
    cluster.workers = cluster.fake.attached(1).await;
    cluster.running.push(waiting);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_coordinators_a_worker_finds_the_one_that_leads() {
    let mut cluster = Cluster::start(0).await;
    let standby = Fake::new(cluster.store.url().to_owned());
    let served = standby.serve("127.0.0.1:0").await;
    let leader = Some(cluster.served.addr.to_string());
    standby.refuse(Some(NotAttached::Standby(Standby { leader })));
    // Nobody listens at the first address, and the second one names the leader.
    let listed = format!("127.0.0.1:1,{}", served.addr);
    cluster.running.push(Worker::start(&listed, cluster.folder()));
    cluster.workers = cluster.fake.attached(1).await;
    standby.refused(1).await;
    cluster.end().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_told_to_end_while_it_is_let_in_leaves() {
    let mut cluster = Cluster::start(0).await;
    cluster.fake.hold_answers(true);
    let worker = Worker::start(&cluster.served.addr.to_string(), cluster.folder());
    cluster.workers = cluster.fake.attached(1).await;
    let ending = tokio::spawn(worker.end());
    tokio::task::yield_now().await;
    cluster.fake.hold_answers(false);
    ending.await.expect("it ends");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_another_version_ends() {
    let cluster = Cluster::start(0).await;
    let coordinator = cluster.served.addr.to_string();
    let other = NotAttached::Version { worker: "1.0.0".to_owned(), coordinator: "2.0.0".to_owned() };
    cluster.fake.refuse(Some(other));
    let error = Worker::start(&coordinator, cluster.folder()).ended().await.expect_err("it cannot attach");
    let expected = "this worker cannot attach: the worker has version 1.0.0 and the coordinator 2.0.0: install \
                    the same on both";
    assert_eq!(error.to_string(), expected);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_tell_their_paces_with_their_heartbeats() {
    let cluster = Cluster::start(2).await;
    let Cluster { fake, workers, .. } = &cluster;
    let endless = points_job(cluster.folder(), ENDLESS, 0);
    let dataset = prepare(fake, workers[0].0, G1, &endless).await;
    train(fake, workers, G1, &endless, &dataset, None);
    for (worker, pace) in fake.paced(2).await {
        assert!((pace.job == job()) && (pace.generation == G1) && (pace.lanes == 1), "{worker}: {pace:?}");
        assert!(pace.steps > 0 && pace.gradients > Duration::ZERO && pace.reduction > Duration::ZERO);
    }
    cluster.end().await;
}

//! Whole sessions, with the ranks as threads of one process over loopback.
//!
//! burn has one random generator per process, so the models here draw nothing
//! while they train; models with dropout are tested with processes, in `tests/`.

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
use phalanx_data::Dataset;
use phalanx_protocol::{
    id::{Generation, JobId, Rank, WorkerId},
    message::{Assignment, Event, Failure, Peer},
    reference::{CheckpointRef, DatasetRef, FileRef},
    spec::JobSpec,
};
use phalanx_storage::{Store, manifest::CheckpointManifest};
use phalanx_train::{
    Ending, Host, Outcome, Predictor, Samples, Session, Snapshot, StopVote, Task, Tasks, TrainError, run,
};

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
            "data": {{"csv": {{"path": {csv:?}, "target": "class"}}}},
            "train": {{"batch_size": 24, "lanes": 4, "learning_rate": 0.01, {train}}},
            "checkpoint": {{"every": 0}}}}"#
    );
    serde_json::from_str(&json).expect("a job")
}

/// A prepared data set.
struct Ground {
    _folder: tempfile::TempDir,
    spec: JobSpec,
    dataset: Arc<Dataset>,
    reference: DatasetRef,
}

fn ground(model: &str, train: &str) -> Ground {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let csv = folder.path().join("lines.csv");
    std::fs::write(&csv, table()).expect("the folder can be written");
    let spec = spec(&csv, model, train);
    let store = Store::open(folder.path().join("store").to_str().expect("UTF-8")).expect("the store opens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (reference, dataset) = runtime.block_on(async {
        let prepared =
            phalanx_data::prepare(&spec.data, &store, &mut |_| {}).await.expect("the table is fine");
        let dataset = Dataset::open(&prepared.dataset, &store, &folder.path().join("cache")).await;
        (prepared.dataset, dataset.expect("it was just written"))
    });
    Ground { _folder: folder, spec, dataset: Arc::new(dataset), reference }
}

/// Keeps the snapshots, and wants to stop from its `stop_at`th step on.
#[derive(Default)]
struct Recorder {
    stop_at: Option<u64>,
    steps: AtomicU64,
    rank: usize,
    /// A rank, and the steps during which it is still busy with the last snapshot.
    saving: Option<(usize, std::ops::Range<u64>)>,
    restored: Option<Snapshot>,
    snapshots: Arc<Mutex<Vec<(usize, Snapshot)>>>,
}

impl Host for Recorder {
    fn event(&mut self, _: Event) {}

    fn stop_vote(&self) -> StopVote {
        // Asked once a step.
        let step = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        if self.stop_at.is_some_and(|at| step >= at) { StopVote::SaveAndStop } else { StopVote::Continue }
    }

    fn is_saving(&self) -> bool {
        let step = self.steps.load(Ordering::Relaxed);
        self.saving.as_ref().is_some_and(|(rank, steps)| *rank == self.rank && steps.contains(&step))
    }

    fn checkpoint(&mut self, snapshot: Snapshot) {
        self.snapshots.lock().expect("no rank panics").push((self.rank, snapshot));
    }

    fn restore(&mut self) -> Result<Snapshot, Failure> {
        Ok(self.restored.clone().expect("only what was saved is restored"))
    }

    fn failing(&mut self, _: &TrainError) {}
}

/// Runs `ranks` ranks to their end; returns rank 0's ending and all snapshots, by rank.
fn train(
    ground: &Ground,
    ranks: u32,
    restored: Option<Snapshot>,
    stop_at: Option<u64>,
) -> (Ending, Vec<Snapshot>) {
    train_while(ground, ranks, restored, stop_at, None)
}

/// [`train`], in the course of which one rank is busy with a snapshot during some steps.
fn train_while(
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
                    let steps = AtomicU64::new(0);
                    let mut recorder = Recorder { stop_at, steps, rank, saving, restored, snapshots };
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

fn session(
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
            trace: None,
        },
        dataset: Arc::clone(&ground.dataset),
        tasks: Arc::new(Tasks::new()),
        held: None,
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

fn finished(ending: Ending) -> Outcome {
    match ending {
        Ending::Finished(outcome) => *outcome,
        Ending::Stopped { step } => panic!("stopped after step {step}"),
    }
}

const MLP: &str = r#"{"mlp": {"hidden": [8]}}"#;

#[test]
fn any_number_of_ranks_ends_in_the_same_bits() {
    let optimizers =
        ["sgd", "adam", "adamw", "adagrad", "rmsprop", "adan", "adafactor", "lamb", "lion", "muon"];
    for optimizer in optimizers {
        let train_spec = format!(
            r#""steps": 30, "clip_norm": 0.5, "optimizer": {{"kind": "{optimizer}", "weight_decay": 0.01}}"#
        );
        check_ranks(MLP, &train_spec);
    }
}

#[test]
fn the_size_of_buckets_does_not_change_the_result() {
    let model = r#"{"mlp": {"hidden": [32, 32], "dropout": 0.1}}"#;
    let hash = |ranks, bucket_bytes: u32| {
        let ground =
            ground(model, &format!(r#""steps": 20, "clip_norm": 0.5, "bucket_bytes": {bucket_bytes}"#));
        finished(train(&ground, ranks, None, None).0).state_hash
    };
    let expected = hash(1, 25 << 20);
    for ranks in 1..=3 {
        assert_eq!(hash(ranks, 1_024), expected, "{ranks} ranks");
    }
}

/// Trains on 1 to 4 ranks, which must end in the same bits.
fn check_ranks(model: &str, train_spec: &str) -> Outcome {
    let ground = ground(model, train_spec);
    let expected = finished(train(&ground, 1, None, None).0);
    for ranks in 2..=4 {
        let outcome = finished(train(&ground, ranks, None, None).0);
        assert_eq!(outcome.state_hash, expected.state_hash, "{train_spec} on {ranks} ranks");
        assert_eq!(outcome.evaluation.metrics, expected.evaluation.metrics, "{train_spec} on {ranks} ranks");
    }
    expected
}

#[test]
fn compressed_gradients_end_in_bits_of_their_own_on_any_number_of_ranks() {
    let exact = check_ranks(MLP, r#""epochs": 20, "clip_norm": 0.5"#);
    let rounded = check_ranks(MLP, r#""epochs": 20, "clip_norm": 0.5, "compression": "bf16""#);
    assert_ne!(rounded.state_hash, exact.state_hash);
    let accuracy = |outcome: &Outcome| outcome.evaluation.metrics["accuracy"];
    assert!((accuracy(&rounded) - accuracy(&exact)).abs() < 0.05, "it learns as well");
    let pieces = r#""epochs": 20, "clip_norm": 0.5, "compression": "bf16", "bucket_bytes": 1024"#;
    assert_eq!(check_ranks(MLP, pieces).state_hash, rounded.state_hash, "buckets change nothing");
}

#[test]
fn lanes_that_train_on_their_own_end_in_the_same_bits_on_any_number_of_ranks() {
    // Epochs have 20 steps: some rounds are cut short by their ends.
    for settings in ["", r#", "compression": "bf16", "bucket_bytes": 1024"#] {
        let train_spec =
            format!(r#""epochs": 20, "clip_norm": 1.0, "diloco": {{"local_steps": 7}}{settings}"#);
        let outcome = check_ranks(r#"{"mlp": {"hidden": [32, 8]}}"#, &train_spec);
        assert_eq!(outcome.step, 400);
        assert!(outcome.evaluation.metrics["accuracy"] > 0.85, "it learns: {:?}", outcome.evaluation.metrics);
    }
}

#[test]
fn one_local_step_and_a_plain_outer_optimizer_are_what_was_learned_on_average() {
    // With SGD and no momentum the mean of one step's changes is the step of the mean gradient.
    let sgd = r#""steps": 40, "optimizer": {"kind": "sgd"}"#;
    let outer = r#", "diloco": {"local_steps": 1, "outer_learning_rate": 1.0, "outer_momentum": 0.0}"#;
    let losses = [sgd.to_owned(), format!("{sgd}{outer}")]
        .map(|train_spec| check_ranks(MLP, &train_spec).evaluation.metrics["log_loss"]);
    assert!((losses[0] - losses[1]).abs() < 1e-5, "{losses:?}");
}

#[test]
fn lanes_that_train_on_their_own_go_on_from_a_snapshot_to_the_same_bits() {
    let ground = ground(MLP, r#""steps": 100, "diloco": {"local_steps": 8}"#);
    let expected = finished(train(&ground, 1, None, None).0);
    let (ending, snapshots) = train(&ground, 2, None, Some(50));
    // A vote to stop waits for the next exchange: the 16th step of the third epoch.
    assert!(matches!(ending, Ending::Stopped { step: 56 }), "{ending:?}");
    assert!(
        Snapshot::from_parts(&manifest(&snapshots[0]), &[snapshots[0].part(0, 2).into_bytes()]).is_err(),
        "a part is missing"
    );
    assert_eq!(snapshots[0].state_hash(), snapshots[1].state_hash());
    let outcome = finished(train(&ground, 3, Some(through_parts(&snapshots)), None).0);
    assert_eq!(outcome.state_hash, expected.state_hash);
}

#[test]
fn a_stopped_session_goes_on_from_its_snapshot_to_the_same_bits() {
    let schedule = r#""steps": 400, "schedule": {"kind": "cosine", "warmup_steps": 20}"#;
    let ground = ground(MLP, schedule);
    let expected = finished(train(&ground, 1, None, None).0);

    let (ending, snapshots) = train(&ground, 2, None, Some(150));
    let Ending::Stopped { step } = ending else { panic!("it was not stopped: {ending:?}") };
    assert_eq!(step, 150);
    assert_eq!(snapshots.len(), 2, "both ranks saved");
    assert!(snapshots.iter().all(|snapshot| snapshot.step() == step), "after the same step");
    assert_eq!(snapshots[0].state_hash(), snapshots[1].state_hash());

    let restored = through_parts(&snapshots);
    let outcome = finished(train(&ground, 3, Some(restored), None).0);
    assert_eq!(outcome.state_hash, expected.state_hash);
    assert_eq!(outcome.step, 400);
}

#[test]
fn all_ranks_leave_out_the_snapshots_for_which_one_is_too_busy() {
    let mut ground = ground(MLP, r#""steps": 60"#);
    ground.spec.checkpoint.every = 10;
    let (ending, snapshots) = train_while(&ground, 3, None, None, Some((1, 15..34)));
    assert_eq!(finished(ending).step, 60);
    let steps: Vec<_> = snapshots.iter().map(Snapshot::step).collect();
    // The one of step 20 is taken as soon as rank 1 is free again; that of 30 is left out with it.
    assert_eq!(steps, [10, 34, 40, 50, 60].repeat(3));
}

/// What a snapshot becomes when all ranks write it and another reads it; one of each rank.
fn through_parts(snapshots: &[Snapshot]) -> Snapshot {
    let ranks = snapshots.len() as u32;
    let parts: Vec<_> = (0..ranks).map(|rank| snapshots[rank as usize].part(rank, ranks).into_bytes()).collect();
    Snapshot::from_parts(&manifest(&snapshots[0]), &parts).expect("the parts are whole")
}

fn manifest(snapshot: &Snapshot) -> CheckpointManifest {
    CheckpointManifest {
        job: JobId::new("lines", 1),
        job_hash: String::new(),
        generation: Generation::new(1),
        step: snapshot.step(),
        cursor: snapshot.cursor(),
        seed: 0,
        lanes: 4,
        dataset: String::new(),
        state_hash: snapshot.state_hash().to_owned(),
        parts: Vec::new(),
        progress_json: snapshot.progress_json().to_owned(),
    }
}

#[test]
fn parts_that_do_not_make_up_the_state_are_refused() {
    let ground = ground(MLP, r#""steps": 100000"#);
    let (_, snapshots) = train(&ground, 1, None, Some(20));
    let parts: Vec<_> = (0..3).map(|rank| snapshots[0].part(rank, 3).into_bytes()).collect();
    assert!(Snapshot::from_parts(&manifest(&snapshots[0]), &parts[..2]).is_err(), "a part is missing");

    let mut flipped = parts[1].to_vec();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let parts = [parts[0].clone(), flipped.into(), parts[2].clone()];
    assert!(Snapshot::from_parts(&manifest(&snapshots[0]), &parts).is_err(), "a bit is another one");
}

#[test]
fn training_stops_early_when_the_validation_split_no_longer_improves() {
    let early = r#""epochs": 500, "early_stop": {"metric": "log_loss", "patience": 2, "min_delta": 0.01}"#;
    let ground = ground(MLP, early);
    let outcome = finished(train(&ground, 2, None, None).0);
    assert!(outcome.stopped_early.is_some_and(|reason| reason.contains("log_loss")));
    assert!(outcome.step < 500 * 20);
}

#[test]
fn a_finished_model_predicts_what_it_was_measured_by() {
    let ground = ground(MLP, r#""epochs": 20"#);
    let outcome = finished(train(&ground, 2, None, None).0);
    let model = outcome.model.expect("rank 0 exports the model");
    let predictor =
        Predictor::new(&Tasks::new(), &model.description, &model.weights).expect("it was just exported");
    let rows: Vec<u64> = (0..ground.dataset.rows(phalanx_data::Split::Test)).collect();
    let batch = ground.dataset.gather(phalanx_data::Split::Test, &rows);
    let phalanx_train::Rows::Classes { likeliest, .. } = predictor.predict(&batch) else { panic!("classes") };
    let phalanx_data::Targets::Classes(truths) = &batch.targets else { panic!("classes") };
    let right = likeliest.iter().zip(truths).filter(|(guess, truth)| **guess == **truth as usize).count();
    let accuracy = right as f64 / rows.len() as f64;
    assert!((accuracy - outcome.evaluation.metrics["accuracy"]).abs() < 1e-12);
    assert!(accuracy > 0.85, "it has learned: {accuracy}");
}

/// A model whose loss is never a number.
#[derive(burn::module::Module, Debug)]
struct Broken {
    layer: burn::nn::Linear,
}

impl Task for Broken {
    fn scores(&self, samples: &Samples<'_>) -> burn::Tensor<2> {
        self.layer.forward(samples.vectors()).mul_scalar(f32::NAN)
    }
}

#[test]
fn a_loss_that_is_no_number_ends_the_session_with_a_remedy() {
    let ground = ground(r#"{"custom": {"task": "broken"}}"#, r#""steps": 3"#);
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(any).expect("a port can be had");
    let mut session = session(&ground, &listener, &[listener.local_addr()], 0, None);
    session.tasks =
        Arc::new(Tasks::new().with("broken", |_, _, device| {
            Ok(Broken { layer: burn::nn::LinearConfig::new(2, 2).init(device) })
        }));
    let error = run(session, &mut Recorder::default()).ending.expect_err("NaN is no loss");
    assert!(error.to_string().contains("learning_rate"), "{error}");
}

#[test]
fn passes_in_bf16_learn_on_f32_weights_with_the_same_bits_on_any_number_of_ranks() {
    for bucket_bytes in [25 << 20, 1_024] {
        let model = r#"{"mlp": {"hidden": [32, 32]}}"#;
        let train_spec = format!(r#""steps": 120, "precision": "bf16", "bucket_bytes": {bucket_bytes}"#);
        let ground = ground(model, &train_spec);
        let (ending, snapshots) = train(&ground, 1, None, None);
        let expected = finished(ending);
        for ranks in [2, 4] {
            let outcome = finished(train(&ground, ranks, None, None).0);
            assert_eq!(outcome.state_hash, expected.state_hash, "{ranks} ranks, buckets of {bucket_bytes}");
        }
        let loss = expected.evaluation.metrics["log_loss"];
        assert!(loss < 0.3, "it has learned: {loss}");

        let part = snapshots.last().expect("the last state is saved").part(0, 1).into_bytes();
        let tensors = safetensors::SafeTensors::deserialize(&part).expect("a part is a safetensors file");
        let weights = tensors.tensor("model/hidden.0.weight").expect("it is there");
        assert_eq!(weights.dtype(), safetensors::Dtype::F32);
        let finer_than_bf16 = |word: &&[u8]| word[0] != 0 || word[1] != 0;
        let words: Vec<_> = weights.data().chunks_exact(4).collect();
        let finer = words.iter().filter(|word| finer_than_bf16(word)).count();
        assert!(
            finer > words.len() / 2,
            "the optimizer's weights are not rounded: {finer} of {}",
            words.len()
        );
    }
}

#[test]
fn bf16_gives_another_result_than_f32() {
    let hash = |precision: &str| {
        let spec = format!(r#""steps": 5, "precision": "{precision}""#);
        finished(train(&ground(MLP, &spec), 1, None, None).0).state_hash
    };
    assert_ne!(hash("f32"), hash("bf16"));
}

#[test]
fn a_sum_in_nccls_order_is_refused_on_a_processor() {
    let ground = ground(MLP, r#""steps": 5, "reduction": "fast""#);
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(any).expect("a port can be had");
    let session = session(&ground, &listener, &[listener.local_addr()], 0, None);
    let error = run(session, &mut Recorder::default()).ending.expect_err("there is no GPU");
    assert!(error.to_string().starts_with("train.reduction"), "{error}");
}

//! Whole sessions, with the ranks as threads of one process over loopback.
//!
//! burn has one random generator per process, so the models here draw nothing
//! while they train; models with dropout are tested with processes, in `tests/`.

mod exam;
mod handover;
mod support;

use std::{net::SocketAddr, sync::Arc};

use phalanx_collective::Listener;
use phalanx_evaluate::evaluate;
use phalanx_protocol::{
    id::{Generation, JobId},
    ledger::{Audit, Expected},
    message::Metrics,
};
use phalanx_storage::manifest::CheckpointManifest;
use phalanx_train::{Ending, Outcome, Predictor, Samples, Snapshot, Task, Tasks, run};
use support::{Recorder, ground, session, train, train_while};

fn finished(ending: Ending) -> Outcome {
    match ending {
        Ending::Finished(outcome) => *outcome,
        Ending::Stopped { step } => panic!("stopped after step {step}"),
    }
}

/// What the model that came out is worth on the test split.
fn metrics(outcome: &Outcome) -> Metrics {
    let examined = &outcome.examined;
    let test = examined.test.as_ref().expect("there is a test split");
    evaluate(&examined.decision.apply(test)).expect("it can be measured").metrics
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
        assert_eq!(outcome.examined, expected.examined, "{train_spec} on {ranks} ranks");
        assert_eq!(outcome.training, expected.training, "{train_spec} on {ranks} ranks");
    }
    expected
}

#[test]
fn compressed_gradients_end_in_bits_of_their_own_on_any_number_of_ranks() {
    let exact = check_ranks(MLP, r#""epochs": 20, "clip_norm": 0.5"#);
    let rounded = check_ranks(MLP, r#""epochs": 20, "clip_norm": 0.5, "compression": "bf16""#);
    assert_ne!(rounded.state_hash, exact.state_hash);
    let accuracy = |outcome: &Outcome| metrics(outcome)["accuracy"];
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
        assert!(metrics(&outcome)["accuracy"] > 0.85, "it learns: {:?}", metrics(&outcome));
    }
}

#[test]
fn every_rank_records_what_all_lanes_took() {
    for settings in ["", r#", "diloco": {"local_steps": 7}"#, r#", "bucket_bytes": 1024"#] {
        let plain = ground(MLP, &format!(r#""steps": 45{settings}"#));
        let expected = finished(train(&plain, 1, None, None).0).state_hash;
        for ranks in 1..=3 {
            let ground = ground(MLP, &format!(r#""steps": 45, "ledger": true{settings}"#));
            assert_eq!(finished(train(&ground, ranks, None, None).0).state_hash, expected, "{ranks} ranks");
            let records = ground.ledgers[0].unsaved();
            assert_eq!(records.len(), 45 * 4);
            assert!(ground.ledgers[..ranks as usize].iter().all(|ledger| ledger.unsaved() == records));
            let train_rows = ground.reference.train_rows;
            let mut audit = Audit::new(Expected { lanes: 4, batch_size: 24, train_rows, steps: 45 });
            records.into_iter().for_each(|entry| audit.take(entry));
            let verdict = audit.finish();
            assert!(verdict.is_right(), "{:?}", verdict.violations);
            assert_eq!((verdict.epochs, verdict.generations), (3, 1));
        }
    }
}

#[test]
fn one_local_step_and_a_plain_outer_optimizer_are_what_was_learned_on_average() {
    // With SGD and no momentum the mean of one step's changes is the step of the mean gradient.
    let sgd = r#""steps": 40, "optimizer": {"kind": "sgd"}"#;
    let outer = r#", "diloco": {"local_steps": 1, "outer_learning_rate": 1.0, "outer_momentum": 0.0}"#;
    let losses = [sgd.to_owned(), format!("{sgd}{outer}")]
        .map(|train_spec| metrics(&check_ranks(MLP, &train_spec))["log_loss"]);
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
    let parts: Vec<_> =
        (0..ranks).map(|rank| snapshots[rank as usize].part(rank, ranks).into_bytes()).collect();
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
    let model = outcome.model.as_ref().expect("rank 0 exports the model");
    let predictor = Predictor::new(&Tasks::new(), &model.description.to_json(), &model.weights)
        .expect("it was just exported");
    let rows: Vec<u64> = (0..ground.dataset.rows(phalanx_data::Split::Test)).collect();
    let batch = ground.dataset.gather(phalanx_data::Split::Test, &rows).expect("it is mapped");
    let phalanx_train::Rows::Classes { decisions, .. } = predictor.predict(&batch) else { panic!("classes") };
    let phalanx_data::Targets::Classes(truths) = &batch.targets else { panic!("classes") };
    let right = decisions.iter().zip(truths).filter(|(guess, truth)| **guess == **truth as usize).count();
    let accuracy = right as f64 / rows.len() as f64;
    assert!((accuracy - metrics(&outcome)["accuracy"]).abs() < 1e-12);
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
        let loss = metrics(&expected)["log_loss"];
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

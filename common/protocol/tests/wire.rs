//! Every message between coordinator and worker comes back from the wire as it was sent. The wire
//! has no field names, so whatever leaves something out, or asks what comes next, would not.

use std::{collections::BTreeMap, fmt::Debug, fs, path::Path, time::Duration};

use phalanx_protocol::{
    codec::{FRAME_BYTES_MAX, decode, encode},
    id::{Generation, JobId, Rank, TraceParent, WorkerId},
    message::{
        Assignment, Attached, CheckpointPart, Confusion, Directive, Event, Failure, Finished, Hello,
        Incumbent, Numbered, Peer, Progress, Report, StateSource, Timeouts,
    },
    reference::{CheckpointRef, DatasetRef, FileRef, ModelArtifact},
    rpc::{NotAttached, Rejected, Standby},
    spec::{JobFile, JobSpec},
};
use serde::{Serialize, de::DeserializeOwned};

#[track_caller]
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T) {
    let bytes = encode(message).expect("it fits");
    assert_eq!(&decode::<T>(&bytes).expect("it is read"), message);
}

fn job() -> JobId {
    JobId::new("mnist", 3)
}

fn trace() -> Option<TraceParent> {
    Some(TraceParent::new("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()))
}

fn file(path: &str) -> FileRef {
    FileRef { path: path.to_owned(), bytes: 1 << 40, blake3: "ab".repeat(32) }
}

fn dataset() -> DatasetRef {
    DatasetRef {
        version: "cd".repeat(32),
        manifest: file("datasets/cd/manifest.json"),
        train_rows: 6_400,
        validation_rows: 800,
        test_rows: 800,
    }
}

fn artifact() -> ModelArtifact {
    ModelArtifact {
        report: Some(file("report.json")),
        ..ModelArtifact::new(file("weights.safetensors"), file("model.json"))
    }
}

fn metrics() -> BTreeMap<String, f64> {
    BTreeMap::from([
        ("accuracy".to_owned(), 0.97),
        ("f1[>50K]".to_owned(), -0.0),
        ("loss".to_owned(), f64::INFINITY),
    ])
}

/// The examples, and a job with every kind of setting that a file can leave out or make up.
fn specs() -> Vec<JobSpec> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let files = ["mnist.toml", "adult.toml", "diamonds.toml", "kjv.toml"].map(|name| folder.join(name));
    let examples = files.iter().map(|path| fs::read_to_string(path).expect("it can be read"));
    let own = "
        name = \"own\"
        [data]
        target = \"y\"
        features = [\"a\", \"b\"]
        [data.csv]
        path = \"rows.csv\"
        delimiter = \";\"
        [model.custom]
        task = \"own\"
        settings = { depth = 3, rate = 0.5, names = [\"a\", \"b\"], inner = { on = true } }
        [train]
        batch_size = 8
        steps = 10
        learning_rate = 0.1
        [workers]
        max = 2
        [evaluate]
        metrics = [\"r2\"]
        gates = [\"r2 > 0.1\", \"mse <= 3\"]
    ";
    let texts = examples.chain([own.to_owned()]);
    texts
        .map(|text| JobFile::parse(&text, Path::new("/jobs/job.toml"), &[]).expect("it is right").spec)
        .collect()
}

#[test]
fn a_worker_and_its_coordinator_understand_how_they_meet() {
    for addr in ["127.0.0.1:4000", "[::1]:4000"].map(|addr| addr.parse().expect("an address")) {
        check(&Hello {
            host: "host".to_owned(),
            pid: 7,
            data_addr: addr,
            kind: "x86-64-v4".to_owned(),
            tasks: vec!["own".to_owned()],
            version: "0.1.0".to_owned(),
            metrics_addr: Some(addr),
        });
    }
    let timeouts = Timeouts::default();
    check(&Attached { worker: WorkerId::new(9), store_url: "file:///store".to_owned(), timeouts });
    let rejected = [
        Rejected::UnknownWorker(WorkerId::new(9)),
        Rejected::StaleGeneration { got: Generation::new(1), current: Generation::new(2) },
        Rejected::Impossible("step 9 of 5".to_owned()),
        Rejected::Unavailable("full".to_owned()),
        Rejected::Standby(Standby { leader: Some("host:7701".to_owned()) }),
    ];
    for rejected in rejected {
        check::<Result<Vec<Numbered>, Rejected>>(&Err(rejected));
    }
    for refused in [
        NotAttached::Full { limit: 10_000 },
        NotAttached::Version { worker: "0.1.0".to_owned(), coordinator: "0.2.0".to_owned() },
        NotAttached::Unavailable("stopping".to_owned()),
        NotAttached::Standby(Standby { leader: None }),
    ] {
        check::<Result<Attached, NotAttached>>(&Err(refused));
    }
}

#[test]
fn a_directive_carries_a_whole_job() {
    let generation = Generation::new(4);
    let checkpoint = CheckpointRef {
        step: 100,
        cursor: 12_800,
        generation,
        state_hash: "ef".repeat(32),
        manifest: file("checkpoints/100/manifest.json"),
        bytes: 1 << 30,
        written_at: "2026-07-29T12:34:56.789012345Z".parse().expect("a time"),
    };
    let peers: Vec<Peer> = (0..4)
        .map(|worker| Peer { worker: WorkerId::new(worker), data_addr: ([10, 0, 0, 1], 4_000).into() })
        .collect();
    let mut directives = vec![
        Directive::Fetch { job: job(), generation, dataset: dataset(), trace: trace() },
        Directive::Stop { job: job(), generation, save: true },
        Directive::Release { job: job(), generation, keep: false },
        Directive::Leave,
    ];
    for spec in specs() {
        let spec = Box::new(spec);
        directives.push(Directive::Prepare { job: job(), generation, spec: spec.clone(), trace: trace() });
        for resume in [None, Some(checkpoint.clone())] {
            directives.push(Directive::Train(Box::new(Assignment {
                job: job(),
                generation,
                rank: Rank::new(2),
                peers: peers.clone(),
                spec: spec.clone(),
                dataset: dataset(),
                resume,
                disputed: Some(Generation::new(1)),
                incumbents: [
                    ("champion".to_owned(), Incumbent::NoneYet),
                    ("3".to_owned(), Incumbent::Unknown { known: "1, 2".to_owned() }),
                    (
                        "best".to_owned(),
                        Incumbent::Version {
                            version: 2,
                            dataset: "ab".to_owned(),
                            artifact: Box::new(artifact()),
                        },
                    ),
                ]
                .into(),
                verify_at: Some(5),
                trace: trace(),
            })));
        }
    }
    let numbered = directives.into_iter().zip(1..).map(|(directive, number)| Numbered { number, directive });
    check::<Result<Vec<Numbered>, Rejected>>(&Ok(numbered.collect()));
}

#[test]
fn a_report_carries_every_event() {
    let progress = Progress {
        step: 7,
        epoch: 1,
        cursor: 896,
        loss: 0.25,
        learning_rate: 1e-3,
        samples_per_second: 1e4,
        curve: vec![(6, 0.3), (7, 0.25)],
    };
    let part = CheckpointPart {
        step: 7,
        cursor: 896,
        rank: Rank::new(1),
        state_hash: "ef".repeat(32),
        file: file("part-1"),
        progress_json: "{\"best\":0.5}".to_owned(),
    };
    let finished = Finished {
        step: 500,
        cursor: 64_000,
        stopped_early: Some("no improvement".to_owned()),
        metrics: metrics(),
        undefined: [("roc_auc".to_owned(), "one class only".to_owned())].into(),
        moot: [("roc_auc - @champion".to_owned(), "no version yet".to_owned())].into(),
        compared: [("champion".to_owned(), None), ("3".to_owned(), Some(3))].into(),
        confusion: Some(Confusion {
            classes: vec!["a".to_owned(), "b".to_owned()],
            counts: vec![vec![1, 2], vec![3, 4]],
        }),
        state_hash: "ef".repeat(32),
        artifact: artifact(),
        sample: Some("And the king said\n\u{fffd}".to_owned()),
    };
    let reason = || "because".to_owned();
    let events = [
        Event::Preparing { what: "reading".to_owned(), done_bytes: 1, total_bytes: 2 },
        Event::Prepared { dataset: dataset(), found: true, summary: "8,000 rows".to_owned() },
        Event::Fetched,
        Event::Formed { step: 7, from: StateSource::Seed },
        Event::Formed { step: 7, from: StateSource::Checkpoint },
        Event::Formed { step: 7, from: StateSource::Members { healed: 1 } },
        Event::Verified { step: 7, state_hash: "ef".repeat(32) },
        Event::Progress(progress),
        Event::Validated { step: 7, metrics: metrics() },
        Event::CheckpointPart(Box::new(part)),
        Event::Stopped { step: 7 },
        Event::StoreAway { lasting: Duration::from_secs(7), why: "connection refused".to_owned() },
        Event::StoreBack,
        Event::Evaluating,
        Event::Finished(Box::new(finished)),
        Event::Failed(Failure::Job { reason: reason() }),
        Event::Failed(Failure::Peer { reason: reason(), step: 7 }),
        Event::Failed(Failure::Differs { step: 7, hashes: vec![None, Some("ef".repeat(32))] }),
        Event::Failed(Failure::CheckpointDamaged { manifest: "manifest.json".to_owned(), reason: reason() }),
        Event::Failed(Failure::Storage { reason: reason() }),
    ];
    for event in events {
        check(&Report { job: job(), generation: Generation::new(4), event });
    }
}

#[test]
fn a_message_beyond_the_limit_is_refused_by_both_sides() {
    let event = Event::Failed(Failure::Job { reason: "x".repeat(FRAME_BYTES_MAX + 1) });
    assert!(encode(&event).is_err());
    // A length that promises more than there is costs no memory.
    let mut liar = encode(&Event::Failed(Failure::Job { reason: "x".to_owned() })).expect("it fits");
    let length = liar.len() - 2;
    liar.splice(length..length + 1, [253, 255, 255, 255, 255, 255, 255, 255, 127]);
    assert!(decode::<Event>(&liar).is_err());
}

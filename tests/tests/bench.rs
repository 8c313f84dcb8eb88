//! `phalanx bench step` as a process: what it prints, what it refuses, and that none
//! of its workers is left behind. How fast anything is, is not asked.

use phalanx_tests::{Deadline, Ended, Home, Job, Running, Signal, binary, eventually, expect_gone, send};
use serde_json::Value;

/// `phalanx bench step` of a small job with these flags, started.
fn start(home: &Home, flags: &[&str]) -> Running {
    let mut command = std::process::Command::new(binary("phalanx"));
    command.args(["bench", "step"]).arg(home.write_job(&Job::mlp())).args(flags);
    Running::start(command)
}

fn bench(flags: &[&str]) -> Ended {
    start(&Home::new(), flags).wait()
}

/// What was measured.
#[track_caller]
fn measured(flags: &[&str]) -> Value {
    let ended = bench(&[flags, &["--seconds", "0.2", "--json"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

#[track_caller]
fn is_positive(number: &Value) {
    assert!(number.as_f64().is_some_and(|number| number > 0.0 && number.is_finite()), "{number}");
}

/// A measurement that lasts until it is ended, and its two workers.
fn endless(home: &Home) -> (Running, Vec<i32>) {
    let running = start(home, &["--workers", "2", "--seconds", "100000", "--rounds", "1"]);
    let workers = eventually("two workers", Deadline::default(), || {
        let children = running.children();
        (children.len() == 2).then_some(children)
    });
    (running, workers)
}

#[test]
fn one_worker_has_nothing_to_be_compared_with() {
    let measured = measured(&[]);
    is_positive(&measured["samples_per_second"]);
    assert_eq!((&measured["workers"], measured.get("scaling")), (&Value::from(1), None));
}

#[test]
fn two_workers_are_measured_beside_one_over_each_transport() {
    for transport in ["auto", "shm", "tcp"] {
        let measured = measured(&["--workers", "2", "--rounds", "2", "--transport", transport]);
        let scaling = &measured["scaling"];
        assert_eq!((&measured["workers"], &scaling["transport"]), (&Value::from(2), &transport.into()));
        for number in ["samples_per_second", "steps", "seconds", "parameters"] {
            is_positive(&measured[number]);
        }
        is_positive(&scaling["efficiency"]);
        is_positive(&scaling["efficiency_apart"]);
        // One worker's share of 48 samples and 4 lanes.
        let one = &scaling["one_worker"];
        assert_eq!((&one["batch_size"], &one["lanes"]), (&Value::from(24), &Value::from(2)));
        is_positive(&one["samples_per_second"]);
        let rounds = scaling["rounds"].as_array().expect("a list");
        assert_eq!(rounds.len(), 2);
        for number in
            rounds.iter().flat_map(|round| ["one_worker", "apart", "together"].map(|key| &round[key]))
        {
            is_positive(number);
        }
    }
}

#[test]
fn people_see_the_efficiency() {
    let ended = bench(&["--workers", "2", "--seconds", "0.2", "--rounds", "1"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    for word in ["2 workers", "one worker:", "24 samples, 2 lanes", "efficiency:"] {
        assert!(ended.stdout.contains(word), "`{word}` is missing in: {}", ended.stdout);
    }
}

#[test]
fn workers_that_cannot_share_the_lanes_are_refused() {
    for (flags, word) in [
        (&["--workers", "8"][..], "8 workers cannot share 4 lanes evenly"),
        (&["--workers", "3"][..], "3 workers cannot share 4 lanes evenly"),
        (&["--workers", "5", "--set", "train.lanes=5"][..], "48 samples"),
        (&["--workers", "0"][..], "--workers"),
        (&["--workers", "2", "--transport", "pigeon"][..], "pigeon"),
    ] {
        let ended = bench(flags);
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        assert!(ended.stderr.contains(word), "`{word}` is missing in: {}", ended.stderr);
    }
}

#[test]
fn a_worker_that_dies_ends_the_measurement_and_is_named() {
    let home = Home::new();
    let (running, workers) = endless(&home);
    send(workers[0], Signal::KILL);
    let ended = running.wait();
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.stderr.contains("SIGKILL"), "{}", ended.stderr);
    expect_gone(&workers);
}

#[test]
fn no_worker_outlives_a_measurement_however_it_ends() {
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::TERM, Some(130)), (Signal::KILL, None)] {
        let home = Home::new();
        let (running, workers) = endless(&home);
        running.signal(signal);
        assert_eq!(running.wait().code, code);
        expect_gone(&workers);
    }
}

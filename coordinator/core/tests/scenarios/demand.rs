//! Submissions that are made twice, and what is told to whoever starts workers.

use phalanx_core::{Demand, Input, Reply};

use crate::{bench::Bench, support::spec};

fn submitted_as(bench: &mut Bench, key: &str) -> String {
    let spec = spec(&[]);
    match bench.call(Input::Submit { spec, trace: None, key: Some(key.to_owned()) }) {
        Ok(Reply::Job(id)) => id.to_string(),
        other => panic!("a job was answered with {other:?}"),
    }
}

#[test]
fn a_submission_that_is_made_again_with_its_key_is_the_same_job_after_a_restart_too() {
    let mut bench = Bench::new();
    let first = submitted_as(&mut bench, "one");
    assert_eq!(submitted_as(&mut bench, "one"), first);
    assert_ne!(submitted_as(&mut bench, "two"), first);
    bench.restart();
    assert_eq!(submitted_as(&mut bench, "one"), first);
    assert_eq!(bench.coordinator.jobs().len(), 2);
    let keyed = bench.coordinator.jobs_with_key(|key, state| key == "one" && !state.is_over());
    assert_eq!(keyed.iter().map(|(_, job)| job.id.to_string()).collect::<Vec<_>>(), [first]);
}

#[test]
fn demand_is_what_live_jobs_take_at_the_most_the_important_ones_first() {
    let mut bench = Bench::new();
    bench.submit(&[("workers.min", "2"), ("workers.max", "3")]);
    bench.submit(&[("workers.max", "1"), ("schedule.priority", "5")]);
    let over = bench.submit(&[]);
    bench.call(Input::Cancel { job: over }).expect("a live job");
    let wants = |min, max| Demand { workers_min: min, workers_max: max, kind: None, task: None };
    assert_eq!(bench.coordinator.demand(), [wants(1, 1), wants(2, 3)]);

    // Jobs that have workers want them still, on the kind that they have begun on.
    let workers = bench.attach(4);
    let demand = bench.coordinator.demand();
    assert_eq!(demand.iter().map(|job| job.workers_max).sum::<u32>(), 4);
    assert!(demand.iter().all(|job| job.kind.is_some()), "{demand:?}");
    assert_eq!(bench.coordinator.attached().len(), workers.len());
}

//! Every metric of a worker: its name, its unit, and when it is counted.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

const STEPS: &str = "phalanx_worker_steps_total";
const SAMPLES: &str = "phalanx_worker_samples_total";
const STEP_SECONDS: &str = "phalanx_worker_step_seconds";
const REDUCTION_SECONDS: &str = "phalanx_worker_reduction_seconds";
const SNAPSHOT_SECONDS: &str = "phalanx_worker_snapshot_seconds";
const CHECKPOINT_SECONDS: &str = "phalanx_worker_checkpoint_seconds";
const CHECKPOINT_BYTES: &str = "phalanx_worker_checkpoint_written_bytes_total";
const GENERATIONS: &str = "phalanx_worker_generations_total";
const FAILURES: &str = "phalanx_worker_failures_total";
const STORE_OUTAGES: &str = "phalanx_worker_store_outages_total";
const STORE_AWAY_SECONDS: &str = "phalanx_worker_store_away_seconds_total";
const CONNECTIONS: &str = "phalanx_worker_coordinator_connections_total";

/// Counters whose first event would be missed if they came to be with it: from nothing to one is no rise.
const FROM_ZERO: [&str; 8] =
    [STEPS, SAMPLES, CHECKPOINT_BYTES, GENERATIONS, FAILURES, STORE_OUTAGES, STORE_AWAY_SECONDS, CONNECTIONS];

/// Says what each metric is, to whoever collects them by now.
pub(crate) fn describe() {
    describe_counter!(STEPS, "steps that this worker took part in");
    describe_counter!(SAMPLES, "samples that this worker computed gradients of");
    describe_histogram!(STEP_SECONDS, Unit::Seconds, "time from one step to the next, validation included");
    describe_histogram!(
        REDUCTION_SECONDS,
        Unit::Seconds,
        "time of a step in the reduction, most of it the wait for the slowest rank"
    );
    describe_histogram!(SNAPSHOT_SECONDS, Unit::Seconds, "time that training stands still for a checkpoint");
    describe_histogram!(CHECKPOINT_SECONDS, Unit::Seconds, "time until a checkpoint part is durable");
    describe_counter!(CHECKPOINT_BYTES, Unit::Bytes, "bytes of checkpoint parts written");
    describe_counter!(GENERATIONS, "generations that this worker was told to join");
    describe_counter!(FAILURES, "generations that this worker could not go on with");
    describe_counter!(STORE_OUTAGES, "outages of the object store that work of this worker waited for");
    describe_counter!(STORE_AWAY_SECONDS, Unit::Seconds, "whole seconds that these outages lasted");
    describe_counter!(CONNECTIONS, "connections made to the coordinator; one more at each reconnect");
    FROM_ZERO.into_iter().for_each(|name| counter!(name).increment(0));
}

/// A step over `samples` of this worker begins, `since_last` after the one before it.
pub(crate) fn step_begins(samples: u64, since_last: Option<Duration>) {
    counter!(STEPS).increment(1);
    counter!(SAMPLES).increment(samples);
    if let Some(elapsed) = since_last {
        histogram!(STEP_SECONDS).record(elapsed);
    }
}

/// A step was in the reduction for so long.
pub(crate) fn reduced(took: Duration) {
    histogram!(REDUCTION_SECONDS).record(took);
}

/// Training stood still for so long, until the state was out for a checkpoint.
pub(crate) fn snapshot_taken(took: Duration) {
    histogram!(SNAPSHOT_SECONDS).record(took);
}

/// A checkpoint part became durable.
pub(crate) fn checkpointed(bytes: u64, elapsed: Duration) {
    counter!(CHECKPOINT_BYTES).increment(bytes);
    histogram!(CHECKPOINT_SECONDS).record(elapsed);
}

/// The worker was told to join a generation.
pub(crate) fn generation() {
    counter!(GENERATIONS).increment(1);
}

/// The worker could not go on with a generation.
pub(crate) fn failed() {
    counter!(FAILURES).increment(1);
}

/// Work waits for the object store.
pub(crate) fn store_away() {
    counter!(STORE_OUTAGES).increment(1);
}

/// The object store is back after so long.
pub(crate) fn store_back(lasted: Duration) {
    counter!(STORE_AWAY_SECONDS).increment(lasted.as_secs());
}

/// A connection to the coordinator was made.
pub(crate) fn connected() {
    counter!(CONNECTIONS).increment(1);
}

//! Every metric of the coordinator: its name, its unit, and when it is counted.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use phalanx_core::{Completion, Coordinator, Input};
use phalanx_protocol::{message::Event, view::JobState};

const LEADS: &str = "phalanx_coordinator_leads";
const JOBS: &str = "phalanx_jobs";
const WORKERS: &str = "phalanx_workers";
const STRAGGLERS: &str = "phalanx_stragglers";
const REPORTS: &str = "phalanx_reports_total";
const SUBMISSIONS: &str = "phalanx_submissions_total";
const GENERATIONS: &str = "phalanx_generations_total";
const CHECKPOINTS: &str = "phalanx_checkpoints_total";
const CHECKPOINT_BYTES: &str = "phalanx_checkpoint_written_bytes_total";
const MODEL_VERSIONS: &str = "phalanx_model_versions_total";
const STALLED_JOBS: &str = "phalanx_jobs_store_away";
const FILE_FAILURES: &str = "phalanx_object_store_failures_total";
const GARBAGE: &str = "phalanx_garbage_deleted_total";
const GARBAGE_BYTES: &str = "phalanx_garbage_deleted_bytes_total";
const COMMIT_SECONDS: &str = "phalanx_state_commit_seconds";
const RPC_CONNECTIONS: &str = "phalanx_rpc_connections";
const HTTP_REQUESTS: &str = "phalanx_http_requests_total";
const HTTP_SECONDS: &str = "phalanx_http_request_seconds";

const STATES: [JobState; 11] = [
    JobState::Queued,
    JobState::Preparing,
    JobState::Forming,
    JobState::Training,
    JobState::Evaluating,
    JobState::Registering,
    JobState::Stopping,
    JobState::Paused,
    JobState::Cancelled,
    JobState::Done,
    JobState::Failed,
];

/// Counters whose first event would be missed if they came to be with it: from nothing to one is no rise.
const FROM_ZERO: [&str; 7] =
    [SUBMISSIONS, CHECKPOINTS, CHECKPOINT_BYTES, MODEL_VERSIONS, FILE_FAILURES, GARBAGE, GARBAGE_BYTES];

/// Says what each metric is, to whoever collects them by now.
pub(crate) fn describe() {
    describe_gauge!(LEADS, "1 while this coordinator leads, 0 while it stands by; only with several");
    describe_gauge!(JOBS, "jobs by state");
    describe_gauge!(WORKERS, "workers attached");
    describe_gauge!(STRAGGLERS, "members of running jobs that are slower than the others for long");
    describe_counter!(REPORTS, "reports of workers by event");
    describe_counter!(SUBMISSIONS, "jobs handed in, wrong ones included");
    describe_counter!(GENERATIONS, "generations that have begun, of all jobs that are known");
    describe_counter!(CHECKPOINTS, "checkpoints whose manifest became durable");
    describe_counter!(CHECKPOINT_BYTES, Unit::Bytes, "bytes of the parts of these checkpoints");
    describe_counter!(MODEL_VERSIONS, "model versions whose manifest became durable");
    describe_gauge!(STALLED_JOBS, "jobs whose checkpoints wait for the object store, which is away");
    describe_counter!(FILE_FAILURES, "files that the coordinator could not write or delete");
    describe_counter!(GARBAGE, "files that nobody needed and a garbage collection has deleted");
    describe_counter!(GARBAGE_BYTES, Unit::Bytes, "bytes of these files");
    describe_histogram!(
        COMMIT_SECONDS,
        Unit::Seconds,
        "time until a transaction of the state store is durable"
    );
    describe_gauge!(RPC_CONNECTIONS, "open connections of workers");
    describe_counter!(HTTP_REQUESTS, "requests by method, route and status");
    describe_histogram!(HTTP_SECONDS, Unit::Seconds, "time to answer a request, by route");
    FROM_ZERO.into_iter().for_each(|name| counter!(name).increment(0));
}

/// Looks at what is counted only when somebody asks.
pub(crate) fn observe(coordinator: &Coordinator) {
    let states: Vec<JobState> = coordinator.job_states().collect();
    for state in STATES {
        let count = states.iter().filter(|found| **found == state).count();
        gauge!(JOBS, "state" => state.as_str()).set(count as f64);
    }
    gauge!(WORKERS).set(coordinator.worker_count() as f64);
    gauge!(STALLED_JOBS).set(coordinator.jobs_with_store_away() as f64);
    gauge!(STRAGGLERS).set(coordinator.straggler_count() as f64);
    counter!(GENERATIONS).absolute(coordinator.generations_begun());
}

/// This one of several coordinators leads.
#[cfg(feature = "cluster")]
pub(crate) fn leads() {
    gauge!(LEADS).set(1.0);
}

/// This one of several coordinators stands by, and knows of nothing.
#[cfg(feature = "cluster")]
pub(crate) fn stands_by() {
    gauge!(LEADS).set(0.0);
    for state in STATES {
        gauge!(JOBS, "state" => state.as_str()).set(0.0);
    }
    gauge!(WORKERS).set(0.0);
    gauge!(STALLED_JOBS).set(0.0);
    gauge!(STRAGGLERS).set(0.0);
}

/// An input is taken.
pub(crate) fn input(input: &Input) {
    match input {
        Input::Report { report, .. } => {
            counter!(REPORTS, "event" => event_name(&report.event)).increment(1);
        }
        Input::Submit { .. } => counter!(SUBMISSIONS).increment(1),
        Input::Cancel { .. }
        | Input::Interrupt { .. }
        | Input::Resume { .. }
        | Input::SetAlias { .. }
        | Input::Attach(_)
        | Input::Poll { .. }
        | Input::Scale { .. }
        | Input::Drain { .. }
        | Input::Disconnected { .. }
        | Input::Detach { .. }
        | Input::Tick
        | Input::EffectDone(_) => {}
    }
}

/// A manifest is written, or could not be.
pub(crate) fn file_written(completion: &Completion) {
    match completion {
        Completion::CheckpointManifest { result: Ok(_), .. } => counter!(CHECKPOINTS).increment(1),
        Completion::ModelManifest { result: Ok(_), .. } => counter!(MODEL_VERSIONS).increment(1),
        Completion::CheckpointManifest { .. }
        | Completion::ModelManifest { .. }
        | Completion::StoreAway { .. }
        | Completion::StoreBack { .. } => {}
    }
}

/// A checkpoint with parts of so many bytes became durable.
pub(crate) fn checkpoint_written(bytes: u64) {
    counter!(CHECKPOINT_BYTES).increment(bytes);
}

/// A file could not be written or deleted.
pub(crate) fn file_failed() {
    counter!(FILE_FAILURES).increment(1);
}

/// A file of so many bytes that nobody needed was deleted.
pub(crate) fn garbage_deleted(bytes: u64) {
    counter!(GARBAGE).increment(1);
    counter!(GARBAGE_BYTES).increment(bytes);
}

/// A transaction of the state store became durable.
pub(crate) fn state_committed(took: Duration) {
    histogram!(COMMIT_SECONDS).record(took);
}

/// A request was answered.
pub(crate) fn http_answered(method: &Method, route: String, status: StatusCode, took: Duration) {
    let status = status.as_u16().to_string();
    // Whatever a client calls its method must not become a time series of its own.
    let method = match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => "other",
    };
    counter!(HTTP_REQUESTS, "method" => method, "route" => route.clone(), "status" => status).increment(1);
    histogram!(HTTP_SECONDS, "route" => route).record(took);
}

/// An open connection of a worker; dropped when it ends.
#[derive(Debug)]
pub(crate) struct RpcConnection(());

impl RpcConnection {
    /// A worker has connected.
    pub(crate) fn opened() -> Self {
        gauge!(RPC_CONNECTIONS).increment(1);
        Self(())
    }
}

impl Drop for RpcConnection {
    fn drop(&mut self) {
        gauge!(RPC_CONNECTIONS).decrement(1);
    }
}

fn event_name(event: &Event) -> &'static str {
    match event {
        Event::Preparing { .. } => "preparing",
        Event::Prepared { .. } => "prepared",
        Event::Fetched => "fetched",
        Event::Formed { .. } => "formed",
        Event::Progress(_) => "progress",
        Event::Validated { .. } => "validated",
        Event::Verified { .. } => "verified",
        Event::CheckpointPart(_) => "checkpoint_part",
        Event::StoreAway { .. } => "store_away",
        Event::StoreBack => "store_back",
        Event::Stopped { .. } => "stopped",
        Event::Evaluating => "evaluating",
        Event::Finished(_) => "finished",
        Event::Failed(_) => "failed",
    }
}

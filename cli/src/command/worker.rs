//! `phalanx worker`: a process that trains.

use std::process::ExitCode;

use clap::Args;
use phalanx_agent::{TelemetryArgs, WorkerArgs};
use phalanx_train::Tasks;

/// Train what a coordinator hands out, until it is told to end
///
/// One worker computes on one thread: start as many as there are cores. A worker with models of
/// your own takes the same flags; examples/own-model shows how to build one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx worker --coordinator host:7701
  phalanx worker --coordinator host:7701 --listen 10.0.0.5:9000 --metrics 0.0.0.0:9100")]
pub(crate) struct Worker {
    #[command(flatten)]
    worker: WorkerArgs,

    #[command(flatten, next_help_heading = "Telemetry")]
    telemetry: TelemetryArgs,
}

impl Worker {
    /// Works. The worker has a runtime of its own.
    pub(crate) fn run(self) -> ExitCode {
        phalanx_agent::start(self.worker, self.telemetry, Tasks::new())
    }
}

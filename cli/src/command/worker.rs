//! `phalanx worker`: a process that trains.

use std::{
    env,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

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
        keep_memory();
        phalanx_agent::start(self.worker, self.telemetry, Tasks::new())
    }
}

/// For how many milliseconds the allocator keeps memory that is free, instead of one second. A step uses the same memory
/// as the one before, and a step after a checkpoint needs as much as the state on top, of which the kernel would
/// have to clear each page first: of a large model's time that is as much as the computing.
const KEPT_MS: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "600000");

/// Begins anew with the allocator told, in the same process: it looks at its environment before `main`. A user's own choice
/// stays, and where it cannot be done training is only slower.
fn keep_memory() {
    let (variable, kept) = KEPT_MS;
    if env::var_os(variable).is_some() {
        return;
    }
    if let Ok(own) = env::current_exe() {
        let _cannot = Command::new(own).args(env::args_os().skip(1)).env(variable, kept).exec();
    }
}

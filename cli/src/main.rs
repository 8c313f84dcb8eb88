//! The one binary, `phalanx`: reads the command line, does one command, and ends
//! with its exit code. Commands live in [`command`], one file each.
//!
//! Architecture invariant: this crate knows arguments, output and exit codes.
//! It decides nothing about jobs and computes nothing.

mod client;
mod command;
mod connect;
mod ending;
mod error;
mod home;
mod local;
mod output;
mod plot;
mod show;
mod signal;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    command::{Asked, Cli, Command},
    error::{CliError, Exit},
};

/// A step of training takes and gives back every tensor's memory; with the system's allocator a seventh of its time
/// went into pages that the kernel cleared again and again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = match Cli::parse().command {
        Command::Worker(worker) => return worker.run(),
        Command::Other(command) => command,
    };
    match run(command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            error.print();
            error.exit().into()
        }
    }
}

/// Runs the command on this thread, the process's first, which outlives all others: workers
/// are tied to the life of the thread that starts them.
fn run(command: Asked) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| CliError::failed(format!("cannot start: {e}")))?;
    let ended = runtime.block_on(command.run());
    // Threads that still block on a file do not keep a finished command from ending.
    runtime.shutdown_background();
    ended
}

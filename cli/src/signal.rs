//! Ctrl-C and SIGTERM as a stream of wishes to stop. Owns the process's handlers
//! for both from the moment it is made.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CliError;

/// The wishes of whoever started this process that it stop.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Begins to listen. From here on neither signal ends the process by itself.
    pub(crate) fn listen() -> Result<Self, CliError> {
        let of = |kind| signal(kind).map_err(|e| CliError::failed(format!("cannot listen for signals: {e}")));
        Ok(Self { interrupt: of(SignalKind::interrupt())?, terminate: of(SignalKind::terminate())? })
    }

    /// Waits for the next one. Cancelling the wait loses none.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

//! Setting up what a process tells of itself, from the flags that all of them share.

use std::{path::Path, sync::Arc};

use phalanx_agent::TelemetryArgs;
use phalanx_telemetry::{Config, Guard, LogWriter};

use crate::{error::CliError, home::open_log};

/// Sets up logs to standard error, and traces.
pub(super) fn init(args: &TelemetryArgs, service: &str) -> Result<Guard, CliError> {
    init_to(args, service, LogWriter::stderr())
}

/// Sets up logs to the file `log`, and traces.
pub(super) fn init_to_file(args: &TelemetryArgs, service: &str, log: &Path) -> Result<Guard, CliError> {
    let file =
        open_log(log).map_err(|e| CliError::failed(format!("{} cannot be written: {e}", log.display())))?;
    init_to(args, service, LogWriter::new(Arc::new(file), false))
}

fn init_to(args: &TelemetryArgs, service: &str, writer: LogWriter) -> Result<Guard, CliError> {
    let TelemetryArgs { log_format: log, log: filter, otlp } = args.clone();
    phalanx_telemetry::init(Config { log, filter, writer, otlp, service_name: service })
        .map_err(CliError::usage)
}

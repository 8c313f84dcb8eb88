//! Why telemetry cannot be set up.

use std::{io, net::SocketAddr};

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Logs and traces can be set up once in a process.
    #[error("logs and traces are already set up in this process")]
    AlreadyInstalled,
    /// Metrics can be set up once in a process.
    #[error("metrics are already set up in this process")]
    MetricsAlreadyInstalled,
    /// The log filter is none.
    #[error(
        "`{filter}` is no log filter: {reason}; expected levels by target, as in `info,phalanx_agent=debug`"
    )]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The address of the collector is none.
    #[error(
        "`{url}` is no OTLP address: {reason}; expected where a collector takes gRPC, as in `http://localhost:4317`"
    )]
    OtlpUrl {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The threads that send traces could not be started.
    #[error("traces cannot be sent: {0}")]
    Exporter(#[source] io::Error),
    /// The port for metrics cannot be opened.
    #[error("metrics cannot be served at {addr}: {source}; is the port in use? `:0` takes a free one")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

//! Logs, traces and metrics of every Phalanx process.
//!
//! In reading order: [`init`] sets up logs and traces once in `main`; a trace
//! crosses processes as a [`TraceParent`](phalanx_protocol::id::TraceParent);
//! [`install_metrics`] collects metrics for Prometheus.
//!
//! This crate knows how telemetry leaves a process. It does not know what is
//! measured: metrics have their names in each crate's own `metrics.rs`, and
//! spans and events stand where they happen.

mod error;
mod export;
mod logs;
mod metrics;
mod setup;
mod trace_parent;

pub use error::TelemetryError;
pub use logs::{LogFormat, LogWriter};
pub use metrics::{MetricsHandle, Ready, install_metrics, metrics_router, serve_metrics};
pub use setup::{Config, Guard, init};
pub use trace_parent::{TRACE_HEADER, current_trace_parent, from_headers, set_parent, to_headers};

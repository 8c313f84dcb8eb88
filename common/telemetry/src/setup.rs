//! Setting up logs and traces, once, in `main`.

use opentelemetry::trace::TracerProvider;
use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    error::TelemetryError,
    export::{self, Export},
    logs::{self, LogFormat, LogWriter},
};

/// How a process tells what it does.
#[derive(Debug)]
pub struct Config<'a> {
    /// What log lines look like.
    pub log: LogFormat,
    /// Which log lines there are: levels by target, as in `info,phalanx_agent=debug`. By default
    /// `info`, the libraries beneath being quieter.
    pub filter: Option<String>,
    /// Where log lines go.
    pub writer: LogWriter,
    /// The gRPC address of an OpenTelemetry collector, as in `http://localhost:4317`. Without it
    /// there are no traces.
    pub otlp: Option<String>,
    /// What the process is called in traces: `phalanx-worker`.
    pub service_name: &'a str,
}

impl<'a> Config<'a> {
    /// Short log lines on standard error and no traces.
    pub fn new(service_name: &'a str) -> Self {
        Self { log: LogFormat::Human, filter: None, writer: LogWriter::stderr(), otlp: None, service_name }
    }
}

/// Keeps the export of traces going. Dropping it sends the last spans, for which it waits a few
/// seconds at most: keep it until the end of `main`.
#[derive(Debug)]
#[must_use = "dropping the guard ends the export of traces"]
pub struct Guard {
    _export: Option<Export>,
}

/// Sets up logs and traces for the whole process. It needs no runtime.
///
/// # Errors
///
/// A filter or an address that is none, or a second call. After an error nothing is set up.
pub fn init(config: Config<'_>) -> Result<Guard, TelemetryError> {
    let logs = logs::layer(config.log, config.filter.as_deref(), config.writer)?;
    let export = config.otlp.as_deref().map(|url| Export::start(url, config.service_name)).transpose()?;
    let traces = export.as_ref().map(|export| {
        tracing_opentelemetry::layer()
            .with_tracer(export.provider.tracer("phalanx"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(export::exported_spans())
    });
    tracing_subscriber::registry()
        .with(logs)
        .with(traces)
        .try_init()
        .map_err(|_| TelemetryError::AlreadyInstalled)?;
    Ok(Guard { _export: export })
}

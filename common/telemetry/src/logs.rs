//! Where log lines go and what they look like.

use std::{fmt, io};

use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{
        format::Writer,
        time::FormatTime,
        writer::{BoxMakeWriter, MakeWriter},
    },
};

use crate::error::TelemetryError;

/// What log lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Short lines for people.
    #[default]
    Human,
    /// One JSON object a line, with RFC 3339 times.
    Json,
}

/// Where log lines go.
pub struct LogWriter {
    writer: BoxMakeWriter,
    colours: bool,
}

impl LogWriter {
    /// To standard error, in colours if that is a terminal and `NO_COLOR` is not set.
    pub fn stderr() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = !plain && io::IsTerminal::is_terminal(&io::stderr());
        Self { writer: BoxMakeWriter::new(io::stderr), colours }
    }

    /// To a writer of the caller's, which may have to step aside for a progress bar.
    pub fn new(writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static, colours: bool) -> Self {
        Self { writer: BoxMakeWriter::new(writer), colours }
    }
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter").field("colours", &self.colours).finish_non_exhaustive()
    }
}

/// Levels for the libraries beneath us, which the caller's filter can override by
/// naming them. The exporter's own complaints are told once by `export`.
const QUIET: &str = "info,tarpc=warn,h2=warn,hyper=warn,hyper_util=warn,tower=warn,tonic=warn,rustls=warn,\
                     object_store=warn,opentelemetry=off,opentelemetry_sdk=off,opentelemetry-otlp=off";

/// The layer that writes log lines.
pub(crate) fn layer(
    format: LogFormat,
    filter: Option<&str>,
    writer: LogWriter,
) -> Result<Box<dyn Layer<Registry> + Send + Sync>, TelemetryError> {
    let filter = filter.unwrap_or_default();
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .map_err(|error| TelemetryError::Filter { filter: filter.to_owned(), reason: error.to_string() })?;
    let LogWriter { writer, colours } = writer;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    Ok(match format {
        LogFormat::Human => lines
            .compact()
            .with_ansi(colours)
            .with_target(false)
            .with_timer(TimeOfDay)
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    })
}

/// The time of day where the process runs; the date is known to whoever looks at a terminal.
struct TimeOfDay;

impl FormatTime for TimeOfDay {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", jiff::Zoned::now().strftime("%H:%M:%S"))
    }
}

//! Sending traces to an OpenTelemetry collector over OTLP (gRPC).
//!
//! It owns a small runtime of its own, so that the last spans can still be sent
//! when the process's runtime is already gone.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceId, TraceState},
};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, SamplingResult, SdkTracerProvider,
        ShouldSample, SpanData, SpanExporter,
    },
};
use tokio::runtime::{self, Runtime};
use tracing::{info, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::error::TelemetryError;

/// The longest that the end of a process waits for its last spans to be sent.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// The longest that one batch of spans may take.
const EXPORT_MAX: Duration = Duration::from_secs(5);

/// How often finished spans are sent.
const EXPORT_EVERY: Duration = Duration::from_secs(1);

/// Finished spans that wait to be sent; more are dropped.
const QUEUE_SPANS_MAX: usize = 8_192;

/// The running export of a process's traces.
#[derive(Debug)]
pub(crate) struct Export {
    pub(crate) provider: SdkTracerProvider,
    runtime: Option<Runtime>,
}

impl Export {
    /// Starts to send the traces of the service `service_name` to the collector at `url`. A
    /// collector that is away is no error: it may come later.
    pub(crate) fn start(url: &str, service_name: &str) -> Result<Self, TelemetryError> {
        let refused = |reason: String| TelemetryError::OtlpUrl { url: url.to_owned(), reason };
        let authority =
            url.strip_prefix("http://").ok_or_else(|| refused("it is not an http:// address".to_owned()))?;
        if authority.is_empty() || authority.starts_with([':', '/']) {
            return Err(refused("it names no host".to_owned()));
        }
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("phalanx-otlp")
            .enable_all()
            .build()
            .map_err(TelemetryError::Exporter)?;
        let exporter = {
            // The connection's task lives on the runtime that is entered when it is made.
            let _entered = runtime.enter();
            OtlpExporter::builder().with_tonic().with_endpoint(url).with_timeout(EXPORT_MAX).build()
        };
        let exporter = exporter.map_err(|error| refused(error.to_string()))?;
        let exporter = Reporting { exporter, url: url.to_owned(), failing: AtomicBool::new(false) };
        let batches = BatchConfigBuilder::default()
            .with_scheduled_delay(EXPORT_EVERY)
            .with_max_queue_size(QUEUE_SPANS_MAX)
            .build();
        let resource = Resource::builder()
            .with_service_name(service_name.to_owned())
            .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .with_sampler(Sampler::ParentBased(Box::new(RootSampler)))
            .with_resource(resource)
            .build();
        Ok(Self { provider, runtime: Some(runtime) })
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_MAX) {
            warn!(%error, "the last spans were not sent");
        }
        if let Some(runtime) = self.runtime.take() {
            // A plain drop would wait, and would panic inside of another runtime.
            runtime.shutdown_background();
        }
    }
}

/// Spans that are exported: all from `info` upwards but those of the exporter's own machinery,
/// which would never end.
pub(crate) fn exported_spans() -> Targets {
    let machinery = ["h2", "hyper", "hyper_util", "tonic", "tower", "opentelemetry", "opentelemetry_sdk"];
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_targets(machinery.map(|target| (target, LevelFilter::OFF)))
}

/// Decides over traces that begin in this process: a remote call that belongs to nothing is a
/// heartbeat, of which there are several a second, and is left out.
#[derive(Debug, Clone)]
pub(crate) struct RootSampler;

impl ShouldSample for RootSampler {
    fn should_sample(
        &self,
        _parent: Option<&Context>,
        _trace: TraceId,
        _name: &str,
        kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let decision = match kind {
            SpanKind::Client => SamplingDecision::Drop,
            SpanKind::Server | SpanKind::Producer | SpanKind::Consumer | SpanKind::Internal => {
                SamplingDecision::RecordAndSample
            }
        };
        SamplingResult { decision, attributes: Vec::new(), trace_state: TraceState::default() }
    }
}

/// Tells once when the collector goes away and once when it is back, instead of at each batch.
#[derive(Debug)]
struct Reporting {
    exporter: OtlpExporter,
    url: String,
    failing: AtomicBool,
}

impl SpanExporter for Reporting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let was_failing = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !was_failing => warn!(url = self.url, %error, "traces cannot be delivered"),
            Ok(()) if was_failing => info!(url = self.url, "traces are delivered again"),
            Err(_) | Ok(()) => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

//! Traces across processes: the W3C trace context (<https://www.w3.org/TR/trace-context/>), in
//! messages of our own and in HTTP headers.
//!
//! tarpc carries its own context in every call; this is for what outlives a
//! call, such as the span of a job that was submitted minutes ago.

use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderValue};
use opentelemetry::{propagation::TextMapPropagator, trace::TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use phalanx_protocol::id::TraceParent;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The HTTP header that carries a trace context.
pub const TRACE_HEADER: &str = "traceparent";

/// The current span, for another process to hang its own under; `None` where no trace is recorded.
pub fn current_trace_parent() -> Option<TraceParent> {
    let mut fields = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut fields);
    fields.remove(TRACE_HEADER).map(TraceParent::new)
}

/// Hangs `span` under a span of another process. It must not have been entered yet. A text that
/// is no trace context leaves the span as it is: telemetry never fails what it watches.
pub fn set_parent(span: &Span, parent: &TraceParent) {
    let fields = HashMap::from([(TRACE_HEADER.to_owned(), parent.as_str().to_owned())]);
    let context = TraceContextPropagator::new().extract(&fields);
    if !context.span().span_context().is_valid() {
        tracing::debug!(parent = parent.as_str(), "not a trace context");
    } else if let Err(error) = span.set_parent(context) {
        tracing::trace!(%error, "span keeps its parent");
    }
}

/// The span that a request belongs to, as its headers say.
pub fn from_headers(headers: &HeaderMap) -> Option<TraceParent> {
    let value = headers.get(TRACE_HEADER)?.to_str().ok()?;
    Some(TraceParent::new(value))
}

/// Adds the current span to the headers of a request, if a trace is recorded.
pub fn to_headers(headers: &mut HeaderMap) {
    if let Some(parent) = current_trace_parent()
        && let Ok(value) = HeaderValue::from_str(parent.as_str())
    {
        headers.insert(TRACE_HEADER, value);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TracerProvider};
    use opentelemetry_sdk::trace::{InMemorySpanExporterBuilder, Sampler, SdkTracerProvider, SpanData};
    use tracing::info_span;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::export::RootSampler;

    /// Runs `work` in a process of its own, as far as traces are concerned, and gives its spans.
    fn traced(work: impl FnOnce()) -> Vec<SpanData> {
        let exporter = InMemorySpanExporterBuilder::new().build();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .with_sampler(Sampler::ParentBased(Box::new(RootSampler)))
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        exporter.get_finished_spans().expect("the exporter works")
    }

    fn span<'s>(spans: &'s [SpanData], name: &str) -> &'s SpanData {
        spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span is called {name}"))
    }

    #[test]
    fn a_span_finds_its_parent_in_another_process() {
        let mut message = None;
        let coordinator = traced(|| {
            let _entered = info_span!("submit").entered();
            message = current_trace_parent();
        });
        let worker = traced(|| {
            let step = info_span!("step");
            set_parent(&step, message.as_ref().expect("a trace is recorded"));
            step.in_scope(|| info_span!("reduce").in_scope(|| {}));
        });
        let submit = span(&coordinator, "submit");
        let [step, reduce] = ["step", "reduce"].map(|name| span(&worker, name));
        assert_eq!(submit.parent_span_id, SpanId::INVALID);
        assert_eq!(step.parent_span_id, submit.span_context.span_id());
        assert!(step.parent_span_is_remote);
        assert_eq!(reduce.parent_span_id, step.span_context.span_id());
        assert_eq!(step.span_context.trace_id(), submit.span_context.trace_id());
    }

    #[test]
    fn headers_carry_the_span_of_a_request() {
        let spans = traced(|| {
            let mut headers = HeaderMap::new();
            to_headers(&mut headers);
            assert!(headers.is_empty(), "nothing is recorded outside of a span");
            info_span!("request").in_scope(|| to_headers(&mut headers));
            let served = info_span!("serve");
            set_parent(&served, &from_headers(&headers).expect("the header is there"));
            served.in_scope(|| {});
        });
        let request = span(&spans, "request");
        assert_eq!(span(&spans, "serve").parent_span_id, request.span_context.span_id());
    }

    #[test]
    fn a_broken_parent_leaves_a_span_alone() {
        for broken in ["", "00-00-00-01", "nonsense", &"0".repeat(10_000)] {
            let spans = traced(|| {
                let step = info_span!("step");
                set_parent(&step, &TraceParent::new(broken));
                step.in_scope(|| {});
            });
            assert_eq!(span(&spans, "step").parent_span_id, SpanId::INVALID);
        }
    }

    #[test]
    fn without_traces_there_is_no_parent() {
        let _entered = info_span!("submit").entered();
        assert_eq!(current_trace_parent(), None);
        set_parent(&info_span!("step"), &TraceParent::new("nonsense"));
    }

    #[test]
    fn a_heartbeat_is_no_trace_but_a_call_within_one_is() {
        let spans = traced(|| {
            info_span!("heartbeat", otel.kind = "client").in_scope(|| {});
            info_span!("job").in_scope(|| info_span!("report", otel.kind = "client").in_scope(|| {}));
        });
        assert!(spans.iter().all(|span| span.name != "heartbeat"));
        assert_eq!(span(&spans, "report").parent_span_id, span(&spans, "job").span_context.span_id());
    }
}

//! Who is whose parent in a trace, from a submission to what a worker is told
//! and says.

use opentelemetry::trace::{SpanId, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use phalanx_protocol::{id::TraceParent, message::Directive};
use reqwest::Method;
use serde_json::json;
use tracing::{Instrument as _, info_span, subscriber::DefaultGuard};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::{Cluster, spec};

/// Records the spans of this thread, on which a test's runtime does all its work.
fn record() -> (InMemorySpanExporter, DefaultGuard) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    (exporter, tracing::subscriber::set_default(tracing_subscriber::registry().with(layer)))
}

fn span(exporter: &InMemorySpanExporter, name: &str) -> SpanData {
    let spans = exporter.get_finished_spans().unwrap();
    let names: Vec<_> = spans.iter().map(|span| span.name.clone()).collect();
    let found = spans.into_iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no span is called {name}: {names:?}"))
}

/// `00-<trace>-<span>-01` of a span.
fn parent_text(span: &SpanData) -> String {
    format!("00-{}-{}-01", span.span_context.trace_id(), span.span_context.span_id())
}

#[tokio::test]
async fn a_job_and_all_its_directives_hang_under_the_request_that_submitted_it() {
    let (exporter, _recording) = record();
    let cluster = Cluster::start().await;
    let (trace, user_span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let request = cluster.user.request(Method::POST, "/v1/jobs").json(&json!({ "spec": spec("points") }));
    let request = request.header("traceparent", format!("00-{trace}-{user_span}-01"));
    request.send().await.unwrap().error_for_status().unwrap();

    let (submit, schedule) = (span(&exporter, "submit"), span(&exporter, "schedule"));
    assert_eq!(submit.parent_span_id, SpanId::from_hex(user_span).unwrap());
    assert_eq!(submit.span_context.trace_id().to_string(), trace);
    assert_eq!(schedule.parent_span_id, submit.span_context.span_id());

    let mut worker = cluster.worker().await;
    let Directive::Prepare { trace, .. } = worker.next().await else { panic!("expected to prepare") };
    assert_eq!(trace, Some(TraceParent::new(parent_text(&schedule))));
}

#[tokio::test]
async fn a_report_hangs_under_the_span_of_the_worker_that_made_it() {
    let (exporter, _recording) = record();
    let cluster = Cluster::start().await;
    cluster.user.submit(spec("points")).await;
    let mut worker = cluster.worker().await;
    let assignment = worker.begin().await;
    exporter.reset();
    async { worker.step(&assignment.job, assignment.generation, 1).await }
        .instrument(info_span!("step"))
        .await;

    let (step, report) = (span(&exporter, "step"), span(&exporter, "report"));
    assert_eq!(report.span_context.trace_id(), step.span_context.trace_id());
    let spans = exporter.get_finished_spans().unwrap();
    let above = |id: SpanId| {
        spans.iter().find(|span| span.span_context.span_id() == id).map(|span| span.parent_span_id)
    };
    let mut id = report.parent_span_id;
    while id != step.span_context.span_id() {
        id = above(id).unwrap_or_else(|| panic!("{id} is no span below the worker's step"));
    }
}

#[tokio::test]
async fn a_broken_header_does_not_fail_a_submission() {
    let (exporter, _recording) = record();
    let cluster = Cluster::start().await;
    let request = cluster.user.request(Method::POST, "/v1/jobs").json(&json!({ "spec": spec("points") }));
    request.header("traceparent", "nonsense").send().await.unwrap().error_for_status().unwrap();
    assert_eq!(span(&exporter, "submit").parent_span_id, SpanId::INVALID);
}

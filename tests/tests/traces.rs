//! One trace across processes: submit → schedule → a worker's step → checkpoint,
//! received over OTLP by a real gRPC server.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use phalanx_tests::{Home, Job, Running};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

type Spans = Arc<Mutex<Vec<Span>>>;

/// Keeps all spans that it is sent.
struct Collector(Spans);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        self.0.lock().expect("no test panics while it holds the lock").extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Starts a collector; returns its URL.
async fn collector(spans: Spans) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port can be had");
    let address = listener.local_addr().expect("it is bound");
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(spans)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    format!("http://{address}")
}

/// The names of a span's ancestors, the nearest first.
fn ancestors(spans: &[Span], span: &Span) -> Vec<String> {
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (span.span_id.clone(), span)).collect();
    let mut names = Vec::new();
    let mut next = by_id.get(&span.parent_span_id);
    while let Some(parent) = next {
        names.push(parent.name.clone());
        next = by_id.get(&parent.parent_span_id);
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn submit_schedule_step_and_checkpoint_are_one_trace_across_processes() {
    let spans = Spans::default();
    let url = collector(Arc::clone(&spans)).await;
    let ended = tokio::task::spawn_blocking(move || {
        let home = Home::new();
        let file = home.write_job(&Job::mlp().with("[checkpoint]\nevery = 5\n"));
        let file = file.to_str().expect("temporary paths are UTF-8");
        Running::start(home.command(&["run", file, "--workers", "2", "--otlp", &url])).wait()
    })
    .await
    .expect("the run does not panic");
    assert_eq!(ended.code, Some(0), "{ended:#?}");

    let spans = spans.lock().expect("the collector does not panic");
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let submit = named("submit");
    let submit = submit.first().expect("the submission is a span");
    for (name, expected) in [
        ("schedule", vec!["submit"]),
        ("step", vec!["schedule", "submit"]),
        ("checkpoint", vec!["schedule", "submit"]),
    ] {
        let found = named(name);
        let span = found.first().unwrap_or_else(|| panic!("no span is called `{name}`"));
        assert_eq!(span.trace_id, submit.trace_id, "`{name}` belongs to the job's trace");
        let ancestors = ancestors(&spans, span);
        for ancestor in expected {
            assert!(ancestors.iter().any(|name| name == ancestor), "`{name}` is under {ancestors:?}");
        }
    }
    let steps = named("step");
    assert_eq!(steps.len(), 24, "both ranks of twelve steps are there");
}

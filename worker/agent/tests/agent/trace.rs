//! One trace across processes: the coordinator's span is the parent of a worker's
//! work, down to its steps and checkpoints, and of the calls in which it reports.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporterBuilder, SdkTracerProvider, SpanData};
use phalanx_protocol::{
    id::{Generation, TraceParent},
    message::Event,
};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt as _};

use crate::fake::{Fake, Worker, points_job, prepare, train_within};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn named<'s>(spans: &'s [SpanData], name: &str) -> &'s SpanData {
    let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name} among {names:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_and_checkpoints_belong_to_the_span_of_the_directive() {
    let exporter = InMemorySpanExporterBuilder::new().build();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(layer);
    tracing::subscriber::set_global_default(subscriber).expect("it is the first");

    let folder = tempfile::tempdir().expect("a folder");
    let fake = Fake::new(folder.path().join("store").to_str().expect("a plain path").to_owned());
    let served = fake.serve("127.0.0.1:0").await;
    let worker = Worker::start(&served.addr.to_string(), folder.path());
    let workers = fake.attached(1).await;
    let (generation, spec) = (Generation::new(1), points_job(folder.path(), 4, 2));
    let dataset = prepare(&fake, workers[0].0, generation, &spec).await;
    let trace = TraceParent::new(format!("00-{TRACE}-{PARENT}-01"));
    train_within(Some(trace), &fake, &workers, generation, &spec, &dataset, None);
    fake.reported(generation, |_, event| matches!(event, Event::Finished(_)).then_some(())).await;
    worker.end().await;
    served.stop().await;

    let spans = exporter.get_finished_spans().expect("the exporter works");
    let of_trace: Vec<SpanData> =
        spans.into_iter().filter(|span| span.span_context.trace_id().to_string() == TRACE).collect();
    let train = named(&of_trace, "train");
    assert_eq!(train.parent_span_id.to_string(), PARENT);
    for child in ["step", "checkpoint"] {
        assert_eq!(named(&of_trace, child).parent_span_id, train.span_context.span_id(), "{child}");
    }
    assert_eq!(of_trace.iter().filter(|span| span.name == "step").count(), 4);
    let checkpoint = named(&of_trace, "checkpoint").span_context.span_id();
    let is_report = |span: &&SpanData| span.name.contains("report") && span.parent_span_id == checkpoint;
    assert!(of_trace.iter().any(|span| is_report(&span)), "the part is reported within its checkpoint");
}

//! Setting telemetry up for a whole process, which can be done once: logs and traces in one test,
//! metrics, which are set up apart, in the other.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use phalanx_telemetry::{
    Config, LogFormat, LogWriter, Ready, TelemetryError, current_trace_parent, init, install_metrics,
    serve_metrics,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn config(otlp: Option<&str>, filter: Option<&str>) -> Config<'static> {
    Config {
        log: LogFormat::Json,
        filter: filter.map(str::to_owned),
        writer: LogWriter::new(std::io::sink, false),
        otlp: otlp.map(str::to_owned),
        service_name: "phalanx-test",
    }
}

#[test]
fn a_process_is_set_up_once_and_ends_in_time_although_the_collector_is_silent() {
    let wrong = |otlp, filter| init(config(otlp, filter)).expect_err("it is wrong").to_string();
    for url in ["localhost:4317", "https://collector:4317", "http://", "http://:1", "http://a b"] {
        let error = wrong(Some(url), None);
        assert!(error.contains(url) && error.contains("http://localhost:4317"), "{error}");
    }
    let error = wrong(None, Some("phalanx=loud"));
    assert!(error.contains("phalanx=loud") && error.contains("info,"), "{error}");

    // A collector that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("it is bound"));
    let guard = init(config(Some(&url), Some("debug"))).expect("nothing is set up yet");
    assert!(matches!(init(config(None, None)), Err(TelemetryError::AlreadyInstalled)));
    assert!(matches!(init(config(Some(&url), None)), Err(TelemetryError::AlreadyInstalled)));
    tracing::info_span!("job").in_scope(|| {
        tracing::info!("a line in a span");
        assert!(current_trace_parent().is_some());
    });

    let begun = Instant::now();
    // Inside of a runtime, where a runtime of its own may not be dropped in the plain way.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async move { drop(guard) });
    assert!(begun.elapsed() < Duration::from_secs(10), "the end took {:?}", begun.elapsed());
}

#[tokio::test]
async fn metrics_are_served_and_set_up_once() {
    let handle = install_metrics().expect("nothing is set up yet");
    assert!(matches!(install_metrics(), Err(TelemetryError::MetricsAlreadyInstalled)));
    metrics::counter!("phalanx_test_steps_total").increment(3);
    metrics::histogram!("phalanx_test_step_seconds").record(0.02);

    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let is_ready = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_ready);
    let ready: Ready = Arc::new(move || seen.load(Ordering::Relaxed));
    let addr = serve_metrics(any, handle.clone(), Arc::clone(&ready)).await.expect("a free port");
    let page = get(addr, "/metrics").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("phalanx_test_steps_total 3"), "{page}");
    assert!(page.contains("phalanx_test_step_seconds_bucket{le=\"0.025\"} 1"), "{page}");
    assert!(get(addr, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(addr, "/readyz").await.starts_with("HTTP/1.1 503"));
    is_ready.store(true, Ordering::Relaxed);
    assert!(get(addr, "/readyz").await.starts_with("HTTP/1.1 200"));

    let taken = serve_metrics(addr, handle, ready).await.expect_err("the port is taken").to_string();
    assert!(taken.contains(&addr.to_string()) && taken.contains("in use"), "{taken}");
}

async fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(addr).await.expect("it is served");
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it is answered");
    answer
}

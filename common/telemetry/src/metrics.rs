//! Metrics for Prometheus, and the small HTTP interface that serves them.
//!
//! What is measured is named in each crate's own `metrics.rs`, through the
//! `metrics` facade; here is only where it is collected.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tracing::{error, info};

use crate::error::TelemetryError;

/// Upper bounds of the buckets of `…_seconds`, from a fast step to a long checkpoint.
const SECONDS_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Upper bounds of the buckets of `…_bytes`, from a kibibyte to sixteen gibibytes.
const BYTES_BUCKETS: &[f64] =
    &[1_024.0, 16_384.0, 262_144.0, 4_194_304.0, 67_108_864.0, 1_073_741_824.0, 17_179_869_184.0];

/// How often samples are moved into their buckets when nobody asks for them.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Reads the metrics of this process.
#[derive(Debug, Clone)]
pub struct MetricsHandle(PrometheusHandle);

impl MetricsHandle {
    /// All metrics, as Prometheus reads them.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

/// Collects the metrics of this process from here on.
///
/// # Errors
///
/// A second call.
pub fn install_metrics() -> Result<MetricsHandle, TelemetryError> {
    let builder = PrometheusBuilder::new();
    let builder = [("_seconds", SECONDS_BUCKETS), ("_bytes", BYTES_BUCKETS)].into_iter().fold(
        builder,
        |builder, (suffix, buckets)| {
            builder
                .set_buckets_for_metric(Matcher::Suffix(suffix.to_owned()), buckets)
                .expect("invariant: there are buckets")
        },
    );
    let handle = builder.install_recorder().map_err(|_| TelemetryError::MetricsAlreadyInstalled)?;
    let upkept = handle.clone();
    // Histograms keep every sample until someone sorts them in. The thread ends with the process.
    let upkeep = move || {
        loop {
            thread::sleep(UPKEEP_EVERY);
            upkept.run_upkeep();
        }
    };
    if let Err(error) = thread::Builder::new().name("phalanx-metrics".to_owned()).spawn(upkeep) {
        error!(%error, "metrics are sorted only when they are asked for");
    }
    Ok(MetricsHandle(handle))
}

/// Whether a process can be of use at this moment.
pub type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

/// `/metrics` for Prometheus; `/healthz`, which answers as long as the process lives; and `/readyz`, which says with its
/// status whether the process is `ready`.
pub fn metrics_router(handle: MetricsHandle, ready: Ready) -> Router {
    let readyz = async move || match ready() {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    };
    let router = Router::new().route("/metrics", get(render)).route("/healthz", get(async || "ok\n"));
    router.route("/readyz", get(readyz)).with_state(handle)
}

/// Serves [`metrics_router`] at `addr` on the current runtime for as long as that runs, and gives
/// the address that was bound, which tells the port where `addr` leaves it open (`:0`).
///
/// # Errors
///
/// The address cannot be bound.
pub async fn serve_metrics(
    addr: SocketAddr,
    handle: MetricsHandle,
    ready: Ready,
) -> Result<SocketAddr, TelemetryError> {
    let failed = |source| TelemetryError::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, metrics_router(handle, ready)).await {
            error!(%error, "metrics are no longer served");
        }
    });
    info!(addr = %bound, "metrics are served");
    Ok(bound)
}

async fn render(State(handle): State<MetricsHandle>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render())
}

//! The HTTP interface: JSON for users, `/healthz` and `/metrics` for machines.
//! Handlers translate; every decision is the state machine's.
//!
//! | method and path | body | answer |
//! | --- | --- | --- |
//! | `GET /healthz` | | 200 while the coordinator takes inputs or stands by |
//! | `GET /readyz` | | 200 while it takes inputs |
//! | `GET /metrics` | | Prometheus text |
//! | `GET /v1/cluster` | | [`ClusterView`] |
//! | `POST /v1/jobs` | `SubmitRequest` | `JobView`, 201 |
//! | `GET /v1/jobs` | | `[JobView]`: those that are not over, and the newest thousand of the others |
//! | `GET /v1/jobs/{id}` | | `JobView` |
//! | `GET /v1/jobs/{id}/follow` | | a `JobView` a line, at each change, until the job is over |
//! | `GET /v1/jobs/{id}/curve` | | `Curve` |
//! | `POST /v1/jobs/{id}/cancel`, `/interrupt` | | `JobView` |
//! | `POST /v1/jobs/{id}/resume` | `ResumeRequest`, or none | `JobView` |
//! | `POST /v1/jobs/{id}/scale` | `WorkersSpec` | `JobView` |
//! | `POST /v1/workers/{id}/drain` | | `WorkerView` |
//! | `GET /v1/workers` | | `[WorkerView]` |
//! | `GET /v1/models`, `/v1/models/{name}` | | `[ModelView]`, `ModelView` |
//! | `PUT /v1/models/{name}/aliases/{alias}` | `AliasRequest` | `ModelView` |
//! | `POST /v1/gc?dry_run=false&older_than_seconds=3600` | | a `GcView` a line, as it goes on; without the question's parts as shown |
//!
//! Every other answer is an `ApiError`. Of several coordinators, those that stand by answer
//! all of `/v1` and `/readyz` with 503 and name the one that leads.

mod error;
mod follow;
mod gc;
mod jobs;
mod models;
mod serve;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use phalanx_core::Coordinator;
use phalanx_protocol::{
    id::WorkerId,
    view::{ClusterView, WorkerView},
};
use phalanx_storage::Store;
use phalanx_telemetry::MetricsHandle;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;

pub(crate) use serve::{CONNECTIONS_MAX, serve};

use crate::{
    handle::{CallError, Handle},
    metrics,
};
use error::{Path, Refused};
use serve::LocalAddr;

/// The most bytes of a request's body. A job file is a few kilobytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// The most followers at a time.
pub const FOLLOWS_MAX: usize = 256;

/// A request that takes longer is answered with 503. Followers and collections of garbage are exempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What handlers share.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) handle: Handle,
    pub(crate) metrics: MetricsHandle,
    pub(crate) store_url: Arc<str>,
    /// Where the RPC listener is bound; its address may be unspecified.
    pub(crate) rpc_addr: SocketAddr,
    /// One permit per follower.
    pub(crate) follows: Arc<Semaphore>,
    pub(crate) store: Store,
    /// One permit: garbage is collected by one at a time.
    pub(crate) collections: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
}

/// All routes.
pub(crate) fn router(app: App) -> Router {
    let timed = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(prometheus))
        .route("/v1/cluster", get(cluster))
        .route("/v1/jobs", get(jobs::list).post(jobs::submit))
        .route("/v1/jobs/{id}", get(jobs::show))
        .route("/v1/jobs/{id}/curve", get(jobs::curve))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/interrupt", post(jobs::interrupt))
        .route("/v1/jobs/{id}/resume", post(jobs::resume))
        .route("/v1/jobs/{id}/scale", post(jobs::scale))
        .route("/v1/workers", get(workers))
        .route("/v1/workers/{id}/drain", post(drain))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{name}", get(models::show))
        .route("/v1/models/{name}/aliases/{alias}", put(models::alias))
        .layer(middleware::from_fn(in_time));
    Router::new()
        .merge(timed)
        .route("/v1/jobs/{id}/follow", get(follow::follow))
        .route("/v1/gc", post(gc::collect))
        .method_not_allowed_fallback(async || {
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, "this path knows other methods")
        })
        .fallback(async || Refused::new(StatusCode::NOT_FOUND, "there is no such path"))
        .layer(middleware::from_fn(measured))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

async fn in_time(request: Request, next: Next) -> Response {
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| {
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the coordinator did not answer in time")
            .into_response()
    })
}

async fn measured(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let begin = Instant::now();
    let response = next.run(request).await;
    metrics::http_answered(&method, route, response.status(), begin.elapsed());
    response
}

async fn healthz(State(app): State<App>) -> Result<&'static str, Refused> {
    match app.handle.read(|_| ()).await {
        Err(CallError::Standby(_)) => Ok("stands by\n"),
        answer => Ok(answer.map(|()| "ok\n")?),
    }
}

async fn readyz(State(app): State<App>) -> Result<&'static str, Refused> {
    app.handle.read(|_| ()).await?;
    Ok("ok\n")
}

async fn prometheus(State(app): State<App>) -> Result<impl IntoResponse, Refused> {
    match app.handle.read(metrics::observe).await {
        Ok(()) | Err(CallError::Standby(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render()))
}

/// Where workers attach, as seen by this client: a listener bound to every
/// address of the machine is reached at the one that the client has used.
async fn cluster(
    State(app): State<App>,
    Extension(LocalAddr(local)): Extension<LocalAddr>,
) -> Result<Json<ClusterView>, Refused> {
    app.handle.leads()?;
    let mut rpc_addr = app.rpc_addr;
    if rpc_addr.ip().is_unspecified() {
        rpc_addr.set_ip(local.ip());
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Json(ClusterView { version, store_url: app.store_url.to_string(), rpc_addr }))
}

/// Lets a worker finish its step and leave.
async fn drain(State(app): State<App>, Path(id): Path<WorkerId>) -> Result<Json<WorkerView>, Refused> {
    let worker = move |coordinator: &Coordinator| coordinator.workers().into_iter().find(|it| it.id == id);
    let known = app.handle.read(worker).await?.ok_or_else(|| Refused::not_found("worker", id))?;
    app.handle.drain(id).await?;
    // One that was idle may be gone by now.
    Ok(Json(app.handle.read(worker).await?.unwrap_or(WorkerView { draining: true, ..known })))
}

async fn workers(State(app): State<App>) -> Result<Json<Vec<WorkerView>>, Refused> {
    Ok(Json(app.handle.read(|coordinator| coordinator.workers()).await?))
}

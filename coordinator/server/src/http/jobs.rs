//! `/v1/jobs`: submitting jobs, looking at them, and telling them to stop or to
//! go on.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use phalanx_core::Rejected;
use phalanx_protocol::{
    id::JobId,
    spec::WorkersSpec,
    view::{Curve, JobView, ResumeRequest, SubmitRequest},
};
use tracing::{Instrument as _, info_span};

use super::{
    App, Refused,
    error::{Body, OptionalBody, Path},
};
use crate::{handle::CallError, jobs::problems};

/// The most jobs that are over in a list; older ones are shown when they are asked for by their id.
const JOBS_OVER_MAX: usize = 1_000;

/// Takes a job. The request's `traceparent` header, if any, is the parent of
/// everything that becomes of it.
pub(super) async fn submit(
    State(app): State<App>,
    headers: HeaderMap,
    Body(request): Body<SubmitRequest>,
) -> Result<(StatusCode, Json<JobView>), Refused> {
    let problems = problems(&request.spec);
    if !problems.is_empty() {
        return Err(CallError::from(Rejected::WrongJob { problems }).into());
    }
    let span = info_span!("submit", name = request.spec.name);
    if let Some(parent) = phalanx_telemetry::from_headers(&headers) {
        phalanx_telemetry::set_parent(&span, &parent);
    }
    let submitted = async {
        let id = app.handle.submit(request.spec, None).await?;
        Ok((StatusCode::CREATED, Json(view(&app, &id).await?)))
    };
    submitted.instrument(span).await
}

pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<JobView>>, Refused> {
    Ok(Json(app.handle.read(|coordinator| coordinator.newest_jobs(JOBS_OVER_MAX)).await?))
}

pub(super) async fn show(State(app): State<App>, Path(id): Path<JobId>) -> Result<Json<JobView>, Refused> {
    view(&app, &id).await.map(Json)
}

pub(super) async fn curve(State(app): State<App>, Path(id): Path<JobId>) -> Result<Json<Curve>, Refused> {
    let wanted = id.clone();
    let curve = app.handle.read(move |coordinator| coordinator.curve(&wanted)).await?;
    curve.map(Json).ok_or_else(|| Refused::not_found("job", id))
}

pub(super) async fn cancel(State(app): State<App>, Path(id): Path<JobId>) -> Result<Json<JobView>, Refused> {
    app.handle.cancel(id.clone()).await?;
    view(&app, &id).await.map(Json)
}

pub(super) async fn interrupt(
    State(app): State<App>,
    Path(id): Path<JobId>,
) -> Result<Json<JobView>, Refused> {
    app.handle.interrupt(id.clone()).await?;
    view(&app, &id).await.map(Json)
}

pub(super) async fn resume(
    State(app): State<App>,
    Path(id): Path<JobId>,
    OptionalBody(request): OptionalBody<ResumeRequest>,
) -> Result<Json<JobView>, Refused> {
    app.handle.resume(id.clone(), request.unwrap_or_default().workers).await?;
    view(&app, &id).await.map(Json)
}

pub(super) async fn scale(
    State(app): State<App>,
    Path(id): Path<JobId>,
    Body(workers): Body<WorkersSpec>,
) -> Result<Json<JobView>, Refused> {
    app.handle.scale(id.clone(), workers).await?;
    view(&app, &id).await.map(Json)
}

/// What the job looks like now.
pub(super) async fn view(app: &App, id: &JobId) -> Result<JobView, Refused> {
    let wanted = id.clone();
    let job = app.handle.read(move |coordinator| coordinator.job(&wanted)).await?;
    job.ok_or_else(|| Refused::not_found("job", id))
}

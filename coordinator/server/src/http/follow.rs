//! `GET /v1/jobs/{id}/follow`: a stream of what the job looks like, one JSON
//! object a line. Changes in quick succession are told as one. A line comes
//! every [`QUIET_MAX`] even without a change, so that both ends notice when the
//! other is gone.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use phalanx_protocol::{id::JobId, view::JobView};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{App, FOLLOWS_MAX, Refused, error::Path, jobs};

/// The least time between two lines, except before the last.
const LINE_INTERVAL: Duration = Duration::from_millis(100);

/// The most time between two lines.
const QUIET_MAX: Duration = Duration::from_secs(15);

pub(super) async fn follow(State(app): State<App>, Path(id): Path<JobId>) -> Result<Response, Refused> {
    let Ok(slot) = app.follows.clone().try_acquire_owned() else {
        let reason = format!("{FOLLOWS_MAX} clients follow jobs already: ask for the job itself instead");
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, reason));
    };
    // Subscribed before the first look: what changes after it is not missed.
    let changes = app.handle.changes()?;
    let job = jobs::view(&app, &id).await?;
    let follower = Follower { app, changes, job, told_at: None, _slot: slot };
    let lines = stream::unfold(Some(follower), |follower| async {
        let (line, follower) = follower?.next().await?;
        Some((Ok::<_, Infallible>(line), follower))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

struct Follower {
    app: App,
    changes: watch::Receiver<u64>,
    /// The job as it was told last, or will be told first.
    job: JobView,
    told_at: Option<Instant>,
    _slot: OwnedSemaphorePermit,
}

impl Follower {
    /// The next line, and who tells the one after it. Nothing if the job is
    /// gone or the server stops.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        if let Some(told_at) = self.told_at {
            let stop = self.app.stop.clone();
            self.job = tokio::select! {
                job = self.changed(told_at) => job?,
                () = stop.cancelled() => return None,
            };
        }
        self.told_at = Some(Instant::now());
        let mut line = serde_json::to_vec(&self.job).ok()?;
        line.push(b'\n');
        let over = self.job.state.is_over();
        Some((line.into(), (!over).then_some(self)))
    }

    /// The job once it looks different from what was told, or after [`QUIET_MAX`].
    async fn changed(&mut self, told_at: Instant) -> Option<JobView> {
        sleep_until(told_at + LINE_INTERVAL).await;
        let deadline = told_at + QUIET_MAX;
        loop {
            let looked_at = Instant::now();
            self.changes.mark_unchanged();
            let job = jobs::view(&self.app, &self.job.id).await.ok()?;
            if job != self.job || Instant::now() >= deadline {
                return Some(job);
            }
            // The end of the channel is the end of the coordinator.
            if let Ok(Err(_)) = timeout(deadline - Instant::now(), self.changes.changed()).await {
                return None;
            }
            // Other jobs change too: do not look at this one for each of them.
            sleep_until(looked_at + LINE_INTERVAL).await;
        }
    }
}

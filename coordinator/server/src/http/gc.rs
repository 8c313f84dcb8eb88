//! `POST /v1/gc`: a stream of how far the collection is, one JSON object a line,
//! the last with `done`. Whoever goes away ends the collection. A line comes every
//! [`QUIET_MAX`] even if nothing has changed, so that both ends notice when the
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
use phalanx_protocol::view::{GC_SECONDS_MIN, GcView};
use phalanx_storage::StorageError;
use serde::Deserialize;
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        watch::{self, error::RecvError},
    },
    task::JoinSet,
    time::timeout,
};
use tracing::{Instrument as _, info_span};

use super::{App, Refused, error::Query};
use crate::gc::{Collection, GcError};

/// The least time between two lines, except before the last.
const LINE_INTERVAL: Duration = Duration::from_millis(100);

/// The most time between two lines.
const QUIET_MAX: Duration = Duration::from_secs(15);

/// What a collection is told, after the question mark.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    /// Delete nothing.
    dry_run: bool,
    /// At least [`GC_SECONDS_MIN`].
    older_than_seconds: u64,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { dry_run: false, older_than_seconds: GC_SECONDS_MIN }
    }
}

pub(super) async fn collect(
    State(app): State<App>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Refused> {
    let Wanted { dry_run, older_than_seconds } = wanted;
    if older_than_seconds < GC_SECONDS_MIN {
        let reason = format!(
            "`older_than_seconds` must be at least {GC_SECONDS_MIN}, got {older_than_seconds}: \
             what is younger than an hour may be in the making"
        );
        return Err(Refused::new(StatusCode::BAD_REQUEST, reason));
    }
    let Ok(slot) = app.collections.clone().try_acquire_owned() else {
        let reason = "a garbage collection is under way: wait for it to end";
        return Err(Refused::new(StatusCode::CONFLICT, reason));
    };
    let age = Duration::from_secs(older_than_seconds);
    let span = info_span!("gc", dry_run, older_than_seconds);
    let found = Collection::look(app.handle.clone(), app.store.clone(), age, dry_run);
    let found = found.instrument(span.clone()).await?;
    let (tell, told) = watch::channel(found.view());
    // Dropped with the stream, which ends the work.
    let mut work = JoinSet::new();
    work.spawn(async move { found.collect(&tell).await }.instrument(span));
    let reader = Reader { app, told, line_told: false, _work: work, _slot: slot };
    let lines = stream::unfold(Some(reader), |reader| async {
        let (line, reader) = reader?.next().await?;
        Some((Ok::<_, Infallible>(line), reader))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

struct Reader {
    app: App,
    told: watch::Receiver<GcView>,
    line_told: bool,
    _work: JoinSet<()>,
    _slot: OwnedSemaphorePermit,
}

impl Reader {
    /// The next line, and who tells the one after it. Nothing if the server stops, or the work has panicked.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        if self.line_told {
            let stop = self.app.stop.clone();
            tokio::select! {
                changed = self.changed() => changed.ok()?,
                () = stop.cancelled() => return None,
            }
        }
        self.line_told = true;
        let mut view = self.told.borrow_and_update().clone();
        if !view.done {
            view.files.clear();
        }
        let mut line = serde_json::to_vec(&view).ok()?;
        line.push(b'\n');
        Some((line.into(), (!view.done).then_some(self)))
    }

    /// Returns when there is something to tell.
    async fn changed(&mut self) -> Result<(), RecvError> {
        let done = timeout(LINE_INTERVAL, self.told.wait_for(|view| view.done)).await;
        match done.map(|done| done.map(drop)) {
            Ok(done) => done,
            Err(_) => timeout(QUIET_MAX, self.told.changed()).await.unwrap_or(Ok(())),
        }
    }
}

impl From<GcError> for Refused {
    fn from(error: GcError) -> Self {
        let status = match error {
            GcError::Call(error) => return error.into(),
            GcError::Foreign { .. } => StatusCode::CONFLICT,
            GcError::Storage(StorageError::Away(_) | StorageError::Full(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            GcError::Storage(_) => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, error)
    }
}

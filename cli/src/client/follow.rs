//! A job as it changes: the lines of `/follow`, and the patience to ask again
//! while a coordinator restarts.

use std::time::Duration;

use phalanx_protocol::view::JobView;
use reqwest::{Method, StatusCode};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{Client, ClientError, Lines, strange};

/// A coordinator that is away for longer is given up.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// How long to wait before asking again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The views of a job, one at each change.
pub(crate) struct Follow {
    client: Client,
    id: String,
    lines: Option<Lines>,
    /// When the last line came, or the first was asked for.
    heard_at: Instant,
}

impl Follow {
    pub(super) fn new(client: Client, id: String) -> Self {
        Self { client, id, lines: None, heard_at: Instant::now() }
    }

    /// The next view. Cancelling the wait may lose a view but never the last one.
    ///
    /// # Errors
    ///
    /// If the coordinator refuses, or stays away for a minute.
    pub(crate) async fn next(&mut self) -> Result<JobView, ClientError> {
        loop {
            match self.line().await {
                Ok(line) => {
                    let job = serde_json::from_str(&line).map_err(|e| strange(&self.client.leader(), e))?;
                    self.heard_at = Instant::now();
                    return Ok(job);
                }
                Err(error @ (ClientError::Address(_) | ClientError::Strange { .. })) => return Err(error),
                Err(error @ ClientError::Refused { status, .. })
                    if status != StatusCode::SERVICE_UNAVAILABLE =>
                {
                    return Err(error);
                }
                Err(error) if self.heard_at.elapsed() > AWAY_MAX => return Err(error),
                Err(error) => {
                    debug!(%error, "asking again");
                    self.lines = None;
                    sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn line(&mut self) -> Result<String, ClientError> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            None => {
                let lines =
                    self.client.lines(|at| at.request(Method::GET, &["jobs", &self.id, "follow"])).await?;
                self.lines.insert(lines)
            }
        };
        lines.next(&self.client).await
    }
}

//! A job as it changes: the lines of `/follow`, and the patience to ask again
//! while a coordinator restarts.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use phalanx_protocol::view::JobView;
use reqwest::{Method, StatusCode};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::{
    codec::{FramedRead, LinesCodec},
    io::StreamReader,
};
use tracing::debug;

use super::{ANSWER_BYTES_MAX, Client, ClientError, shown, strange};

/// A coordinator that is away for longer is given up.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// How long to wait before asking again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A line comes at least this often, or the connection is dead.
const QUIET_MAX: Duration = Duration::from_secs(40);

/// The views of a job, one at each change.
pub(crate) struct Follow {
    client: Client,
    id: String,
    lines: Option<BoxStream<'static, Result<String, String>>>,
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
        let reason = match timeout(QUIET_MAX, self.next_line()).await {
            Ok(Ok(Some(Ok(line)))) => return Ok(line),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(Some(Err(reason)))) => reason,
            Ok(Ok(None)) => "it ended the connection".to_owned(),
            Err(_) => format!("it was silent for {} s", QUIET_MAX.as_secs()),
        };
        let leader = self.client.leader();
        self.client.turn_from(&leader);
        Err(ClientError::Unreachable { url: shown(&leader), reason })
    }

    async fn next_line(&mut self) -> Result<Option<Result<String, String>>, ClientError> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            None => {
                let lines = self.connect().await?;
                self.lines.insert(lines)
            }
        };
        Ok(lines.next().await)
    }

    async fn connect(&self) -> Result<BoxStream<'static, Result<String, String>>, ClientError> {
        let response = self.client.send(|at| at.request(Method::GET, &["jobs", &self.id, "follow"])).await?;
        let body = StreamReader::new(response.bytes_stream().map_err(std::io::Error::other));
        let lines = FramedRead::new(body, LinesCodec::new_with_max_length(ANSWER_BYTES_MAX));
        Ok(lines.map_err(|e| e.to_string()).boxed())
    }
}

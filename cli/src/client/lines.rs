//! An answer that comes line by line, for as long as something goes on.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use tokio::time::timeout;
use tokio_util::{
    codec::{FramedRead, LinesCodec},
    io::StreamReader,
};

use super::{ANSWER_BYTES_MAX, Client, ClientError, shown};

/// A line comes at least this often, or the connection is dead.
const QUIET_MAX: Duration = Duration::from_secs(40);

/// The lines of an answer.
pub(super) struct Lines(BoxStream<'static, Result<String, String>>);

impl Lines {
    /// Those of this answer.
    pub(super) fn of(response: reqwest::Response) -> Self {
        let body = StreamReader::new(response.bytes_stream().map_err(std::io::Error::other));
        let lines = FramedRead::new(body, LinesCodec::new_with_max_length(ANSWER_BYTES_MAX));
        Self(lines.map_err(|e| e.to_string()).boxed())
    }

    /// The next one.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unreachable`] where `client`'s coordinator sends none any more.
    pub(super) async fn next(&mut self, client: &Client) -> Result<String, ClientError> {
        let reason = match timeout(QUIET_MAX, self.0.next()).await {
            Ok(Some(Ok(line))) => return Ok(line),
            Ok(Some(Err(reason))) => reason,
            Ok(None) => "it ended the connection".to_owned(),
            Err(_) => format!("it was silent for {} s", QUIET_MAX.as_secs()),
        };
        let leader = client.leader();
        client.turn_from(&leader);
        Err(ClientError::Unreachable { url: shown(&leader), reason })
    }
}

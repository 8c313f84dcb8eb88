//! A garbage collection as it goes on: the lines of `/v1/gc`. Dropped, it ends.

use phalanx_protocol::view::GcView;

use super::{Client, ClientError, Lines, strange};

/// The views of a garbage collection, the last one with `done`.
pub(crate) struct Collection {
    client: Client,
    lines: Lines,
}

impl Collection {
    pub(super) fn new(client: Client, lines: Lines) -> Self {
        Self { client, lines }
    }

    /// The next view; not asked for after the last one.
    ///
    /// # Errors
    ///
    /// If the coordinator goes away.
    pub(crate) async fn next(&mut self) -> Result<GcView, ClientError> {
        let line = self.lines.next(&self.client).await?;
        serde_json::from_str(&line).map_err(|e| strange(&self.client.leader(), e))
    }
}

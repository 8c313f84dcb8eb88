//! The connection to the coordinator: made when it is needed, thrown away at the
//! first error, and made anew for the next call.
//!
//! Owns the connection and nothing else. It does not know what is called, and
//! does not call again by itself: whoever calls knows whether that makes sense.

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use phalanx_protocol::{
    codec::{self, Codec},
    rpc::CoordinatorClient,
};
use phalanx_tls::Tls;
use tarpc::{
    client::{Config, RpcError},
    context::{self, Context},
};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};
use tokio_util::codec::Framed;
use tracing::{debug, info};

use crate::{metrics, secure::secure};

/// The longest that connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// The first and the longest wait before a call is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A call that did not come back with an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// No connection.
    #[error("cannot connect to the coordinator at {coordinator}: {reason}")]
    Connect {
        /// Its address.
        coordinator: String,
        /// What the system says.
        reason: String,
    },
    /// The connection broke, or the answer took too long.
    #[error("the call to the coordinator failed: {}", in_full(.0))]
    Rpc(#[from] RpcError),
}

/// The way to the coordinator.
#[derive(Debug)]
pub(crate) struct Link {
    coordinator: String,
    /// What connections are secured with.
    tls: Option<Tls>,
    connection: Mutex<Option<Connection>>,
}

#[derive(Debug, Clone)]
struct Connection {
    client: CoordinatorClient,
    /// This end's address.
    local: SocketAddr,
    made_at: Instant,
}

impl Link {
    /// The way to the coordinator at `host:port`. Nothing is connected yet.
    pub(crate) fn new(coordinator: String, tls: Option<Tls>) -> Self {
        Self { coordinator, tls, connection: Mutex::new(None) }
    }

    /// This machine's address, as it is on the way to the coordinator.
    pub(crate) async fn local_ip(&self) -> Result<IpAddr, LinkError> {
        Ok(self.connected().await?.local.ip())
    }

    /// Makes one call, which must be answered within `limit`. Carries the trace of
    /// the current span.
    pub(crate) async fn call<T, F>(
        &self,
        limit: Duration,
        call: impl FnOnce(CoordinatorClient, Context) -> F,
    ) -> Result<T, LinkError>
    where
        F: Future<Output = Result<T, RpcError>>,
    {
        let connection = self.connected().await?;
        let mut context = context::current();
        context.deadline = Instant::now() + limit;
        let answer = timeout(limit, call(connection.client.clone(), context)).await;
        let answer = answer.unwrap_or(Err(RpcError::DeadlineExceeded));
        if let Err(error) = &answer {
            debug!(%error, "the connection to the coordinator is given up");
            let mut current = self.connection.lock().await;
            // Another call may have made a new one in the meantime.
            current.take_if(|current| current.made_at == connection.made_at);
        }
        Ok(answer?)
    }

    async fn connected(&self) -> Result<Connection, LinkError> {
        let mut current = self.connection.lock().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        let refuse = |reason: String| LinkError::Connect { coordinator: self.coordinator.clone(), reason };
        let connected = async {
            let stream = TcpStream::connect(&self.coordinator).await?;
            stream.set_nodelay(true)?;
            let local = stream.local_addr()?;
            Ok((secure(stream, self.tls.as_ref()).await?, local))
        };
        let connected: Result<std::io::Result<_>, _> = timeout(CONNECT_MAX, connected).await;
        let connected = connected.map_err(|_| refuse(format!("no answer within {CONNECT_MAX:?}")))?;
        let (stream, local) = connected.map_err(|error| refuse(error.to_string()))?;
        let framed = Framed::new(stream, codec::framing());
        let transport = tarpc::serde_transport::new(framed, Codec::default());
        let client = CoordinatorClient::new(Config::default(), transport).spawn();
        let connection = Connection { client, local, made_at: Instant::now() };
        *current = Some(connection.clone());
        metrics::connected();
        info!(coordinator = self.coordinator, "connected to the coordinator");
        Ok(connection)
    }
}

/// An error with its causes: what matters here, tarpc's do not repeat.
fn in_full(error: &RpcError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Waits between tries: each twice as long as the one before, up to a bound.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: BACKOFF.0 }
    }

    /// Waits, longer than the time before.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(BACKOFF.1);
    }

    /// What was tried has worked: the next wait is short again.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }
}

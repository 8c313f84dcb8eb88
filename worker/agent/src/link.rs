//! The connection to the coordinator: made when it is needed, thrown away at the
//! first error, and made anew for the next call.
//!
//! Owns the connection and nothing else. It does not know what is called, and
//! does not call again by itself: whoever calls knows whether that makes sense.
//!
//! Of several coordinators one leads. The link stays with the one that answers as the
//! leader. From one that stands by it turns to the leader that is named there, or
//! else to the next in its list; to that it turns from one that does not answer, too.

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use phalanx_protocol::{
    codec::{self, Codec},
    rpc::{CoordinatorClient, NotAttached, Rejected, Standby},
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
    /// No connection, to none of the coordinators.
    #[error("cannot connect to the coordinator at {}", .0.join(", nor at "))]
    Connect(Vec<String>),
    /// The connection broke, or the answer took too long.
    #[error("the call to the coordinator failed: {}", in_full(.0))]
    Rpc(#[from] RpcError),
}

/// The way to the coordinator that leads.
#[derive(Debug)]
pub(crate) struct Link {
    /// Where coordinators are; one at least.
    coordinators: Vec<String>,
    /// What connections are secured with.
    tls: Option<Tls>,
    current: Mutex<Current>,
}

/// The coordinator that is called.
#[derive(Debug, Default)]
struct Current {
    connection: Option<Connection>,
    /// The one that another one has named as the leader: to be tried once, first.
    named: Option<String>,
    /// The place in the list of the one to try first.
    place: usize,
}

/// What a coordinator answers.
pub(crate) trait Answer {
    /// Whether it only stands by.
    fn standby(&self) -> Option<&Standby>;
}

impl Answer for () {
    fn standby(&self) -> Option<&Standby> {
        None
    }
}

impl<T> Answer for Result<T, NotAttached> {
    fn standby(&self) -> Option<&Standby> {
        if let Err(NotAttached::Standby(standby)) = self { Some(standby) } else { None }
    }
}

impl<T> Answer for Result<T, Rejected> {
    fn standby(&self) -> Option<&Standby> {
        if let Err(Rejected::Standby(standby)) = self { Some(standby) } else { None }
    }
}

#[derive(Debug, Clone)]
struct Connection {
    client: CoordinatorClient,
    /// This end's address.
    local: SocketAddr,
    made_at: Instant,
}

impl Link {
    /// The way to the one that leads of the coordinators at each `host:port`. Nothing is connected yet.
    pub(crate) fn new(coordinators: Vec<String>, tls: Option<Tls>) -> Self {
        Self { coordinators, tls, current: Mutex::default() }
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
        T: Answer,
        F: Future<Output = Result<T, RpcError>>,
    {
        let connection = self.connected().await?;
        let mut context = context::current();
        context.deadline = Instant::now() + limit;
        let answer = timeout(limit, call(connection.client.clone(), context)).await;
        let answer = answer.unwrap_or(Err(RpcError::DeadlineExceeded));
        match &answer {
            Err(error) => {
                debug!(%error, "the connection to the coordinator is given up");
                self.turn_from(&connection, None).await;
            }
            Ok(answer) => {
                if let Some(standby) = answer.standby() {
                    debug!(%standby, "another coordinator is called next");
                    self.turn_from(&connection, Some(standby)).await;
                }
            }
        }
        Ok(answer?)
    }

    /// Gives this connection up: another coordinator is called next, if there is one.
    async fn turn_from(&self, connection: &Connection, standby: Option<&Standby>) {
        let mut current = self.current.lock().await;
        // Another call may have made a new one in the meantime.
        if current.connection.take_if(|current| current.made_at == connection.made_at).is_none() {
            return;
        }
        current.named = standby.and_then(|standby| standby.leader.clone());
        // One that hangs can still be connected to.
        current.place = (current.place + 1) % self.coordinators.len();
    }

    async fn connected(&self) -> Result<Connection, LinkError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok(connection.clone());
        }
        let mut tried = Vec::new();
        let named = current.named.take();
        let in_turn =
            (0..self.coordinators.len()).map(|turn| (current.place + turn) % self.coordinators.len());
        let listed = in_turn.map(|place| (Some(place), &self.coordinators[place]));
        for (place, coordinator) in named.iter().map(|named| (None, named)).chain(listed) {
            match self.connect(coordinator).await {
                Ok(connection) => {
                    current.connection = Some(connection.clone());
                    current.place = place.unwrap_or(current.place);
                    metrics::connected();
                    info!(coordinator, "connected to the coordinator");
                    return Ok(connection);
                }
                Err(reason) => tried.push(format!("{coordinator}: {reason}")),
            }
        }
        Err(LinkError::Connect(tried))
    }

    async fn connect(&self, coordinator: &str) -> Result<Connection, String> {
        let connected = async {
            let stream = TcpStream::connect(coordinator).await?;
            stream.set_nodelay(true)?;
            let local = stream.local_addr()?;
            Ok((secure(stream, self.tls.as_ref()).await?, local))
        };
        let connected: Result<std::io::Result<_>, _> = timeout(CONNECT_MAX, connected).await;
        let connected = connected.map_err(|_| format!("no answer within {CONNECT_MAX:?}"))?;
        let (stream, local) = connected.map_err(|error| error.to_string())?;
        let framed = Framed::new(stream, codec::framing());
        let transport = tarpc::serde_transport::new(framed, Codec::default());
        let client = CoordinatorClient::new(Config::default(), transport).spawn();
        Ok(Connection { client, local, made_at: Instant::now() })
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

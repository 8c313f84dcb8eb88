//! Calls on etcd. Each has a limit in time, and goes to one member of etcd: the one
//! that answered last. After an error the next call goes to the next member, over a
//! connection of its own.
//!
//! etcd-client would spread calls over all members by itself, but goes on to give
//! one in three to a member that hangs.

use std::{error::Error as _, fmt, time::Duration};

use etcd_client::{Client, Error};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};
use tonic::Code;
use tracing::{debug, warn};

use super::Place;
use crate::state::StateError;

/// How often an idle connection is asked whether it still is one. etcd refuses who asks
/// more often than every five seconds.
const PING: Duration = Duration::from_secs(10);

/// The longest wait for the answer to that.
const PING_ANSWER: Duration = Duration::from_secs(3);

/// The first and the longest wait before something is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// The most bytes of an answer: as many as a page of records can have, and then some.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// etcd, as one coordinator uses it.
pub(super) struct Etcd {
    place: Place,
    /// The longest that a call may take.
    limit: Duration,
    connection: Mutex<Connection>,
}

/// The member that is called.
#[derive(Default)]
struct Connection {
    /// Its place in the list.
    member: usize,
    client: Option<Client>,
    /// Counts connections.
    number: u64,
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Etcd").field(&self.place).finish()
    }
}

impl Etcd {
    /// The etcd at `place`, whose calls may take as long as `limit`. It need not be there.
    pub(super) async fn new(mut place: Place, limit: Duration) -> Result<Self, StateError> {
        place.options = place.options.with_keep_alive(PING, PING_ANSWER).with_connect_timeout(limit);
        let etcd = Self { place, limit, connection: Mutex::default() };
        // Without a user nothing is sent yet; what is wrong with certificates is told.
        let tried = Client::connect(&etcd.place.endpoints, Some(etcd.place.options.clone())).await;
        tried.map_err(|error| etcd.refused(in_full(&error)))?;
        Ok(etcd)
    }

    /// The key `name` of this cluster.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.place.prefix)
    }

    /// The longest that a call may take.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Makes one call.
    pub(super) async fn call<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T, StateError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut member = 0;
        let mut number = 0;
        let answer = timeout(self.limit, async {
            let client = {
                let mut connection = self.connection.lock().await;
                (member, number) = (connection.member, connection.number);
                self.connected(&mut connection).await?
            };
            call(client).await
        });
        let error = match answer.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => self.failed(&error),
            Err(_) => self.unreachable(format!("no answer within {:?}", self.limit)),
        };
        if matches!(error, StateError::Unreachable { .. }) {
            let mut connection = self.connection.lock().await;
            // Another call may have gone on to the next member in the meantime.
            if connection.number == number {
                debug!(endpoint = self.place.endpoints[member], %error, "this member of etcd is given up");
                let next = (member + 1) % self.place.endpoints.len();
                *connection = Connection { member: next, client: None, number: number + 1 };
            }
        }
        Err(error)
    }

    /// Makes a call that does no harm if it is made twice, until it is answered: for as long as
    /// whoever asks waits.
    pub(super) async fn insist<T, F>(&self, mut call: impl FnMut(Client) -> F) -> Result<T, StateError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut patience = Patience::new();
        loop {
            match self.call(&mut call).await {
                Err(error @ StateError::Unreachable { .. }) => patience.wait(&error).await,
                answer => return answer,
            }
        }
    }

    async fn connected(&self, connection: &mut Connection) -> Result<Client, Error> {
        if let Some(client) = &connection.client {
            return Ok(client.clone());
        }
        let options = match &self.place.user {
            Some((name, password)) => self.place.options.clone().with_user(name, password.reveal()),
            None => self.place.options.clone(),
        };
        let client = Client::connect([&self.place.endpoints[connection.member]], Some(options)).await?;
        connection.client = Some(client.clone());
        Ok(client)
    }

    fn failed(&self, error: &Error) -> StateError {
        let Error::GRpcStatus(status) = error else { return self.unreachable(in_full(error)) };
        let reason = if status.source().is_some() { in_full(error) } else { status.message().to_owned() };
        match status.code() {
            Code::ResourceExhausted if reason.contains("space exceeded") => {
                StateError::Full { place: self.place.url.clone() }
            }
            // An etcd that takes less than etcd does by itself.
            Code::ResourceExhausted if reason.contains("larger than max") => self.damaged(reason),
            // What a token of the time before a change of users is answered with.
            Code::InvalidArgument if reason.contains("auth store is old") => self.unreachable(reason),
            Code::InvalidArgument | Code::PermissionDenied | Code::FailedPrecondition => self.refused(reason),
            Code::DataLoss | Code::Unimplemented | Code::OutOfRange | Code::AlreadyExists => {
                StateError::Other { place: self.place.url.clone(), reason }
            }
            // A lease that is not found, too: it was lost.
            Code::Ok
            | Code::Aborted
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::NotFound
            | Code::ResourceExhausted
            | Code::Unauthenticated
            | Code::Unavailable
            | Code::Unknown => self.unreachable(reason),
        }
    }

    /// An answer that makes no sense.
    pub(super) fn damaged(&self, reason: impl Into<String>) -> StateError {
        StateError::Other { place: self.place.url.clone(), reason: reason.into() }
    }

    pub(super) fn url(&self) -> String {
        self.place.url.clone()
    }

    fn unreachable(&self, reason: String) -> StateError {
        StateError::Unreachable { place: self.place.url.clone(), reason }
    }

    fn refused(&self, reason: String) -> StateError {
        StateError::Refused { place: self.place.url.clone(), reason }
    }
}

/// Waits between tries, each longer than the one before up to a bound, and says why: once for
/// each reason that follows another.
#[derive(Debug)]
pub(super) struct Patience {
    next: Duration,
    told: Option<String>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { next: PAUSE.0, told: None }
    }

    pub(super) async fn wait(&mut self, error: &StateError) {
        let why = error.to_string();
        if self.told.as_ref() != Some(&why) {
            warn!(why, "waiting for etcd");
            self.told = Some(why);
        }
        sleep(self.next).await;
        self.next = (self.next * 2).min(PAUSE.1);
    }

    /// What was tried has worked.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}

/// A client for keys that takes answers of the size of ours.
pub(super) fn keys(client: &Client) -> etcd_client::KvClient {
    client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX)
}

/// The innermost cause: those around it say `transport error`.
fn in_full(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    let inner = match error {
        Error::GRpcStatus(status) => status.source(),
        Error::TransportError(error) => error.source(),
        _ => None,
    };
    if let Some(inner) = inner {
        cause = inner;
    }
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

//! The RPC listener: what workers call, once they are let in. Handlers translate; every decision is
//! the state machine's. Connections and the calls on each are bounded, and a
//! call ends at its caller's deadline.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use phalanx_protocol::{
    codec::{self, Codec},
    id::WorkerId,
    message::{Attached, Hello, Numbered, Report, Timeouts},
    pace::Pace,
    rpc::{Coordinator, NotAttached, Rejected},
};
use phalanx_tls::Tls;
use tarpc::{
    context::Context,
    serde_transport,
    server::{BaseChannel, Channel as _},
    tokio_util::codec::Framed,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{
    handle::Handle,
    listen::Listener,
    metrics,
    secure::{NotLetIn, let_in},
    watched::Watched,
};

/// The most connections at a time beside one for each worker: of those that come
/// anew before their old connection has ended, or are told that there is no room.
/// Further ones wait to be accepted.
pub(crate) const CONNECTIONS_SPARE: usize = 256;

/// A connection without a call for so many leases ends: a worker calls several
/// times within each.
const IDLE_LEASES: u32 = 4;

/// Strangers at the door are warned of once in so long for each reason.
const WARNING_PAUSE: Duration = Duration::from_secs(10);

/// The most reasons that are warned of within that time.
const WARNINGS_MAX: usize = 16;

/// The most calls under way on one connection; further ones are refused.
const CALLS_MAX: usize = 16;

/// A wait for directives ends this long before its caller's deadline.
const ANSWER_MARGIN: Duration = Duration::from_millis(50);

/// Serves workers until `stop`. Calls under way then end with their connection;
/// workers call again when there is a coordinator.
pub(crate) async fn serve(listener: Listener, service: Service, stop: CancellationToken) {
    let connections = TaskTracker::new();
    while let Some((stream, slot)) = listener.accept(&stop).await {
        let (service, stop) = (service.clone(), stop.clone());
        connections.spawn(async move {
            let _counted = metrics::RpcConnection::opened();
            tokio::select! {
                () = connection(stream, service) => {}
                () = stop.cancelled() => {}
            }
            drop(slot);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, service: Service) {
    let idle_max = service.timeouts.lease * IDLE_LEASES;
    let peer = stream.peer_addr().ok();
    let stream = match let_in(stream, service.tls.as_ref(), idle_max).await {
        Ok(stream) => stream,
        Err(NotLetIn::Silent(_)) => return debug!(?peer, "a connection without calls is ended"),
        Err(NotLetIn::Broken(error)) => return debug!(?peer, %error, "a connection broke before a call"),
        Err(why) if service.strangers.may_warn(&why) => return warn!(?peer, %why, "worker not let in"),
        Err(why) => return debug!(?peer, %why, "worker not let in"),
    };
    let (stream, ended) = Watched::new(stream);
    let transport = serde_transport::new(Framed::new(stream, codec::framing()), Codec::default());
    let channel = BaseChannel::with_defaults(transport).max_concurrent_requests(CALLS_MAX);
    let caller = Arc::new(AtomicU64::new(NOBODY));
    let service = Service { caller: Arc::clone(&caller), ..service };
    let handle = service.handle.clone();
    let under_way = TaskTracker::new();
    {
        let mut calls = pin!(channel.execute(service.serve()));
        loop {
            let next = tokio::select! {
                () = ended.cancelled() => break,
                next = timeout(idle_max, calls.next()) => next,
            };
            match next {
                // Calls run beside each other: a report is not held up by a wait for directives.
                Ok(Some(call)) => drop(under_way.spawn(call)),
                Err(_) if !under_way.is_empty() => {}
                Err(_) => {
                    debug!("a connection without calls is ended");
                    break;
                }
                Ok(None) => break,
            }
        }
        // With the channel, the calls end that are under way.
    }
    under_way.close();
    under_way.wait().await;
    match caller.load(Ordering::Relaxed) {
        NOBODY => {}
        worker => handle.gone(WorkerId::new(worker)).await,
    }
}

/// No worker has this number.
const NOBODY: u64 = 0;

/// What answers workers.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) handle: Handle,
    /// What workers are told about the cluster.
    pub(crate) store_url: Arc<str>,
    pub(crate) timeouts: Timeouts,
    /// What connections are secured with.
    pub(crate) tls: Option<Tls>,
    pub(crate) strangers: Arc<Strangers>,
    /// The number of the worker that calls over this connection.
    pub(crate) caller: Arc<AtomicU64>,
}

/// Why strangers were not let in, and when that was last said: they must not fill the log.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<HashMap<String, Instant>>);

impl Strangers {
    fn may_warn(&self, why: &NotLetIn) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|_, last| last.elapsed() < WARNING_PAUSE);
        let may = said.len() < WARNINGS_MAX && !said.contains_key(&why.to_string());
        if may {
            said.insert(why.to_string(), Instant::now());
        }
        may
    }
}

impl Coordinator for Service {
    async fn attach(self, _: Context, hello: Hello) -> Result<Attached, NotAttached> {
        let (host, pid) = (hello.host.clone(), hello.pid);
        match self.handle.attach(hello).await {
            Ok(worker) => {
                self.caller.store(worker.get(), Ordering::Relaxed);
                Ok(Attached { worker, store_url: self.store_url.to_string(), timeouts: self.timeouts })
            }
            Err(refused) => {
                warn!(host, pid, %refused, "worker not attached");
                Err(refused)
            }
        }
    }

    async fn directives(
        self,
        context: Context,
        worker: WorkerId,
        after: u64,
        pace: Option<Pace>,
    ) -> Result<Vec<Numbered>, Rejected> {
        self.caller.store(worker.get(), Ordering::Relaxed);
        let deadline = context.deadline.saturating_duration_since(Instant::now());
        let wait = self.timeouts.heartbeat.min(deadline.saturating_sub(ANSWER_MARGIN));
        self.handle.directives(worker, (after, pace), wait).await
    }

    async fn report(self, _: Context, worker: WorkerId, report: Report) -> Result<(), Rejected> {
        self.handle.report(worker, report).await
    }

    async fn drain(self, _: Context, worker: WorkerId) -> Result<(), Rejected> {
        self.handle.drain_itself(worker).await
    }

    async fn detach(self, _: Context, worker: WorkerId) {
        self.handle.detach(worker).await;
    }
}

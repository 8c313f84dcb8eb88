//! Starting a coordinator and stopping it: opens the stores, takes the ports,
//! and runs the driver between the two interfaces.

use std::{future::pending, net::SocketAddr, sync::Arc, time::Duration};

use phalanx_core::{RestoreError, record::UnreadableRecord};
use phalanx_protocol::message::Timeouts;
use phalanx_storage::{StorageError, Store};
use phalanx_tls::{Role, TlsFilesError};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    config::{Config, LEASE_MAX, LEASE_MIN},
    handle::Handle,
    http,
    jobs::Jobs,
    listen::{BindError, Listener},
    metrics, rpc,
    seat::Seat,
    state::{self, StateError},
    terms::Terms,
};

/// How URLs of a state in etcd begin.
pub(crate) const ETCD: &str = "etcd://";

/// How long the interfaces may take to drain when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a coordinator did not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port could not be taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The state could not be opened or read.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFilesError),
    /// The object store could not be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A record of the state that this version does not understand.
    #[error(transparent)]
    Record(#[from] UnreadableRecord),
    /// Records of the state that contradict each other.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// An object store that other processes do not see.
    #[error(
        "the object store `{url}` exists in one process alone, and workers could not use it: \
         give --store a folder, s3://…, gs://… or az://…"
    )]
    StoreNotShared {
        /// Its URL.
        url: String,
    },
    /// A lease out of bounds.
    #[error("a lease of {actual:?} is out of bounds: expected {LEASE_MIN:?} to {LEASE_MAX:?}")]
    Lease {
        /// It.
        actual: Duration,
    },
}

/// Why a coordinator stopped by itself. Nothing that it has confirmed is lost.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The state could not be written, or not be had.
    #[error("the coordinator stopped: {0}")]
    State(#[from] StateError),
    /// It was to lead, and could not go on from the state that it found.
    #[error("the coordinator stopped: it cannot take over: {0}")]
    TakeOver(#[source] Box<StartError>),
    /// A bug of ours.
    #[error("the coordinator stopped: its driver has panicked: {0}")]
    Panicked(String),
}

/// A running coordinator. Dropping it stops it without draining; nothing that it
/// has confirmed is lost by that.
#[derive(Debug)]
pub struct Server {
    http_addr: SocketAddr,
    rpc_addr: SocketAddr,
    /// `None` once it has ended and `failed` has told why.
    terms: Option<JoinHandle<Result<(), ServerError>>>,
    seat: watch::Receiver<Seat>,
    interfaces: TaskTracker,
    stop_interfaces: CancellationToken,
    stop_terms: CancellationToken,
}

/// Starts a coordinator: takes the ports, opens the stores, restores the state,
/// and serves. One whose state is in etcd serves at once, too, and stands by until it leads.
///
/// # Errors
///
/// [`StartError`], each with its place and remedy.
pub async fn start(config: Config) -> Result<Server, StartError> {
    if !(LEASE_MIN..=LEASE_MAX).contains(&config.lease) {
        return Err(StartError::Lease { actual: config.lease });
    }
    let scheme = config.store_url.split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("memory")) {
        return Err(StartError::StoreNotShared { url: config.store_url });
    }
    let tls = config.tls.as_ref().map(|files| files.load(Role::Coordinator)).transpose()?;
    let timeouts = Timeouts::from_lease(config.lease);
    let machine = phalanx_core::Config {
        timeouts,
        quotas: config.quotas.clone(),
        workers_end_with_it: config.workers_end_with_it,
        ..phalanx_core::Config::default()
    };
    let rpc_connections_max = machine.workers_max + rpc::CONNECTIONS_SPARE;
    let http = Listener::bind(config.http_addr, "--listen", http::CONNECTIONS_MAX).await?;
    let rpc = Listener::bind(config.rpc_addr(http.addr()), "--rpc", rpc_connections_max).await?;
    let (http_addr, rpc_addr) = (http.addr(), rpc.addr());

    let store = Store::open(&config.store_url)?;
    let store_url: Arc<str> = store.url().into();
    let (terms, seat) = Terms::new(machine, store.clone());
    let (stop_interfaces, stop_terms) = (CancellationToken::new(), CancellationToken::new());
    let terms = begin(&config, terms, [http_addr, rpc_addr], stop_terms.clone()).await?;

    metrics::describe();
    let handle = Handle::new(seat.clone());
    let app = http::App {
        handle: handle.clone(),
        metrics: config.metrics,
        store_url: Arc::clone(&store_url),
        rpc_addr,
        follows: Arc::new(Semaphore::new(http::FOLLOWS_MAX)),
        store,
        collections: Arc::new(Semaphore::new(1)),
        stop: stop_interfaces.clone(),
    };
    let service =
        rpc::Service { handle, store_url, timeouts, tls, strangers: Arc::default(), caller: Arc::default() };
    let interfaces = TaskTracker::new();
    interfaces.spawn(http::serve(http, http::router(app), stop_interfaces.clone()));
    interfaces.spawn(rpc::serve(rpc, service, stop_interfaces.clone()));
    interfaces.close();
    info!(http = %http_addr, rpc = %rpc_addr, state = config.state_url, store = config.store_url, "coordinator started");
    let terms = Some(terms);
    Ok(Server { http_addr, rpc_addr, terms, seat, interfaces, stop_interfaces, stop_terms })
}

/// Takes the leader's seat, or stands for it, until `stop`.
async fn begin(
    config: &Config,
    terms: Terms,
    addrs: [SocketAddr; 2],
    stop: CancellationToken,
) -> Result<JoinHandle<Result<(), ServerError>>, StartError> {
    if !config.state_url.starts_with(ETCD) {
        let only = terms.only(state::open(&config.state_url).await?).await?;
        return Ok(tokio::spawn(async move { only.run(stop).await.map_err(ServerError::from) }));
    }
    #[cfg(feature = "cluster")]
    {
        use crate::cluster::{Candidate, Place};

        let place = Place::new(&config.state_url, &config.etcd)?;
        let candidate = Candidate::new(place, config.lease, config.leader(addrs)).await?;
        Ok(tokio::spawn(terms.elected(candidate, stop)))
    }
    #[cfg(not(feature = "cluster"))]
    {
        let _ = (terms, addrs, stop);
        let expected = "this build keeps its state in a file alone: build it with `--features cluster`";
        Err(StateError::Url { url: config.state_url.clone(), expected }.into())
    }
}

impl Server {
    /// Where the HTTP interface listens.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where workers attach.
    pub fn rpc_addr(&self) -> SocketAddr {
        self.rpc_addr
    }

    /// Its jobs, for another interface in this process.
    pub fn jobs(&self) -> Jobs {
        Jobs::new(self.seat.clone())
    }

    /// Whether it leads at this moment; otherwise it stands by.
    pub fn leads(&self) -> bool {
        matches!(*self.seat.borrow(), Seat::Leading(_))
    }

    /// Returns when the coordinator has stopped by itself, which it does only
    /// if it cannot go on; not a second time. Nothing is lost if this is dropped
    /// while it waits.
    pub async fn failed(&mut self) -> ServerError {
        let Some(terms) = &mut self.terms else { return pending().await };
        let ended = terms.await;
        self.terms = None;
        match ended {
            Ok(Err(error)) => error,
            Err(error) => ServerError::Panicked(error.to_string()),
            Ok(Ok(())) => {
                unreachable!("invariant: terms follow each other until `shutdown` takes the server")
            }
        }
    }

    /// Stops: takes no more calls, ends those under way within a few seconds,
    /// closes the stores, and leaves the leader's seat to the next one.
    ///
    /// # Errors
    ///
    /// The coordinator had stopped by itself before, and [`failed`](Self::failed)
    /// has not told that.
    pub async fn shutdown(mut self) -> Result<(), ServerError> {
        self.stop_interfaces.cancel();
        if timeout(DRAIN_TIMEOUT, self.interfaces.wait()).await.is_err() {
            warn!(timeout = ?DRAIN_TIMEOUT, "calls under way were cut off");
        }
        self.stop_terms.cancel();
        if let Some(terms) = self.terms.take() {
            terms.await.map_err(|error| ServerError::Panicked(error.to_string()))??;
        }
        info!("coordinator stopped");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_interfaces.cancel();
        self.stop_terms.cancel();
    }
}

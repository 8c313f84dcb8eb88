//! What a coordinator must be told. Parsed once, by the command line.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use phalanx_telemetry::MetricsHandle;
use phalanx_tls::TlsFiles;

/// The port of the HTTP interface where none is given; the RPC port is the one after.
pub const HTTP_PORT: u16 = 7700;

/// The shortest lease. Heartbeats come four times as often and must fit the
/// jitter of a busy machine.
pub const LEASE_MIN: Duration = Duration::from_millis(200);

/// The longest lease: a lost worker holds its job up for this long.
pub const LEASE_MAX: Duration = Duration::from_secs(600);

/// What a coordinator must be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the HTTP interface listens. Port 0 picks a free one.
    pub http_addr: SocketAddr,
    /// Where workers attach, which each is told when it is started. By default the
    /// HTTP address with the port after it, or a free one if that is 0.
    pub rpc_addr: Option<SocketAddr>,
    /// Where the state is kept: the path of a file.
    pub state_url: String,
    /// The object store, as [`phalanx_storage::Store::open`] takes it.
    pub store_url: String,
    /// A worker that is silent for this long is lost. Bounds: [`LEASE_MIN`], [`LEASE_MAX`].
    pub lease: Duration,
    /// The most workers that the jobs of a project use at once; projects without an entry may use all.
    pub quotas: BTreeMap<String, u32>,
    /// Whether its workers end when it does, because the same process has started them.
    pub workers_end_with_it: bool,
    /// Where its certificates lie. With them, workers are let in over TLS alone, and with
    /// certificates of the same CA.
    pub tls: Option<TlsFiles>,
    /// The metrics of this process, which `/metrics` serves.
    pub metrics: MetricsHandle,
}

impl Config {
    /// Where workers attach, the default applied; `http` is the HTTP address
    /// that was bound.
    pub(crate) fn rpc_addr(&self, http: SocketAddr) -> SocketAddr {
        self.rpc_addr.unwrap_or_else(|| {
            let picked = self.http_addr.port() == 0;
            // After the last port comes 0, which also picks a free one.
            let port = if picked { 0 } else { http.port().wrapping_add(1) };
            SocketAddr::new(http.ip(), port)
        })
    }
}

//! What a coordinator must be told. Parsed once, by the command line.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use phalanx_telemetry::MetricsHandle;
use phalanx_tls::TlsFiles;

#[cfg(feature = "cluster")]
use std::net::Ipv6Addr;

#[cfg(feature = "cluster")]
use crate::seat::Leader;

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
    /// Where the state is kept: the path of a file, or `etcd://HOST:PORT,…/PREFIX` for one of
    /// several coordinators.
    pub state_url: String,
    /// How it gets into etcd.
    pub etcd: EtcdAccess,
    /// The host that the others of several coordinators tell workers and users while this one
    /// leads; by default the address at which it listens.
    pub advertise: Option<String>,
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

/// How a coordinator gets into etcd; not looked at where the state is in a file.
#[derive(Debug, Clone, Default)]
pub struct EtcdAccess {
    /// etcd's CA (PEM). With it, all talk with etcd is over TLS.
    pub ca: Option<PathBuf>,
    /// This process' certificate and its key (PEM), if etcd asks for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Name and password, if etcd asks for them.
    pub user: Option<(String, Password)>,
}

/// A password, which is never printed.
#[derive(Clone)]
pub struct Password(
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only etcd asks for it"))] String,
);

impl Password {
    /// This one.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    /// It, for whoever asks for it.
    #[cfg(feature = "cluster")]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Config {
    /// Where others reach this coordinator, which listens at `[http, rpc]`.
    #[cfg(feature = "cluster")]
    pub(crate) fn leader(&self, addrs: [SocketAddr; 2]) -> Leader {
        let [http, rpc] = addrs.map(|addr| match &self.advertise {
            // An address of IPv6 has colons of its own.
            Some(host) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{}", addr.port()),
            Some(host) => format!("{host}:{}", addr.port()),
            None => addr.to_string(),
        });
        Leader { http: format!("http://{http}"), rpc }
    }

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

//! What a worker must be told. Plain values.

use std::{
    env,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use phalanx_data::Cache;
use phalanx_tls::TlsFiles;
use phalanx_train::{DeviceName, Tasks};

use crate::leaving::Notices;

/// What a worker must be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the coordinator takes workers' calls, or each of several: `host:port`. One at least.
    pub coordinators: Vec<String>,
    /// The models that it knows beside the built-in ones.
    pub tasks: Tasks,
    /// Where it listens for other workers; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address that other workers are told. By default the one it listens at or,
    /// if it listens at all of them, the one on the way to the coordinator.
    pub advertise: Option<IpAddr>,
    /// Where its certificates lie. With them, it talks over TLS alone, and with those alone
    /// whose certificates are of the same CA.
    pub tls: Option<TlsFiles>,
    /// Where Prometheus is served; nowhere by default.
    pub metrics: Option<SocketAddr>,
    /// Folder for copies of data shards, and the most bytes in it.
    pub cache: Cache,
    /// Threads that compute, 1 or more.
    pub threads: usize,
    /// Where it computes.
    pub device: DeviceName,
    /// The longest that it may take to hand its work over when it is told to end; zero ends it at once.
    pub drain_max: Duration,
    /// Where its machine says that it will soon be gone.
    pub notices: Notices,
}

/// The default of [`Config::drain_max`]: within what Kubernetes gives a pod, 30 s.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(25);

impl Config {
    /// A worker with the built-in models, one thread of the processor and free ports.
    pub fn new(coordinator: impl Into<String>) -> Self {
        Self {
            coordinators: vec![coordinator.into()],
            tasks: Tasks::new(),
            listen: SocketAddr::from(([0, 0, 0, 0], 0)),
            advertise: None,
            tls: None,
            metrics: None,
            cache: Cache::new(default_cache(), Cache::BYTES_MAX),
            threads: 1,
            device: DeviceName::Cpu,
            drain_max: DRAIN_MAX,
            notices: Notices::default(),
        }
    }
}

/// The user's cache folder, or else the one for temporary files.
pub(crate) fn default_cache() -> PathBuf {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    cache.unwrap_or_else(env::temp_dir).join("phalanx")
}

//! A coordinator inside this process, over a home, reachable on loopback only.

use std::{net::SocketAddr, time::Duration};

use phalanx_server::{Config, EtcdAccess, Server, StartError, StateError};
use phalanx_telemetry::{MetricsHandle, install_metrics};
use tokio::time::{Instant, sleep};

use crate::{
    client::Client,
    connect::who_serves,
    error::CliError,
    home::{Announcement, Home},
};

/// How long to wait for another command that looks into the same home.
const IN_USE_MAX: Duration = Duration::from_secs(5);

/// A lost worker on the same machine is noticed by its closed connection; the lease is for one that hangs.
const LEASE: Duration = Duration::from_secs(5);

/// A coordinator inside this process.
#[derive(Debug)]
pub(crate) struct Embedded {
    server: Server,
    client: Client,
}

impl Embedded {
    /// Starts a coordinator over `home`, which must exist.
    ///
    /// # Errors
    ///
    /// If another process has the home, or it cannot be read or written.
    pub(crate) async fn start(home: &Home) -> Result<Self, CliError> {
        Self::start_or_join(home).await?.map_err(|client| {
            CliError::usage(format!(
                "the home {} is in use: a coordinator serves it at {}",
                home.path().display(),
                client.address()
            ))
            .hint("`phalanx submit JOB` hands it a job; --home DIR runs this one apart")
        })
    }

    /// Starts a coordinator over `home`, or finds the one that has begun to
    /// serve it at the same moment.
    pub(crate) async fn start_or_join(home: &Home) -> Result<Result<Self, Client>, CliError> {
        let metrics = install_metrics().map_err(CliError::failed)?;
        let begin = Instant::now();
        loop {
            match Self::try_start(home, metrics.clone()).await {
                Ok(embedded) => return Ok(Ok(embedded)),
                Err(StartError::State(StateError::InUse { .. })) if begin.elapsed() < IN_USE_MAX => {
                    if let Some((client, _)) = who_serves(home).await {
                        return Ok(Err(client));
                    }
                    sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(refused(home, &error)),
            }
        }
    }

    async fn try_start(home: &Home, metrics: MetricsHandle) -> Result<Self, StartError> {
        let server = phalanx_server::start(Config {
            http_addr: ([127, 0, 0, 1], 0).into(),
            rpc_addr: None,
            state_url: home.state_file().to_string_lossy().into_owned(),
            etcd: EtcdAccess::default(),
            advertise: None,
            store_url: home.store().to_string_lossy().into_owned(),
            lease: LEASE,
            workers_end_with_it: true,
            quotas: Default::default(),
            // Its workers are on this machine, and nobody else is told its port.
            tls: None,
            metrics,
        })
        .await?;
        let client =
            Client::new(&server.http_addr().to_string()).expect("invariant: a socket address is a URL's");
        Ok(Self { server, client })
    }

    /// A client of it.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Where workers attach.
    pub(crate) fn rpc_addr(&self) -> SocketAddr {
        self.server.rpc_addr()
    }

    /// Returns when it has stopped by itself. Cancelling the wait loses nothing.
    pub(crate) async fn failed(&mut self) -> CliError {
        CliError::failed(self.server.failed().await)
    }

    /// What others must know to reach it.
    pub(crate) async fn announcement(&self) -> Result<Announcement, CliError> {
        let store_url = self.client.cluster().await?.store_url;
        Ok(Announcement { pid: std::process::id(), http_addr: self.server.http_addr(), store_url })
    }

    /// Stops it; what it has confirmed stays.
    pub(crate) async fn stop(self) {
        if let Err(error) = self.server.shutdown().await {
            tracing::error!(%error, "coordinator stopped");
        }
    }
}

fn refused(home: &Home, error: &StartError) -> CliError {
    let message = format!("the home {} cannot be used: {error}", home.path().display());
    match error {
        StartError::State(StateError::InUse { .. }) => CliError::usage(message)
            .hint("another phalanx process has it open; --home DIR names another folder"),
        _ => CliError::failed(message),
    }
}

//! `phalanx coordinator`: the process that decides who does what.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use clap::Args;
use phalanx_agent::{TelemetryArgs, TlsArgs};
use phalanx_protocol::id::is_name;
use phalanx_server::{Config, HTTP_PORT, StartError, StateError};
use phalanx_storage::StorageError;
use phalanx_telemetry::install_metrics;

use super::telemetry;
use crate::{
    error::{CliError, Exit},
    show::{DIM, STRONG},
    signal::StopSignals,
};

/// Queue jobs, hand them to workers, and keep what they make
///
/// It may be stopped and started again at any time: jobs are kept in its state, and workers attach
/// again. It serves metrics for Prometheus at /metrics.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx coordinator --state state.redb --store ./store
  phalanx coordinator --listen 0.0.0.0:7700 --state /var/lib/phalanx.redb --store s3://bucket/runs
  phalanx coordinator --state state.redb --store ./store \\
    --tls-ca ca.pem --tls-cert coordinator.pem --tls-key coordinator.key")]
pub(crate) struct Coordinator {
    /// Where users and browsers reach it, over HTTP; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value_t = SocketAddr::from(([127, 0, 0, 1], HTTP_PORT)))]
    listen: SocketAddr,

    /// Where workers reach it; by default the port after that of --listen
    #[arg(long, value_name = "IP:PORT")]
    rpc: Option<SocketAddr>,

    /// The file that holds jobs and registry
    #[arg(long, value_name = "PATH")]
    state: String,

    /// The object store of data, checkpoints and models: a folder, s3://…, gs://… or az://…
    #[arg(long, value_name = "URL")]
    store: String,

    /// A worker that is silent for so many seconds is lost
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = super::seconds)]
    lease: Duration,

    /// The most workers that the jobs of a project use at once; may be given for several projects
    #[arg(long = "quota", value_name = "PROJECT=WORKERS", value_parser = quota)]
    quotas: Vec<(String, u32)>,

    #[command(flatten, next_help_heading = "TLS, for workers")]
    tls: TlsArgs,

    #[command(flatten, next_help_heading = "Telemetry")]
    telemetry: TelemetryArgs,
}

impl Coordinator {
    /// Serves until it is told to stop.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let quotas = each_once(self.quotas)?;
        let _telemetry = telemetry::init(&self.telemetry, "phalanx-coordinator")?;
        let mut signals = StopSignals::listen()?;
        let mut server = phalanx_server::start(Config {
            http_addr: self.listen,
            rpc_addr: self.rpc,
            state_url: self.state,
            store_url: self.store,
            lease: self.lease,
            workers_end_with_it: false,
            quotas,
            tls: self.tls.files(),
            metrics: install_metrics().map_err(CliError::failed)?,
        })
        .await
        .map_err(refused)?;
        let [http, rpc] = [server.http_addr(), server.rpc_addr()].map(reached_at);
        anstream::eprintln!(
            "{DIM}users  {DIM:#} phalanx submit JOB {STRONG}--coordinator http://{http}{STRONG:#}"
        );
        anstream::eprintln!("{DIM}workers{DIM:#} phalanx worker {STRONG}--coordinator {rpc}{STRONG:#}");
        tokio::select! {
            error = server.failed() => return Err(CliError::failed(error)),
            () = signals.next() => {}
        }
        tokio::select! {
            ended = server.shutdown() => ended.map_err(CliError::failed)?,
            () = signals.next() => {}
        }
        Ok(Exit::Done)
    }
}

/// Reads a quota, as in `vision=8`.
fn quota(text: &str) -> Result<(String, u32), String> {
    let quota = text.split_once('=').and_then(|(project, workers)| Some((project, workers.parse().ok()?)));
    match quota {
        Some((project, workers)) if is_name(project) => Ok((project.to_owned(), workers)),
        Some(_) | None => Err("expected a project and a number of workers, as in vision=8".to_owned()),
    }
}

fn each_once(given: Vec<(String, u32)>) -> Result<BTreeMap<String, u32>, CliError> {
    let mut quotas = BTreeMap::new();
    for (project, workers) in given {
        if quotas.insert(project.clone(), workers).is_some() {
            return Err(CliError::usage(format!("--quota names the project `{project}` twice; give it one")));
        }
    }
    Ok(quotas)
}

/// How others reach what listens at `addr`: where that is every address, by the machine's name.
fn reached_at(addr: SocketAddr) -> String {
    if !addr.ip().is_unspecified() {
        return addr.to_string();
    }
    format!("{}:{}", rustix::system::uname().nodename().to_string_lossy(), addr.port())
}

fn refused(error: StartError) -> CliError {
    match error {
        StartError::Bind(_)
        | StartError::Tls(_)
        | StartError::Lease { .. }
        | StartError::StoreNotShared { .. }
        | StartError::State(StateError::Url { .. } | StateError::InUse { .. })
        | StartError::Storage(StorageError::Url { .. }) => CliError::usage(error),
        StartError::State(_) | StartError::Storage(_) | StartError::Record(_) | StartError::Restore(_) => {
            CliError::failed(error)
        }
    }
}

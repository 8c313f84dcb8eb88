//! `phalanx coordinator`: the process that decides who does what.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use phalanx_agent::{TelemetryArgs, TlsArgs};
use phalanx_kubernetes::{Cluster, ConnectError};
use phalanx_protocol::id::is_name;
use phalanx_server::{Config, EtcdAccess, HTTP_PORT, Password, StartError, StateError};
use phalanx_storage::StorageError;
use phalanx_telemetry::install_metrics;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use super::telemetry;
use crate::{
    error::{CliError, Exit},
    show::{DIM, STRONG},
    signal::StopSignals,
};

/// Queue jobs, hand them to workers, and keep what they make
///
/// It may be stopped and started again at any time: jobs are kept in its state, and workers attach
/// again. It serves metrics for Prometheus at /metrics. With its state in etcd, any number of
/// coordinators share it: one leads, and the others stand by to take its place.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  phalanx coordinator --state state.redb --store ./store
  phalanx coordinator --listen 0.0.0.0:7700 --state /var/lib/phalanx.redb --store s3://bucket/runs
  phalanx coordinator --state etcd://etcd1:2379,etcd2:2379/phalanx --store s3://bucket/runs
  phalanx coordinator --state etcd://etcd:2379/phalanx --store s3://bucket/runs --kubernetes
  phalanx coordinator --state state.redb --store ./store \\
    --tls-ca ca.pem --tls-cert coordinator.pem --tls-key coordinator.key")]
pub(crate) struct Coordinator {
    /// Where users and browsers reach it, over HTTP; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value_t = SocketAddr::from(([127, 0, 0, 1], HTTP_PORT)))]
    listen: SocketAddr,

    /// Where workers reach it; by default the port after that of --listen
    #[arg(long, value_name = "IP:PORT")]
    rpc: Option<SocketAddr>,

    /// What holds jobs and registry: a file, or etcd://HOST:PORT,…/PREFIX for several coordinators
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

    /// The host that others are told to reach it at, if it is not that of --listen
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,

    /// Train what is applied to Kubernetes as TrainingJob, and scale its pools of workers, while it leads: in the namespace
    /// of its pod, or else in that of the kubeconfig
    #[arg(long)]
    kubernetes: bool,

    #[command(flatten, next_help_heading = "TLS, for workers")]
    tls: TlsArgs,

    #[command(flatten, next_help_heading = "etcd, where --state names it")]
    etcd: EtcdArgs,

    #[command(flatten, next_help_heading = "Telemetry")]
    telemetry: TelemetryArgs,
}

/// How it gets into etcd. A password is in PHALANX_ETCD_PASSWORD or in a file.
#[derive(Debug, Args)]
struct EtcdArgs {
    /// etcd's CA (PEM): talk to it over TLS
    #[arg(long, value_name = "FILE")]
    etcd_ca: Option<PathBuf>,

    /// This process' certificate (PEM) for etcd
    #[arg(long, value_name = "FILE", requires_all = ["etcd_ca", "etcd_key"])]
    etcd_cert: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "etcd_cert")]
    etcd_key: Option<PathBuf>,

    /// The user, whose password is in --etcd-password-file, or else in PHALANX_ETCD_PASSWORD
    #[arg(long, value_name = "NAME")]
    etcd_user: Option<String>,

    /// The file with the user's password; spaces and line ends around it do not belong to it
    #[arg(long, value_name = "FILE", requires = "etcd_user")]
    etcd_password_file: Option<PathBuf>,
}

impl EtcdArgs {
    fn access(self) -> Result<EtcdAccess, CliError> {
        let user = match self.etcd_user {
            Some(name) => Some((name, password(self.etcd_password_file)?)),
            None => None,
        };
        Ok(EtcdAccess { ca: self.etcd_ca, certificate: self.etcd_cert.zip(self.etcd_key), user })
    }
}

fn password(file: Option<PathBuf>) -> Result<Password, CliError> {
    let Some(file) = file else {
        let password = std::env::var("PHALANX_ETCD_PASSWORD").map_err(|_| {
            CliError::usage("--etcd-user has no password")
                .hint("set PHALANX_ETCD_PASSWORD, or give --etcd-password-file")
        })?;
        return Ok(Password::new(password));
    };
    let read = std::fs::read_to_string(&file);
    let read =
        read.map_err(|error| CliError::usage(format!("{} cannot be read: {error}", file.display())))?;
    Ok(Password::new(read.trim()))
}

impl Coordinator {
    /// Serves until it is told to stop.
    pub(crate) async fn run(self) -> Result<Exit, CliError> {
        let quotas = each_once(self.quotas)?;
        let _telemetry = telemetry::init(&self.telemetry, "phalanx-coordinator")?;
        let mut signals = StopSignals::listen()?;
        raise_descriptors();
        let kubernetes = match self.kubernetes {
            true => Some(Cluster::connect(None).await.map_err(no_kubernetes)?),
            false => None,
        };
        let mut server = phalanx_server::start(Config {
            http_addr: self.listen,
            rpc_addr: self.rpc,
            state_url: self.state,
            etcd: self.etcd.access()?,
            advertise: self.advertise.or_else(|| self.listen.ip().is_unspecified().then(this_host)),
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
        let jobs = server.jobs();
        let beside = Box::pin(async {
            match kubernetes {
                Some(cluster) => phalanx_kubernetes::serve(cluster, jobs).await,
                None => std::future::pending().await,
            }
        });
        tokio::select! {
            error = server.failed() => return Err(CliError::failed(error)),
            () = beside => {}
            () = signals.next() => {}
        }
        tokio::select! {
            ended = server.shutdown() => ended.map_err(CliError::failed)?,
            () = signals.next() => {}
        }
        Ok(Exit::Done)
    }
}

/// There is no way to Kubernetes, which was asked for; with what stands behind that.
pub(super) fn no_kubernetes(error: ConnectError) -> CliError {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    CliError::usage(format!("{error}{cause}")).hint(
        "in a pod it takes a service account whose token is mounted; elsewhere KUBECONFIG names a kubeconfig",
    )
}

/// Every worker has a connection, and many systems give a process 1,024 descriptors unless it asks for more.
fn raise_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!(?current, ?maximum, %error, "the limit of open files stays as it is");
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
    format!("{}:{}", this_host(), addr.port())
}

fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn refused(error: StartError) -> CliError {
    match error {
        StartError::Bind(_)
        | StartError::Tls(_)
        | StartError::Lease { .. }
        | StartError::StoreNotShared { .. }
        | StartError::State(StateError::Url { .. } | StateError::InUse { .. } | StateError::Refused { .. })
        | StartError::Storage(StorageError::Url { .. }) => CliError::usage(error),
        StartError::State(_) | StartError::Storage(_) | StartError::Record(_) | StartError::Restore(_) => {
            CliError::failed(error)
        }
    }
}

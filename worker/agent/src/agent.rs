//! The worker process: its parts, in the order in which they start, and its end.
//!
//! ```text
//! coordinator ◄─► link ◄── membership ──► control ──► preparation
//!                  ▲                         └──────► training ──► trainer (own thread)
//!                  └───── sender ◄── outbox ◄─────────────┴──► checkpointer
//! ```

use std::{sync::Arc, time::Duration};

use kameo::actor::Spawn as _;
use phalanx_collective::Listener;
use phalanx_telemetry::{install_metrics, serve_metrics};
use phalanx_tls::Role;
use phalanx_train::ComputeDevice;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::info;

use crate::{
    config::Config,
    control::{Control, Leave},
    error::AgentError,
    kind::machine_kind,
    link::Link,
    membership::{Introduction, Membership},
    metrics,
    outbox::Outbox,
    sender,
};

/// The longest that work may take to end when the process is told to.
const END_MAX: Duration = Duration::from_secs(1);

/// Runs a worker until the process gets `SIGTERM` or, if `interruptible`, `SIGINT`. It
/// leaves the cluster then at once; what it was doing is done by others.
///
/// # Errors
///
/// Where it cannot be of use; see [`AgentError`].
pub async fn run(config: Config, interruptible: bool) -> Result<(), AgentError> {
    let failed = |error: std::io::Error| AgentError::Part { part: "signals", reason: error.to_string() };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let told = async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return info!("told to end"),
                // Ctrl-C reaches every process of a terminal; whoever started this one decides.
                _ = interrupt.recv() => if interruptible { return info!("interrupted") },
            }
        }
    };
    run_until(config, told).await
}

/// Runs a worker until `end` is ready.
///
/// # Errors
///
/// Where it cannot be of use; see [`AgentError`].
pub async fn run_until(config: Config, end: impl Future<Output = ()>) -> Result<(), AgentError> {
    let Config { coordinators, tasks, listen, advertise, tls, metrics, cache, threads, device } = config;
    let tls = tls.map(|files| files.load(Role::Worker)).transpose()?;
    let device = ComputeDevice::open(device)?;
    let kind = machine_kind(&device);
    let tasks = tasks.on(device);
    phalanx_storage::clean_cache(&cache);
    metrics::describe();
    let bound = match &tls {
        Some(tls) => Listener::bind_secured(listen, tls.clone()),
        None => Listener::bind(listen),
    };
    let listener = bound.map_err(|error| AgentError::Listen { addr: listen, error })?;
    let metrics_addr = match metrics {
        Some(addr) => Some(serve_metrics(addr, install_metrics()?).await?),
        None => None,
    };
    let introduction =
        Introduction { listen: listener.local_addr(), advertise, kind, tasks: tasks.names(), metrics_addr };

    let link = Arc::new(Link::new(coordinators, tls));
    let outbox = Arc::new(Outbox::default());
    let (member, members) = watch::channel(None);
    let (fatal, mut fatalities) = mpsc::channel(1);
    let control = Control::spawn(Control {
        tasks: Arc::new(tasks),
        listener: Arc::new(listener),
        cache: cache.into(),
        threads,
        outbox: Arc::clone(&outbox),
        fatal,
        work: None,
    });
    let membership = Membership::new(Arc::clone(&link), introduction, member, control.clone());
    let ended = tokio::select! {
        () = end => Ok(()),
        error = membership.run() => Err(error),
        () = sender::run(outbox, link, members, control.clone()) => Ok(()),
        fatality = fatalities.recv() => fatality.map_or(Ok(()), Err),
    };
    let _ = timeout(END_MAX, control.ask(Leave)).await;
    membership.leave().await;
    ended
}

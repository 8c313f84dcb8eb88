//! The worker process: its parts, in the order in which they start, and its end.
//!
//! ```text
//! coordinator ◄─► link ◄── membership ──► control ──► preparation
//!                  ▲                         └──────► training ──► trainer (own thread)
//!                  └───── sender ◄── outbox ◄─────────────┴──► checkpointer
//! ```

use std::{future::pending, sync::Arc, time::Duration};

use kameo::actor::Spawn as _;
use phalanx_collective::Listener;
use phalanx_member::Duty;
use phalanx_telemetry::{Ready, install_metrics, serve_metrics};
use phalanx_tls::Role;
use phalanx_train::ComputeDevice;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::Config,
    control::{Control, Forget},
    error::AgentError,
    kind::machine_kind,
    leaving::Signals,
    link::Link,
    membership::{Introduction, Membership},
    metrics,
    outbox::Outbox,
    pace::PaceMeter,
    sender,
};

/// The longest that work may take to end when the process is told to.
const END_MAX: Duration = Duration::from_secs(1);

/// Runs a worker until the process is told to end, by `SIGTERM`, by a notice that its machine
/// will soon be gone or, if `interruptible`, by `SIGINT`. It finishes its step then, hands its
/// work over and leaves; told once more, or if `config.drain_max` is over, it leaves at once.
///
/// # Errors
///
/// Where it cannot be of use; see [`AgentError`].
pub async fn run(config: Config, interruptible: bool) -> Result<(), AgentError> {
    let failed = |error: std::io::Error| AgentError::Part { part: "signals", reason: error.to_string() };
    let mut signals = Signals::new(interruptible).map_err(failed)?;
    let (notices, drain_max) = (config.notices.clone(), config.drain_max);
    let drain = CancellationToken::new();
    let end = async {
        tokio::select! {
            () = signals.next() => {}
            () = notices.wait() => {}
        }
        if drain_max > Duration::ZERO {
            info!(?drain_max, "finishes its step and hands its work over; the next signal ends it at once");
            drain.cancel();
            if timeout(drain_max, signals.next()).await.is_err() {
                warn!(?drain_max, "its work was not handed over in time");
            }
        }
    };
    Box::pin(serve(config, drain.cancelled(), end)).await
}

/// Runs a worker until `end` is ready, and then leaves at once.
///
/// # Errors
///
/// Where it cannot be of use; see [`AgentError`].
pub async fn run_until(config: Config, end: impl Future<Output = ()>) -> Result<(), AgentError> {
    Box::pin(serve(config, pending(), end)).await
}

async fn serve(
    config: Config,
    drain: impl Future<Output = ()>,
    end: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let Config { coordinators, tasks, listen, advertise, tls, metrics, cache, threads, device, .. } = config;
    let tls = tls.map(|files| files.load(Role::Worker)).transpose()?;
    let device = ComputeDevice::open(device)?;
    let kind = machine_kind(&device);
    let tasks = tasks.on(device);
    phalanx_storage::clean_cache(cache.folder());
    let bound = match &tls {
        Some(tls) => Listener::bind_secured(listen, tls.clone()),
        None => Listener::bind(listen),
    };
    let listener = bound.map_err(|error| AgentError::Listen { addr: listen, error })?;
    let (member, members) = watch::channel(None);
    // A worker is of use once a coordinator knows it.
    let attached = members.clone();
    let ready: Ready = Arc::new(move || attached.borrow().is_some());
    let metrics_addr = match metrics {
        Some(addr) => Some(serve_metrics(addr, install_metrics()?, ready).await?),
        None => None,
    };
    metrics::describe();
    phalanx_data::figures::describe();
    let introduction =
        Introduction { listen: listener.local_addr(), advertise, kind, tasks: tasks.names(), metrics_addr };

    let link = Arc::new(Link::new(coordinators, tls));
    let outbox = Arc::new(Outbox::default());
    let pace = PaceMeter::default();
    let (fatal, mut fatalities) = mpsc::channel(1);
    let left = CancellationToken::new();
    let control = Control::spawn(Control {
        tasks: Arc::new(tasks),
        listener: Arc::new(listener),
        cache,
        threads,
        outbox: Arc::clone(&outbox),
        pace: pace.clone(),
        fatal,
        left: left.clone(),
        duty: Duty::default(),
        work: None,
        kept: None,
    });
    let membership = Membership::new(Arc::clone(&link), introduction, member, control.clone(), pace);
    let drained = async {
        drain.await;
        membership.drain().await;
    };
    let ended = tokio::select! {
        () = end => Ok(()),
        error = membership.run() => Err(error),
        () = sender::run(outbox, link, members, control.clone()) => Ok(()),
        fatality = fatalities.recv() => fatality.map_or(Ok(()), Err),
        () = left.cancelled() => Ok(()),
        () = drained => Ok(()),
    };
    let _ = timeout(END_MAX, control.ask(Forget)).await;
    membership.leave().await;
    ended
}

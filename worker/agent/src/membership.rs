//! Being a member of the cluster: attaching, and the long poll for directives that
//! is the heartbeat, for as long as the process lives.
//!
//! The coordinator may be away for as long as it likes: calls are made again, and
//! what is under way goes on. A coordinator that no longer knows the worker has
//! given its work to others; it attaches as a new one then. What it keeps of a job
//! may still be of use.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use kameo::actor::ActorRef;
use phalanx_member::{Attendance, Departure, Polled};
use phalanx_protocol::{
    id::WorkerId,
    message::{Attached, Hello, Timeouts},
    rpc::{NotAttached, VERSION},
};
use phalanx_storage::Store;
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};
use tracing::{info, warn};

use crate::{
    control::{Control, Directed, Forget, IsIdle},
    error::AgentError,
    link::{Backoff, Link, LinkError},
    pace::PaceMeter,
};

/// The longest that the coordinator may take to let a worker in.
const ATTACH_MAX: Duration = Duration::from_secs(5);

/// The longest that leaving may take.
const DETACH_MAX: Duration = Duration::from_secs(1);

/// What the worker is to the coordinator that it is attached to.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) worker: WorkerId,
    pub(crate) timeouts: Timeouts,
    pub(crate) store: Store,
}

/// How this worker introduces itself.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    /// Where the collective listens.
    pub(crate) listen: SocketAddr,
    /// The address to tell instead.
    pub(crate) advertise: Option<IpAddr>,
    /// The kind of machine.
    pub(crate) kind: String,
    /// Names of custom tasks.
    pub(crate) tasks: Vec<String>,
    /// Where metrics are served.
    pub(crate) metrics_addr: Option<SocketAddr>,
}

/// The worker's place in the cluster.
pub(crate) struct Membership {
    link: Arc<Link>,
    introduction: Introduction,
    member: watch::Sender<Option<Member>>,
    control: ActorRef<Control>,
    pace: PaceMeter,
    /// Whom the coordinator has let in. Locked while it is asked to: who leaves waits for the
    /// answer, or the coordinator would count on a worker that is gone.
    let_in: Arc<Mutex<Option<WorkerId>>>,
}

impl Membership {
    pub(crate) fn new(
        link: Arc<Link>,
        introduction: Introduction,
        member: watch::Sender<Option<Member>>,
        control: ActorRef<Control>,
        pace: PaceMeter,
    ) -> Self {
        Self { link, introduction, member, control, pace, let_in: Arc::default() }
    }

    /// Attaches and hands directives to control, for ever. Returns only where the
    /// worker cannot be of use.
    pub(crate) async fn run(&self) -> AgentError {
        loop {
            let member = match self.attach().await {
                Ok(member) => member,
                Err(error) => return error,
            };
            if let Err(error) = self.serve(member).await {
                return error;
            }
        }
    }

    /// Tells the coordinator that this worker is about to leave, until it knows: it then lets
    /// this worker finish its step, gives its work to others, and tells it to leave. Returns
    /// where there is nothing to be waited for: it is not let in, or has nothing to do while the
    /// coordinator is away, or is no longer known, and others have its work.
    pub(crate) async fn drain(&self) {
        let mut backoff = Backoff::new();
        loop {
            let let_in = *self.let_in.lock().await;
            let Some(worker) = let_in else { return };
            let call = self
                .link
                .call(DETACH_MAX, |client, context| async move { client.drain(context, worker).await });
            let heard = match call.await {
                Ok(Ok(())) => {
                    info!(%worker, "the coordinator knows that this worker is about to leave");
                    true
                }
                Ok(Err(rejected)) => {
                    warn!(%rejected, "the coordinator does not let this worker go");
                    false
                }
                Err(error) => {
                    warn!(%error, "the coordinator is not told that this worker is about to leave");
                    false
                }
            };
            let is_idle = self.control.ask(IsIdle).await.unwrap_or(true);
            match Departure::next(heard, is_idle) {
                Departure::Leave => return,
                Departure::Wait => {
                    let is_another = |member: &Option<Member>| {
                        member.as_ref().is_none_or(|member| member.worker != worker)
                    };
                    let _ = self.member.subscribe().wait_for(is_another).await;
                    return;
                }
                Departure::TellAgain => backoff.wait().await,
            }
        }
    }

    /// Leaves the cluster, if that can be done quickly.
    pub(crate) async fn leave(&self) {
        let let_in = timeout(DETACH_MAX, self.let_in.lock()).await;
        let Some(worker) = let_in.ok().and_then(|let_in| *let_in) else { return };
        let call =
            self.link.call(DETACH_MAX, |client, context| async move { client.detach(context, worker).await });
        match call.await {
            Ok(()) => info!(%worker, "left the cluster"),
            Err(error) => warn!(%worker, %error, "the coordinator was not told that this worker leaves"),
        }
    }

    async fn attach(&self) -> Result<Member, AgentError> {
        let mut backoff = Backoff::new();
        let mut told = None;
        loop {
            let why = match self.try_attach().await {
                Ok(Ok(Attached { worker, store_url, timeouts })) => {
                    let store = Store::open(&store_url)?;
                    info!(%worker, store = store_url, "attached");
                    let member = Member { worker, timeouts, store };
                    self.member.send_replace(Some(member.clone()));
                    return Ok(member);
                }
                Ok(Err(refused @ NotAttached::Version { .. })) => return Err(refused.into()),
                Ok(Err(
                    refused @ (NotAttached::Full { .. }
                    | NotAttached::Unavailable(_)
                    | NotAttached::Standby(_)),
                )) => refused.to_string(),
                Err(error) => error.to_string(),
            };
            if told.as_ref() != Some(&why) {
                warn!(why, "waiting for the coordinator");
                told = Some(why);
            }
            backoff.wait().await;
        }
    }

    async fn try_attach(&self) -> Result<Result<Attached, NotAttached>, LinkError> {
        let Introduction { listen, advertise, kind, tasks, metrics_addr } = self.introduction.clone();
        let near = self.link.local_ip().await?;
        let seen_from_outside = |addr: SocketAddr| {
            let ip = if addr.ip().is_unspecified() { near } else { addr.ip() };
            SocketAddr::new(advertise.unwrap_or(ip), addr.port())
        };
        let hello = Hello {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            data_addr: seen_from_outside(listen),
            kind,
            tasks,
            version: VERSION.to_owned(),
            metrics_addr: metrics_addr.map(seen_from_outside),
        };
        let (link, mut let_in) = (Arc::clone(&self.link), Arc::clone(&self.let_in).lock_owned().await);
        // A task of its own: the answer is taken in though nobody waits for it any more.
        let asked = tokio::spawn(async move {
            let answer =
                link.call(ATTACH_MAX, |client, context| async move { client.attach(context, hello).await });
            let answer = answer.await;
            *let_in = answer.as_ref().ok().and_then(|answer| answer.as_ref().ok()).map(|it| it.worker);
            answer
        });
        asked.await.expect("invariant: a call does not panic")
    }

    /// Takes directives until the coordinator no longer knows the worker.
    async fn serve(&self, member: Member) -> Result<(), AgentError> {
        let worker = member.worker;
        // One wait for directives takes up to the heartbeat time; a lost answer must be
        // noticed well before the lease ends.
        let limit = member.timeouts.heartbeat + member.timeouts.lease / 2;
        let mut backoff = Backoff::new();
        let mut away = false;
        let mut attendance = Attendance::default();
        loop {
            // What a lost call took along is not told again: the next one tells enough.
            let pace = self.pace.take();
            let last = attendance.last();
            let call = self.link.call(limit, |client, context| async move {
                client.directives(context, worker, last, pace).await
            });
            let answer = match call.await {
                Ok(answer) => answer,
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        warn!(%error, "the coordinator is away; what is under way goes on");
                    }
                    backoff.wait().await;
                    continue;
                }
            };
            match attendance.answered(answer) {
                Polled::Follow(directives) => {
                    backoff.reset();
                    if std::mem::take(&mut away) {
                        info!(%worker, "the coordinator is back");
                    }
                    for directive in directives {
                        self.tell(Directed { member: member.clone(), directive }).await?;
                    }
                }
                Polled::Forgotten => {
                    warn!(%worker, "the coordinator does not know this worker any more");
                    self.member.send_replace(None);
                    *self.let_in.lock().await = None;
                    // Attaching waits until nothing is left that the new worker could speak of.
                    let left = self.control.ask(Forget).await;
                    return left.map_err(|error| control_ended(&error));
                }
                Polled::Later(rejected) => {
                    warn!(%rejected, "no directives");
                    backoff.wait().await;
                }
            }
        }
    }

    async fn tell<M: Send + 'static>(&self, message: M) -> Result<(), AgentError>
    where
        Control: kameo::message::Message<M>,
    {
        self.control.tell(message).await.map_err(|error| control_ended(&error))
    }
}

fn control_ended(error: &impl ToString) -> AgentError {
    AgentError::Part { part: "control", reason: error.to_string() }
}

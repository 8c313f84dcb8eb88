//! Control: the actor that follows the coordinator's directives.
//!
//! It owns the work of at most one generation, and what is kept of a job between two
//! generations. What is to be done, [`Duty`] decides; here it is done.
//!
//! Invariant: the next work begins after the thread of the one before has ended;
//! where that does not end in time, the process does.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use kameo::{
    Actor,
    actor::ActorRef,
    error::Infallible,
    message::{Context, Message},
};
use phalanx_collective::Listener;
use phalanx_data::Cache;
use phalanx_member::{Action, Duty, Work};
use phalanx_protocol::{
    id::{Generation, JobId},
    message::{Directive, Event, Report},
};
use phalanx_train::Tasks;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    error::AgentError,
    failure,
    kept::{Fetching, Kept},
    membership::Member,
    orders::Orders,
    outbox::{Outbox, Reports},
    pace::PaceMeter,
    preparation::Preparation,
    training::Training,
};

/// Follows the coordinator's directives.
pub(crate) struct Control {
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) cache: Cache,
    pub(crate) threads: usize,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) pace: PaceMeter,
    /// Takes the reason for which the process must end.
    pub(crate) fatal: mpsc::Sender<AgentError>,
    /// Nothing more is wanted of this worker.
    pub(crate) left: CancellationToken,
    pub(crate) duty: Duty,
    pub(crate) work: Option<Running>,
    pub(crate) kept: Option<Kept>,
}

/// Work that is under way.
pub(crate) struct Running {
    orders: Arc<Orders>,
    task: JoinHandle<Option<Kept>>,
    /// The longest that it may take to end.
    end_max: Duration,
}

/// A directive, and what the worker is to the coordinator that gives it.
pub(crate) struct Directed {
    pub(crate) member: Member,
    pub(crate) directive: Directive,
}

/// A report told that a generation is over.
pub(crate) struct Superseded {
    pub(crate) job: JobId,
    pub(crate) generation: Generation,
}

/// Asks whether nothing is under way.
pub(crate) struct IsIdle;

/// The coordinator does not know this worker any more.
pub(crate) struct Forget;

impl Control {
    async fn follow(&mut self, member: Member, directive: Directive) -> Result<(), AgentError> {
        let (actions, work) = self.duty.directed(&directive);
        self.act(actions).await?;
        if let Some(work) = work {
            self.begin(&member, work, directive);
        }
        Ok(())
    }

    async fn act(&mut self, actions: Vec<Action>) -> Result<(), AgentError> {
        for action in actions {
            match action {
                Action::End => self.end_work().await?,
                Action::GiveUp => self.kept = None,
                Action::GiveUpState => {
                    if let Some(kept) = &mut self.kept {
                        kept.model = None;
                    }
                }
                Action::Stop { save } => {
                    info!(save, "told to stop");
                    if let Some(work) = &self.work {
                        work.orders.stop(save);
                    }
                }
                Action::Leave => {
                    info!("told to leave");
                    self.left.cancel();
                }
            }
        }
        Ok(())
    }

    /// Begins what `directive` wants.
    fn begin(&mut self, member: &Member, work: Work, directive: Directive) {
        let Work { job, generation, kind } = work;
        info!(%job, %generation, ?kind, "told to begin");
        let orders = match Orders::new() {
            Ok(orders) => Arc::new(orders),
            Err(error) => {
                self.duty.not_begun();
                let event = Event::Failed(failure::peer(error.to_string()));
                return self.outbox.add(Report { job, generation, event });
            }
        };
        let reports = Reports::new(Arc::clone(&self.outbox), job, generation, Arc::clone(&orders));
        let kept = self.kept.take();
        let task = match directive {
            Directive::Prepare { spec, trace, .. } => {
                let (store, orders) = (member.store.clone(), Arc::clone(&orders));
                let preparation = Preparation { spec, trace, store, reports, orders };
                tokio::spawn(preparation.run().map(|()| kept))
            }
            Directive::Fetch { job, dataset, trace, .. } => {
                let (store, cache) = (member.store.clone(), self.cache.clone());
                let orders = Arc::clone(&orders);
                tokio::spawn(Fetching { job, dataset, trace, store, cache, reports, orders, kept }.run())
            }
            Directive::Train(assignment) => {
                let training = Training {
                    assignment: *assignment,
                    tasks: Arc::clone(&self.tasks),
                    store: member.store.clone(),
                    cache: self.cache.clone(),
                    listener: Arc::clone(&self.listener),
                    timeouts: member.timeouts,
                    threads: self.threads,
                    reports,
                    orders: Arc::clone(&orders),
                    fatal: self.fatal.clone(),
                    pace: self.pace.clone(),
                };
                tokio::spawn(training.run(kept))
            }
            Directive::Stop { .. } | Directive::Release { .. } | Directive::Leave => {
                unreachable!("{directive:?} begins nothing")
            }
        };
        self.work = Some(Running { orders, task, end_max: member.timeouts.step });
    }

    async fn end_work(&mut self) -> Result<(), AgentError> {
        let Some(Running { orders, task, end_max }) = self.work.take() else { return Ok(()) };
        orders.end();
        match timeout(end_max, task).await {
            Ok(Ok(kept)) => {
                self.kept = kept;
                Ok(())
            }
            Ok(Err(panic)) => Err(AgentError::Part { part: "work", reason: panic.to_string() }),
            Err(_) => Err(AgentError::Hung { limit: end_max }),
        }
    }

    /// What goes wrong here cannot be mended here.
    fn settle(&self, done: Result<(), AgentError>) {
        if let Err(error) = done {
            error!(%error, "this worker cannot go on");
            // A second reason is of no interest.
            let _ = self.fatal.try_send(error);
        }
    }
}

impl Actor for Control {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(this: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(this)
    }
}

impl Message<Directed> for Control {
    type Reply = ();

    async fn handle(&mut self, Directed { member, directive }: Directed, _: &mut Context<Self, ()>) {
        let done = self.follow(member, directive).await;
        self.settle(done);
    }
}

impl Message<Superseded> for Control {
    type Reply = ();

    async fn handle(&mut self, Superseded { job, generation }: Superseded, _: &mut Context<Self, ()>) {
        let actions = self.duty.superseded(&job, generation);
        let done = self.act(actions).await;
        self.settle(done);
    }
}

impl Message<IsIdle> for Control {
    type Reply = bool;

    async fn handle(&mut self, _: IsIdle, _: &mut Context<Self, bool>) -> bool {
        self.work.as_ref().is_none_or(|work| work.task.is_finished())
    }
}

impl Message<Forget> for Control {
    type Reply = ();

    async fn handle(&mut self, _: Forget, _: &mut Context<Self, ()>) {
        let actions = self.duty.forgotten();
        let done = self.act(actions).await;
        self.outbox.clear();
        self.settle(done);
    }
}

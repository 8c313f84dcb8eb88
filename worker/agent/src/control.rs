//! Control: the actor that follows the coordinator's directives.
//!
//! It owns the work of at most one generation and decides nothing itself.
//!
//! | directive or message | idle | work of the same generation | work of another one |
//! | --- | --- | --- | --- |
//! | `Prepare`, `Train` | begins | ends it, begins | ends it, begins; an older one is ignored |
//! | `Stop` | ignored | orders it to stop | ignored |
//! | `Release`, [`Superseded`] | ignored | ends it | ignored |
//! | [`Leave`] | – | ends it | ends it |
//!
//! Invariant: the next work begins after the thread of the one before has ended;
//! where that does not end in time, the process does.

use std::{path::Path, sync::Arc, time::Duration};

use kameo::{
    Actor,
    actor::ActorRef,
    error::Infallible,
    message::{Context, Message},
};
use phalanx_collective::Listener;
use phalanx_protocol::{
    id::{Generation, JobId},
    message::{Assignment, Directive, Event, Failure, Report},
};
use phalanx_train::Tasks;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tracing::{debug, error, info};

use crate::{
    error::AgentError,
    membership::Member,
    orders::Orders,
    outbox::{Outbox, Reports},
    preparation::Preparation,
    training::Training,
};

/// Follows the coordinator's directives.
pub(crate) struct Control {
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) cache: Arc<Path>,
    pub(crate) threads: usize,
    pub(crate) outbox: Arc<Outbox>,
    /// Takes the reason for which the process must end.
    pub(crate) fatal: mpsc::Sender<AgentError>,
    pub(crate) work: Option<Work>,
}

/// The work of one generation.
pub(crate) struct Work {
    job: JobId,
    generation: Generation,
    orders: Arc<Orders>,
    task: JoinHandle<()>,
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

/// This worker is no member of the cluster any more.
pub(crate) struct Leave;

impl Control {
    async fn follow(&mut self, member: Member, directive: Directive) -> Result<(), AgentError> {
        match directive {
            Directive::Prepare { job, generation, spec, trace } => {
                info!(%job, %generation, "told to prepare");
                let Some((reports, orders)) = self.make_way(&job, generation).await? else { return Ok(()) };
                let store = member.store.clone();
                let preparation = Preparation { spec, trace, store, reports, orders: Arc::clone(&orders) };
                self.begin(&member, (job, generation), orders, preparation.run());
            }
            Directive::Train(assignment) => {
                let assignment = *assignment;
                let Assignment { job, generation, rank, .. } = &assignment;
                let (job, generation) = (job.clone(), *generation);
                info!(%job, %generation, %rank, world_size = assignment.world_size(), "told to train");
                let Some((reports, orders)) = self.make_way(&job, generation).await? else { return Ok(()) };
                let training = Training {
                    assignment,
                    tasks: Arc::clone(&self.tasks),
                    store: member.store.clone(),
                    cache: Arc::clone(&self.cache),
                    listener: Arc::clone(&self.listener),
                    timeouts: member.timeouts,
                    threads: self.threads,
                    reports,
                    orders: Arc::clone(&orders),
                };
                self.begin(&member, (job, generation), orders, training.run());
            }
            Directive::Stop { job, generation } => {
                if let Some(work) = self.work_of(&job, generation) {
                    info!(%job, %generation, "told to stop");
                    work.orders.stop();
                }
            }
            Directive::Release { job, generation } => self.release(&job, generation).await?,
        }
        Ok(())
    }

    /// Ends what is under way, so that `generation` of `job` can begin, with orders and
    /// reports of its own; `None` where it cannot begin.
    async fn make_way(
        &mut self,
        job: &JobId,
        generation: Generation,
    ) -> Result<Option<(Reports, Arc<Orders>)>, AgentError> {
        if let Some(work) = self.work.as_ref().filter(|work| work.job == *job && work.generation > generation)
        {
            debug!(%job, %generation, current = %work.generation, "a directive of an older generation");
            return Ok(None);
        }
        self.end_work().await?;
        match Orders::new() {
            Ok(orders) => {
                let orders = Arc::new(orders);
                let outbox = Arc::clone(&self.outbox);
                let reports = Reports::new(outbox, job.clone(), generation, Arc::clone(&orders));
                Ok(Some((reports, orders)))
            }
            Err(error) => {
                let event = Event::Failed(Failure::Peer { reason: error.to_string() });
                self.outbox.add(Report { job: job.clone(), generation, event });
                Ok(None)
            }
        }
    }

    fn begin(
        &mut self,
        member: &Member,
        (job, generation): (JobId, Generation),
        orders: Arc<Orders>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let end_max = member.timeouts.step;
        self.work = Some(Work { job, generation, orders, task: tokio::spawn(work), end_max });
    }

    fn work_of(&self, job: &JobId, generation: Generation) -> Option<&Work> {
        self.work.as_ref().filter(|work| work.job == *job && work.generation == generation)
    }

    async fn release(&mut self, job: &JobId, generation: Generation) -> Result<(), AgentError> {
        if self.work_of(job, generation).is_some() {
            info!(%job, %generation, "released");
            self.end_work().await?;
        }
        Ok(())
    }

    async fn end_work(&mut self) -> Result<(), AgentError> {
        let Some(Work { orders, task, end_max, .. }) = self.work.take() else { return Ok(()) };
        orders.end();
        match timeout(end_max, task).await {
            Ok(Ok(())) => Ok(()),
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
        let done = self.release(&job, generation).await;
        self.settle(done);
    }
}

impl Message<Leave> for Control {
    type Reply = ();

    async fn handle(&mut self, _: Leave, _: &mut Context<Self, ()>) {
        let done = self.end_work().await;
        self.outbox.clear();
        self.settle(done);
    }
}

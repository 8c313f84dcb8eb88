//! Control: the actor that follows the coordinator's directives.
//!
//! It owns the work of at most one generation, and what is kept of a job between two
//! generations. It decides nothing itself.
//!
//! | directive or message | idle | work of the same generation | work of another one |
//! | --- | --- | --- | --- |
//! | `Prepare`, `Fetch`, `Train` | begins | ends it, begins; the same one again is ignored | ends it, begins; an older one is ignored |
//! | `Stop` | ignored | orders it to stop | ignored |
//! | `Release`, [`Superseded`] | ignored | ends it | ignored |
//! | `Leave` | the process ends | the same | the same |
//! | [`Forget`] | – | ends it | ends it |
//!
//! Invariant: the next work begins after the thread of the one before has ended;
//! where that does not end in time, the process does.

use std::{path::Path, sync::Arc, time::Duration};

use futures::FutureExt as _;
use kameo::{
    Actor,
    actor::ActorRef,
    error::Infallible,
    message::{Context, Message},
};
use phalanx_collective::Listener;
use phalanx_protocol::{
    id::{Generation, JobId},
    message::{Assignment, Directive, Event, Report},
};
use phalanx_train::Tasks;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::{
    error::AgentError,
    failure,
    kept::{Fetching, Kept},
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
    /// Nothing more is wanted of this worker.
    pub(crate) left: CancellationToken,
    pub(crate) work: Option<Work>,
    pub(crate) kept: Option<Kept>,
}

/// The work of one generation.
pub(crate) struct Work {
    job: JobId,
    generation: Generation,
    kind: Kind,
    orders: Arc<Orders>,
    task: JoinHandle<Option<Kept>>,
    /// The longest that it may take to end.
    end_max: Duration,
}

/// What a generation wants of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Prepare,
    Fetch,
    Train,
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
        match directive {
            Directive::Prepare { job, generation, spec, trace } => {
                info!(%job, %generation, "told to prepare");
                let Some((reports, orders)) = self.make_way(&job, generation, Kind::Prepare).await? else {
                    return Ok(());
                };
                let (store, kept) = (member.store.clone(), self.kept.take());
                let preparation = Preparation { spec, trace, store, reports, orders: Arc::clone(&orders) };
                let work = preparation.run().map(|()| kept);
                self.begin(&member, (job, generation, Kind::Prepare), orders, work);
            }
            Directive::Fetch { job, generation, dataset, trace } => {
                info!(%job, %generation, "told to fetch");
                let Some((reports, orders)) = self.make_way(&job, generation, Kind::Fetch).await? else {
                    return Ok(());
                };
                let fetching = Fetching {
                    job: job.clone(),
                    dataset,
                    trace,
                    store: member.store.clone(),
                    cache: Arc::clone(&self.cache),
                    reports,
                    orders: Arc::clone(&orders),
                    kept: self.kept.take(),
                };
                self.begin(&member, (job, generation, Kind::Fetch), orders, fetching.run());
            }
            Directive::Train(assignment) => self.train(&member, *assignment).await?,
            Directive::Stop { job, generation, save } => {
                if let Some(work) = self.work_of(&job, generation) {
                    info!(%job, %generation, save, "told to stop");
                    work.orders.stop(save);
                }
            }
            Directive::Release { job, generation, keep } => {
                self.release(&job, generation).await?;
                if !keep && self.work.is_none() {
                    self.kept.take_if(|kept| kept.job == job);
                }
            }
            Directive::Leave => {
                info!("told to leave");
                self.left.cancel();
            }
        }
        Ok(())
    }

    async fn train(&mut self, member: &Member, assignment: Assignment) -> Result<(), AgentError> {
        let Assignment { job, generation, rank, .. } = &assignment;
        let (job, generation) = (job.clone(), *generation);
        info!(%job, %generation, %rank, world_size = assignment.world_size(), "told to train");
        let Some((reports, orders)) = self.make_way(&job, generation, Kind::Train).await? else {
            return Ok(());
        };
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
            fatal: self.fatal.clone(),
        };
        let kept = self.kept.take();
        self.begin(member, (job, generation, Kind::Train), orders, training.run(kept));
        Ok(())
    }

    /// Ends what is under way, so that `generation` of `job` can begin, with orders and
    /// reports of its own; `None` where it cannot begin, or has begun.
    async fn make_way(
        &mut self,
        job: &JobId,
        generation: Generation,
        kind: Kind,
    ) -> Result<Option<(Reports, Arc<Orders>)>, AgentError> {
        if let Some(work) = self.work.as_ref().filter(|work| work.job == *job)
            && (work.generation > generation || (work.generation == generation && work.kind == kind))
        {
            debug!(%job, %generation, current = %work.generation, "a directive that came before");
            return Ok(None);
        }
        self.end_work().await?;
        self.kept.take_if(|kept| kept.job != *job);
        match Orders::new() {
            Ok(orders) => {
                let orders = Arc::new(orders);
                let outbox = Arc::clone(&self.outbox);
                let reports = Reports::new(outbox, job.clone(), generation, Arc::clone(&orders));
                Ok(Some((reports, orders)))
            }
            Err(error) => {
                let event = Event::Failed(failure::peer(error.to_string()));
                self.outbox.add(Report { job: job.clone(), generation, event });
                Ok(None)
            }
        }
    }

    fn begin(
        &mut self,
        member: &Member,
        (job, generation, kind): (JobId, Generation, Kind),
        orders: Arc<Orders>,
        work: impl Future<Output = Option<Kept>> + Send + 'static,
    ) {
        let end_max = member.timeouts.step;
        self.work = Some(Work { job, generation, kind, orders, task: tokio::spawn(work), end_max });
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
        let done = self.release(&job, generation).await;
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
        let done = self.end_work().await;
        self.outbox.clear();
        self.settle(done);
    }
}

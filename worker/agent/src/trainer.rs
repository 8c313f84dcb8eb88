//! The trainer's thread: connects the generation and runs the session in it.
//!
//! The thread belongs to a rayon pool of the worker's own size, so that kernels
//! find as many threads as the worker was given, wherever they ask, and with one
//! thread compute right where they are called.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use kameo::actor::ActorRef;
use phalanx_collective::{Group, GroupConfig, Listener, Transport};
use phalanx_data::Dataset;
use phalanx_member::{StopVote, speaks_first};
use phalanx_protocol::{
    message::{Assignment, Event, Failure, Timeouts},
    pace::StepTime,
};
use phalanx_storage::Store;
use phalanx_train::{Ended, Held, Host, Ledger, Session, Snapshot, Tasks, TrainError};
use rayon::ThreadPoolBuilder;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};
use tracing::{Span, info_span};

use crate::{
    checkpointer::{Checkpointer, Save},
    failure::{self, TrainerFailed},
    metrics,
    orders::Orders,
    outbox::Reports,
    pace::PaceMeter,
    patience,
    restore::restore,
    watch::Watch,
};

/// How long a rank that has failed for a reason of its own keeps its connections, so that the
/// coordinator hears of it before its peers report that they have lost it; and how often it looks.
const FAILING_MAX: Duration = Duration::from_secs(2);
const HEARD_EVERY: Duration = Duration::from_millis(1);

/// All that a session needs.
pub(crate) struct Trainer {
    pub(crate) assignment: Assignment,
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) held: Option<Held>,
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) store: Store,
    pub(crate) listener: Arc<Listener>,
    pub(crate) timeouts: Timeouts,
    pub(crate) reports: Reports,
    pub(crate) checkpointer: ActorRef<Checkpointer>,
    pub(crate) orders: Arc<Orders>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) pace: PaceMeter,
}

impl Trainer {
    /// Runs the session to its end on `threads` threads of its own, in the current span.
    /// Must be waited for: one process trains one job at a time.
    pub(crate) async fn run(self, threads: usize) -> Result<Ended, TrainerFailed> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("trainer-{number}"))
            .build()
            .map_err(|error| TrainerFailed::Thread(error.to_string()))?;
        let (done, ended) = oneshot::channel();
        let (span, runtime) = (Span::current(), Handle::current());
        pool.spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| span.in_scope(|| self.train(runtime))));
            let ended = ended.unwrap_or_else(|panic| Err(TrainerFailed::from_panic(panic.as_ref())));
            // Nobody listens any more where the process is ending.
            let _ = done.send(ended);
        });
        ended.await.unwrap_or_else(|_| Err(TrainerFailed::Panic("its thread has ended".to_owned())))
    }

    fn train(self, runtime: Handle) -> Result<Ended, TrainerFailed> {
        let Self { assignment, dataset, tasks, held, ledger, listener, timeouts, .. } = self;
        let config = group_config(&assignment, &timeouts, Transport::Auto);
        let group = match Group::connect(&listener, config, self.orders.abort_handle()) {
            Ok(group) => group,
            Err(error) => return Ok(Ended { ending: Err(error.into()), held }),
        };
        let mut host = TrainerHost {
            step_samples: u64::from(assignment.spec.train.lane_batch()) * group.lanes().len() as u64,
            lanes: group.lanes().end - group.lanes().start,
            pace: self.pace,
            last_vote: Cell::new(None),
            place: Arc::new(Semaphore::new(1)),
            reports: self.reports,
            checkpointer: self.checkpointer,
            orders: self.orders,
            watch: self.watch,
            assignment: assignment.clone(),
            store: self.store,
            runtime,
        };
        let session = Session { assignment, dataset, tasks, held, ledger, group };
        Ok(phalanx_train::run(session, &mut host))
    }
}

/// The group of a generation, as one of its ranks joins it.
pub(crate) fn group_config(
    assignment: &Assignment,
    timeouts: &Timeouts,
    transport: Transport,
) -> GroupConfig {
    GroupConfig {
        job: assignment.job.to_string(),
        generation: assignment.generation.get(),
        rank: assignment.rank.get(),
        lanes: assignment.spec.train.lanes,
        peers: assignment.peers.iter().map(|peer| peer.data_addr).collect(),
        // Waits contain what the peers compute. Who is dead or silent ends them sooner.
        timeout: timeouts.exchange(&assignment.spec.train),
        silence: timeouts.abort,
        transport,
    }
}

/// What the session tells goes to the outbox and to the checkpointer.
struct TrainerHost {
    reports: Reports,
    checkpointer: ActorRef<Checkpointer>,
    orders: Arc<Orders>,
    watch: Arc<Watch>,
    assignment: Assignment,
    store: Store,
    runtime: Handle,
    /// Samples in one step on this rank.
    step_samples: u64,
    /// Lanes that this rank owns.
    lanes: u32,
    pace: PaceMeter,
    /// When the last step began: it asks for a vote once.
    last_vote: Cell<Option<Instant>>,
    /// The checkpointer's place, while it is free.
    place: Arc<Semaphore>,
}

impl Host for TrainerHost {
    fn event(&mut self, event: Event) {
        self.watch.tells();
        self.reports.tell(event);
    }

    fn stepped(&mut self, time: &StepTime) {
        metrics::reduced(time.reduction);
        self.pace.add((&self.assignment.job, self.assignment.generation), self.lanes, time);
    }

    fn stop_vote(&self) -> StopVote {
        self.watch.tells();
        let now = Instant::now();
        let last = self.last_vote.replace(Some(now));
        metrics::step_begins(self.step_samples, last.map(|last| now - last));
        self.orders.vote()
    }

    fn is_saving(&self) -> bool {
        self.place.available_permits() == 0
    }

    fn checkpoint(&mut self, snapshot: Snapshot, took: Duration) {
        let begun = Instant::now();
        let span = info_span!("checkpoint", step = snapshot.step());
        let place = Arc::clone(&self.place).try_acquire_owned().ok();
        // It has ended only with its generation, and then nobody wants the snapshot.
        let save = Save { snapshot, place, span };
        let _ = self.watch.wait_for_store(|| self.checkpointer.tell(save).blocking_send());
        metrics::snapshot_taken(took + begun.elapsed());
    }

    fn restore(&mut self) -> Result<Snapshot, Failure> {
        let mut patience = patience::with_store(&self.store, &self.reports);
        let restored = self.orders.unless_over(restore(&self.store, &self.assignment, &mut patience));
        let over = |_| failure::peer("the generation is over".to_owned());
        self.watch.wait_for_store(|| self.runtime.block_on(restored)).map_err(over)?
    }

    fn failing(&mut self, error: &TrainError) {
        let resumed_from = self.assignment.resume.as_ref().map(|from| from.manifest.path.as_str());
        let failure = failure::train(error, resumed_from);
        if !speaks_first(&failure) {
            return;
        }
        self.reports.tell(Event::Failed(failure));
        let begun = Instant::now();
        while !self.reports.are_heard() && !self.orders.is_over() && begun.elapsed() < FAILING_MAX {
            std::thread::sleep(HEARD_EVERY);
        }
    }
}

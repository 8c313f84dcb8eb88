//! The trainer's thread: connects the generation and runs the session in it.
//!
//! The thread belongs to a rayon pool of the worker's own size, so that kernels
//! find as many threads as the worker was given, wherever they ask, and with one
//! thread compute right where they are called.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use kameo::actor::ActorRef;
use phalanx_collective::{Group, GroupConfig, Listener, Transport};
use phalanx_data::Dataset;
use phalanx_protocol::message::{Assignment, Event, Timeouts};
use phalanx_train::{Ending, Host, Session, Snapshot, StopVote, Tasks};
use rayon::ThreadPoolBuilder;
use tokio::sync::oneshot;
use tracing::{Span, info_span};

use crate::{
    checkpointer::{Checkpointer, Save},
    failure::TrainerFailed,
    metrics,
    orders::Orders,
    outbox::Reports,
};

/// All that a session needs.
pub(crate) struct Trainer {
    pub(crate) assignment: Assignment,
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) restored: Option<Snapshot>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) timeouts: Timeouts,
    pub(crate) reports: Reports,
    pub(crate) checkpointer: ActorRef<Checkpointer>,
    pub(crate) orders: Arc<Orders>,
}

impl Trainer {
    /// Runs the session to its end on `threads` threads of its own, in the current span.
    /// Must be waited for: one process trains one job at a time.
    pub(crate) async fn run(self, threads: usize) -> Result<Ending, TrainerFailed> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("trainer-{number}"))
            .build()
            .map_err(|error| TrainerFailed::Thread(error.to_string()))?;
        let (done, ended) = oneshot::channel();
        let span = Span::current();
        pool.spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| span.in_scope(|| self.train())));
            let ended = ended.unwrap_or_else(|panic| Err(TrainerFailed::from_panic(panic.as_ref())));
            // Nobody listens any more where the process is ending.
            let _ = done.send(ended);
        });
        ended.await.unwrap_or_else(|_| Err(TrainerFailed::Panic("its thread has ended".to_owned())))
    }

    fn train(self) -> Result<Ending, TrainerFailed> {
        let Self { assignment, dataset, tasks, restored, listener, timeouts, .. } = self;
        let config = group_config(&assignment, &timeouts, Transport::Auto);
        let group = Group::connect(&listener, config, self.orders.abort_handle())
            .map_err(phalanx_train::TrainError::from)?;
        let mut host = TrainerHost {
            step_samples: u64::from(assignment.spec.train.lane_batch()) * group.lanes().len() as u64,
            last_vote: Cell::new(None),
            reports: self.reports,
            checkpointer: self.checkpointer,
            orders: self.orders,
        };
        let session = Session { assignment, dataset, tasks, restored, group };
        Ok(phalanx_train::run(session, &mut host)?)
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
    /// Samples in one step on this rank.
    step_samples: u64,
    /// When the last step began: it asks for a vote once.
    last_vote: Cell<Option<Instant>>,
}

impl Host for TrainerHost {
    fn event(&mut self, event: Event) {
        self.reports.tell(event);
    }

    fn stop_vote(&self) -> StopVote {
        let now = Instant::now();
        let last = self.last_vote.replace(Some(now));
        metrics::step_begins(self.step_samples, last.map(|last| now - last));
        self.orders.vote()
    }

    fn checkpoint(&mut self, snapshot: Snapshot) {
        let span = info_span!("checkpoint", step = snapshot.step());
        // It has ended only with its generation, and then nobody wants the snapshot.
        let _ = self.checkpointer.tell(Save { snapshot, span }).blocking_send();
    }
}

//! The driver: one task that owns the state machine. It takes what happened,
//! lets the machine decide, makes the decision durable, and only then tells
//! anybody.
//!
//! Invariants:
//!
//! 1. Nothing is sent, answered or shown before the records it rests on are
//!    durable.
//! 2. When records cannot be stored the driver ends, and with it everything
//!    that was decided but not stored: nobody has heard of it.
//! 3. When its term is over the driver ends, and answers nobody any more: another
//!    coordinator may lead.
//! 4. What was heard before a lease ended counts, even if the driver was held up
//!    by a slow disk and gets to it only afterwards.
//!
//! Inputs that have piled up are taken together, and share one transaction and one decision on who
//! gets which workers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use phalanx_core::{Completion, Coordinator, Effect, Input, Now, Rejected, Reply};
use phalanx_protocol::{id::WorkerId, message::Numbered};
use phalanx_storage::Store;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::{
    clock::Clock,
    files::FileWork,
    handle::{Inbox, Look, MESSAGES_MAX, Message},
    metrics,
    state::{Put, Revision, StateError, StateStore},
};

type Answer<T> = oneshot::Sender<Result<T, Rejected>>;

/// A coordinator and everything it acts through.
#[derive(Debug)]
pub(crate) struct Driver {
    coordinator: Coordinator,
    clock: Clock,
    /// The latest time that the machine was told.
    told: Duration,
    state: Box<dyn StateStore>,
    revision: Revision,
    inbox: Inbox,
    files: FileWork,
    waiting: BTreeMap<WorkerId, Waiting>,
}

/// A worker's call that waits for directives. A worker has one at a time.
#[derive(Debug)]
struct Waiting {
    after: u64,
    answer: Answer<Vec<Numbered>>,
}

impl Driver {
    /// A driver of a machine that was restored from `state` at `revision`.
    pub(crate) fn new(
        coordinator: Coordinator,
        clock: Clock,
        (state, revision): (Box<dyn StateStore>, Revision),
        store: Store,
        inbox: Inbox,
    ) -> Self {
        let waiting = BTreeMap::new();
        let (told, files) = (Duration::ZERO, FileWork::new(store));
        Self { coordinator, clock, told, state, revision, inbox, files, waiting }
    }

    /// Does what the restored machine wants done first, then takes inputs until `stop`.
    ///
    /// # Errors
    ///
    /// The state could not be stored, or the term is over.
    pub(crate) async fn run(
        mut self,
        restored: Vec<Effect>,
        stop: CancellationToken,
    ) -> Result<(), StateError> {
        let ended = self.turns(restored, stop).await;
        match &ended {
            Err(error) if error.ends_the_term() => warn!(%error, "this coordinator leads no more"),
            Err(error) => error!(%error, "the state cannot be stored, the coordinator stops"),
            Ok(()) => {}
        }
        ended
    }

    async fn turns(&mut self, restored: Vec<Effect>, stop: CancellationToken) -> Result<(), StateError> {
        self.settle(restored, Vec::new()).await?;
        let mut batch = Vec::with_capacity(MESSAGES_MAX);
        loop {
            let deadline = self.coordinator.next_deadline();
            let mut effects = Vec::new();
            let mut owed = Vec::new();
            let mut completion = None;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.inbox.term.over() => return Err(StateError::TermOver),
                () = self.clock.reach(deadline) => {}
                completed = self.files.next() => completion = Some(completed),
                taken = self.inbox.messages.recv_many(&mut batch, MESSAGES_MAX) => {
                    if taken == 0 {
                        return Ok(());
                    }
                }
            }
            while batch.len() < MESSAGES_MAX
                && let Ok(message) = self.inbox.messages.try_recv()
            {
                batch.push(message);
            }
            for message in batch.drain(..) {
                self.take(message, &mut effects, &mut owed);
            }
            let (now, behind) = self.now();
            if let Some(completion) = completion {
                self.complete(now, completion, &mut effects);
            }
            self.tick(now, &mut effects);
            self.coordinator.place(Now { instant: self.told, ..now }, &mut effects);
            self.settle(effects, owed).await?;
            if behind {
                // Lets those in who wait for a place in the queue.
                tokio::task::yield_now().await;
            }
        }
    }

    /// The time that the machine may be told, and whether that is in the past:
    /// while something is on its way that was heard of before, it may not be told
    /// the time of now (invariant 4).
    fn now(&self) -> (Now, bool) {
        let now = self.clock.now();
        let behind = self.inbox.is_behind();
        (if behind { Now { instant: self.told, ..now } } else { now }, behind)
    }

    /// Tells the machine the time, if it wants to know it by now.
    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.coordinator.next_deadline().is_none_or(|deadline| deadline > now.instant) {
            return;
        }
        if let Err(rejected) = self.handle(now, Input::Tick, effects) {
            error!(%rejected, "the passing of time was rejected");
        }
        self.waiting.retain(|_, waiting| !waiting.answer.is_closed());
    }

    fn complete(&mut self, now: Now, completion: Completion, effects: &mut Vec<Effect>) {
        metrics::file_written(&completion);
        // A rejection is of a generation or a job that is gone by now.
        if let Err(rejected) = self.handle(now, Input::EffectDone(completion), effects) {
            debug!(%rejected, "a written file is not needed any more");
        }
    }

    /// Messages are stamped before they queue, so `at` may lie a little before
    /// the time that the machine was told last; for it time never goes back.
    fn handle(&mut self, at: Now, input: Input, effects: &mut Vec<Effect>) -> Result<Reply, Rejected> {
        self.told = self.told.max(at.instant);
        self.coordinator.handle(Now { instant: self.told, wall: at.wall }, input, effects)
    }

    fn take(&mut self, message: Message, effects: &mut Vec<Effect>, owed: &mut Vec<Look>) {
        match message {
            Message::Input { input, at, span, answer } => {
                let _entered = span.entered();
                metrics::input(&input);
                let result = self.handle(at.taken(), input, effects);
                owed.push(answering(answer, result));
            }
            Message::Wait { worker, after, pace, at, answer } => {
                match self.handle(at.taken(), Input::Poll { worker, after, pace }, effects) {
                    Ok(Reply::Directives(directives)) if directives.is_empty() => {
                        self.waiting.insert(worker, Waiting { after, answer });
                    }
                    Ok(Reply::Directives(directives)) => owed.push(answering(answer, Ok(directives))),
                    Ok(other) => unreachable!("invariant: a poll is answered with directives, not {other:?}"),
                    Err(rejected) => owed.push(answering(answer, Err(rejected))),
                }
            }
            Message::Gone { worker, at } => {
                let at = at.taken();
                // It may wait over another connection by now.
                if self.waiting.get(&worker).is_some_and(|waiting| !waiting.answer.is_closed()) {
                    return;
                }
                self.waiting.remove(&worker);
                if let Err(rejected) = self.handle(at, Input::Disconnected { worker }, effects) {
                    debug!(%rejected, "a worker that is gone was not known");
                }
            }
            Message::Read(look) => owed.push(look),
        }
    }

    /// Stores what was decided, does what is to be done, and gives the answers
    /// that are owed, in their order.
    async fn settle(&mut self, effects: Vec<Effect>, owed: Vec<Look>) -> Result<(), StateError> {
        self.persist(&effects).await?;
        if self.inbox.term.is_over() {
            return Err(StateError::TermOver);
        }
        let mut changed = false;
        for effect in effects {
            match effect {
                Effect::Persist(_) => {}
                Effect::Send { worker } => self.wake(worker),
                Effect::JobChanged(_) => changed = true,
                Effect::WriteCheckpointManifest { .. }
                | Effect::DeleteCheckpoint { .. }
                | Effect::DeleteLeftovers(_)
                | Effect::WriteModelManifest { .. } => self.files.begin(effect),
            }
        }
        if changed {
            self.inbox.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
        for look in owed {
            look(&self.coordinator);
        }
        Ok(())
    }

    /// Stores all records of `effects` in one transaction; of those with the
    /// same key, the newest.
    async fn persist(&mut self, effects: &[Effect]) -> Result<(), StateError> {
        let mut records = BTreeMap::new();
        for effect in effects {
            if let Effect::Persist(record) = effect {
                records.insert(record.key(), record);
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let put = |(key, record): (String, &phalanx_core::Record)| Put { key, value: record.encode() };
        let changes = records.into_iter().map(put).collect();
        let begin = Instant::now();
        self.revision = self.state.commit(self.revision, changes).await?;
        metrics::state_committed(begin.elapsed());
        Ok(())
    }

    /// Answers the worker's call, if it waits for directives.
    fn wake(&mut self, worker: WorkerId) {
        let Some(Waiting { after, answer }) = self.waiting.remove(&worker) else { return };
        if let Some(directives) = self.coordinator.directives_after(worker, after) {
            let _ = answer.send(Ok(directives));
        }
    }
}

/// An answer that is owed.
fn answering<T: Send + 'static>(answer: Answer<T>, result: Result<T, Rejected>) -> Look {
    Box::new(move |_| {
        // Whoever asked may have gone away.
        let _ = answer.send(result);
    })
}

#[cfg(test)]
mod tests;

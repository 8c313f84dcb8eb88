//! What a handler may touch beside its job: it can look at the time, and queue
//! directives and effects. It cannot do anything.

use std::{collections::BTreeSet, time::Duration};

use phalanx_protocol::{
    id::{JobId, WorkerId},
    message::Directive,
};

use crate::{Config, Effect, Now, Record, registry::Registry, worker::Fleet};

/// The surroundings of one input.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a Config,
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) registry: &'a mut Registry,
    pub(crate) turn: &'a mut Turn,
}

/// What one input leads to.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// What is to be done, in order.
    pub(crate) effects: Vec<Effect>,
    /// Jobs that look different now.
    pub(crate) changed: BTreeSet<JobId>,
    /// Whether a job or a worker has begun to wait.
    pub(crate) placement_due: bool,
}

impl Context<'_> {
    /// Queues a record for the state store.
    pub(crate) fn persist(&mut self, record: Record) {
        self.turn.effects.push(Effect::Persist(record));
    }

    /// Queues the record of what is remembered of processes.
    pub(crate) fn remember_processes(&mut self) {
        self.persist(Record::Processes(self.fleet.processes().stored()));
    }

    /// Queues a directive; one for a worker that is no longer attached is dropped.
    pub(crate) fn tell(&mut self, worker: WorkerId, directive: Directive) {
        if self.fleet.send(worker, directive) {
            self.turn.effects.push(Effect::Send { worker });
        }
    }

    /// Queues the release of a worker, which serves nobody from then on.
    pub(crate) fn release(&mut self, worker: WorkerId, release: Directive) {
        if self.fleet.release(worker, release) {
            self.turn.effects.push(Effect::Send { worker });
        }
    }

    /// Queues the release of a worker that is a member of the next generation, too.
    pub(crate) fn recall(&mut self, worker: WorkerId, job: &JobId, release: Directive) {
        if self.fleet.recall(worker, job, release) {
            self.turn.effects.push(Effect::Send { worker });
        }
    }

    /// The moment `duration` from now.
    pub(crate) fn after(&self, duration: Duration) -> Duration {
        self.now.instant.saturating_add(duration)
    }
}

//! The state machine's one entry: an input comes in, effects go out.

use std::time::Duration;

use phalanx_protocol::{
    id::{JobId, WorkerId},
    message::Numbered,
    view::{Curve, JobView, ModelView, WorkerView},
};

use crate::{Config, Effect, Input, Now, Record, Rejected, Reply, RestoreError};

/// The state of a coordinator.
#[derive(Debug)]
pub struct Coordinator {
    config: Config,
}

impl Coordinator {
    /// A coordinator that knows of nothing.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// The coordinator that wrote `records`, after a restart, and what it must
    /// do at once. Jobs that were running queue again with their newest
    /// checkpoint; no worker is known until it attaches.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] if the records contradict each other.
    pub fn restore(
        config: Config,
        now: Now,
        records: impl IntoIterator<Item = Record>,
        out: &mut Vec<Effect>,
    ) -> Result<Self, RestoreError> {
        let _ = (now, records.into_iter().next(), out);
        Ok(Self { config })
    }

    /// Takes one input and adds to `out` what is to be done, in order. The
    /// effects are to be done even if the input was rejected: leases that ended
    /// meanwhile are dealt with first.
    ///
    /// # Errors
    ///
    /// [`Rejected`] says why the input was not taken.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Effect>) -> Result<Reply, Rejected> {
        let _ = (now, input, out);
        Ok(Reply::Done)
    }

    /// When [`Input::Tick`] is due, on the clock of [`Now::instant`].
    pub fn next_deadline(&self) -> Option<Duration> {
        None
    }

    /// The directives in a worker's queue after number `after`; `None` if the worker is not attached.
    pub fn directives_after(&self, worker: WorkerId, after: u64) -> Option<Vec<Numbered>> {
        let _ = (worker, after);
        None
    }

    /// All jobs in the order of their submission.
    pub fn jobs(&self) -> Vec<JobView> {
        Vec::new()
    }

    /// A job.
    pub fn job(&self, id: &JobId) -> Option<JobView> {
        let _ = id;
        None
    }

    /// A job's loss curve.
    pub fn curve(&self, id: &JobId) -> Option<Curve> {
        let _ = id;
        None
    }

    /// All workers by number.
    pub fn workers(&self) -> Vec<WorkerView> {
        Vec::new()
    }

    /// All models by name.
    pub fn models(&self) -> Vec<ModelView> {
        Vec::new()
    }

    /// A model.
    pub fn model(&self, name: &str) -> Option<ModelView> {
        let _ = name;
        None
    }

    /// The time limits that workers are told when they attach.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

//! A coordinator's jobs, for another interface in the same process: that which makes jobs of Kubernetes' resources.
//! Like the other interfaces it holds no state, and decides nothing.

use phalanx_core::{Attached, Demand, Rejected};
use phalanx_protocol::{
    id::JobId,
    spec::{JobSpec, WorkersSpec},
    view::{JobState, JobView},
};
use tokio::sync::watch;

use crate::{
    handle::{CallError, Handle},
    seat::Seat,
};

/// Why something was not done. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobsError {
    /// The state machine did not take it, for a reason that stays.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// This coordinator does not lead, or leads no more: another one does it.
    #[error("this coordinator does not lead")]
    NotLeading,
}

impl From<CallError> for JobsError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Rejected(rejected) => Self::Rejected(rejected),
            CallError::Stopped | CallError::Standby(_) => Self::NotLeading,
        }
    }
}

/// Everything that is wrong with a job for a cluster, each mistake with its setting; nothing if it can run. It is asked
/// before the state machine is: a rule that panics on what nobody thought of must end a request and not the coordinator.
pub fn problems(spec: &JobSpec) -> Vec<String> {
    let mut problems: Vec<String> = spec.problems().iter().map(ToString::to_string).collect();
    let relative = spec.data.paths().filter(|path| path.is_relative());
    problems.extend(relative.map(|path| {
        format!(
            "the path of the data must be absolute, since it is opened on a worker, got {}",
            path.display()
        )
    }));
    problems
}

/// The way to a coordinator's jobs, while it leads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Jobs {
    handle: Handle,
    seat: watch::Receiver<Seat>,
}

impl Jobs {
    pub(crate) fn new(seat: watch::Receiver<Seat>) -> Self {
        Self { handle: Handle::new(seat.clone()), seat }
    }

    /// Returns when this coordinator leads; at once, if it does.
    pub async fn leads(&mut self) {
        self.seat_is(|seat| matches!(seat, Seat::Leading(_))).await;
    }

    /// Returns when this coordinator's term is over; at once, if it does not lead.
    pub async fn term_is_over(&mut self) {
        self.seat_is(|seat| matches!(seat, Seat::Standby(_))).await;
    }

    async fn seat_is(&mut self, what: impl FnMut(&Seat) -> bool) {
        // Nobody changes it any more: the only coordinator of its state leads to its end.
        if self.seat.wait_for(what).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Tells that a job has changed; which one is not told.
    ///
    /// # Errors
    ///
    /// This coordinator does not lead.
    pub fn changes(&self) -> Result<watch::Receiver<u64>, JobsError> {
        Ok(self.handle.changes()?)
    }

    /// Hands in a job; whoever does it again with the same key is told the same job.
    ///
    /// # Errors
    ///
    /// The job is wrong, there are too many, or this coordinator does not lead.
    pub async fn submit(&self, key: &str, spec: JobSpec) -> Result<JobId, JobsError> {
        Ok(self.handle.submit(spec, Some(key.to_owned())).await?)
    }

    /// Gives a job up; its state is saved.
    ///
    /// # Errors
    ///
    /// The job is over or unknown, or this coordinator does not lead.
    pub async fn cancel(&self, job: JobId) -> Result<(), JobsError> {
        Ok(self.handle.cancel(job).await?)
    }

    /// Changes how many workers a job takes.
    ///
    /// # Errors
    ///
    /// The job is over or unknown, the numbers are wrong, or this coordinator does not lead.
    pub async fn scale(&self, job: JobId, workers: WorkersSpec) -> Result<(), JobsError> {
        Ok(self.handle.scale(job, workers).await?)
    }

    /// The jobs that were handed in with a key and are `wanted`, with their keys.
    ///
    /// # Errors
    ///
    /// This coordinator does not lead.
    pub async fn with_key(
        &self,
        wanted: impl Fn(&str, JobState) -> bool + Send + 'static,
    ) -> Result<Vec<(String, JobView)>, JobsError> {
        Ok(self.handle.read(move |coordinator| coordinator.jobs_with_key(wanted)).await?)
    }

    /// What live jobs ask for, the most important first, and the workers that are there.
    ///
    /// # Errors
    ///
    /// This coordinator does not lead.
    pub async fn demand(&self) -> Result<(Vec<Demand>, Vec<Attached>), JobsError> {
        Ok(self.handle.read(|coordinator| (coordinator.demand(), coordinator.attached())).await?)
    }
}

//! The RPC trait: what a worker calls on its coordinator. Control only, never
//! a tensor.

use serde::{Deserialize, Serialize};

use crate::{
    id::{Generation, WorkerId},
    message::{Attached, Hello, Numbered, Report},
};

/// The coordinator, as workers see it.
#[tarpc::service]
pub trait Coordinator {
    /// Enters the cluster. The worker's lease begins.
    async fn attach(hello: Hello) -> Attached;

    /// Renews the lease and waits up to the heartbeat time for directives after
    /// number `after`; an empty answer is a heartbeat.
    async fn directives(worker: WorkerId, after: u64) -> Result<Vec<Numbered>, Rejected>;

    /// Tells what happened. When this returns, it is in the state store.
    async fn report(worker: WorkerId, report: Report) -> Result<(), Rejected>;

    /// Leaves the cluster at once; its work is given to others.
    async fn detach(worker: WorkerId);
}

/// Why the coordinator did not take a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejected {
    /// The worker's lease is over, or the coordinator was restarted: attach again.
    #[error("worker {0} is not attached")]
    UnknownWorker(WorkerId),
    /// The report belongs to an older generation: drop what belongs to it.
    #[error("generation {got} is over; the job is in generation {current}")]
    StaleGeneration {
        /// The report's generation.
        got: Generation,
        /// The job's generation.
        current: Generation,
    },
    /// The state store could not be written; say it again later.
    #[error("the coordinator could not store it: {0}")]
    Unavailable(String),
}

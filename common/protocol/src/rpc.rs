//! The RPC trait: what a worker calls on its coordinator. Control only, never
//! a tensor.

use serde::{Deserialize, Serialize};

use crate::{
    id::{Generation, WorkerId},
    message::{Attached, Hello, Numbered, Report},
    pace::Pace,
};

/// The version of the messages. Their encoding has no field names, so worker and coordinator must
/// have the same; [`Hello`] itself is kept as it is for as long as can be, so that they can tell.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The byte that the coordinator sends over a TLS connection once it has taken the worker's
/// certificate. Calls begin after it; without TLS they begin at once.
pub const LET_IN: u8 = 1;

/// The coordinator, as workers see it.
#[tarpc::service]
pub trait Coordinator {
    /// Enters the cluster. The worker's lease begins.
    async fn attach(hello: Hello) -> Result<Attached, NotAttached>;

    /// Renews the lease, tells the pace since the last call where the worker trains, and waits up
    /// to the heartbeat time for directives after number `after`; an empty answer is a heartbeat.
    async fn directives(worker: WorkerId, after: u64, pace: Option<Pace>) -> Result<Vec<Numbered>, Rejected>;

    /// Tells what happened. When this returns, it is in the state store.
    async fn report(worker: WorkerId, report: Report) -> Result<(), Rejected>;

    /// Is about to leave: it finishes its step, hands its work over, and is told to
    /// [leave](crate::message::Directive::Leave).
    async fn drain(worker: WorkerId) -> Result<(), Rejected>;

    /// Leaves the cluster at once; its work is given to others.
    async fn detach(worker: WorkerId);
}

/// Of several coordinators, this one only stands by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("this coordinator stands by, {}", in_words(.leader.as_deref()))]
pub struct Standby {
    /// Where the one that leads is reached, as far as is known: `host:port` for workers, a URL
    /// for users. It may be gone by now.
    pub leader: Option<String>,
}

fn in_words(leader: Option<&str>) -> String {
    leader.map_or_else(|| "and none leads at this moment".to_owned(), |at| format!("the one at {at} leads"))
}

/// Why the coordinator did not let a worker in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NotAttached {
    /// There are as many workers as it takes; there may be room later.
    #[error("the coordinator has {limit} workers already, as many as it takes")]
    Full {
        /// The bound.
        limit: usize,
    },
    /// The two would misunderstand each other: see [`VERSION`].
    #[error("the worker has version {worker} and the coordinator {coordinator}: install the same on both")]
    Version {
        /// The worker's.
        worker: String,
        /// The coordinator's.
        coordinator: String,
    },
    /// The coordinator is stopping; there may be another one later.
    #[error("the coordinator cannot take it now: {0}")]
    Unavailable(String),
    /// Another one leads: ask that.
    #[error(transparent)]
    Standby(#[from] Standby),
}

/// Why the coordinator did not take a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejected {
    /// The worker's lease is over, or the coordinator was restarted: attach again.
    #[error("worker {0} is not attached, or not any more: attach again")]
    UnknownWorker(WorkerId),
    /// The report belongs to an older generation: drop what belongs to it.
    #[error("generation {got} is over; the job is in generation {current}")]
    StaleGeneration {
        /// The report's generation.
        got: Generation,
        /// The job's generation.
        current: Generation,
    },
    /// It cannot be true, and saying it again does not help.
    #[error("that cannot be true: {0}")]
    Impossible(String),
    /// The coordinator is stopping, or its queue is not served; say it again later.
    #[error("the coordinator cannot take it now: {0}")]
    Unavailable(String),
    /// Another one leads: say it to that.
    #[error(transparent)]
    Standby(#[from] Standby),
}

//! Jobs on this machine: a coordinator inside this process, worker processes
//! beside it, and one job from its beginning to its end.

mod embedded;
mod fleet;
mod session;

pub(crate) use embedded::Embedded;
pub(crate) use fleet::WorkerOptions;
pub(crate) use session::{Begin, Ended, Options, run, worker_count};

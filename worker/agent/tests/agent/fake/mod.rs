//! What the agent's tests share.

mod coordinator;
mod job;

pub(crate) use coordinator::{DEADLINE, Fake, Served};
pub(crate) use job::{Worker, checkpoint, job, points_job, prepare, train, train_within};

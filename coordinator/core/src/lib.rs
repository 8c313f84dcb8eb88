//! The coordinator's state machine: jobs, generations, leases, placement and the registry, without I/O.

mod config;
mod coordinator;
mod curve;
mod effect;
mod input;
pub mod record;
mod restore;

pub use config::Config;
pub use coordinator::Coordinator;
pub use effect::Effect;
pub use input::{Completion, Input, Now, Rejected, Reply, WriteFailed};
pub use record::Record;
pub use restore::RestoreError;

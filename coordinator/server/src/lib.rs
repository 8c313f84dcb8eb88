//! The coordinator's drivers around the state machine of `phalanx-core`.
//!
//! In reading order: what a coordinator must be told, starting and stopping it,
//! who leads and for how long, the driver that owns the state machine, its three
//! neighbours (the state store, the object store and its garbage, the handles that
//! interfaces hold), coordinators in numbers (with the feature `cluster`), the two
//! interfaces (RPC for workers, HTTP for users) and what others in the process may do, ports, and metrics.
//!
//! Architecture invariant: nothing is decided here. Drivers carry inputs in and
//! effects out; who does what is the state machine's alone.

mod config;
mod server;

mod seat;
mod terms;

mod clock;
mod driver;

mod files;
mod gc;
mod handle;
pub mod state;

#[cfg(feature = "cluster")]
mod cluster;

mod http;
mod jobs;
mod rpc;
mod secure;
mod watched;

mod listen;
mod metrics;

pub use config::{Config, EtcdAccess, HTTP_PORT, LEASE_MAX, LEASE_MIN, Password};
pub use http::{BODY_BYTES_MAX, FOLLOWS_MAX};
pub use jobs::{Jobs, JobsError, problems};
pub use listen::BindError;
pub use phalanx_core::{Attached, Demand, Rejected};
pub use server::{Server, ServerError, StartError, start};
pub use state::StateError;

//! Phalanx on Kubernetes: training jobs as resources, and pools of workers that grow and shrink with the work.
//!
//! In reading order: the resource, its definition and what it tells of itself (`resource`, `definition`, `status`);
//! how resources become jobs and jobs tell resources how they are (`job`, `jobs`); how many pods a pool has
//! (`scaling`, which decides, and `pools`, which asks and tells); what all requests share (`cluster`), and the two
//! entries: [`serve`] for a coordinator and [`submit`] for a user.
//!
//! Architecture invariants:
//!
//! 1. Nothing is decided here of what jobs do: a resource is handed to the state machine like any other submission.
//! 2. Only the coordinator that leads asks Kubernetes for anything.
//! 3. A resource has one job at most, whatever dies in between: its uid is the key of the submission.
//! 4. Nothing is asked for again and again: what changes is watched, and what is written is limited in number.

mod resource;

pub mod definition;
mod status;

mod job;
mod jobs;

mod pools;
mod scaling;

mod cluster;
mod serve;
mod submit;

pub use cluster::{Cluster, ConnectError};
pub use serve::serve;
pub use submit::{SubmitError, submit};

//! What a worker decides: which of the coordinator's directives it follows and what it keeps of
//! a job ([`Duty`]), and with whose state a generation begins ([`begin_with`]).
//!
//! Architecture invariants: this crate is pure. It knows no tensors, no files, no sockets, no
//! threads and no clock. `phalanx-agent` and `phalanx-train` do what is decided here, and the
//! simulation of the cluster (`coordinator/core/tests/simulation`) runs these very decisions.

mod begin;
mod duty;

pub use begin::{Beginning, Position, begin_with, is_of_majority};
pub use duty::{Action, Course, Duty, Kind, Work};

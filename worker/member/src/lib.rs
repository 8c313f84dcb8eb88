//! What a worker decides: which of the coordinator's directives are new and when it may go
//! ([`Attendance`], [`Departure`]), what it does about them and what it keeps of a job ([`Duty`]), with whose state
//! a generation begins ([`begin_with`]), what ranks do between two steps ([`Votes`], [`Rhythm`]), what
//! is left of a state when that fails ([`Setback`]), and what is told ([`Voice`], [`Reports`]).
//!
//! Architecture invariants: this crate is pure. It knows no tensors, no files, no sockets, no
//! threads and no clock. `phalanx-agent` and `phalanx-train` do what is decided here, and the
//! simulation of the cluster (`coordinator/core/tests/simulation`) runs these very decisions.

mod attendance;
mod duty;

mod begin;
mod rhythm;
mod setback;
mod votes;

mod reports;

pub use attendance::{Attendance, Departure, Polled};
pub use begin::{Beginning, Position, all_agree, begin_with, is_of_majority};
pub use duty::{Action, Course, Duty, Kind, Work};
pub use reports::{Answered, CURVE_POINTS_MAX, Outgoing, PARTS_MAX, REPORTS_MAX, Reports, Voice};
pub use rhythm::{Interlude, Rhythm};
pub use setback::{Setback, speaks_first};
pub use votes::{StopVote, Votes};

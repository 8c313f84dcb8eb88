//! What `[evaluate]` of a job file asks for: from predictions and the columns of their rows to the
//! figures that gates look at, and to the parts of the report.
//!
//! In reading order: the columns as whoever keeps them hands them in ([`Table`]); parts of the rows
//! (`parts`) and the figures that gates name (`figures`); what is found out about classes and
//! numbers (`predicted`) and about groups of people (`groups`); another version beside this one
//! ([`compare`]); and all of it together ([`assess`]).
//!
//! Architecture invariants: this crate is pure, and measures nothing itself: it asks
//! `phalanx-evaluate`. What cannot be found out is told with its reason and ends nothing. The same
//! predictions, columns and settings give the same bits.

mod assess;
mod compare;
mod figures;
mod groups;
mod parts;
mod predicted;
mod table;

pub use assess::{Assessment, Exam, Rival, Validation, assess, bootstrap, needs_columns};
pub use compare::{Baseline, CompareError, compare};
pub use table::{Column, NoTable, Table, TableError};

//! Cleaning: from raw rows to rows to learn from, by the steps of the job file.
//!
//! A step is a *change* of cells, which keeps every row and is stored with the
//! model, since a new row to predict must go through it too; or a *sieve*, which
//! drops rows. Steps run one after the other on batches, in the order of the source,
//! and what they make goes to a table on disk. DataFusion evaluates their SQL.
//!
//! What must see all rows is learnt in a pass of its own: which rows are duplicates,
//! means, quantiles, counts. Memory stays bounded: see `duplicates`, `order_statistics`.
//! Statistics are those of the training split. So rows are divided into splits before the
//! first step that needs any; until then nothing that is learnt of one row touches another.
//!
//! Architecture invariant: nothing depends on threads. Batches end where the source
//! says, results are folded in their order, and what is added up by several threads is whole numbers.

mod ballots;
mod batches;
mod cells;
mod change;
mod changer;
mod duplicates;
mod expect;
mod fit;
mod functions;
mod label;
mod learn;
mod near;
mod order_statistics;
mod pipeline;
mod quarantine;
mod run;
mod sieve;
mod sql;
mod table;

pub(crate) use self::{
    batches::Batches,
    cells::{numbers, text as cell_text},
    expect::refuse,
    fit::Figures,
    quarantine::Quarantine,
    run::{Cleaned, clean, clean_with, splits},
    sql::Sql,
    table::{CleanTable, read_batches},
};
pub use self::{
    change::Change,
    expect::Outcome,
    run::{Funnel, StepReport},
};

//! Data sets: from a file of rows to batches of numbers.
//!
//! A source is read in three passes (profile, fit, write) and becomes an
//! immutable dataset version in the object store: a manifest and Arrow IPC
//! shards, named by a hash of content and recipe. Workers map the shards into
//! memory and gather rows by position, in an order that is a pure function of
//! seed and epoch.
//!
//! In reading order: what a model must know of a data set, batches, the order
//! of rows, the division into splits, sources, the profile and the encoder that
//! is fitted to it, shards, the manifest, preparing, and the two ways to read:
//! a prepared data set, and a new file for a finished model.
//!
//! Architecture invariants: this crate knows no tensors and no network but the
//! store's. Shards and fitted statistics are decided by content and recipe alone: no
//! clock, no path, no ambient randomness. Statistics come from the training split alone.

mod batch;
mod build;
mod columns;
mod dataset;
mod encoder;
mod error;
mod features;
mod fit;
mod manifest;
mod moments;
mod order;
mod plan;
mod prepare;
mod profile;
mod rows;
mod schema;
mod shard;
mod source;
mod split;
mod write;

pub use batch::{Batch, Features, Targets};
pub use columns::{DecodedColumn, EncodedColumn};
pub use dataset::{Dataset, OpenError};
pub use encoder::Encoder;
pub use error::{CellProblem, ColumnProblem, LineProblem, Place, PrepareError};
pub use features::{FeatureReader, read_features};
pub use manifest::{
    ColumnSummary, ColumnValues, DatasetManifest, Lineage, SHARD_BYTES, ShardRef, SplitManifest,
};
pub use order::Order;
pub use prepare::{Prepared, Progress, Stage, prepare};
pub use rows::{RowReader, read_rows};
pub use schema::{FeatureKind, Schema, TargetKind};
pub use split::Split;

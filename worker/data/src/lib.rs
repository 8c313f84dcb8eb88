//! Data sets: from a file of rows to batches of numbers.
//!
//! A source is read in three passes (profile, fit, write) and becomes an
//! immutable dataset version in the object store: a manifest and Arrow IPC
//! shards, named by a hash of content and recipe. Workers map the shards into
//! memory and gather rows by position, in an order that is a pure function of
//! seed and epoch.
//!
//! In reading order: what a model must know of a data set, batches, the order
//! of rows (of all, or of blocks and windows), the division into splits and what
//! leaks between them, sources, the profile, what is learnt of each column and the
//! encodings that come of it, tokens, shards, the manifest, preparing, and the two
//! ways to read: a prepared data set (mapped whole or streamed through a bounded
//! cache, augmented on the way), and a new file for a finished model.
//!
//! Architecture invariants: this crate knows no tensors and no network but the
//! store's. Shards and fitted statistics are decided by content and recipe alone: no
//! clock, no path, no ambient randomness. Statistics come from the training split alone.

mod augment;
mod batch;
mod blocks;
mod build;
mod cache;
mod dataset;
mod dates;
mod encoder;
mod encoding;
mod error;
mod features;
pub mod figures;
mod fit;
mod learn;
mod manifest;
mod mapped;
mod moments;
mod order;
mod plan;
mod prepare;
mod profile;
mod sample;
mod schema;
mod shard;
mod source;
mod split;
mod stream;
mod tokens;
mod write;

pub use augment::Augment;
pub use batch::{Batch, Features, Targets};
pub use blocks::{BlockOrder, EpochOrder};
pub use cache::Cache;
pub use dataset::{Dataset, OpenError};
pub use encoder::Encoder;
pub use error::{CellProblem, ColumnProblem, LineProblem, Place, PrepareError};
pub use features::{FeatureReader, read_features};
pub use manifest::{
    ColumnSummary, ColumnValues, DatasetManifest, Lineage, SHARD_BYTES, ShardRef, SplitManifest,
};
pub use order::Order;
pub use prepare::{Prepared, Progress, Stage, prepare};
pub use schema::{FeatureKind, Schema, TargetKind};
pub use split::{LeakageFinding, LeakageKind, Split};
pub use tokens::{InvalidTokenizer, Tokenizer};

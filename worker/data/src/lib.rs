//! Data sets: from a file of rows to batches of numbers.
//!
//! A source of any kind is taken in, cleaned by the steps of the job file into a table
//! on disk, and that is read in three passes (profile, fit, write). It becomes an
//! immutable dataset version in the object store: a manifest and Arrow IPC
//! shards, named by a hash of content and recipe. Workers map the shards into
//! memory and gather rows by position, in an order that is a pure function of
//! seed and epoch.
//!
//! In reading order: what a model must know of a data set, batches, the order
//! of rows (of all, or of blocks and windows), the division into splits and what
//! leaks between them, the intake of sources, cleaning and labelling, tables, the profile, sketches, what is learnt
//! of each column and the encodings that come of it, tokens, shards, the manifest, preparing, and the two
//! ways to read: a prepared data set (mapped whole or streamed through a bounded
//! cache, augmented on the way), and a new file for a finished model.
//!
//! Architecture invariants: this crate knows no tensors, and no network but the
//! store's and that of sources. Shards and fitted statistics are decided by content and recipe alone: no
//! clock, no path, no ambient randomness. Statistics come from the training split alone.

mod agreement;
mod anything;
mod augment;
mod batch;
mod blocks;
mod build;
mod cache;
mod census;
mod clean;
mod cleaner;
mod columns;
mod dataset;
mod dates;
mod diff;
mod encoder;
mod encoding;
mod error;
mod export;
mod features;
pub mod figures;
mod fit;
mod gather;
mod http;
mod inspect;
mod intake;
mod kept;
mod label_noise;
mod label_studio;
mod learn;
mod manifest;
mod mapped;
mod material;
mod moments;
mod order;
mod ordered;
mod pass;
mod plan;
mod prepare;
mod profile;
mod raw;
mod rows;
mod sample;
mod schema;
mod secret;
mod shard;
mod sketch;
mod source;
mod split;
mod sql;
mod stream;
mod tokens;
mod versions;
mod weigh;
mod write;

pub use agreement::{LabelReport, LabelSource, PairAgreement};
#[doc(hidden)]
pub use anything::read_anything;
pub use augment::Augment;
pub use batch::{Batch, Features, Targets};
pub use blocks::{BlockOrder, EpochOrder};
pub use cache::Cache;
pub use census::{ColumnProfile, ProfileValues};
pub use clean::{Change, Funnel, Outcome, StepReport};
pub use columns::EncodedColumn;
pub use dataset::{Dataset, OpenError};
pub use diff::{ColumnDiff, Diff, diff, drift};
pub use encoder::Encoder;
pub use error::{CellProblem, ColumnProblem, LineProblem, Place, PrepareError};
pub use export::{ExportFormat, Exporter};
pub use features::{FeatureReader, read_features};
pub use inspect::{Validation, clean_rows, undivided_rows, validate};
pub use intake::SourceRecord;
pub use label_noise::{LabelIssue, LabelNoise, LabelNoiseError, label_noise};
pub use manifest::{
    ColumnSummary, ColumnValues, DatasetManifest, Lineage, SHARD_BYTES, ShardRef, SplitManifest, Weights,
};
pub use order::Order;
pub use prepare::{Prepared, Progress, Stage, prepare};
pub use raw::{RawColumn, RawRows, RawRowsError};
pub use rows::{RowReader, read_rows};
pub use schema::{FeatureKind, Schema, TargetKind};
pub use sketch::{ColumnSketch, Distinct, FrequentValue, Sketches};
pub use split::{LeakageFinding, LeakageKind, Split};
pub use tokens::{InvalidTokenizer, Tokenizer};
pub use versions::{FindError, find_version, versions};

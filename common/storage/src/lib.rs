//! The object store, as Phalanx uses it: files that are written once, named by
//! path, size and hash, and checked whenever they are read.
pub mod manifest;
pub mod store;

pub use store::{StorageError, Store};

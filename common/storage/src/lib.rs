//! The object store, as Phalanx uses it: files that are written once, named by
//! path, size and hash, and checked whenever they are read.
//!
//! In reading order: the store, its errors, which paths are let in, the two
//! kinds of store behind it (a local folder and the calls to it; a remote service, how it is talked
//! to, and how large files are sent to it), local copies, waiting for a store that is
//! away, and the manifests that name what belongs together.
//!
//! Architecture invariants: a file never changes once it is there, and nothing
//! half-written is ever seen under its path. Which file is the newest, and who
//! may delete one, is not known here: that lives in the state store.

pub mod manifest;

mod calls;
mod content;
mod durable;
mod error;
mod folder;
mod local;
mod outage;
mod path;
mod remote;
mod service;
mod store;
mod trim;
mod uploads;

pub use calls::UnderWay;
pub use content::Content;
pub use error::{StorageError, is_full};
pub use folder::create_folders;
pub use local::clean_cache;
pub use outage::{Away, Outage, Patience};
pub use store::{Listed, Store};
pub use trim::{is_cached, trim_cache};

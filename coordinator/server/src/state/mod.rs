//! The state store: what must survive the coordinator. Records by key, changed
//! in whole transactions by one leader.
//!
//! Invariants, which `conformance.rs` checks on every store:
//!
//! 1. A commit applies all its changes or none, and is durable when it returns.
//! 2. A commit is applied only if the state's revision is the one it expects;
//!    each commit makes a new revision. Of two leaders that believe they are
//!    the only one, the second to write is refused.
//!    A store that several can open knows its leader, too, and refuses every other.
//! 3. A store of another format is refused before anything is read or written.
//!
//! The state is a few kilobytes per job. It is read once, at the start.

#[cfg(test)]
mod conformance;
mod redb;

use std::{collections::BTreeMap, path::PathBuf};

use async_trait::async_trait;

/// The number of the format in which this version writes. A store with another
/// number belongs to another version.
pub const FORMAT: u64 = 2;

/// Counts the commits of a state store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(u64);

#[cfg(feature = "cluster")]
impl Revision {
    /// The revision after `number` commits.
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }

    /// How many commits there were.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// The whole state at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision.
    pub revision: Revision,
    /// Records by key; values are JSON.
    pub records: BTreeMap<String, Vec<u8>>,
}

/// One change: the record gets this value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Its key.
    pub key: String,
    /// Its value, as JSON.
    pub value: Vec<u8>,
}

/// Why the state could not be read or written. Each names the place and, where
/// there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No space left.
    #[error("no space is left for the state at {place}: free some and start the coordinator again")]
    Full {
        /// Where the state is.
        place: String,
    },
    /// Another process has it.
    #[error("the state at {place} is in use by another coordinator: stop that one or give another --state")]
    InUse {
        /// Where the state is.
        place: String,
    },
    /// Somebody else has written since.
    #[error("the state at {place} was changed by another coordinator: expected revision {}, found {}", expected.0, actual.0)]
    Conflict {
        /// Where the state is.
        place: String,
        /// The revision that the commit was based on.
        expected: Revision,
        /// The revision found.
        actual: Revision,
    },
    /// Written by another version.
    #[error("the state at {place} has format {actual}, and this version reads format {FORMAT}")]
    Format {
        /// Where the state is.
        place: String,
        /// Its format.
        actual: u64,
    },
    /// Not a state store.
    #[error("`{url}` is no state store: {expected}")]
    Url {
        /// It.
        url: String,
        /// What would be one.
        expected: &'static str,
    },
    /// Another coordinator may lead by now.
    #[error("another coordinator may lead by now: this one's lease was not renewed in time, or was taken")]
    TermOver,
    /// The store is elsewhere and does not answer.
    #[error("the state at {place} cannot be reached: {reason}")]
    Unreachable {
        /// Where the state is.
        place: String,
        /// What was seen.
        reason: String,
    },
    /// The store is elsewhere and does not let this coordinator in.
    #[error("the state at {place} cannot be used: {reason} (--etcd-user, PHALANX_ETCD_PASSWORD, --etcd-ca)")]
    Refused {
        /// Where the state is.
        place: String,
        /// What the store said.
        reason: String,
    },
    /// Everything else, damage included.
    #[error("the state at {place}: {reason}")]
    Other {
        /// Where the state is.
        place: String,
        /// What the store said.
        reason: String,
    },
}

impl StateError {
    /// Whether this says nothing but that this coordinator leads no more, or may not.
    pub(crate) fn ends_the_term(&self) -> bool {
        match self {
            Self::TermOver | Self::Unreachable { .. } => true,
            Self::Full { .. }
            | Self::InUse { .. }
            | Self::Conflict { .. }
            | Self::Format { .. }
            | Self::Url { .. }
            | Self::Refused { .. }
            | Self::Other { .. } => false,
        }
    }
}

/// Where the state is kept.
#[async_trait]
pub trait StateStore: std::fmt::Debug + Send + Sync + 'static {
    /// Reads everything.
    async fn load(&self) -> Result<Snapshot, StateError>;

    /// Applies all `changes` in order, durably, if the state is at revision
    /// `expected`; returns the new revision. When it fails, nothing was applied,
    /// except that after [`StateError::Other`], [`StateError::Unreachable`] and
    /// [`StateError::TermOver`] it is not known: load again.
    async fn commit(&self, expected: Revision, changes: Vec<Put>) -> Result<Revision, StateError>;
}

/// Opens the state store at `url`: the path of a file (also as `file:///…`),
/// created with its folders if absent. One in etcd can be opened by its leader alone.
///
/// # Errors
///
/// Any [`StateError`] but [`StateError::Conflict`].
pub async fn open(url: &str) -> Result<Box<dyn StateStore>, StateError> {
    let expected = "expected the path of a file, as in `state.redb`, or etcd://HOST:PORT,…/PREFIX";
    let refused = || StateError::Url { url: url.to_owned(), expected };
    let path = match url.split_once("://") {
        Some(("file", path)) if path.starts_with('/') => path,
        Some(_) => return Err(refused()),
        None => url,
    };
    if path.is_empty() || path.ends_with('/') {
        return Err(refused());
    }
    let path = PathBuf::from(path);
    Ok(Box::new(redb::Redb::open(path).await?))
}

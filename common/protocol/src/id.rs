//! Identifiers and counters, each a type of its own so that they cannot be
//! mixed up. All of them print as users see them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The number with this value.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The plain number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// One agreed membership of a job. It only grows; every message, file and
    /// commit of a job carries it, and a stale one is refused.
    Generation
);
counter!(
    /// A worker process, numbered by the coordinator as it attaches. A process
    /// that attaches again is a new worker.
    WorkerId
);

/// A job, named `<name>-<number>`, for example `mnist-3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// The id of the `number`th job of a coordinator, for a job file called `name`.
    pub fn new(name: &str, number: u64) -> Self {
        Self(format!("{name}-{number}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no job id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no job id: expected lower-case letters, digits, `-` and `_`, as in `mnist-3`")]
pub struct InvalidJobId(String);

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, InvalidJobId> {
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidJobId(text.to_owned())) }
    }
}

impl TryFrom<String> for JobId {
    type Error = InvalidJobId;

    fn try_from(text: String) -> Result<Self, InvalidJobId> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The most characters in the name of a job, a model or an alias.
pub const NAME_CHARS_MAX: usize = 63;

/// The most characters in the name of a job. Its ids add a dash and a number of
/// up to 20 digits, and are names themselves.
pub const JOB_NAME_CHARS_MAX: usize = NAME_CHARS_MAX - 21;

/// Whether `text` may name a job, a model or an alias: lower-case letters,
/// digits, dashes and underscores, beginning with a letter or a digit. Names
/// become parts of object-store paths, so nothing else is let in.
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=NAME_CHARS_MAX).contains(&text.len())
        && text.starts_with(plain)
        && text.chars().all(|c| plain(c) || c == '-' || c == '_')
}

/// Whether `text` may be an alias: a name that is not a number alone, since `NAME@3` is the third
/// version of a model.
pub fn is_alias(text: &str) -> bool {
    is_name(text) && !text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A rank within one generation: `0..world_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rank(u32);

impl Rank {
    /// The rank with this number.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The plain number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether this rank speaks for its generation: it prepares the data set,
    /// reports progress and exports the model.
    pub const fn is_leader(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// W3C trace context (`traceparent`) that ties spans of several processes into
/// one trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TraceParent(String);

impl TraceParent {
    /// The trace context with this text, which is checked by whoever follows it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, as the header carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

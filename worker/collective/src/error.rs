//! What can end a group. Every error ends it: its connections are closed with it, so
//! that the other ranks fail too instead of waiting. What to do then (a new
//! generation, usually) is not decided here.
//!
//! A cause is part of its error's text and no `source()`, so that a report which
//! prints chains says it once.

use std::{fmt, io, net::SocketAddr, time::Duration};

use phalanx_tls::TlsFailure;

use crate::wire::{Operation, WireError};

/// What can go wrong in a group.
#[derive(Debug, thiserror::Error)]
pub enum CollectiveError {
    /// The settings describe no group, or an argument does not fit the group.
    #[error("{what} is {actual}, expected {expected}")]
    Argument {
        /// What is wrong.
        what: &'static str,
        /// What would be right.
        expected: String,
        /// What it is.
        actual: u64,
    },
    /// This process has already opened a newer generation of the job, or this very one.
    #[error("generation {generation} of job `{job}` is over here: generation {newest} was opened already")]
    Superseded {
        /// The job.
        job: String,
        /// The generation to be opened.
        generation: u64,
        /// The newest that was opened.
        newest: u64,
    },
    /// No connection to a rank could be made.
    #[error("rank {rank} cannot be reached at {addr}: {cause}")]
    Unreachable {
        /// The rank.
        rank: u32,
        /// Where it should listen.
        addr: SocketAddr,
        /// Why not.
        cause: io::Error,
    },
    /// A rank's process is past this generation.
    #[error("rank {rank} refused generation {generation}: it has opened generation {newest}")]
    Refused {
        /// The rank.
        rank: u32,
        /// The generation that was asked for.
        generation: u64,
        /// The newest that the rank's process has opened.
        newest: u64,
    },
    /// A rank closed its connection, or the connection broke.
    #[error("connection to rank {rank} lost: {cause}")]
    Lost {
        /// The rank.
        rank: u32,
        /// How it was noticed.
        cause: io::Error,
    },
    /// A rank and this one do not trust each other, or what went between them was changed.
    #[error("no TLS with rank {rank}: {cause}")]
    Tls {
        /// The rank.
        rank: u32,
        /// Why not.
        cause: TlsFailure,
    },
    /// A rank sent what is no message.
    #[error("rank {rank} sent what is no message: {cause}")]
    Malformed {
        /// The rank.
        rank: u32,
        /// What is wrong with it.
        cause: WireError,
    },
    /// A rank is in another operation than this one.
    #[error("rank {rank} is in another operation: expected {expected}, got {actual}")]
    Operation {
        /// The rank.
        rank: u32,
        /// What this rank does.
        expected: Operation,
        /// What the other does.
        actual: Operation,
    },
    /// A rank does the same with other numbers.
    #[error("rank {rank} disagrees on the {field}: expected {expected}, got {actual}")]
    Disagreement {
        /// The rank.
        rank: u32,
        /// Which number.
        field: Field,
        /// This rank's.
        expected: u64,
        /// The other's.
        actual: u64,
    },
    /// Shared memory was asked for, and a rank shares none with this one.
    #[error("rank {rank} shares no memory with this one: is it on another host, or set to TCP?")]
    NotShared {
        /// The rank.
        rank: u32,
    },
    /// Nothing moved for too long.
    #[error("nothing came or went for {timeout:?}; still waiting for ranks {ranks:?}")]
    Timeout {
        /// The group's setting.
        timeout: Duration,
        /// The ranks that were waited for.
        ranks: Vec<u32>,
    },
    /// [`AbortHandle::abort`](crate::AbortHandle::abort) was called.
    #[error("the group was aborted")]
    Aborted,
    /// An earlier operation failed.
    #[error("the group is broken: an earlier operation on it failed")]
    Broken,
    /// There is no memory for what a rank announced.
    #[error("no memory for {bytes} bytes")]
    Memory {
        /// How much was needed.
        bytes: u64,
    },
    /// The operating system refused what has nothing to do with a peer.
    #[error("{doing}: {cause}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Its answer.
        cause: io::Error,
    },
}

/// A number that all ranks of a group must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Members of the group.
    WorldSize,
    /// Lanes of the job.
    Lanes,
    /// Which rank is at the other end.
    Rank,
    /// The group's generation.
    Generation,
    /// Rounds finished.
    Sequence,
    /// Elements of the whole vector, the root of a broadcast, or the number of a bucket.
    Subject,
    /// How vectors are reduced: 1 is the sum, 2 the mean, 3 the maximum, 4 the sum in bf16.
    Reduction,
    /// The hash of the bucket plan.
    BucketPlan,
    /// Bytes of a payload.
    PayloadBytes,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WorldSize => "world size",
            Self::Lanes => "number of lanes",
            Self::Rank => "rank",
            Self::Generation => "generation",
            Self::Sequence => "sequence number",
            Self::Subject => "length of the vector, root of the broadcast or number of the bucket",
            Self::Reduction => "reduction",
            Self::BucketPlan => "bucket plan",
            Self::PayloadBytes => "payload length in bytes",
        })
    }
}

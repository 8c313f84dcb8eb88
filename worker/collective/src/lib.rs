//! An all-reduce whose sum has the same bits for every number of ranks.
//!
//! A job has a fixed number of *lanes*, 1 to 64. Each lane contributes a vector; the
//! *ranks* of a *generation*, one to as many as there are lanes, own contiguous runs
//! of them ([`share`]). The sum over the lanes is one fixed binary tree over their
//! numbers ([`tree_sum`]). A rank adds the whole subtrees within its run; the rest of
//! the tree is added by the owner of each segment of the vector (reduce-scatter), and
//! the segments are given to everyone (all-gather).
//!
//! In reading order: shares, reductions, the tree, the wire, signals and waiting, the
//! listener (channels, their TLS sessions, hellos, admission), which ranks are linked,
//! connecting, what ranks tell each other when they meet, a link and what carries its bytes
//! (TCP; TLS; shared memory, its rings), rounds over all links, what they carry, numbers that
//! are packed for it, hypercubes, the group, buckets, vectors that are reduced where they lie,
//! reducing while the caller computes, and what can go wrong. With the feature `nccl`, beside
//! all this: what GPUs send each other, NCCL, and the group of GPUs.
//!
//! # Architecture invariants
//!
//! 1. The sum is a function of the lanes' vectors alone: not of the world size, the
//!    shares, the segments, timing, or the order in which messages arrive.
//! 2. An addition that gives no number gives `0x7fc0_0000`; payloads of NaNs do not
//!    survive an addition. A single lane is copied bit for bit.
//! 3. An operation ends on every rank in the same sum or in an error; a wrong sum is
//!    not among the endings. Operation, generation, sequence number, length of the
//!    vector and of the payload are checked on every message.
//! 4. Every wait ends when nothing has moved for the group's timeout, at once when a
//!    rank it waits for is gone, and within 50 ms of [`AbortHandle::abort`]. A rank that is
//!    handed no memory for two seconds while its group is made goes on without.
//! 5. The first error of a rank closes its connections, and so ends the group.
//! 6. A generation is fenced: a process that has opened a newer one refuses it.
//! 7. Nothing that comes from outside leads to a panic, an unbounded wait or an
//!    allocation beyond a documented limit.
//! 8. With equal shares that are powers of two, an all-reduce over n ranks moves
//!    2(n-1)/n of the vector per rank each way, and a header per message. Few ranks send
//!    partial sums of 16 KiB at most to everyone in one round; from eight on, connections
//!    and messages of a rank grow as the logarithm of their number.
//! 9. Memory shared with other processes has no name and cannot shrink; each process
//!    writes to its own only. `unsafe` code stands in `memory`, `ring` and `pool`, and with the
//!    feature `nccl` in `nccl`, nowhere else.
//! 10. A listener with certificates ([`Listener::bind_secured`]) takes part in groups over
//!     TLS alone. No word of a peer's is looked at before both sides have shown that the
//!     cluster's CA has signed them; an error says who did not, and why. NCCL, whose
//!     connections know no TLS, is not used then.
//!
//! What is absent: everything else of Phalanx but its certificates, an async runtime, and
//! threads besides the listener's and a [`Reducer`]'s. Without certificates the network
//! between ranks is trusted; processes of one host that may open each other's memory always are.

mod admission;
mod anything;
pub mod bench;
mod bucket;
mod buffer;
mod caches;
mod channel;
mod config;
mod connect;
mod door;
mod error;
#[cfg(feature = "nccl")]
mod gpu;
#[cfg(any(feature = "nccl", test))]
mod gpu_plan;
mod group;
mod halving;
mod handshake;
mod in_place;
mod link;
mod links;
mod listener;
mod meet;
mod memory;
mod mesh;
mod messages;
#[cfg(feature = "nccl")]
mod nccl;
mod overlap;
mod packed;
mod patience;
mod payload;
mod pool;
mod presence;
mod reduction;
mod ring;
mod secured;
mod session;
mod share;
mod shm;
mod signal;
mod tcp;
mod tree;
mod wait;
mod wire;

pub use anything::decode_anything;
pub use bucket::{BUCKET_BYTES_DEFAULT, BucketPlan};
pub use buffer::Buffer;
pub use config::{GroupConfig, TIMEOUT_MAX, Transport};
pub use error::{CollectiveError, Field};
#[cfg(feature = "nccl")]
pub use gpu::{GpuError, GpuGroup, Met};
pub use group::Group;
pub use in_place::Bucket;
pub use listener::Listener;
#[cfg(feature = "nccl")]
pub use nccl::GpuVector;
pub use overlap::Reducer;
pub use phalanx_tls::{Role, Tls, TlsFailure};
pub use reduction::Reduction;
pub use share::{LANES_MAX, share};
pub use signal::AbortHandle;
pub use tree::{Lane, tree_reduce, tree_sum};
pub use wire::{JOB_BYTES_MAX, Operation, PAYLOAD_BYTES_MAX, WireError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

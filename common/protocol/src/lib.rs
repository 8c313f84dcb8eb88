//! The words that coordinator, worker and command line share.
//!
//! In reading order: identifiers, the job file and its checks, references to
//! stored things, what coordinator and worker tell each other, how fast a rank works, the RPC trait,
//! the views that the HTTP interface serves, the ledger and its check, and the codec.
//!
//! Architecture invariant: this crate knows no sockets, files, clocks or
//! tensors. It holds values and the rules that make them valid.

pub mod codec;
pub mod id;
mod incumbent;
pub mod ledger;
pub mod message;
pub mod pace;
pub mod reference;
pub mod rpc;
pub mod spec;
pub mod view;

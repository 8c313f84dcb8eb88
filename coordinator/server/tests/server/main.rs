//! A whole coordinator on loopback ports, with users on HTTP and workers on RPC
//! as they are in life; only what a worker computes is made up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[cfg(feature = "cluster")]
mod cluster;
mod follow;
mod gc;
mod http;
mod life;
mod restart;
mod rpc;
mod start;
mod tls;
mod trace;

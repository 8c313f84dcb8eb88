//! The cluster's certificates, and what its connections over TLS are made with: the one
//! place that decides versions, ciphers, names and who is let in. Sockets and runtimes
//! are not known here; a driver takes the settings and moves the bytes.
//!
//! A cluster has a CA of its own. Everyone in it presents a certificate that this CA has
//! signed, whoever dialed, and the certificate says what it is ([`Role`]) instead of
//! where: workers move, and their addresses with them.
//!
//! # Invariants
//!
//! 1. TLS 1.3 only, with ring and whatever provider the process has besides.
//! 2. Whoever dials is a worker, and is refused without a worker's certificate. Whoever is
//!    dialed has the certificate of the role that the dialing side expects: a worker's key
//!    is not enough to pose as a coordinator.
//! 3. Nothing is sent after a handshake but what the two sides say: no tickets. So every
//!    connection is made with certificates, and none is made with one that has expired.

mod failure;
mod files;
mod settings;
mod workers_only;

pub use failure::TlsFailure;
pub use files::{TlsFiles, TlsFilesError};
pub use settings::{FileProblem, Role, Tls, TlsError, TlsFile};

/// Whether the other side of a connection that began with this byte speaks TLS: it says an
/// alert or a handshake. Neither a call, whose length comes first, nor a hello begins so.
pub fn begins_tls(first: u8) -> bool {
    matches!(first, 0x15 | 0x16)
}

/// Makes ring what all of the process's HTTP clients encrypt with, unless something else is so already.
/// To be called before the first one is built, as often as one likes.
pub fn use_ring() {
    let _is_chosen = rustls::crypto::ring::default_provider().install_default();
}

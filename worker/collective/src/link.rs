//! One rank's connection with another: what a round asks of it, whatever carries the
//! bytes, and the check of what arrives. A transport never blocks; the mesh owns it and
//! decides when to wait.

use std::{fmt, io, os::fd::BorrowedFd};

use phalanx_tls::TlsFailure;
use rustix::event::PollFlags;

use crate::{
    error::{CollectiveError, Field},
    wire::{HEADER_BYTES, Header, Operation, WireError, reduction_code},
};

/// What a round sends and where it puts what it receives, by rank. Nothing is copied
/// that need not be: a transport takes the bytes from where they lie.
pub(crate) trait Payload {
    /// Length of the message to `peer`; `None` where there is no message.
    fn outgoing_bytes(&self, peer: usize) -> Option<usize>;

    /// Bytes of the message to `peer` from `from` on, at least one. They need not reach
    /// to its end.
    fn outgoing(&self, peer: usize, from: usize) -> &[u8];

    /// Length of the message from `peer`; `None` where there is no message.
    fn incoming_bytes(&self, peer: usize) -> Option<usize>;

    /// Where the message from `peer` goes from byte `from` on, at least one byte, at
    /// most to its end.
    fn incoming(&mut self, peer: usize, from: usize) -> &mut [u8];

    /// Takes bytes of the message from `peer`, from `from` on, from where they lie. A
    /// transport gives a message either this way or through [`incoming`](Self::incoming).
    fn deliver(&mut self, peer: usize, from: usize, bytes: &[u8]) {
        copy(self, peer, from, bytes);
    }
}

/// Puts bytes where the message goes.
pub(crate) fn copy(payload: &mut (impl Payload + ?Sized), peer: usize, mut from: usize, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let place = payload.incoming(peer, from);
        let (now, later) = bytes.split_at(bytes.len().min(place.len()));
        place[..now.len()].copy_from_slice(now);
        from += now.len();
        bytes = later;
    }
}

/// What carries messages between this rank and one other.
pub(crate) trait Transport: fmt::Debug + Send {
    /// Begins a round with the message to be sent and the header to be received.
    fn begin(&mut self, outgoing: Option<Header>, incoming: Option<Header>);

    /// Whether both messages of the round are through.
    fn is_done(&self) -> bool;

    /// Sends what can be sent now. Returns whether anything moved.
    fn send(&mut self, payload: &dyn Payload) -> Result<bool, CollectiveError>;

    /// Receives what is there. Returns whether anything moved. The header is checked as
    /// soon as it is whole; a payload that came with a wrong one was written to its
    /// place, and the error says that it means nothing.
    fn receive(&mut self, payload: &mut dyn Payload) -> Result<bool, CollectiveError>;

    /// Lets the next `send` and `receive` try again what could not be done a moment ago.
    fn retry(&mut self);

    /// The socket that tells when the peer is gone, and more where it carries the bytes.
    fn socket(&self) -> BorrowedFd<'_>;

    /// What a rank that sleeps is to be woken by on that socket.
    fn interest(&self) -> PollFlags;

    /// Takes in what a wait has found there.
    fn ready(&mut self, found: PollFlags);
}

/// Compares a header with the expected one.
pub(crate) fn check_header(
    rank: usize,
    expected: Option<Header>,
    actual: &[u8; HEADER_BYTES],
) -> Result<(), CollectiveError> {
    let expected = expected.expect("invariant: a message is received where one is expected");
    let actual = Header::decode(actual).map_err(|cause| malformed(rank, cause))?;
    let rank = rank as u32;
    let code = |header: Header| u64::from(reduction_code(header.reduction));
    if expected.operation != actual.operation {
        let (expected, actual) = (expected.operation, actual.operation);
        return Err(CollectiveError::Operation { rank, expected, actual });
    }
    let subject =
        if expected.operation == Operation::BucketPlan { Field::BucketPlan } else { Field::Subject };
    let fields = [
        (Field::Generation, expected.generation, actual.generation),
        (Field::Sequence, expected.sequence, actual.sequence),
        (Field::Reduction, code(expected), code(actual)),
        (subject, expected.subject, actual.subject),
        (Field::PayloadBytes, expected.payload_bytes, actual.payload_bytes),
    ];
    match fields.into_iter().find(|(_, expected, actual)| expected != actual) {
        None => Ok(()),
        Some((field, expected, actual)) => {
            Err(CollectiveError::Disagreement { rank, field, expected, actual })
        }
    }
}

/// The payload's length of a header, as a number of bytes in memory.
pub(crate) fn payload_len(header: Header) -> usize {
    usize::try_from(header.payload_bytes).expect("invariant: it came from a usize")
}

pub(crate) fn malformed(rank: usize, cause: WireError) -> CollectiveError {
    CollectiveError::Malformed { rank: rank as u32, cause }
}

/// The connection with `rank` has ended, or cannot be trusted.
pub(crate) fn lost(rank: usize, cause: impl Into<io::Error>) -> CollectiveError {
    let (rank, cause) = (rank as u32, cause.into());
    match TlsFailure::of(&cause) {
        Some(cause) => CollectiveError::Tls { rank, cause },
        None => CollectiveError::Lost { rank, cause },
    }
}

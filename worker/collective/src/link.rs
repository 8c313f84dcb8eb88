//! One connection of a group, and the message that goes over it in each direction in
//! the round under way. Never blocks; the mesh owns it and decides when to wait.
//!
//! This is the only file that moves a group's payloads through a socket: another
//! transport takes its place.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    event::PollFlags,
    io::{Errno, readv},
    net::{SendAncillaryBuffer, SendFlags, sendmsg},
};

use crate::{
    error::{CollectiveError, Field},
    wire::{HEADER_BYTES, Header},
};

/// What a round sends and where it puts what it receives, by rank. Nothing is copied:
/// a link takes the bytes from where they lie.
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
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    rank: usize,
    stream: TcpStream,
    outgoing: Outgoing,
    incoming: Incoming,
}

/// The message being sent. Lengths count its header.
#[derive(Debug)]
struct Outgoing {
    header: [u8; HEADER_BYTES],
    sent: usize,
    total: usize,
    /// The socket takes no more for now.
    blocked: bool,
}

/// The message being received. Lengths count its header.
#[derive(Debug)]
struct Incoming {
    expected: Option<Header>,
    header: [u8; HEADER_BYTES],
    received: usize,
    total: usize,
    /// The socket holds no more for now.
    blocked: bool,
}

impl Link {
    /// The connection to `rank`, which must not block.
    pub(crate) fn new(rank: usize, stream: TcpStream) -> Self {
        let header = [0; HEADER_BYTES];
        Self {
            rank,
            stream,
            outgoing: Outgoing { header, sent: 0, total: 0, blocked: false },
            incoming: Incoming { expected: None, header, received: 0, total: 0, blocked: false },
        }
    }

    /// Whom it connects with.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Begins a round with the message to be sent and the header to be received.
    pub(crate) fn begin(&mut self, outgoing: Option<Header>, incoming: Option<Header>) {
        assert!(self.is_done(), "invariant: a round begins when the last one is over");
        let total = |header: Header| {
            HEADER_BYTES + usize::try_from(header.payload_bytes).expect("invariant: it came from a usize")
        };
        self.outgoing.header = outgoing.map_or([0; HEADER_BYTES], |header| header.encode());
        self.outgoing.sent = 0;
        self.outgoing.total = outgoing.map_or(0, total);
        self.outgoing.blocked = false;
        self.incoming.expected = incoming;
        self.incoming.received = 0;
        self.incoming.total = incoming.map_or(0, total);
        self.incoming.blocked = false;
    }

    /// Whether both messages of the round are through.
    pub(crate) fn is_done(&self) -> bool {
        !self.sends() && !self.receives()
    }

    /// What it waits for.
    pub(crate) fn interest(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::OUT, self.sends());
        flags.set(PollFlags::IN, self.receives());
        flags
    }

    /// Takes in what a wait has found. A closed or broken connection is found by the
    /// next [`send`](Self::send) or [`receive`](Self::receive).
    pub(crate) fn ready(&mut self, found: PollFlags) {
        let ended = found.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        self.outgoing.blocked &= !(ended || found.contains(PollFlags::OUT));
        self.incoming.blocked &= !(ended || found.contains(PollFlags::IN));
    }

    /// Sends what the socket takes. Returns whether anything moved.
    pub(crate) fn send(&mut self, payload: &impl Payload) -> Result<bool, CollectiveError> {
        if !self.sends() || self.outgoing.blocked {
            return Ok(false);
        }
        let Outgoing { header, sent, total, blocked } = &mut self.outgoing;
        let header = &header[(*sent).min(HEADER_BYTES)..];
        let past_header = sent.saturating_sub(HEADER_BYTES);
        let body = match *total {
            HEADER_BYTES => &[],
            _ => payload.outgoing(self.rank, past_header),
        };
        let slices = [IoSlice::new(header), IoSlice::new(body)];
        let mut control = SendAncillaryBuffer::default();
        match sendmsg(&self.stream, &slices, &mut control, SendFlags::NOSIGNAL) {
            Ok(moved) => {
                *sent += moved;
                *blocked = moved < header.len() + body.len();
                Ok(moved > 0)
            }
            Err(Errno::AGAIN) => {
                *blocked = true;
                Ok(false)
            }
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(self.lost(error.into())),
        }
    }

    /// Receives what the socket holds. Returns whether anything moved. The header is
    /// checked as soon as it is whole; a payload that came with a wrong one was
    /// written to its place, and the error says that it means nothing.
    pub(crate) fn receive(&mut self, payload: &mut impl Payload) -> Result<bool, CollectiveError> {
        if !self.receives() || self.incoming.blocked {
            return Ok(false);
        }
        let Incoming { header, received, total, blocked, .. } = &mut self.incoming;
        let in_header = *received < HEADER_BYTES;
        let header = &mut header[(*received).min(HEADER_BYTES)..];
        let past_header = received.saturating_sub(HEADER_BYTES);
        let body = match *total {
            HEADER_BYTES => &mut [],
            _ => payload.incoming(self.rank, past_header),
        };
        let room = header.len() + body.len();
        match readv(&self.stream, &mut [IoSliceMut::new(header), IoSliceMut::new(body)]) {
            Ok(0) => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(moved) => {
                *received += moved;
                *blocked = moved < room;
            }
            Err(Errno::AGAIN) => {
                *blocked = true;
                return Ok(false);
            }
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(self.lost(error.into())),
        }
        if in_header && self.incoming.received >= HEADER_BYTES {
            self.check_header()?;
        }
        Ok(true)
    }

    fn sends(&self) -> bool {
        self.outgoing.sent < self.outgoing.total
    }

    fn receives(&self) -> bool {
        self.incoming.received < self.incoming.total
    }

    fn check_header(&self) -> Result<(), CollectiveError> {
        let rank = self.rank as u32;
        let expected =
            self.incoming.expected.expect("invariant: a message is received where one is expected");
        let actual = Header::decode(&self.incoming.header)
            .map_err(|cause| CollectiveError::Malformed { rank, cause })?;
        let fields = [
            (Field::Generation, expected.generation, actual.generation),
            (Field::Sequence, expected.sequence, actual.sequence),
            (Field::Subject, expected.subject, actual.subject),
            (Field::PayloadBytes, expected.payload_bytes, actual.payload_bytes),
        ];
        if expected.operation != actual.operation {
            let (expected, actual) = (expected.operation, actual.operation);
            return Err(CollectiveError::Operation { rank, expected, actual });
        }
        match fields.into_iter().find(|(_, expected, actual)| expected != actual) {
            None => Ok(()),
            Some((field, expected, actual)) => {
                Err(CollectiveError::Disagreement { rank, field, expected, actual })
            }
        }
    }

    fn lost(&self, cause: io::Error) -> CollectiveError {
        CollectiveError::Lost { rank: self.rank as u32, cause }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

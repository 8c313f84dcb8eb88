//! A pair of ranks over TCP: messages go through the socket, header and payload in one
//! vectored call, from and to where they lie.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::TcpStream,
    os::fd::{AsFd as _, BorrowedFd},
};

use rustix::{
    event::PollFlags,
    io::{Errno, readv},
    net::{SendAncillaryBuffer, SendFlags, sendmsg},
};

use crate::{
    error::CollectiveError,
    link::{Payload, Transport, check_header, lost, payload_len},
    wire::{HEADER_BYTES, Header},
};

/// One connection.
#[derive(Debug)]
pub(crate) struct Tcp {
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

impl Tcp {
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

    fn sends(&self) -> bool {
        self.outgoing.sent < self.outgoing.total
    }

    fn receives(&self) -> bool {
        self.incoming.received < self.incoming.total
    }
}

impl Transport for Tcp {
    fn begin(&mut self, outgoing: Option<Header>, incoming: Option<Header>) {
        assert!(self.is_done(), "invariant: a round begins when the last one is over");
        let total = |header: Header| HEADER_BYTES + payload_len(header);
        self.outgoing.header = outgoing.map_or([0; HEADER_BYTES], |header| header.encode());
        self.outgoing.sent = 0;
        self.outgoing.total = outgoing.map_or(0, total);
        self.incoming.expected = incoming;
        self.incoming.received = 0;
        self.incoming.total = incoming.map_or(0, total);
        self.retry();
    }

    fn is_done(&self) -> bool {
        !self.sends() && !self.receives()
    }

    fn send(&mut self, payload: &dyn Payload) -> Result<bool, CollectiveError> {
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
            Err(error) => Err(lost(self.rank, error)),
        }
    }

    fn receive(&mut self, payload: &mut dyn Payload) -> Result<bool, CollectiveError> {
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
            Ok(0) => return Err(lost(self.rank, io::ErrorKind::UnexpectedEof)),
            Ok(moved) => {
                *received += moved;
                *blocked = moved < room;
            }
            Err(Errno::AGAIN) => {
                *blocked = true;
                return Ok(false);
            }
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(lost(self.rank, error)),
        }
        if in_header && self.incoming.received >= HEADER_BYTES {
            check_header(self.rank, self.incoming.expected, &self.incoming.header)?;
        }
        Ok(true)
    }

    fn retry(&mut self) {
        self.outgoing.blocked = false;
        self.incoming.blocked = false;
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn interest(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::OUT, self.sends());
        flags.set(PollFlags::IN, self.receives());
        flags
    }

    /// A closed or broken connection is found by the next `send` or `receive`.
    fn ready(&mut self, found: PollFlags) {
        let ended = found.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        self.outgoing.blocked &= !(ended || found.contains(PollFlags::OUT));
        self.incoming.blocked &= !(ended || found.contains(PollFlags::IN));
    }
}

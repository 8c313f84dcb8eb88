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
    link::{Payload, Transport, check_header, lost},
    messages::{Incoming, Messages, interest},
    wire::{HEADER_BYTES, Header},
};

/// One connection.
#[derive(Debug)]
pub(crate) struct Tcp {
    rank: usize,
    stream: TcpStream,
    messages: Messages,
}

impl Tcp {
    /// The connection to `rank`, which must not block.
    pub(crate) fn new(rank: usize, stream: TcpStream) -> Self {
        Self { rank, stream, messages: Messages::new() }
    }
}

impl Transport for Tcp {
    fn begin(&mut self, outgoing: Option<Header>, incoming: Option<Header>) {
        assert!(self.is_done(), "invariant: a round begins when the last one is over");
        self.messages.begin(outgoing, incoming);
    }

    fn is_done(&self) -> bool {
        !self.messages.outgoing.is_left() && !self.messages.incoming.is_left()
    }

    fn send(&mut self, payload: &dyn Payload) -> Result<bool, CollectiveError> {
        let outgoing = &mut self.messages.outgoing;
        if !outgoing.is_left() || outgoing.blocked {
            return Ok(false);
        }
        let (header, body) = outgoing.next(self.rank, payload);
        let wanted = header.len() + body.len();
        let mut control = SendAncillaryBuffer::default();
        let slices = [IoSlice::new(header), IoSlice::new(body)];
        match sendmsg(&self.stream, &slices, &mut control, SendFlags::NOSIGNAL) {
            Ok(moved) => {
                outgoing.sent += moved;
                outgoing.blocked = moved < wanted;
                Ok(moved > 0)
            }
            Err(Errno::AGAIN) => {
                outgoing.blocked = true;
                Ok(false)
            }
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(lost(self.rank, error)),
        }
    }

    fn receive(&mut self, payload: &mut dyn Payload) -> Result<bool, CollectiveError> {
        let incoming = &mut self.messages.incoming;
        if !incoming.is_left() || incoming.blocked {
            return Ok(false);
        }
        let Incoming { header, received, total, blocked, .. } = incoming;
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
        if in_header && incoming.received >= HEADER_BYTES {
            check_header(self.rank, incoming.expected, &incoming.header)?;
        }
        Ok(true)
    }

    fn retry(&mut self) {
        self.messages.retry();
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn interest(&self) -> PollFlags {
        interest(self.messages.outgoing.is_left(), self.messages.incoming.is_left())
    }

    fn ready(&mut self, found: PollFlags) {
        self.messages.ready(found);
    }
}

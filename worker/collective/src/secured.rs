//! A pair of ranks over TLS: messages go through a session, from where they lie into
//! records of 16 KiB and from records to where they go. Header and payload share records;
//! a record belongs to one message.

use std::{
    io::{self, IoSlice},
    net::TcpStream,
    os::fd::{AsFd as _, BorrowedFd},
};

use rustix::event::PollFlags;

use crate::{
    error::CollectiveError,
    link::{Payload, Transport, check_header, copy, lost, payload_len},
    session::{Session, Step},
    wire::{HEADER_BYTES, Header},
};

/// One connection.
#[derive(Debug)]
pub(crate) struct Secured {
    rank: usize,
    socket: TcpStream,
    session: Box<Session>,
    outgoing: Outgoing,
    incoming: Incoming,
}

/// The message being sent. Lengths count its header.
#[derive(Debug)]
struct Outgoing {
    header: [u8; HEADER_BYTES],
    encrypted: usize,
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

impl Secured {
    /// The connection to `rank`, over a socket that does not block and a session whose
    /// handshake is through.
    pub(crate) fn new(rank: usize, socket: TcpStream, session: Box<Session>) -> Self {
        let header = [0; HEADER_BYTES];
        Self {
            rank,
            socket,
            session,
            outgoing: Outgoing { header, encrypted: 0, total: 0, blocked: false },
            incoming: Incoming { expected: None, header, received: 0, total: 0, blocked: false },
        }
    }

    fn sends(&self) -> bool {
        self.outgoing.encrypted < self.outgoing.total || self.session.wants_write()
    }

    fn receives(&self) -> bool {
        self.incoming.received < self.incoming.total
    }

    /// Encrypts the next part of the message.
    fn encrypt(&mut self, payload: &dyn Payload) -> io::Result<()> {
        let Outgoing { header, encrypted, total, .. } = &mut self.outgoing;
        let header = &header[(*encrypted).min(HEADER_BYTES)..];
        let body = match *total {
            HEADER_BYTES => &[],
            _ => payload.outgoing(self.rank, encrypted.saturating_sub(HEADER_BYTES)),
        };
        *encrypted += self.session.encrypt(&[IoSlice::new(header), IoSlice::new(body)])?;
        Ok(())
    }

    /// Takes what lies decrypted; how much that was.
    fn take(&mut self, payload: &mut dyn Payload) -> Result<usize, CollectiveError> {
        let Incoming { expected, header, received, total, .. } = &mut self.incoming;
        let words = self.session.words().map_err(|cause| lost(self.rank, cause))?;
        let words = &words[..words.len().min(*total - *received)];
        let (front, body) = words.split_at(words.len().min(HEADER_BYTES.saturating_sub(*received)));
        if !front.is_empty() {
            header[*received..*received + front.len()].copy_from_slice(front);
            if *received + front.len() == HEADER_BYTES {
                check_header(self.rank, *expected, header)?;
            }
        }
        if !body.is_empty() {
            // They may lie anywhere in memory, which `deliver` does not allow.
            copy(payload, self.rank, *received + front.len() - HEADER_BYTES, body);
        }
        let taken = words.len();
        *received += taken;
        self.session.consume(taken);
        Ok(taken)
    }
}

impl Transport for Secured {
    fn begin(&mut self, outgoing: Option<Header>, incoming: Option<Header>) {
        assert!(self.is_done(), "invariant: a round begins when the last one is over");
        let total = |header: Header| HEADER_BYTES + payload_len(header);
        self.outgoing.header = outgoing.map_or([0; HEADER_BYTES], |header| header.encode());
        self.outgoing.encrypted = 0;
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
        // What is encrypted goes out before more is: only so are records large.
        if !self.session.wants_write() {
            self.encrypt(payload).map_err(|cause| lost(self.rank, cause))?;
        }
        let step = self.session.flush(&self.socket).map_err(|cause| lost(self.rank, cause))?;
        self.outgoing.blocked = step == Step::Blocked;
        Ok(true)
    }

    fn receive(&mut self, payload: &mut dyn Payload) -> Result<bool, CollectiveError> {
        let (mut moved, mut read) = (false, false);
        while self.receives() {
            if self.take(payload)? > 0 {
                moved = true;
                continue;
            }
            if self.session.is_used_up() {
                // One call of the system for each of this, so that sending has its turn.
                if read || self.incoming.blocked {
                    break;
                }
                read = true;
            }
            let step = self.session.decrypt(&self.socket).map_err(|cause| lost(self.rank, cause))?;
            self.incoming.blocked |= step != Step::Moved;
            moved |= step != Step::Blocked;
        }
        Ok(moved)
    }

    fn retry(&mut self) {
        self.outgoing.blocked = false;
        self.incoming.blocked = false;
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
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

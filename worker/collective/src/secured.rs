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
    link::{Payload, Transport, check_header, copy, lost},
    messages::{Incoming, Messages, interest},
    session::{Session, Step},
    wire::{HEADER_BYTES, Header},
};

/// One connection.
#[derive(Debug)]
pub(crate) struct Secured {
    rank: usize,
    socket: TcpStream,
    session: Box<Session>,
    messages: Messages,
}

impl Secured {
    /// The connection to `rank`, over a socket that does not block and a session whose
    /// handshake is through.
    pub(crate) fn new(rank: usize, socket: TcpStream, session: Box<Session>) -> Self {
        Self { rank, socket, session, messages: Messages::new() }
    }

    /// Whether something is left to be encrypted, or to be sent of what is.
    fn sends(&self) -> bool {
        self.messages.outgoing.is_left() || self.session.wants_write()
    }

    /// Encrypts the next part of the message.
    fn encrypt(&mut self, payload: &dyn Payload) -> io::Result<()> {
        let (header, body) = self.messages.outgoing.next(self.rank, payload);
        let encrypted = self.session.encrypt(&[IoSlice::new(header), IoSlice::new(body)])?;
        self.messages.outgoing.sent += encrypted;
        Ok(())
    }

    /// Takes what lies decrypted; how much that was.
    fn take(&mut self, payload: &mut dyn Payload) -> Result<usize, CollectiveError> {
        let Incoming { expected, header, received, total, .. } = &mut self.messages.incoming;
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
        self.messages.begin(outgoing, incoming);
    }

    fn is_done(&self) -> bool {
        !self.sends() && !self.messages.incoming.is_left()
    }

    fn send(&mut self, payload: &dyn Payload) -> Result<bool, CollectiveError> {
        if !self.sends() || self.messages.outgoing.blocked {
            return Ok(false);
        }
        // What is encrypted goes out before more is: only so are records large.
        if !self.session.wants_write() {
            self.encrypt(payload).map_err(|cause| lost(self.rank, cause))?;
        }
        let moved = self.session.flush(&self.socket).map_err(|cause| lost(self.rank, cause))?;
        self.messages.outgoing.blocked = self.session.wants_write();
        Ok(moved)
    }

    fn receive(&mut self, payload: &mut dyn Payload) -> Result<bool, CollectiveError> {
        let (mut moved, mut read) = (false, false);
        while self.messages.incoming.is_left() {
            if self.take(payload)? > 0 {
                moved = true;
                continue;
            }
            if self.session.is_used_up() {
                // One call of the system for each of this, so that sending has its turn.
                if read || self.messages.incoming.blocked {
                    break;
                }
                read = true;
            }
            let step = self.session.decrypt(&self.socket).map_err(|cause| lost(self.rank, cause))?;
            self.messages.incoming.blocked |= step != Step::Moved;
            moved |= step != Step::Blocked;
        }
        Ok(moved)
    }

    fn retry(&mut self) {
        self.messages.retry();
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn interest(&self) -> PollFlags {
        interest(self.sends(), self.messages.incoming.is_left())
    }

    fn ready(&mut self, found: PollFlags) {
        self.messages.ready(found);
    }
}

//! The two messages of a round between a pair that talks over a socket, and how far each
//! is. What the bytes go through, TCP or TLS, is not known here.

use rustix::event::PollFlags;

use crate::{
    link::{Payload, payload_len},
    wire::{HEADER_BYTES, Header},
};

/// Both. Lengths count the header.
#[derive(Debug)]
pub(crate) struct Messages {
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
}

/// The message being sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    header: [u8; HEADER_BYTES],
    /// How much of it is on its way.
    pub(crate) sent: usize,
    total: usize,
    /// The socket takes no more for now.
    pub(crate) blocked: bool,
}

/// The message being received.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) expected: Option<Header>,
    pub(crate) header: [u8; HEADER_BYTES],
    /// How much of it is there.
    pub(crate) received: usize,
    pub(crate) total: usize,
    /// The socket holds no more for now.
    pub(crate) blocked: bool,
}

impl Messages {
    /// None so far.
    pub(crate) fn new() -> Self {
        let header = [0; HEADER_BYTES];
        Self {
            outgoing: Outgoing { header, sent: 0, total: 0, blocked: false },
            incoming: Incoming { expected: None, header, received: 0, total: 0, blocked: false },
        }
    }

    /// Begins a round.
    pub(crate) fn begin(&mut self, outgoing: Option<Header>, incoming: Option<Header>) {
        let total = |header: Header| HEADER_BYTES + payload_len(header);
        self.outgoing.header = outgoing.map_or([0; HEADER_BYTES], |header| header.encode());
        self.outgoing.sent = 0;
        self.outgoing.total = outgoing.map_or(0, total);
        self.incoming.expected = incoming;
        self.incoming.received = 0;
        self.incoming.total = incoming.map_or(0, total);
        self.retry();
    }

    /// Lets both be tried again.
    pub(crate) fn retry(&mut self) {
        self.outgoing.blocked = false;
        self.incoming.blocked = false;
    }

    /// Takes in what a wait has found at the socket. A closed or broken connection is found by
    /// who sends or receives next.
    pub(crate) fn ready(&mut self, found: PollFlags) {
        let ended = found.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        self.outgoing.blocked &= !(ended || found.contains(PollFlags::OUT));
        self.incoming.blocked &= !(ended || found.contains(PollFlags::IN));
    }
}

impl Outgoing {
    /// Whether some of it is left.
    pub(crate) fn is_left(&self) -> bool {
        self.sent < self.total
    }

    /// What comes next: the rest of the header, and bytes of the payload.
    pub(crate) fn next<'a>(&'a self, rank: usize, payload: &'a dyn Payload) -> (&'a [u8], &'a [u8]) {
        let header = &self.header[self.sent.min(HEADER_BYTES)..];
        let body = match self.total {
            HEADER_BYTES => &[],
            _ => payload.outgoing(rank, self.sent.saturating_sub(HEADER_BYTES)),
        };
        (header, body)
    }
}

impl Incoming {
    /// Whether some of it is left.
    pub(crate) fn is_left(&self) -> bool {
        self.received < self.total
    }
}

/// What a rank that sleeps is to be woken by.
pub(crate) fn interest(sends: bool, receives: bool) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::OUT, sends);
    flags.set(PollFlags::IN, receives);
    flags
}

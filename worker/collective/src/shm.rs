//! A pair of ranks on one host: messages go through a ring in the sender's memory, and
//! the receiver takes them in, or adds them, straight from there. The pair's TCP
//! connection stays open and carries nothing; it ends when the peer's process does, and
//! so a rank that waits learns of it at once. With certificates it was a TLS connection, of
//! which neither end has anything to say any more: tickets are off, and it ends without a word.
//!
//! In the ring, a message is a header, filled up to [`FRAME_BYTES`], and the payload,
//! filled up to a multiple of that: payloads of `f32` are aligned.

use std::{
    io,
    net::TcpStream,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use rustix::event::PollFlags;

use crate::{
    error::CollectiveError,
    link::{Payload, Transport, check_header, lost, malformed, payload_len},
    memory::Segment,
    ring::{End, Reader, Writer},
    wire::{HEADER_BYTES, Header},
};

/// Everything in a ring begins at a multiple of this.
const FRAME_BYTES: usize = 64;

const _: () = assert!(HEADER_BYTES <= FRAME_BYTES, "a header fits into a frame");

/// What is written or read before the peer is told, at most, and the part of a ring that
/// it is at most: the peer works on one part while this rank works on the next.
const CHUNK_BYTES_MAX: usize = 1 << 18;
const CHUNKS: usize = 4;

/// What wakes this process' rank, when it sleeps: a flag in its own segment, that peers
/// look at, and an event that they raise then.
#[derive(Debug)]
pub(crate) struct Doorbell {
    segment: Arc<Segment>,
    event: OwnedFd,
}

impl Doorbell {
    pub(crate) fn new(segment: Arc<Segment>, event: OwnedFd) -> Self {
        Self { segment, event }
    }

    /// Asks to be woken. The caller looks again at everything it waits for before it sleeps.
    pub(crate) fn sleep(&self) {
        self.segment.sleeping().store(1, Ordering::Relaxed);
        // With the fence in `Shm::ring_bell`: either the peer sees the flag, or this rank,
        // when it looks again, sees what the peer did.
        fence(Ordering::SeqCst);
    }

    /// Ends what [`sleep`](Self::sleep) began.
    pub(crate) fn wake(&self, rung: bool) {
        self.segment.sleeping().store(0, Ordering::Relaxed);
        if rung {
            // It does not block; that nothing is there to be read is as good.
            let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
        }
    }

    /// Readable when a peer has rung.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// One pair of rings.
#[derive(Debug)]
pub(crate) struct Shm {
    rank: usize,
    stream: TcpStream,
    writer: Writer,
    reader: Reader,
    /// What is written, or read, before the peer is told.
    written_bytes: usize,
    read_bytes: usize,
    peer: Arc<Segment>,
    /// Wakes the peer.
    bell: OwnedFd,
    /// The message being sent and how much of it was: its header's frame, the payload,
    /// and what fills it up.
    outgoing: Option<(Header, usize)>,
    /// The message being received, likewise.
    incoming: Option<(Header, usize)>,
    /// The connection has ended: nothing comes after what is in the ring.
    gone: bool,
}

fn chunk_bytes(writer: &End) -> usize {
    CHUNK_BYTES_MAX.min(writer.segment.layout().ring_bytes() / CHUNKS)
}

fn frames(header: Header) -> usize {
    FRAME_BYTES + payload_len(header).next_multiple_of(FRAME_BYTES)
}

impl Shm {
    /// The pair of `own` and `peer` ends; `bell` is the peer's event.
    pub(crate) fn new(rank: usize, stream: TcpStream, own: End, peer: End, bell: OwnedFd) -> Self {
        Self {
            rank,
            stream,
            written_bytes: chunk_bytes(&own),
            read_bytes: chunk_bytes(&peer),
            peer: Arc::clone(&peer.segment),
            writer: Writer::new(own.clone(), peer.clone()),
            reader: Reader::new(own, peer),
            bell,
            outgoing: None,
            incoming: None,
            gone: false,
        }
    }

    /// Wakes the peer if it sleeps. Comes after whatever it may be waiting for.
    fn ring_bell(&self) {
        fence(Ordering::SeqCst);
        if self.peer.sleeping().load(Ordering::Relaxed) != 0 {
            // It fails only when the counter is full, and then it is readable.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    fn blocked(&self) -> Result<bool, CollectiveError> {
        if self.gone { Err(lost(self.rank, io::ErrorKind::UnexpectedEof)) } else { Ok(false) }
    }
}

impl Transport for Shm {
    fn begin(&mut self, outgoing: Option<Header>, incoming: Option<Header>) {
        assert!(self.is_done(), "invariant: a round begins when the last one is over");
        self.outgoing = outgoing.map(|header| (header, 0));
        self.incoming = incoming.map(|header| (header, 0));
    }

    fn is_done(&self) -> bool {
        self.outgoing.is_none() && self.incoming.is_none()
    }

    fn send(&mut self, payload: &dyn Payload) -> Result<bool, CollectiveError> {
        let Some((header, begun)) = self.outgoing else { return Ok(false) };
        let (total, end) = (frames(header), FRAME_BYTES + payload_len(header));
        let wanted = self.written_bytes.min(total - begun);
        let room = self.writer.room(wanted).map_err(|cause| malformed(self.rank, cause))?;
        // A full ring of a peer that is gone stays full.
        let mut room = wanted.min(room - room % FRAME_BYTES);
        if room == 0 {
            return self.blocked();
        }
        let mut sent = begun;
        if sent == 0 {
            self.writer.write(&header.encode());
            self.writer.skip(FRAME_BYTES - HEADER_BYTES);
            sent = FRAME_BYTES;
            room -= FRAME_BYTES;
        }
        while room > 0 && sent < end {
            let body = payload.outgoing(self.rank, sent - FRAME_BYTES);
            let body = &body[..body.len().min(room)];
            self.writer.write(body);
            sent += body.len();
            room -= body.len();
        }
        self.writer.skip(room);
        sent += room;
        self.writer.publish();
        self.ring_bell();
        self.outgoing = (sent < total).then_some((header, sent));
        Ok(true)
    }

    fn receive(&mut self, payload: &mut dyn Payload) -> Result<bool, CollectiveError> {
        let Some((header, mut received)) = self.incoming else { return Ok(false) };
        let (total, end) = (frames(header), FRAME_BYTES + payload_len(header));
        let wanted = self.read_bytes.min(total - received);
        let available = self.reader.available(wanted).map_err(|cause| malformed(self.rank, cause))?;
        let mut left = wanted.min(available - available % FRAME_BYTES);
        if left == 0 {
            return self.blocked();
        }
        if received == 0 {
            let frame = self.reader.peek();
            let actual = frame[..HEADER_BYTES].try_into().expect("invariant: frames are written whole");
            check_header(self.rank, Some(header), actual)?;
            self.reader.advance(FRAME_BYTES);
            received = FRAME_BYTES;
            left -= FRAME_BYTES;
        }
        while left > 0 {
            let bytes = self.reader.peek();
            let taken = bytes.len().min(left);
            let body = &bytes[..taken.min(end.saturating_sub(received))];
            if !body.is_empty() {
                payload.deliver(self.rank, received - FRAME_BYTES, body);
            }
            self.reader.advance(taken);
            received += taken;
            left -= taken;
        }
        self.ring_bell();
        self.incoming = (received < total).then_some((header, received));
        Ok(true)
    }

    fn retry(&mut self) {}

    fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Nothing is ever sent over the connection once there is shared memory.
    fn interest(&self) -> PollFlags {
        PollFlags::IN | PollFlags::RDHUP
    }

    fn ready(&mut self, found: PollFlags) {
        self.gone |= !found.is_empty();
    }
}

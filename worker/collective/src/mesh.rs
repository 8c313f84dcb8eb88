//! A group's connections, and the rounds over them. In a round each rank sends at most
//! one message to each other rank and receives at most one, all at once: one loop
//! does whatever any connection allows, and waits only when none allows anything.
//!
//! Invariants:
//!
//! 1. No round can deadlock: a rank that waits to send also receives.
//! 2. Every wait ends when nothing has moved for the group's timeout, and at once
//!    when the group is aborted or a connection of the round ends.
//! 3. A round is over only when every header was the one expected; both ends of a
//!    connection are then in the same round of the same generation.
//!
//! What the bytes mean is not known here.

use std::{
    array,
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags};

use crate::{
    error::CollectiveError,
    link::{Link, Payload},
    share::LANES_MAX,
    signal::AbortHandle,
    wait::wait,
    wire::{Header, Operation, PAYLOAD_BYTES_MAX},
};

/// The most peers of a rank.
const PEERS_MAX: usize = LANES_MAX as usize - 1;

/// A group's connections.
#[derive(Debug)]
pub(crate) struct Mesh {
    generation: u64,
    timeout: Duration,
    abort: AbortHandle,
    links: Vec<Link>,
    /// Rounds finished.
    sequence: u64,
}

impl Mesh {
    /// The mesh of `streams`, by rank; none for the own.
    pub(crate) fn new(
        streams: Vec<Option<TcpStream>>,
        generation: u64,
        timeout: Duration,
        abort: AbortHandle,
    ) -> Self {
        let streams = streams.into_iter().enumerate();
        let links: Vec<_> =
            streams.filter_map(|(rank, stream)| stream.map(|stream| Link::new(rank, stream))).collect();
        assert!(links.len() <= PEERS_MAX, "invariant: a group has at most as many ranks as lanes");
        Self { generation, timeout, abort, links, sequence: 0 }
    }

    /// One round. After an error the mesh must be dropped: messages may be cut.
    pub(crate) fn exchange(
        &mut self,
        operation: Operation,
        subject: u64,
        payload: &mut impl Payload,
    ) -> Result<(), CollectiveError> {
        self.begin(operation, subject, payload)?;
        let mut deadline = Instant::now() + self.timeout;
        while !self.links.iter().all(Link::is_done) {
            if self.abort.is_aborted() {
                return Err(CollectiveError::Aborted);
            }
            if self.turn(payload)? {
                deadline = Instant::now() + self.timeout;
            } else {
                self.wait(deadline)?;
            }
        }
        self.sequence += 1;
        Ok(())
    }

    fn begin(
        &mut self,
        operation: Operation,
        subject: u64,
        payload: &impl Payload,
    ) -> Result<(), CollectiveError> {
        if self.abort.is_aborted() {
            return Err(CollectiveError::Aborted);
        }
        for link in &mut self.links {
            let header = |payload_bytes| {
                let (generation, sequence) = (self.generation, self.sequence);
                Header { operation, generation, sequence, subject, payload_bytes }
            };
            let outgoing = payload.outgoing_bytes(link.rank()).map(check_length).transpose()?;
            let incoming = payload.incoming_bytes(link.rank()).map(check_length).transpose()?;
            link.begin(outgoing.map(header), incoming.map(header));
        }
        Ok(())
    }

    /// Sends and receives what can be sent and received now; whether anything could.
    fn turn(&mut self, payload: &mut impl Payload) -> Result<bool, CollectiveError> {
        let mut moved = false;
        for link in &mut self.links {
            moved |= match link.send(payload) {
                Ok(moved) => moved,
                // A rank that found a disagreement closes its connections. Its own
                // header may lie here already, and says more than that it is gone.
                Err(lost) => return Err(link.receive(payload).err().unwrap_or(lost)),
            };
        }
        for link in &mut self.links {
            moved |= link.receive(payload)?;
        }
        Ok(moved)
    }

    fn wait(&mut self, deadline: Instant) -> Result<(), CollectiveError> {
        let mut found = [PollFlags::empty(); PEERS_MAX];
        let mut fds: [PollFd<'_>; PEERS_MAX + 1] =
            array::from_fn(|_| PollFd::new(self.abort.signal(), PollFlags::IN));
        let mut used = 1;
        for link in self.links.iter().filter(|link| !link.is_done()) {
            fds[used] = PollFd::new(link, link.interest());
            used += 1;
        }
        wait(&mut fds[..used], Some(deadline))
            .map_err(|source| CollectiveError::System { doing: "waiting for ranks", source })?;
        for (found, fd) in found.iter_mut().zip(&fds[1..used]) {
            *found = fd.revents();
        }
        for (link, found) in self.links.iter_mut().filter(|link| !link.is_done()).zip(found) {
            link.ready(found);
        }
        let nothing = found.iter().all(|found| found.is_empty());
        if nothing && !self.abort.is_aborted() && Instant::now() >= deadline {
            let waiting = self.links.iter().filter(|link| !link.is_done());
            let ranks = waiting.map(|link| link.rank() as u32).collect();
            return Err(CollectiveError::Timeout { timeout: self.timeout, ranks });
        }
        Ok(())
    }
}

fn check_length(bytes: usize) -> Result<u64, CollectiveError> {
    match u64::try_from(bytes) {
        Ok(bytes) if bytes <= PAYLOAD_BYTES_MAX => Ok(bytes),
        _ => Err(CollectiveError::Argument {
            what: "the length of a message in bytes",
            expected: format!("at most {PAYLOAD_BYTES_MAX}"),
            actual: bytes as u64,
        }),
    }
}

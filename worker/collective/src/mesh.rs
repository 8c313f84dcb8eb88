//! A group's connections, and the rounds over them. In a round each rank sends at most
//! one message over each connection and receives at most one, all at once: one loop
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
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags};

use crate::{
    channel::Channel,
    error::CollectiveError,
    link::{Payload, Transport},
    patience::{Idle, Patience},
    reduction::Reduction,
    ring::End,
    share::LANES_MAX,
    shm::{Doorbell, Shm},
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
    /// What peers that share memory wake this rank by.
    doorbell: Option<Doorbell>,
    patience: Patience,
    /// Rounds finished.
    sequence: u64,
}

/// The pair of this rank and another.
#[derive(Debug)]
struct Link {
    rank: usize,
    transport: Box<dyn Transport>,
}

/// What a round is, in the words that all ranks must agree on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) operation: Operation,
    pub(crate) reduction: Option<Reduction>,
    pub(crate) subject: u64,
}

impl Round {
    /// A round that reduces nothing.
    pub(crate) fn plain(operation: Operation, subject: u64) -> Self {
        Self { operation, reduction: None, subject }
    }
}

impl Mesh {
    /// The mesh of `channels`, by rank; none for the own.
    pub(crate) fn new(
        channels: Vec<Option<Channel>>,
        generation: u64,
        timeout: Duration,
        abort: AbortHandle,
    ) -> Self {
        let link = |(rank, channel): (usize, Option<Channel>)| {
            channel.map(|channel| Link { rank, transport: channel.into_transport(rank) })
        };
        let links: Vec<_> = channels.into_iter().enumerate().filter_map(link).collect();
        assert!(links.len() <= PEERS_MAX, "invariant: a group has at most as many ranks as lanes");
        let patience = Patience::default();
        Self { generation, timeout, abort, links, doorbell: None, patience, sequence: 0 }
    }

    /// Ranks of all others, growing.
    pub(crate) fn peers(&self) -> impl Iterator<Item = usize> {
        self.links.iter().map(|link| link.rank)
    }

    /// How long nothing may move.
    #[cfg(feature = "nccl")]
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How this rank waits from now on.
    pub(crate) fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// What wakes this rank, once it shares memory with anyone.
    pub(crate) fn set_doorbell(&mut self, doorbell: Doorbell) {
        self.doorbell = Some(doorbell);
    }

    /// From now on messages to and from `rank` go through shared memory. `bell` wakes it.
    pub(crate) fn share(&mut self, rank: usize, own: End, peer: End, bell: OwnedFd) -> std::io::Result<()> {
        if let Some(link) = self.links.iter_mut().find(|link| link.rank == rank) {
            let stream = TcpStream::from(link.transport.socket().try_clone_to_owned()?);
            link.transport = Box::new(Shm::new(rank, stream, own, peer, bell));
        }
        Ok(())
    }

    /// One round. After an error the mesh must be dropped: messages may be cut.
    pub(crate) fn exchange(
        &mut self,
        round: Round,
        payload: &mut dyn Payload,
    ) -> Result<(), CollectiveError> {
        self.begin(round, payload)?;
        let abort = self.abort.clone();
        let _wait = abort.wait();
        let mut idle = Idle::default();
        loop {
            let moved = self.turn(payload)?;
            if self.is_done() {
                self.sequence += 1;
                return Ok(());
            }
            if self.abort.is_aborted() {
                return Err(CollectiveError::Aborted);
            }
            if moved {
                idle = Idle::default();
            } else if self.patience.spins(&mut idle) {
                self.links.iter_mut().for_each(|link| link.transport.retry());
            } else {
                self.sleep(payload, idle.since() + self.timeout)?;
            }
        }
    }

    fn begin(&mut self, round: Round, payload: &dyn Payload) -> Result<(), CollectiveError> {
        if self.abort.is_aborted() {
            return Err(CollectiveError::Aborted);
        }
        let Round { operation, reduction, subject } = round;
        for link in &mut self.links {
            let header = |payload_bytes| {
                let (generation, sequence) = (self.generation, self.sequence);
                Header { operation, reduction, generation, sequence, subject, payload_bytes }
            };
            let outgoing = payload.outgoing_bytes(link.rank).map(check_length).transpose()?;
            let incoming = payload.incoming_bytes(link.rank).map(check_length).transpose()?;
            link.transport.begin(outgoing.map(header), incoming.map(header));
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.links.iter().all(|link| link.transport.is_done())
    }

    /// Sends and receives what can be sent and received now; whether anything could.
    fn turn(&mut self, payload: &mut dyn Payload) -> Result<bool, CollectiveError> {
        let mut moved = false;
        for link in &mut self.links {
            moved |= match link.transport.send(payload) {
                Ok(moved) => moved,
                // A rank that found a disagreement closes its connections. Its own
                // header may lie here already, and says more than that it is gone.
                Err(lost) => return Err(link.transport.receive(payload).err().unwrap_or(lost)),
            };
        }
        for link in &mut self.links {
            moved |= link.transport.receive(payload)?;
        }
        Ok(moved)
    }

    /// Sleeps until something can be sent or received, a peer is gone, or the group is
    /// aborted; an error when `deadline` passes before.
    fn sleep(&mut self, payload: &mut dyn Payload, deadline: Instant) -> Result<(), CollectiveError> {
        if let Some(doorbell) = &self.doorbell {
            doorbell.sleep();
            // What a peer did before it could see that this rank sleeps is seen now.
            if self.turn(payload)? {
                self.doorbell.iter().for_each(|doorbell| doorbell.wake(false));
                return Ok(());
            }
        }
        let mut found = [PollFlags::empty(); PEERS_MAX];
        let mut fds: [PollFd<'_>; PEERS_MAX + 2] =
            array::from_fn(|_| PollFd::new(self.abort.signal(), PollFlags::IN));
        if let Some(doorbell) = &self.doorbell {
            fds[1] = PollFd::from_borrowed_fd(doorbell.event(), PollFlags::IN);
        }
        let mut used = 2;
        for link in self.links.iter().filter(|link| !link.transport.is_done()) {
            fds[used] = PollFd::from_borrowed_fd(link.transport.socket(), link.transport.interest());
            used += 1;
        }
        wait(&mut fds[..used], Some(deadline))
            .map_err(|cause| CollectiveError::System { doing: "waiting for ranks", cause })?;
        let rung = !fds[1].revents().is_empty();
        for (found, fd) in found.iter_mut().zip(&fds[2..used]) {
            *found = fd.revents();
        }
        self.doorbell.iter().for_each(|doorbell| doorbell.wake(rung));
        for (link, found) in self.links.iter_mut().filter(|link| !link.transport.is_done()).zip(found) {
            link.transport.ready(found);
        }
        let nothing = !rung && found.iter().all(|found| found.is_empty());
        if nothing && !self.abort.is_aborted() && Instant::now() >= deadline {
            let waiting = self.links.iter().filter(|link| !link.transport.is_done());
            let ranks = waiting.map(|link| link.rank as u32).collect();
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

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use proptest::prelude::*;

    use super::*;
    use crate::{error::Field, links::Links, wire::HEADER_BYTES};

    const LEN: usize = 8;

    /// Rank 0 of a group of two, and the socket of a rank 1 that is played by the test.
    fn played() -> (Mesh, TcpStream, AbortHandle) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let theirs = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (ours, _) = listener.accept().expect("it was dialed");
        ours.set_nonblocking(true).expect("a socket can");
        let abort = AbortHandle::new().expect("descriptors are left");
        let ours = Channel::accepted(ours, None).expect("it takes nothing");
        let mesh = Mesh::new(vec![None, Some(ours)], 7, Duration::from_secs(60), abort.clone());
        (mesh, theirs, abort)
    }

    fn right() -> Header {
        let payload_bytes = LEN as u64;
        Header {
            operation: Operation::Gather,
            reduction: None,
            generation: 7,
            sequence: 0,
            subject: 0,
            payload_bytes,
        }
    }

    /// One round in which rank 1 sends `words` and leaves.
    fn round(words: &[u8]) -> Result<[u8; LEN], CollectiveError> {
        let (mut mesh, mut theirs, _abort) = played();
        theirs.write_all(words).expect("it fits into the buffer");
        theirs.shutdown(std::net::Shutdown::Write).expect("it is connected");
        let mut all = [[0; LEN]; 2];
        Links::All.gather(&mut mesh, Round::plain(Operation::Gather, 0), 0, &mut all)?;
        Ok(all[1])
    }

    fn check(header: Header, field: Field, expected: u64, actual: u64) {
        let words = [&header.encode()[..], &[1; LEN]].concat();
        match round(&words).expect_err("the header is wrong") {
            CollectiveError::Disagreement { rank: 1, field: f, expected: e, actual: a } => {
                assert_eq!((f, e, a), (field, expected, actual));
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_expected_message_is_taken() {
        let words = [&right().encode()[..], &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
        assert_eq!(round(&words).expect("it is right"), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn every_number_of_a_header_is_checked() {
        check(Header { generation: 6, ..right() }, Field::Generation, 7, 6);
        check(Header { sequence: 1, ..right() }, Field::Sequence, 0, 1);
        check(Header { subject: 9, ..right() }, Field::Subject, 0, 9);
        check(Header { reduction: Some(Reduction::Max), ..right() }, Field::Reduction, 0, 3);
        check(Header { payload_bytes: 4, ..right() }, Field::PayloadBytes, 8, 4);
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_a_lost_rank() {
        let words = [&right().encode()[..], &[1; LEN]].concat();
        for cut in 0..words.len() {
            let error = round(&words[..cut]).expect_err("it is cut");
            assert!(matches!(error, CollectiveError::Lost { rank: 1, .. }), "cut at {cut}: {error}");
        }
    }

    /// How long a rank that has sent its message goes on waiting after it was aborted.
    fn time_of_an_abort() -> Duration {
        let (mut mesh, mut theirs, abort) = played();
        thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                let mut all = [[0; LEN]; 2];
                let round = Round::plain(Operation::Gather, 0);
                let result = Links::All.gather(&mut mesh, round, 0, &mut all);
                (result, Instant::now())
            });
            let mut message = [0; HEADER_BYTES + LEN];
            theirs.read_exact(&mut message).expect("rank 0 sends");
            let begun = Instant::now();
            abort.abort();
            let (result, ended) = waiting.join().expect("it does not panic");
            assert!(matches!(result, Err(CollectiveError::Aborted)));
            ended - begun
        })
    }

    #[test]
    fn an_abort_ends_a_wait_within_50_ms() {
        // The best of a few: the machine may be busy with other things.
        let best = (0..10).map(|_| time_of_an_abort()).min().expect("there were some");
        assert!(best < Duration::from_millis(50), "{best:?}");
    }

    proptest! {
        #[test]
        fn whatever_a_peer_sends_the_round_ends(
            words in prop::collection::vec(any::<u8>(), 0..80),
            kept in 0_usize..=HEADER_BYTES,
        ) {
            let mut words = words;
            let right = right().encode();
            let kept = kept.min(words.len());
            words[..kept].copy_from_slice(&right[..kept]);
            match round(&words) {
                Ok(payload) => {
                    prop_assert_eq!(&words[..HEADER_BYTES], &right[..]);
                    prop_assert_eq!(&words[HEADER_BYTES..HEADER_BYTES + LEN], &payload[..]);
                }
                Err(CollectiveError::Lost { .. } | CollectiveError::Malformed { .. }) => {}
                Err(CollectiveError::Disagreement { .. } | CollectiveError::Operation { .. }) => {}
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}

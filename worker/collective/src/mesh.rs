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
            .map_err(|cause| CollectiveError::System { doing: "waiting for ranks", cause })?;
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

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use proptest::prelude::*;

    use super::*;
    use crate::{error::Field, payload::ToAll, wire::HEADER_BYTES};

    const LEN: usize = 8;

    /// Rank 0 of a group of two, and the socket of a rank 1 that is played by the test.
    fn played() -> (Mesh, TcpStream, AbortHandle) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let theirs = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (ours, _) = listener.accept().expect("it was dialed");
        ours.set_nonblocking(true).expect("a socket can");
        let abort = AbortHandle::new().expect("descriptors are left");
        let mesh = Mesh::new(vec![None, Some(ours)], 7, Duration::from_secs(60), abort.clone());
        (mesh, theirs, abort)
    }

    fn right() -> Header {
        let payload_bytes = LEN as u64;
        Header { operation: Operation::Gather, generation: 7, sequence: 0, subject: 0, payload_bytes }
    }

    /// One round in which rank 1 sends `words` and leaves.
    fn round(words: &[u8]) -> Result<[u8; LEN], CollectiveError> {
        let (mut mesh, mut theirs, _abort) = played();
        theirs.write_all(words).expect("it fits into the buffer");
        theirs.shutdown(std::net::Shutdown::Write).expect("it is connected");
        let mut all = [[0; LEN]; 2];
        mesh.exchange(Operation::Gather, 0, &mut ToAll { mine: &[5; LEN], all: &mut all })?;
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
                let result =
                    mesh.exchange(Operation::Gather, 0, &mut ToAll { mine: &[5; LEN], all: &mut all });
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

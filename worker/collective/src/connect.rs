//! Making a group's connections: every rank dials those linked with it and below it, and is
//! dialed by those above it, and each pair exchanges a hello. One loop over all of them, on the
//! caller's thread, until all are there, the deadline passes, or the group is aborted.
//!
//! ```text
//! dialing ── connected ──► securing ── TLS, join sent ──► greeted ── welcome ──► joined
//! expected ── join taken from the listener, welcome sent ──► joined
//! ```
//!
//! Without certificates, securing takes no time. Invariant: a connection is joined only
//! when both ends have seen that job, generation, world size, lanes and ranks agree.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt},
};
use tracing::debug;

use crate::{
    channel::Channel,
    config::GroupConfig,
    error::{CollectiveError, Field},
    handshake::HelloReader,
    link::lost,
    links::Links,
    listener::{Listener, Seat},
    signal::AbortHandle,
    wait::wait,
    wire::{Hello, Purpose, WireError},
};

/// Connects with those other ranks of a checked configuration that `links` joins with this
/// one. Returns their connections, by rank.
pub(crate) fn connect_all(
    listener: &Listener,
    config: &GroupConfig,
    links: Links,
    abort: &AbortHandle,
) -> Result<Vec<Option<Channel>>, CollectiveError> {
    let opened = listener.open(&config.job, config.generation);
    let opened = opened.map_err(|cause| CollectiveError::System { doing: "opening a generation", cause })?;
    let seat = opened.map_err(|newest| CollectiveError::Superseded {
        job: config.job.clone(),
        generation: config.generation,
        newest,
    })?;
    let deadline = Instant::now() + config.timeout;
    let mut places = Vec::with_capacity(config.peers.len());
    for (rank, addr) in (0..).zip(&config.peers) {
        places.push(match rank {
            _ if !links.join(config.rank as usize, rank as usize) => Place::Unlinked,
            _ if rank < config.rank => Place::Dialing(dial(rank, *addr)?),
            _ => Place::Expected,
        });
    }
    let _wait = abort.wait();
    Formation { config, abort, listener, seat, deadline, places }.run()
}

/// Lets the system end a connection whose other machine acknowledges nothing for so long,
/// neither data nor, where there is none, probes.
fn lose_when_silent(stream: &TcpStream, silence: Duration) -> rustix::io::Result<()> {
    const PROBES: u32 = 4;
    let between = (silence / (PROBES + 1)).max(Duration::from_secs(1));
    sockopt::set_tcp_user_timeout(stream, u32::try_from(silence.as_millis()).unwrap_or(u32::MAX))?;
    sockopt::set_tcp_keepidle(stream, between)?;
    sockopt::set_tcp_keepintvl(stream, between)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    sockopt::set_socket_keepalive(stream, true)
}

/// What there is of the connection to one rank.
enum Place {
    /// The own rank, or one that there is no connection with.
    Unlinked,
    /// It will dial.
    Expected,
    /// Being connected.
    Dialing(TcpStream),
    /// Its TLS handshake is under way.
    Securing(Channel),
    /// It owes the answer to a hello.
    Greeted(Channel, HelloReader),
    /// Part of the group. Watched for an early end until it sends its first message.
    Joined { channel: Channel, watched: bool },
}

struct Formation<'a> {
    config: &'a GroupConfig,
    abort: &'a AbortHandle,
    listener: &'a Listener,
    seat: Seat,
    deadline: Instant,
    places: Vec<Place>,
}

impl Formation<'_> {
    fn run(mut self) -> Result<Vec<Option<Channel>>, CollectiveError> {
        loop {
            for (hello, channel) in self.seat.take() {
                self.admit(&hello, channel)?;
            }
            if self.absent().is_empty() {
                break;
            }
            for rank in self.wait()? {
                self.advance(rank)?;
            }
        }
        let channels = self.places.into_iter().map(|place| match place {
            Place::Joined { channel, .. } => Some(channel),
            Place::Unlinked
            | Place::Expected
            | Place::Dialing(_)
            | Place::Securing(_)
            | Place::Greeted(..) => None,
        });
        let channels: Vec<Option<Channel>> = channels.collect();
        for channel in channels.iter().flatten() {
            lose_when_silent(channel.socket(), self.config.silence).map_err(|cause| {
                CollectiveError::System { doing: "watching a connection", cause: cause.into() }
            })?;
        }
        Ok(channels)
    }

    /// Ranks that are not joined.
    fn absent(&self) -> Vec<u32> {
        let absent = |place: &Place| match place {
            Place::Unlinked | Place::Joined { .. } => false,
            Place::Expected | Place::Dialing(_) | Place::Securing(_) | Place::Greeted(..) => true,
        };
        (0..).zip(&self.places).filter(|(_, place)| absent(place)).map(|(rank, _)| rank).collect()
    }

    /// Waits until something happens and returns the ranks whose connections it happened to.
    fn wait(&self) -> Result<Vec<u32>, CollectiveError> {
        let mut fds = vec![
            PollFd::new(self.abort.signal(), PollFlags::IN),
            PollFd::new(self.seat.signal(), PollFlags::IN),
        ];
        let mut ranks = Vec::new();
        for (rank, place) in (0..).zip(&self.places) {
            let (stream, flags) = match place {
                Place::Dialing(stream) => (stream, PollFlags::OUT),
                Place::Securing(channel) | Place::Greeted(channel, _) => {
                    (channel.socket(), channel.interest())
                }
                Place::Joined { channel, watched: true } => (channel.socket(), PollFlags::RDHUP),
                Place::Unlinked | Place::Expected | Place::Joined { watched: false, .. } => continue,
            };
            fds.push(PollFd::new(stream, flags));
            ranks.push(rank);
        }
        wait(&mut fds, Some(self.deadline))
            .map_err(|cause| CollectiveError::System { doing: "waiting for connections", cause })?;
        if self.abort.is_aborted() {
            return Err(CollectiveError::Aborted);
        }
        if Instant::now() >= self.deadline {
            return Err(CollectiveError::Timeout { timeout: self.config.timeout, ranks: self.absent() });
        }
        let happened = ranks.into_iter().zip(&fds[2..]).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(happened.map(|(rank, _)| rank).collect())
    }

    /// Takes a connection in that dialed this rank.
    fn admit(&mut self, hello: &Hello, mut channel: Channel) -> Result<(), CollectiveError> {
        let rank = hello.from;
        // Both ends are to see what they disagree on, so the answer comes first.
        let answered = channel.send_hello(&self.hello(Purpose::Welcome, rank));
        self.check(rank, hello)?;
        match self.places.get_mut(rank as usize) {
            Some(place @ Place::Expected) => {
                answered.map_err(|cause| lost(rank as usize, cause))?;
                *place = Place::Joined { channel, watched: true };
            }
            Some(_) | None => debug!(rank, "a rank dialed that was not expected to"),
        }
        Ok(())
    }

    /// Goes on with a connection that something happened to.
    fn advance(&mut self, rank: u32) -> Result<(), CollectiveError> {
        let lost = |cause: io::Error| lost(rank as usize, cause);
        let place = std::mem::replace(&mut self.places[rank as usize], Place::Expected);
        self.places[rank as usize] = match place {
            Place::Dialing(stream) => {
                let addr = self.config.peers[rank as usize];
                if let Some(cause) = stream.take_error().map_err(lost)? {
                    return Err(CollectiveError::Unreachable { rank, addr, cause });
                }
                stream.set_nodelay(true).map_err(lost)?;
                let channel = Channel::dialed(stream, self.listener.tls()).map_err(lost)?;
                self.secure(rank, channel)?
            }
            Place::Securing(channel) => self.secure(rank, channel)?,
            Place::Greeted(mut channel, mut reader) => match channel.read_hello(&mut reader).map_err(lost)? {
                None => Place::Greeted(channel, reader),
                Some(hello) => {
                    let hello = hello.map_err(|cause| CollectiveError::Malformed { rank, cause })?;
                    self.check_answer(rank, &hello)?;
                    Place::Joined { channel, watched: true }
                }
            },
            Place::Joined { channel, .. } => match channel.socket().peek(&mut [0]).map_err(lost)? {
                0 => return Err(lost(io::ErrorKind::UnexpectedEof.into())),
                // It is connected with everyone, said so, and ended then: the first round tells.
                _ => Place::Joined { channel, watched: false },
            },
            place @ (Place::Unlinked | Place::Expected) => place,
        };
        Ok(())
    }

    /// Goes on with the handshake of a connection that this rank dialed, and then greets.
    fn secure(&self, rank: u32, mut channel: Channel) -> Result<Place, CollectiveError> {
        let lost = |cause: io::Error| lost(rank as usize, cause);
        if !channel.handshake().map_err(lost)? {
            return Ok(Place::Securing(channel));
        }
        channel.send_hello(&self.hello(Purpose::Join, rank)).map_err(lost)?;
        Ok(Place::Greeted(channel, HelloReader::new()))
    }

    fn hello(&self, purpose: Purpose, to: u32) -> Hello {
        Hello {
            purpose,
            job: self.config.job.clone(),
            generation: self.config.generation,
            from: self.config.rank,
            to,
            world_size: self.config.world_size(),
            lanes: self.config.lanes,
        }
    }

    fn check_answer(&self, rank: u32, hello: &Hello) -> Result<(), CollectiveError> {
        match hello.purpose {
            Purpose::Welcome => self.check(rank, hello),
            Purpose::Refuse => Err(CollectiveError::Refused {
                rank,
                generation: self.config.generation,
                newest: hello.generation,
            }),
            Purpose::Join => {
                let cause = WireError::Field { field: "purpose", value: 1 };
                Err(CollectiveError::Malformed { rank, cause })
            }
        }
    }

    /// Compares the peer's view with our own. The job was compared by the listener
    /// of whoever was dialed.
    fn check(&self, rank: u32, hello: &Hello) -> Result<(), CollectiveError> {
        let own = self.hello(hello.purpose, rank);
        let fields = [
            (Field::Generation, own.generation, hello.generation),
            (Field::WorldSize, own.world_size.into(), hello.world_size.into()),
            (Field::Lanes, own.lanes.into(), hello.lanes.into()),
            (Field::Rank, own.from.into(), hello.to.into()),
            (Field::Rank, own.to.into(), hello.from.into()),
        ];
        match fields.into_iter().find(|(_, expected, actual)| expected != actual) {
            None => Ok(()),
            Some((field, expected, actual)) => {
                Err(CollectiveError::Disagreement { rank, field, expected, actual })
            }
        }
    }
}

/// Begins a connection.
fn dial(rank: u32, addr: SocketAddr) -> Result<TcpStream, CollectiveError> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let begun = socket_with(family, SocketType::STREAM, flags, None).and_then(|socket| {
        match connect(&socket, &addr) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(TcpStream::from(socket)),
            Err(error) => Err(error),
        }
    });
    begun.map_err(|error| CollectiveError::Unreachable { rank, addr, cause: error.into() })
}

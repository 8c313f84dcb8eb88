//! The door of a rank: where the others of its host hand open files in, and how it hands
//! its own over.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg,
        socket_with,
    },
    rand::{GetRandomFlags, getrandom},
};
use tracing::debug;

use crate::{
    links::Links,
    memory::{Layout, Segment},
    pool::{ForeignPool, Pool},
    presence::Presence,
    signal::AbortHandle,
    wire::{OFFER_BYTES, Offer, TOKEN_BYTES},
};

/// The most visitors that a door looks at: a group's, and some strangers.
const VISITORS_MAX: usize = 256;

/// How long a rank goes on when nothing moves any more.
const STILL_TIME_MAX: Duration = Duration::from_secs(2);

/// How long it waits for others to take theirs in before it tries again.
const PAUSE: Duration = Duration::from_millis(1);

/// Where other ranks hand their memory in. Gone when dropped.
pub(crate) struct Door {
    pub(crate) name: [u8; TOKEN_BYTES],
    socket: UnixListener,
    token: [u8; TOKEN_BYTES],
    /// Ends all waits.
    abort: AbortHandle,
    /// Who has come and handed nothing in so far.
    visitors: Vec<UnixStream>,
    visits: usize,
    taken: Vec<Taken>,
}

/// What a peer has handed in.
pub(crate) struct Taken {
    pub(crate) from: usize,
    /// Memory for messages, if the two are linked.
    pub(crate) rings: Option<Rings>,
    /// Memory for vectors, if it has some.
    pub(crate) pool: Option<ForeignPool>,
}

/// A peer's memory for messages, and what wakes it.
pub(crate) struct Rings {
    pub(crate) segment: Segment,
    /// Which of its slots is this rank's.
    pub(crate) slot: usize,
    pub(crate) bell: OwnedFd,
}

impl Door {
    /// Opens one, at which `token` must be said.
    pub(crate) fn open(token: [u8; TOKEN_BYTES], abort: AbortHandle) -> io::Result<Self> {
        let name = random()?;
        let socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(address(name))?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { name, socket, token, abort, visitors: Vec::new(), visits: 0, taken: Vec::new() })
    }

    /// Takes in what lies here. What is not as it should be is left out.
    fn look(&mut self) {
        while self.visits < VISITORS_MAX
            && let Ok((visitor, _)) = self.socket.accept()
        {
            self.visits += 1;
            self.visitors.push(visitor);
        }
        let (token, taken) = (self.token, &mut self.taken);
        self.visitors.retain(|visitor| match take(visitor, token) {
            Ok(found) if taken.iter().all(|taken| taken.from != found.from) => {
                taken.push(found);
                false
            }
            Ok(found) => {
                debug!(rank = found.from, "memory of a rank was left that came twice");
                false
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(error) => {
                debug!(%error, "what came through the door was no memory");
                false
            }
        });
    }

    /// Takes in what comes until `done`, until nothing has come for a while, or an abort.
    fn look_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let (mut last, mut moved) = (Instant::now(), self.taken.len());
        loop {
            self.look();
            if done(self) || last.elapsed() > STILL_TIME_MAX || self.abort.is_aborted() {
                return;
            }
            if self.taken.len() > moved {
                (last, moved) = (Instant::now(), self.taken.len());
            } else {
                thread::sleep(PAUSE);
            }
        }
    }

    /// What the `expected` peers have handed in: they have said so, hence all of it lies here.
    pub(crate) fn take_in(mut self, expected: &[usize]) -> Vec<Taken> {
        self.look();
        self.taken.retain(|taken| expected.contains(&taken.from));
        self.taken
    }
}

fn take(visitor: &UnixStream, token: [u8; TOKEN_BYTES]) -> io::Result<Taken> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let mut bytes = [0; OFFER_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(visitor, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
    let files = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => files.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let mut files = files.collect::<Vec<_>>().into_iter();
    let offer = Offer::decode(&bytes).map_err(|_| invalid())?;
    if received.bytes != OFFER_BYTES || offer.token != token {
        return Err(invalid());
    }
    let rings = match offer.slot {
        None => None,
        Some(slot) if slot < offer.slots => {
            let (memory, bell) = files.next().zip(files.next()).ok_or_else(invalid)?;
            let layout = Layout::announced(offer.slots, offer.ring_bytes).ok_or_else(invalid)?;
            Some(Rings { segment: Segment::open(&memory, layout)?, slot: slot as usize, bell })
        }
        Some(_) => return Err(invalid()),
    };
    let pool = files.next().map(ForeignPool::new).transpose()?;
    Ok(Taken { from: offer.from as usize, rings, pool })
}

/// Connects with the doors that can be reached from here.
pub(crate) fn knock(peers: &[usize], all: &[Presence]) -> Vec<(usize, OwnedFd)> {
    let visit = |peer: &usize| {
        let addr = SocketAddrUnix::new_abstract_name(&address(all[*peer].door?)).ok()?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
        connect(&socket, &addr).ok().map(|()| (*peer, socket))
    };
    peers.iter().filter_map(visit).collect()
}

/// What this rank has handed over, and to whom; to those it is linked with, a slot each.
#[derive(Default)]
pub(crate) struct Handed {
    pub(crate) memory: Option<Memory>,
    pub(crate) slots: Vec<(usize, Option<usize>)>,
}

/// What a rank hands over: memory for messages, what wakes it, memory for vectors.
pub(crate) struct Memory {
    pub(crate) segment: Arc<Segment>,
    pub(crate) event: OwnedFd,
    pub(crate) pool: Option<Pool>,
}

/// Makes this rank's memory and hands it to everyone whose door was reached, while it takes
/// in what others hand it. The system lets a user have a limited number of files on their
/// way: those of a large group go in turns, and who is done still takes others' in.
pub(crate) fn hand_over(
    door: &mut Door,
    rank: u32,
    links: Links,
    visits: &[(usize, OwnedFd)],
    all: &[Presence],
) -> io::Result<Handed> {
    if visits.is_empty() {
        return Ok(Handed::default());
    }
    let linked = |peer: usize| links.join(rank as usize, peer);
    let layout = Layout::for_peers(visits.iter().filter(|(peer, _)| linked(*peer)).count().max(1));
    let (segment, file) = Segment::create(layout)?;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let (pool, pool_file) =
        Pool::create().inspect_err(|error| debug!(%error, "vectors are copied")).ok().unzip();
    let mut slots = Vec::new();
    let mut next = 0..layout.slots();
    for (peer, socket) in visits {
        let slot = if linked(*peer) { next.next() } else { None };
        let offer = Offer {
            from: rank,
            slots: layout.slots() as u32,
            slot: slot.map(|slot| slot as u32),
            ring_bytes: layout.ring_bytes() as u64,
            token: all[*peer].token,
        };
        let rings = slot.map(|_| [file.as_fd(), event.as_fd()]);
        let files: Vec<_> =
            rings.into_iter().flatten().chain(pool_file.as_ref().map(|file| file.as_fd())).collect();
        let mut sent = send(socket, &offer, &files);
        door.look_until(|_| {
            if sent == Err(Errno::TOOMANYREFS) {
                sent = send(socket, &offer, &files);
            }
            sent != Err(Errno::TOOMANYREFS)
        });
        match sent {
            Ok(OFFER_BYTES) => slots.push((*peer, slot)),
            other => debug!(rank = peer, ?other, "memory was not handed over"),
        }
    }
    // Who could be handed something can most likely reach this rank's door, too.
    door.look_until(|door| slots.iter().all(|(peer, _)| door.taken.iter().any(|taken| taken.from == *peer)));
    Ok(Handed { memory: Some(Memory { segment: Arc::new(segment), event, pool }), slots })
}

fn send(socket: &OwnedFd, offer: &Offer, files: &[BorrowedFd<'_>]) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(files));
    }
    sendmsg(socket, &[IoSlice::new(&offer.encode())], &mut control, SendFlags::NOSIGNAL)
}

/// The name of a door as the system knows it.
fn address(name: [u8; TOKEN_BYTES]) -> Vec<u8> {
    format!("phalanx-{:032x}", u128::from_le_bytes(name)).into_bytes()
}

/// A number that cannot be guessed.
pub(crate) fn random() -> io::Result<[u8; TOKEN_BYTES]> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}

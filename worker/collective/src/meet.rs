//! Ranks of one host find each other and hand each other memory, over connections that
//! stand already. Each opens a door, an abstract unix socket with a name that cannot be
//! guessed, tells the name to its group over TCP, and knocks at the doors of all others:
//! who can be reached that way is on the same host, in the same network namespace. What
//! is handed through the door are open files. They have no names, so nothing is left
//! behind by a process that is killed.
//!
//! ```text
//! presence ──► knock, hand over memory ──► "I did" ──► take in, map ──► "I could" ──► share
//! ```
//!
//! Invariant: a pair shares memory only if each has mapped the other's and knows that
//! the other has too; every other pair stays with TCP.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    sync::Arc,
};

use rustix::{
    event::{EventfdFlags, eventfd},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg,
        socket_with,
    },
    rand::{GetRandomFlags, getrandom},
};
use tracing::debug;

use crate::{
    config::{GroupConfig, Transport},
    error::CollectiveError,
    in_place::Pools,
    memory::{Layout, Segment},
    mesh::{Mesh, Round},
    payload::{ToAll, ToEach},
    pool::{ForeignPool, Pool},
    presence::{PRESENCE_BYTES, Presence},
    ring::End,
    shm::Doorbell,
    wire::{OFFER_BYTES, Offer, Operation, TOKEN_BYTES},
};

/// The most visitors that a door looks at: a group's, and some strangers.
const VISITORS_MAX: usize = 256;

/// Lets all ranks of the group meet: each learns where the others are, and pairs that can
/// share memory do so from then on, as far as the settings of both want it.
pub(crate) fn meet(mesh: &mut Mesh, config: &GroupConfig) -> Result<Option<Pools>, CollectiveError> {
    let system = |cause| CollectiveError::System { doing: "preparing shared memory", cause };
    let own_rank = config.rank as usize;
    let door = match config.transport {
        Transport::Tcp => None,
        Transport::Auto | Transport::SharedMemory => Door::open().ok(),
    };
    let token = random().map_err(system)?;
    let here = Presence::here(door.as_ref().map(|door| door.name), token);
    let mut told = vec![[0; PRESENCE_BYTES]; config.peers.len()];
    let mine = here.encode();
    mesh.exchange(Round::plain(Operation::Presence, 0), &mut ToAll { mine: &mine, all: &mut told })?;
    told[own_rank] = mine;
    let all: Vec<_> = told.iter().map(Presence::decode).collect();
    mesh.set_patience(here.patience(all.iter()));

    let peers: Vec<_> = mesh.peers().collect();
    let visits = if door.is_some() { knock(&peers, &all) } else { Vec::new() };
    let handed = hand_over(config, visits, &all).unwrap_or_else(|error| {
        debug!(%error, "no memory to be shared");
        Handed::default()
    });
    let mut mine = vec![[0]; all.len()];
    handed.slots.iter().for_each(|(peer, _)| mine[*peer] = [1]);
    let mut theirs = vec![[0]; all.len()];
    mesh.exchange(Round::plain(Operation::Opened, 0), &mut ToEach { mine: &mine, theirs: &mut theirs })?;
    let expected: Vec<_> = peers.iter().copied().filter(|peer| theirs[*peer] == [1]).collect();
    let taken = door.map_or_else(Vec::new, |door| door.take_in(&expected, token));

    mine.fill([0]);
    taken.iter().for_each(|taken| mine[taken.from] = [1]);
    mesh.exchange(Round::plain(Operation::Opened, 1), &mut ToEach { mine: &mine, theirs: &mut theirs })?;
    let pools = share(mesh, own_rank, handed, taken, &theirs).map_err(system)?;
    match peers.iter().find(|peer| mine[**peer] == [0] || theirs[**peer] == [0]) {
        Some(peer) if config.transport == Transport::SharedMemory => {
            Err(CollectiveError::NotShared { rank: *peer as u32 })
        }
        Some(_) | None => Ok(pools),
    }
}

/// Of the peers in `taken`, those that could take this rank's memory in too share theirs.
/// What they have for vectors too, if all of them do.
fn share(
    mesh: &mut Mesh,
    own_rank: usize,
    handed: Handed,
    taken: Vec<Taken>,
    could: &[[u8; 1]],
) -> io::Result<Option<Pools>> {
    let Some(Memory { segment, event, pool }) = handed.memory else { return Ok(None) };
    let mut pools: Vec<_> = could.iter().map(|_| None).collect();
    for Taken { from, segment: theirs, slot, bell, pool } in taken {
        let own = handed.slots.iter().find(|(peer, _)| *peer == from);
        if let Some((_, own_slot)) = own.filter(|_| could[from] == [1]) {
            let own = End { segment: Arc::clone(&segment), slot: *own_slot };
            mesh.share(from, own, End { segment: Arc::new(theirs), slot }, bell)?;
            pools[from] = Some(pool);
            debug!(rank = from, "memory is shared");
        }
    }
    mesh.set_doorbell(Doorbell::new(segment, event));
    Ok(Pools::new(pool, own_rank, pools))
}

/// Where other ranks hand their memory in. Gone when dropped.
struct Door {
    name: [u8; TOKEN_BYTES],
    socket: UnixListener,
}

/// What a peer has handed in.
struct Taken {
    from: usize,
    segment: Segment,
    /// Which of its slots is this rank's.
    slot: usize,
    bell: OwnedFd,
    pool: ForeignPool,
}

impl Door {
    fn open() -> io::Result<Self> {
        let name = random()?;
        let socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(address(name))?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { name, socket })
    }

    /// What the `expected` peers have handed in: they have said so, hence all of it lies
    /// here. What is not as it should be is left out.
    fn take_in(self, expected: &[usize], token: [u8; TOKEN_BYTES]) -> Vec<Taken> {
        let mut taken: Vec<Taken> = Vec::new();
        for _ in 0..VISITORS_MAX {
            if taken.len() == expected.len() {
                break;
            }
            let Ok((visitor, _)) = self.socket.accept() else { break };
            match take(&visitor, token) {
                Ok(found) if expected.contains(&found.from) && taken.iter().all(|t| t.from != found.from) => {
                    taken.push(found);
                }
                Ok(found) => debug!(rank = found.from, "memory of an unexpected rank was left"),
                Err(error) => debug!(%error, "what came through the door was no memory"),
            }
        }
        taken
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
    let [memory, bell, pool]: [OwnedFd; 3] = files.collect::<Vec<_>>().try_into().map_err(|_| invalid())?;
    let offer = Offer::decode(&bytes).map_err(|_| invalid())?;
    if received.bytes != OFFER_BYTES || offer.token != token || offer.slot >= offer.slots {
        return Err(invalid());
    }
    let layout = Layout::announced(offer.slots, offer.ring_bytes).ok_or_else(invalid)?;
    let segment = Segment::open(&memory, layout)?;
    let (from, slot, pool) = (offer.from as usize, offer.slot as usize, ForeignPool::new(pool)?);
    Ok(Taken { from, segment, slot, bell, pool })
}

/// Connects with the doors that can be reached from here.
fn knock(peers: &[usize], all: &[Presence]) -> Vec<(usize, OwnedFd)> {
    let visit = |peer: &usize| {
        let addr = SocketAddrUnix::new_abstract_name(&address(all[*peer].door?)).ok()?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
        connect(&socket, &addr).ok().map(|()| (*peer, socket))
    };
    peers.iter().filter_map(visit).collect()
}

/// What this rank has handed over, and to whom which slot of it.
#[derive(Default)]
struct Handed {
    memory: Option<Memory>,
    slots: Vec<(usize, usize)>,
}

/// What a rank hands over: memory for messages, what wakes it, memory for vectors.
struct Memory {
    segment: Arc<Segment>,
    event: OwnedFd,
    pool: Pool,
}

/// Makes this rank's memory and hands it to everyone whose door was reached.
fn hand_over(config: &GroupConfig, visits: Vec<(usize, OwnedFd)>, all: &[Presence]) -> io::Result<Handed> {
    if visits.is_empty() {
        return Ok(Handed::default());
    }
    let layout = Layout::for_peers(visits.len());
    let (segment, file) = Segment::create(layout)?;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let (pool, pool_file) = Pool::create()?;
    let mut slots = Vec::new();
    for (slot, (peer, socket)) in visits.iter().enumerate() {
        let offer = Offer {
            from: config.rank,
            slots: layout.slots() as u32,
            slot: slot as u32,
            ring_bytes: layout.ring_bytes() as u64,
            token: all[*peer].token,
        };
        let files = [file.as_fd(), event.as_fd(), pool_file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        let sent = sendmsg(socket, &[IoSlice::new(&offer.encode())], &mut control, SendFlags::NOSIGNAL);
        if sent == Ok(OFFER_BYTES) {
            slots.push((*peer, slot));
        }
    }
    Ok(Handed { memory: Some(Memory { segment: Arc::new(segment), event, pool }), slots })
}

/// The name of a door as the system knows it.
fn address(name: [u8; TOKEN_BYTES]) -> Vec<u8> {
    format!("phalanx-{:032x}", u128::from_le_bytes(name)).into_bytes()
}

fn random() -> io::Result<[u8; TOKEN_BYTES]> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}

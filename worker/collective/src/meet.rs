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
    links::Links,
    memory::{Layout, Segment},
    mesh::{Mesh, Round},
    pool::{ForeignPool, Pool},
    presence::{PRESENCE_BYTES, Presence},
    ring::End,
    share::LANES_MAX,
    shm::Doorbell,
    wire::{OFFER_BYTES, Offer, Operation, TOKEN_BYTES},
};

/// What stands in an offer for a rank that is not linked with this one.
const NO_SLOT: u32 = u32::MAX;

/// The most visitors that a door looks at: a group's, and some strangers.
const VISITORS_MAX: usize = 256;

/// Lets all ranks of the group meet: each learns where the others are, and pairs that can
/// share memory do so from then on, as far as the settings of both want it.
pub(crate) fn meet(
    mesh: &mut Mesh,
    links: Links,
    config: &GroupConfig,
) -> Result<Option<Pools>, CollectiveError> {
    let system = |cause| CollectiveError::System { doing: "preparing shared memory", cause };
    let own_rank = config.rank as usize;
    let door = match config.transport {
        Transport::Tcp => None,
        Transport::Auto | Transport::SharedMemory => Door::open().ok(),
    };
    let token = random().map_err(system)?;
    let here = Presence::here(door.as_ref().map(|door| door.name), token);
    let mut told = vec![[0; PRESENCE_BYTES]; config.peers.len()];
    told[own_rank] = here.encode();
    links.gather(mesh, Round::plain(Operation::Presence, 0), own_rank, &mut told)?;
    let all: Vec<_> = told.iter().map(Presence::decode).collect();
    mesh.set_patience(here.patience(all.iter()));

    let others: Vec<_> = (0..all.len()).filter(|rank| *rank != own_rank).collect();
    let visits = if door.is_some() { knock(&others, &all) } else { Vec::new() };
    let handed = hand_over(config, links, visits, &all).unwrap_or_else(|error| {
        debug!(%error, "no memory to be shared");
        Handed::default()
    });
    let did: Vec<_> = handed.slots.iter().map(|(peer, _)| *peer).collect();
    let theirs = tell(mesh, links, 0, own_rank, all.len(), &did)?;
    let expected: Vec<_> = others.into_iter().filter(|peer| theirs[*peer]).collect();
    let taken = door.map_or_else(Vec::new, |door| door.take_in(&expected, token));

    let did: Vec<_> = taken.iter().map(|taken| taken.from).collect();
    let theirs = tell(mesh, links, 1, own_rank, all.len(), &did)?;
    let apart = mesh.peers().find(|peer| !did.contains(peer) || !theirs[*peer]);
    let pools = share(mesh, own_rank, handed, taken, &theirs).map_err(system)?;
    match apart {
        Some(peer) if config.transport == Transport::SharedMemory => {
            Err(CollectiveError::NotShared { rank: peer as u32 })
        }
        Some(_) | None => Ok(pools),
    }
}

/// Tells all ranks with whom this one `did` what the `nth` part of a meeting is; returns which
/// of them did it with this one.
fn tell(
    mesh: &mut Mesh,
    links: Links,
    nth: u64,
    own_rank: usize,
    world_size: usize,
    did: &[usize],
) -> Result<Vec<bool>, CollectiveError> {
    let mut rows = vec![[0; LANES_MAX as usize]; world_size];
    did.iter().for_each(|peer| rows[own_rank][*peer] = 1);
    links.gather(mesh, Round::plain(Operation::Opened, nth), own_rank, &mut rows)?;
    Ok(rows.iter().map(|row| row[own_rank] == 1).collect())
}

/// Of the peers in `taken`, those that could take this rank's memory in too share theirs.
/// What they have for vectors too, if all of them do.
fn share(
    mesh: &mut Mesh,
    own_rank: usize,
    handed: Handed,
    taken: Vec<Taken>,
    could: &[bool],
) -> io::Result<Option<Pools>> {
    let Some(Memory { segment, event, pool }) = handed.memory else { return Ok(None) };
    let mut pools: Vec<_> = could.iter().map(|_| None).collect();
    for Taken { from, segment: theirs, slot, bell, pool } in taken {
        let own = handed.slots.iter().find(|(peer, _)| *peer == from);
        let Some((_, own_slot)) = own.filter(|_| could[from]) else { continue };
        if let (Some(own_slot), Some(slot)) = (*own_slot, slot) {
            let own = End { segment: Arc::clone(&segment), slot: own_slot };
            mesh.share(from, own, End { segment: Arc::new(theirs), slot }, bell)?;
        }
        pools[from] = Some(pool);
        debug!(rank = from, "memory is shared");
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
    /// Which of its slots is this rank's, if they are linked.
    slot: Option<usize>,
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
    let slot = (offer.slot != NO_SLOT).then_some(offer.slot);
    if received.bytes != OFFER_BYTES || offer.token != token || slot.is_some_and(|slot| slot >= offer.slots) {
        return Err(invalid());
    }
    let layout = Layout::announced(offer.slots, offer.ring_bytes).ok_or_else(invalid)?;
    let segment = Segment::open(&memory, layout)?;
    let (from, slot, pool) = (offer.from as usize, slot.map(|slot| slot as usize), ForeignPool::new(pool)?);
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

/// What this rank has handed over, and to whom; to those it is linked with, a slot each.
#[derive(Default)]
struct Handed {
    memory: Option<Memory>,
    slots: Vec<(usize, Option<usize>)>,
}

/// What a rank hands over: memory for messages, what wakes it, memory for vectors.
struct Memory {
    segment: Arc<Segment>,
    event: OwnedFd,
    pool: Pool,
}

/// Makes this rank's memory and hands it to everyone whose door was reached.
fn hand_over(
    config: &GroupConfig,
    links: Links,
    visits: Vec<(usize, OwnedFd)>,
    all: &[Presence],
) -> io::Result<Handed> {
    if visits.is_empty() {
        return Ok(Handed::default());
    }
    let linked = |peer: usize| links.join(config.rank as usize, peer);
    let layout = Layout::for_peers(visits.iter().filter(|(peer, _)| linked(*peer)).count().max(1));
    let (segment, file) = Segment::create(layout)?;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let (pool, pool_file) = Pool::create()?;
    let mut slots = Vec::new();
    let mut next = 0..layout.slots();
    for (peer, socket) in &visits {
        let slot = if linked(*peer) { next.next() } else { None };
        let offer = Offer {
            from: config.rank,
            slots: layout.slots() as u32,
            slot: slot.map_or(NO_SLOT, |slot| slot as u32),
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

//! Ranks of one host find each other and hand each other memory, over connections that
//! stand already. Each opens a door, an abstract unix socket with a name that cannot be
//! guessed, tells the name to its group over TCP, and knocks at the doors of all others:
//! who can be reached that way is on the same host, in the same network namespace. What
//! is handed through the door are open files. They have no names, so nothing is left
//! behind by a process that is killed.
//!
//! ```text
//! presence ─► knock, hand memory over ─► "I did" ─► take in, map ─► "I could" ─► share
//! ```
//!
//! Invariant: a pair shares memory only if each has mapped the other's and knows that
//! the other has too; every other pair stays with TCP.

use std::{io, sync::Arc};

use tracing::debug;

use crate::{
    config::{GroupConfig, Transport},
    door::{Door, Handed, Memory, Rings, Taken, hand_over, knock, random},
    error::CollectiveError,
    in_place::Pools,
    links::Links,
    mesh::{Mesh, Round},
    presence::{PRESENCE_BYTES, Presence},
    ring::End,
    share::LANES_MAX,
    shm::Doorbell,
    signal::AbortHandle,
    wire::Operation,
};

/// Lets all ranks of the group meet: each learns where the others are, and pairs that can
/// share memory do so from then on, as far as the settings of both want it.
pub(crate) fn meet(
    mesh: &mut Mesh,
    links: Links,
    config: &GroupConfig,
    abort: &AbortHandle,
) -> Result<Option<Pools>, CollectiveError> {
    let system = |cause| CollectiveError::System { doing: "preparing shared memory", cause };
    let own_rank = config.rank as usize;
    let token = random().map_err(system)?;
    let mut door = match config.transport {
        Transport::Tcp => None,
        Transport::Auto | Transport::SharedMemory => Door::open(token, abort.clone()).ok(),
    };
    let here = Presence::here(door.as_ref().map(|door| door.name), token);
    let mut told = vec![[0; PRESENCE_BYTES]; config.peers.len()];
    told[own_rank] = here.encode();
    links.gather(mesh, Round::plain(Operation::Presence, 0), own_rank, &mut told)?;
    let all: Vec<_> = told.iter().map(Presence::decode).collect();
    mesh.set_patience(here.patience(all.iter()));

    let others: Vec<_> = (0..all.len()).filter(|rank| *rank != own_rank).collect();
    let handed = door.as_mut().map(|door| hand_over(door, config.rank, links, &knock(&others, &all), &all));
    let handed = handed.transpose().unwrap_or_else(|error| {
        debug!(%error, "no memory to be shared");
        None
    });
    let handed = handed.unwrap_or_default();
    let did: Vec<_> = handed.slots.iter().map(|(peer, _)| *peer).collect();
    let theirs = tell(mesh, links, 0, own_rank, all.len(), &did)?;
    let expected: Vec<_> = others.into_iter().filter(|peer| theirs[*peer]).collect();
    let taken = door.map_or_else(Vec::new, |door| door.take_in(&expected));

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
    for Taken { from, rings, pool: theirs } in taken {
        let own = handed.slots.iter().find(|(peer, _)| *peer == from);
        let Some((_, own_slot)) = own.filter(|_| could[from]) else { continue };
        if let (Some(slot), Some(rings)) = (*own_slot, rings) {
            let own = End { segment: Arc::clone(&segment), slot };
            let Rings { segment, slot, bell } = rings;
            mesh.share(from, own, End { segment: Arc::new(segment), slot }, bell)?;
        }
        pools[from] = theirs;
        debug!(rank = from, "memory is shared");
    }
    mesh.set_doorbell(Doorbell::new(segment, event));
    Ok(pool.and_then(|pool| Pools::new(pool, own_rank, pools)))
}

//! What the rounds of each operation send and receive: views of the caller's own
//! vectors, cut into messages. Plain slices; sockets are not known here.
//!
//! Invariant: both ends compute the same length for every message before it is sent.

use std::ops::Range;

use bytemuck::{cast_slice, cast_slice_mut};

use crate::{
    link::{Payload, copy},
    reduction::Reduction,
    share::{LANES_MAX, segment},
    tree::{Lane, TreePlan},
};

/// Elements of a share that one round is about: 512 KiB.
const ROUND_ELEMENTS: usize = 1 << 17;

const F32_BYTES: usize = size_of::<f32>();

// A vector goes over the wire as it lies in memory.
const _: () = assert!(cfg!(target_endian = "little"), "the wire is little-endian");

/// Which elements of a vector each rank owns in one round. A long vector is reduced in
/// several, so that what is on its way is still in the cache when it is added.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    /// Elements of the vector.
    pub(crate) len: usize,
    /// Ranks that share them out; 1 where each rank owns them all.
    pub(crate) owners: usize,
    /// The elements of each share that this round is about.
    pub(crate) round: Range<usize>,
}

impl Cut {
    /// The cuts of all rounds, one at least.
    pub(crate) fn rounds(len: usize, owners: usize) -> impl Iterator<Item = Self> {
        let longest = segment(len, owners, 0).len().max(1);
        (0..longest).step_by(ROUND_ELEMENTS).map(move |start| Self {
            len,
            owners,
            round: start..(start + ROUND_ELEMENTS).min(longest),
        })
    }

    /// The elements of the vector that `rank` owns in this round.
    pub(crate) fn of(&self, rank: usize) -> Range<usize> {
        let share = segment(self.len, self.owners, if self.owners == 1 { 0 } else { rank });
        let place = |element: usize| share.end.min(share.start + element);
        place(self.round.start)..place(self.round.end)
    }
}

/// First round of an all-reduce: to the owner of each element, that element of the
/// sums of this rank's subtrees, one behind the other.
pub(crate) struct Scatter<'a, L> {
    pub(crate) plan: &'a TreePlan,
    pub(crate) rank: usize,
    pub(crate) reduction: Reduction,
    pub(crate) cut: Cut,
    /// This rank's lanes, with the sums of its subtrees in place.
    pub(crate) lanes: &'a mut [L],
    /// This rank's elements of the sums of the other ranks' subtrees, one behind the other.
    pub(crate) partials: &'a mut [f32],
    /// This rank's elements of the sum.
    pub(crate) out: &'a mut [f32],
    /// What arrived was added at once.
    pub(crate) folded: bool,
}

impl<L: Lane> Scatter<'_, L> {
    /// Adds up what has arrived.
    pub(crate) fn finish(self) {
        let own = self.cut.of(self.rank);
        if own.is_empty() {
            return;
        }
        if !self.folded {
            let held = self.plan.held(self.rank);
            let mut subtrees: [&mut [f32]; LANES_MAX as usize] = std::array::from_fn(|_| Default::default());
            let mut partials = self.partials.chunks_exact_mut(own.len());
            for slot in (0..self.plan.subtrees()).filter(|slot| !held.contains(slot)) {
                subtrees[slot] = partials.next().expect("invariant: one partial sum per foreign subtree");
            }
            let mut lanes = self.lanes.iter_mut().enumerate();
            for (nth, slot) in held.enumerate() {
                let place = self.plan.place(self.rank, nth);
                let lane = lanes.find(|(lane, _)| *lane == place);
                let (_, lane) = lane.expect("invariant: subtrees lie in the order of the lanes");
                subtrees[slot] = &mut lane.as_mut()[own.clone()];
            }
            self.plan.sum_rest(self.reduction, &mut subtrees[..self.plan.subtrees()], self.out);
        }
    }
}

impl<L: Lane> Payload for Scatter<'_, L> {
    fn outgoing_bytes(&self, peer: usize) -> Option<usize> {
        Some(self.plan.held(self.rank).len() * self.cut.of(peer).len() * F32_BYTES)
    }

    fn outgoing(&self, peer: usize, from: usize) -> &[u8] {
        let elements = self.cut.of(peer);
        let bytes = elements.len() * F32_BYTES;
        let place = self.plan.place(self.rank, from / bytes);
        &cast_slice(&self.lanes[place].as_ref()[elements])[from % bytes..]
    }

    fn incoming_bytes(&self, peer: usize) -> Option<usize> {
        Some(self.plan.held(peer).len() * self.cut.of(self.rank).len() * F32_BYTES)
    }

    fn incoming(&mut self, peer: usize, from: usize) -> &mut [u8] {
        let len = self.cut.of(self.rank).len();
        let held = self.plan.held(peer);
        let first = held.start - if peer > self.rank { self.plan.held(self.rank).len() } else { 0 };
        &mut cast_slice_mut(&mut self.partials[first * len..(first + held.len()) * len])[from..]
    }

    /// Where one addition is left, it is done straight from where the peer's bytes lie.
    fn deliver(&mut self, peer: usize, from: usize, bytes: &[u8]) {
        if !self.plan.is_pair() {
            return copy(self, peer, from, bytes);
        }
        let theirs: &[f32] = cast_slice(bytes);
        let at = from / F32_BYTES..from / F32_BYTES + theirs.len();
        let own = &self.lanes[self.plan.place(self.rank, 0)].as_ref()[self.cut.of(self.rank)];
        self.reduction.fold(&own[at.clone()], theirs, &mut self.out[at]);
        self.folded = true;
    }
}

/// Second round of an all-reduce: everyone's elements of the sum, to everyone.
pub(crate) struct Segments<'a> {
    pub(crate) rank: usize,
    pub(crate) cut: Cut,
    /// The sum, of which this rank's elements are there.
    pub(crate) sum: &'a mut [f32],
}

impl Payload for Segments<'_> {
    fn outgoing_bytes(&self, _peer: usize) -> Option<usize> {
        Some(self.cut.of(self.rank).len() * F32_BYTES)
    }

    fn outgoing(&self, _peer: usize, from: usize) -> &[u8] {
        &cast_slice(&self.sum[self.cut.of(self.rank)])[from..]
    }

    fn incoming_bytes(&self, peer: usize) -> Option<usize> {
        Some(self.cut.of(peer).len() * F32_BYTES)
    }

    fn incoming(&mut self, peer: usize, from: usize) -> &mut [u8] {
        &mut cast_slice_mut(&mut self.sum[self.cut.of(peer)])[from..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rank `rank` sends and receives in both rounds of an all-reduce, in bytes.
    fn traffic(lanes: u32, world_size: usize, rank: usize, len: usize) -> (usize, usize) {
        let plan = TreePlan::new(lanes, world_size as u32);
        let mut moved = (0, 0);
        for cut in Cut::rounds(len, world_size) {
            let mut sum = vec![0.0; len];
            let scatter = Scatter::<Vec<f32>> {
                plan: &plan,
                rank,
                reduction: Reduction::Sum,
                cut: cut.clone(),
                lanes: &mut [],
                partials: &mut [],
                out: &mut [],
                folded: false,
            };
            let segments = Segments { rank, cut, sum: &mut sum };
            for peer in (0..world_size).filter(|peer| *peer != rank) {
                let bytes = |bytes: Option<usize>| bytes.expect("there is a message for everyone");
                moved.0 += bytes(scatter.outgoing_bytes(peer)) + bytes(segments.outgoing_bytes(peer));
                moved.1 += bytes(scatter.incoming_bytes(peer)) + bytes(segments.incoming_bytes(peer));
            }
        }
        moved
    }

    #[test]
    fn rounds_cover_every_element_of_every_share_once() {
        for (len, owners) in
            [(0, 1), (1, 3), (5, 3), (300_001, 2), (1_000_003, 3), (262_144, 2), (400_000, 1)]
        {
            for rank in 0..owners {
                let covered: Vec<_> = Cut::rounds(len, owners).flat_map(|cut| cut.of(rank)).collect();
                assert!(covered.into_iter().eq(segment(len, owners, rank)), "{len} elements, rank {rank}");
            }
        }
    }

    #[test]
    fn equal_power_of_two_shares_move_as_many_bytes_as_a_ring() {
        let len = 64 * 10_000;
        for (lanes, world_size) in [(2, 2), (4, 2), (4, 4), (16, 8), (64, 64), (64, 16)] {
            let limit = 2 * (world_size - 1) * len * F32_BYTES / world_size;
            for rank in 0..world_size {
                let moved = traffic(lanes, world_size, rank, len);
                assert_eq!(moved, (limit, limit), "rank {rank} of {world_size}, {lanes} lanes");
            }
        }
    }
}

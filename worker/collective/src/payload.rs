//! What the rounds of each operation send and receive: views of the caller's own
//! vectors, cut into messages. Plain slices; sockets are not known here.
//!
//! Invariant: both ends compute the same length for every message before it is sent.

use bytemuck::{cast_slice, cast_slice_mut};

use crate::{link::Payload, share::segment, tree::TreePlan};

const F32_BYTES: usize = size_of::<f32>();

// A vector goes over the wire as it lies in memory.
const _: () = assert!(cfg!(target_endian = "little"), "the wire is little-endian");

/// First round of an all-reduce: to the owner of each segment, that segment of the
/// sums of this rank's subtrees, one behind the other.
pub(crate) struct Scatter<'a> {
    pub(crate) plan: &'a TreePlan,
    pub(crate) rank: usize,
    pub(crate) world_size: usize,
    /// This rank's lanes, with the sums of its subtrees in place.
    pub(crate) lanes: &'a [Vec<f32>],
    /// Elements of a lane.
    pub(crate) len: usize,
    /// This rank's segment of the sums of all ranks' subtrees, one behind the other.
    pub(crate) partials: &'a mut [f32],
}

impl Scatter<'_> {
    fn own_len(&self) -> usize {
        segment(self.len, self.world_size, self.rank).len()
    }
}

impl Payload for Scatter<'_> {
    fn outgoing_bytes(&self, peer: usize) -> Option<usize> {
        let segment = segment(self.len, self.world_size, peer);
        Some(self.plan.held(self.rank).len() * segment.len() * F32_BYTES)
    }

    fn outgoing(&self, peer: usize, from: usize) -> &[u8] {
        let segment = segment(self.len, self.world_size, peer);
        let segment_bytes = segment.len() * F32_BYTES;
        let place = self.plan.place(self.rank, from / segment_bytes);
        &cast_slice(&self.lanes[place][segment])[from % segment_bytes..]
    }

    fn incoming_bytes(&self, peer: usize) -> Option<usize> {
        Some(self.plan.held(peer).len() * self.own_len() * F32_BYTES)
    }

    fn incoming(&mut self, peer: usize, from: usize) -> &mut [u8] {
        let len = self.own_len();
        let held = self.plan.held(peer);
        &mut cast_slice_mut(&mut self.partials[held.start * len..held.end * len])[from..]
    }
}

/// Second round of an all-reduce: everyone's segment of the sum, to everyone.
pub(crate) struct Segments<'a> {
    pub(crate) rank: usize,
    pub(crate) world_size: usize,
    /// The sum, of which this rank's segment is there.
    pub(crate) sum: &'a mut [f32],
}

impl Payload for Segments<'_> {
    fn outgoing_bytes(&self, _peer: usize) -> Option<usize> {
        Some(segment(self.sum.len(), self.world_size, self.rank).len() * F32_BYTES)
    }

    fn outgoing(&self, _peer: usize, from: usize) -> &[u8] {
        let own = segment(self.sum.len(), self.world_size, self.rank);
        &cast_slice(&self.sum[own])[from..]
    }

    fn incoming_bytes(&self, peer: usize) -> Option<usize> {
        Some(segment(self.sum.len(), self.world_size, peer).len() * F32_BYTES)
    }

    fn incoming(&mut self, peer: usize, from: usize) -> &mut [u8] {
        let theirs = segment(self.sum.len(), self.world_size, peer);
        &mut cast_slice_mut(&mut self.sum[theirs])[from..]
    }
}

/// The same bytes to everyone, and everyone's bytes, by rank. Lengths are those of `all`.
pub(crate) struct ToAll<'a, B> {
    pub(crate) mine: &'a [u8],
    pub(crate) all: &'a mut [B],
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Payload for ToAll<'_, B> {
    fn outgoing_bytes(&self, _peer: usize) -> Option<usize> {
        Some(self.mine.len())
    }

    fn outgoing(&self, _peer: usize, from: usize) -> &[u8] {
        &self.mine[from..]
    }

    fn incoming_bytes(&self, peer: usize) -> Option<usize> {
        Some(self.all[peer].as_ref().len())
    }

    fn incoming(&mut self, peer: usize, from: usize) -> &mut [u8] {
        &mut self.all[peer].as_mut()[from..]
    }
}

/// One rank's bytes to everyone.
pub(crate) struct FromRoot<'a> {
    pub(crate) rank: usize,
    pub(crate) root: usize,
    pub(crate) bytes: &'a mut [u8],
}

impl Payload for FromRoot<'_> {
    fn outgoing_bytes(&self, _peer: usize) -> Option<usize> {
        (self.rank == self.root).then_some(self.bytes.len())
    }

    fn outgoing(&self, _peer: usize, from: usize) -> &[u8] {
        &self.bytes[from..]
    }

    fn incoming_bytes(&self, peer: usize) -> Option<usize> {
        (peer == self.root).then_some(self.bytes.len())
    }

    fn incoming(&mut self, _peer: usize, from: usize) -> &mut [u8] {
        &mut self.bytes[from..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rank `rank` sends and receives in both rounds of an all-reduce, in bytes.
    fn traffic(lanes: u32, world_size: usize, rank: usize, len: usize) -> (usize, usize) {
        let plan = TreePlan::new(lanes, world_size as u32);
        let (mut partials, mut sum) = (Vec::new(), vec![0.0; len]);
        let partials = &mut partials;
        let scatter = Scatter { plan: &plan, rank, world_size, lanes: &[], len, partials };
        let segments = Segments { rank, world_size, sum: &mut sum };
        let peers = (0..world_size).filter(|peer| *peer != rank);
        peers.fold((0, 0), |(sent, received), peer| {
            let bytes = |bytes: Option<usize>| bytes.expect("there is a message for everyone");
            (
                sent + bytes(scatter.outgoing_bytes(peer)) + bytes(segments.outgoing_bytes(peer)),
                received + bytes(scatter.incoming_bytes(peer)) + bytes(segments.incoming_bytes(peer)),
            )
        })
    }

    #[test]
    fn equal_power_of_two_shares_move_as_many_bytes_as_a_ring() {
        let len = 64 * 1_000;
        for (lanes, world_size) in [(2, 2), (4, 2), (4, 4), (16, 8), (64, 64), (64, 16)] {
            let limit = 2 * (world_size - 1) * len * F32_BYTES / world_size;
            for rank in 0..world_size {
                let moved = traffic(lanes, world_size, rank, len);
                assert_eq!(moved, (limit, limit), "rank {rank} of {world_size}, {lanes} lanes");
            }
        }
    }
}

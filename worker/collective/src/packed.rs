//! The rounds of an all-reduce whose numbers fit into half as many bits
//! ([`Reduction::Bf16Sum`]): what goes over the wire is packed before a round and unpacked
//! after it. Every number that is sent has been rounded by then, or is rounded in the same
//! way by packing it: whether it went over a wire never changes a bit.

use std::ops::Range;

use bytemuck::{cast_slice, cast_slice_mut};
use pulp::Arch;

use crate::{
    error::CollectiveError,
    halving::Swap,
    link::Payload,
    mesh::{Mesh, Round},
    payload::{Cut, Scatter},
    reduction::to_bf16,
    share::LANES_MAX,
    tree::Lane,
    wire::Operation,
};

/// Memory for packed numbers, kept from round to round.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    outgoing: Vec<u16>,
    incoming: Vec<u16>,
}

/// To and from each rank a part of one array.
struct Parts<'a> {
    outgoing: &'a [u16],
    incoming: &'a mut [u16],
    /// By rank: what it is sent, and where what it sends goes.
    of: &'a [(Range<usize>, Range<usize>)],
}

impl Payload for Parts<'_> {
    fn outgoing_bytes(&self, peer: usize) -> Option<usize> {
        Some(self.of[peer].0.len() * size_of::<u16>())
    }

    fn outgoing(&self, peer: usize, from: usize) -> &[u8] {
        &cast_slice(&self.outgoing[self.of[peer].0.clone()])[from..]
    }

    fn incoming_bytes(&self, peer: usize) -> Option<usize> {
        Some(self.of[peer].1.len() * size_of::<u16>())
    }

    fn incoming(&mut self, peer: usize, from: usize) -> &mut [u8] {
        &mut cast_slice_mut(&mut self.incoming[self.of[peer].1.clone()])[from..]
    }
}

impl Staging {
    /// First round: the subtrees' sums of `scatter`, whose partial sums are filled in.
    pub(crate) fn scatter<L: Lane>(
        &mut self,
        mesh: &mut Mesh,
        round: Round,
        scatter: &mut Scatter<'_, L>,
    ) -> Result<(), CollectiveError> {
        let (plan, rank) = (scatter.plan, scatter.rank);
        let own_len = scatter.cut.of(rank).len();
        let mut parts = no_parts();
        self.outgoing.clear();
        let mut arrived = 0;
        for peer in mesh.peers() {
            let begin = self.outgoing.len();
            for nth in 0..plan.held(rank).len() {
                let sums = scatter.lanes[plan.place(rank, nth)].as_ref();
                pack(&sums[scatter.cut.of(peer)], &mut self.outgoing);
            }
            let comes = plan.held(peer).len() * own_len;
            parts[peer] = (begin..self.outgoing.len(), arrived..arrived + comes);
            arrived += comes;
        }
        self.exchange(mesh, round, &parts, arrived)?;
        // Peers, and the subtrees of each, lie in the order in which the scatter wants them.
        unpack(&self.incoming[..arrived], &mut scatter.partials[..arrived]);
        Ok(())
    }

    /// Second round: everyone's elements of `vector`.
    pub(crate) fn gather(
        &mut self,
        mesh: &mut Mesh,
        rank: usize,
        cut: &Cut,
        vector: &mut [f32],
    ) -> Result<(), CollectiveError> {
        self.outgoing.clear();
        pack(&vector[cut.of(rank)], &mut self.outgoing);
        let mut parts = no_parts();
        let mut arrived = 0;
        for peer in mesh.peers() {
            let comes = cut.of(peer).len();
            parts[peer] = (0..self.outgoing.len(), arrived..arrived + comes);
            arrived += comes;
        }
        self.exchange(mesh, Round::plain(Operation::SumGather, cut.len as u64), &parts, arrived)?;
        for peer in mesh.peers() {
            unpack(&self.incoming[parts[peer].1.clone()], &mut vector[cut.of(peer)]);
        }
        Ok(())
    }

    /// `given` goes to the partner, and as many numbers as `taken` has come from it.
    pub(crate) fn swap(
        &mut self,
        mesh: &mut Mesh,
        round: Round,
        partner: usize,
        given: &[f32],
        taken: &mut [f32],
    ) -> Result<(), CollectiveError> {
        self.outgoing.clear();
        pack(given, &mut self.outgoing);
        self.incoming.resize(self.incoming.len().max(taken.len()), 0);
        let incoming = &mut self.incoming[..taken.len()];
        mesh.exchange(round, &mut Swap { partner, given: &self.outgoing, taken: &mut *incoming })?;
        unpack(incoming, taken);
        Ok(())
    }

    fn exchange(
        &mut self,
        mesh: &mut Mesh,
        round: Round,
        parts: &[(Range<usize>, Range<usize>)],
        arriving: usize,
    ) -> Result<(), CollectiveError> {
        self.incoming.resize(self.incoming.len().max(arriving), 0);
        let Self { outgoing, incoming } = self;
        mesh.exchange(round, &mut Parts { outgoing, incoming, of: parts })
    }
}

fn no_parts() -> [(Range<usize>, Range<usize>); LANES_MAX as usize] {
    std::array::from_fn(|_| (0..0, 0..0))
}

fn pack(numbers: &[f32], packed: &mut Vec<u16>) {
    let begin = packed.len();
    packed.resize(begin + numbers.len(), 0);
    let packed = &mut packed[begin..];
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (packed, number) in packed.iter_mut().zip(numbers) {
                *packed = (to_bf16(*number).to_bits() >> 16) as u16;
            }
        },
    );
}

fn unpack(packed: &[u16], numbers: &mut [f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (number, packed) in numbers.iter_mut().zip(packed) {
                *number = f32::from_bits(u32::from(*packed) << 16);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_unpacked_is_the_rounded_number(words in prop::collection::vec(any::<u32>(), 0..100)) {
            let numbers: Vec<_> = words.into_iter().map(f32::from_bits).collect();
            let mut packed = Vec::new();
            pack(&numbers, &mut packed);
            let mut unpacked = vec![0.0; numbers.len()];
            unpack(&packed, &mut unpacked);
            for (unpacked, number) in unpacked.iter().zip(&numbers) {
                prop_assert_eq!(unpacked.to_bits(), to_bf16(*number).to_bits());
            }
        }
    }
}

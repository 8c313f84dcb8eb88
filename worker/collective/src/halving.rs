//! An all-reduce for many ranks with one subtree each, in a number of messages per rank
//! that grows as the logarithm of theirs. In each step a rank exchanges with one partner:
//! on the way down it gives away one half of the elements it is still concerned with and
//! takes the partner's part of the other half; on the way up the halves come back summed.
//!
//! ```text
//! step  partner   adds
//! 1     rank ^ 1  the sums of two ranks: a node of the tree
//! 2     rank ^ 2  the sums of two such pairs: the node above
//! ```
//!
//! Invariant: what a step adds are the two children of one node of the tree. So the bits
//! are the same as in any other way, and no rank moves more than 2(n-1)/n of the vector.

use std::ops::Range;

use bytemuck::{Pod, cast_slice, cast_slice_mut};

use crate::{
    error::CollectiveError,
    link::Payload,
    links::{bits, known},
    mesh::{Mesh, Round},
    packed::Staging,
    reduction::Reduction,
    share::segment,
    wire::Operation,
};

const F32_BYTES: usize = size_of::<f32>();

/// One vector's way down and up again.
pub(crate) struct Halving<'a> {
    pub(crate) mesh: &'a mut Mesh,
    pub(crate) rank: usize,
    pub(crate) world_size: usize,
    pub(crate) lanes: u32,
    pub(crate) reduction: Reduction,
    /// The sum of this rank's subtree, then of the nodes above it.
    pub(crate) sums: &'a mut [f32],
    /// Room for half of the elements that are reduced at once.
    pub(crate) partials: &'a mut [f32],
    /// Where numbers are packed before they are sent, if they are.
    pub(crate) packed: Option<&'a mut Staging>,
    pub(crate) out: &'a mut [f32],
}

impl Halving<'_> {
    /// Reduces the elements `range`, which all ranks whose numbers differ from this one's
    /// in `bit` or above are concerned with; `bit` is 1 at the beginning.
    pub(crate) fn reduce(&mut self, bit: usize, range: Range<usize>) -> Result<(), CollectiveError> {
        if bit == self.world_size {
            self.out[range.clone()].copy_from_slice(&self.sums[range.clone()]);
            self.reduction.finish(self.lanes, &mut self.out[range]);
            return Ok(());
        }
        let middle = range.start + range.len() / 2;
        let (lower, upper) = (range.start..middle, middle..range.end);
        let (kept, given) = if self.rank & bit == 0 { (lower, upper) } else { (upper, lower) };
        let (partner, subject) = (self.rank ^ bit, self.out.len() as u64);
        let reduction = self.reduction;

        let down = Round { operation: Operation::ReduceScatter, reduction: Some(reduction), subject };
        let (sums, partials) = (&mut *self.sums, &mut self.partials[..kept.len()]);
        if let Some(staging) = &mut self.packed {
            staging.swap(self.mesh, down, partner, &sums[given.clone()], partials)?;
            reduction.fold_into(&mut sums[kept.clone()], partials);
        } else {
            let (given, kept) = (given.clone(), kept.clone());
            let mut half = Down { partner, reduction, sums, given, kept, partials, folded: false };
            self.mesh.exchange(down, &mut half)?;
            half.finish();
        }

        self.reduce(bit * 2, kept.clone())?;

        let up = Round::plain(Operation::SumGather, subject);
        swap_parts(self.mesh, up, partner, self.out, (kept, given), self.packed.as_deref_mut())
    }
}

/// Everyone's segment of `vector` to everyone, in a hypercube.
pub(crate) fn gather_segments(
    mesh: &mut Mesh,
    (rank, world_size): (usize, usize),
    vector: &mut [f32],
) -> Result<(), CollectiveError> {
    let len = vector.len();
    let range = |ranks: Range<usize>| {
        segment(len, world_size, ranks.start).start..segment(len, world_size, ranks.end - 1).end
    };
    for bit in bits(world_size) {
        let (mine, theirs) = (range(known(rank, bit)), range(known(rank ^ bit, bit)));
        let round = Round::plain(Operation::SumGather, len as u64);
        swap_parts(mesh, round, rank ^ bit, vector, (mine, theirs), None)?;
    }
    Ok(())
}

/// One of two parts of `vector` goes to the partner, the other comes from it.
fn swap_parts(
    mesh: &mut Mesh,
    round: Round,
    partner: usize,
    vector: &mut [f32],
    (mine, theirs): (Range<usize>, Range<usize>),
    packed: Option<&mut Staging>,
) -> Result<(), CollectiveError> {
    // Either may be empty.
    let (given, taken) = if mine.end <= theirs.start {
        let (lower, upper) = vector.split_at_mut(theirs.start);
        (&lower[mine], &mut upper[..theirs.len()])
    } else {
        let (lower, upper) = vector.split_at_mut(mine.start);
        (&upper[..mine.len()], &mut lower[theirs])
    };
    match packed {
        Some(staging) => staging.swap(mesh, round, partner, given, taken),
        None => mesh.exchange(round, &mut Swap { partner, given, taken }),
    }
}

/// Numbers that two ranks give each other.
pub(crate) struct Swap<'a, T> {
    pub(crate) partner: usize,
    pub(crate) given: &'a [T],
    pub(crate) taken: &'a mut [T],
}

impl<T: Pod> Payload for Swap<'_, T> {
    fn outgoing_bytes(&self, peer: usize) -> Option<usize> {
        (peer == self.partner).then_some(size_of_val(self.given))
    }

    fn outgoing(&self, _peer: usize, from: usize) -> &[u8] {
        &cast_slice(self.given)[from..]
    }

    fn incoming_bytes(&self, peer: usize) -> Option<usize> {
        (peer == self.partner).then_some(size_of_val(self.taken))
    }

    fn incoming(&mut self, _peer: usize, from: usize) -> &mut [u8] {
        &mut cast_slice_mut(self.taken)[from..]
    }
}

/// A step down: partial sums of `given` go to the partner, its own of `kept` come.
struct Down<'a> {
    partner: usize,
    reduction: Reduction,
    sums: &'a mut [f32],
    given: Range<usize>,
    kept: Range<usize>,
    partials: &'a mut [f32],
    /// What arrived was added at once.
    folded: bool,
}

impl Down<'_> {
    fn finish(self) {
        if !self.folded {
            self.reduction.fold_into(&mut self.sums[self.kept], self.partials);
        }
    }
}

impl Payload for Down<'_> {
    fn outgoing_bytes(&self, peer: usize) -> Option<usize> {
        (peer == self.partner).then_some(self.given.len() * F32_BYTES)
    }

    fn outgoing(&self, _peer: usize, from: usize) -> &[u8] {
        &cast_slice(&self.sums[self.given.clone()])[from..]
    }

    fn incoming_bytes(&self, peer: usize) -> Option<usize> {
        (peer == self.partner).then_some(self.kept.len() * F32_BYTES)
    }

    fn incoming(&mut self, _peer: usize, from: usize) -> &mut [u8] {
        &mut cast_slice_mut(self.partials)[from..]
    }

    fn deliver(&mut self, _peer: usize, from: usize, bytes: &[u8]) {
        let theirs: &[f32] = cast_slice(bytes);
        let first = self.kept.start + from / F32_BYTES;
        self.reduction.fold_into(&mut self.sums[first..first + theirs.len()], theirs);
        self.folded = true;
    }
}

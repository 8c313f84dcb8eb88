//! Who is connected with whom, and how what everyone must hear gets to everyone.
//!
//! Small groups are connected all with all: everything takes one round. Large ones, where
//! the tree over the ranks is a perfect one, are hypercubes: a rank is connected with those
//! whose numbers differ from its own in one bit, and things take a round for each bit. So
//! connections and messages of a rank grow as the logarithm of the number of ranks.
//!
//! ```text
//! round 1   0─1  2─3  4─5  6─7     each pair knows two rows
//! round 2   0─2  1─3  4─6  5─7     each four of them four
//! round 3   0─4  1─5  2─6  3─7     everyone all eight
//! ```

use std::ops::Range;

use crate::{
    error::CollectiveError,
    link::Payload,
    mesh::{Mesh, Round},
    tree::TreePlan,
};

/// From this many ranks on, connections with all are more than what they save in rounds.
const CUBE_FROM_RANKS: usize = 8;

/// The connections of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// All ranks with all.
    All,
    /// A hypercube.
    Cube,
}

impl Links {
    /// Those of a group that shares the tree out as `plan` says.
    pub(crate) fn of(plan: &TreePlan) -> Self {
        if plan.ranks() >= CUBE_FROM_RANKS && plan.is_perfect() { Self::Cube } else { Self::All }
    }

    /// Whether two ranks are connected.
    pub(crate) fn join(self, rank: usize, peer: usize) -> bool {
        match self {
            Self::All => rank != peer,
            Self::Cube => (rank ^ peer).is_power_of_two(),
        }
    }

    /// Everyone's row to everyone. Every rank knows how long all rows are; its own is there.
    pub(crate) fn gather<B: AsRef<[u8]> + AsMut<[u8]>>(
        self,
        mesh: &mut Mesh,
        round: Round,
        rank: usize,
        rows: &mut [B],
    ) -> Result<(), CollectiveError> {
        match self {
            Self::All => mesh.exchange(round, &mut Rows { rank, bit: None, rows }),
            Self::Cube => bits(rows.len())
                .try_for_each(|bit| mesh.exchange(round, &mut Rows { rank, bit: Some(bit), rows })),
        }
    }

    /// A round without content for everyone: returns when all ranks are in it.
    pub(crate) fn meet(
        self,
        mesh: &mut Mesh,
        round: Round,
        rank: usize,
        world_size: usize,
    ) -> Result<(), CollectiveError> {
        let mut nothing = [[0_u8; 0]; crate::share::LANES_MAX as usize];
        self.gather(mesh, round, rank, &mut nothing[..world_size])
    }

    /// `root`'s bytes to everyone. All ranks know how many they are.
    pub(crate) fn broadcast(
        self,
        mesh: &mut Mesh,
        round: Round,
        (rank, world_size): (usize, usize),
        root: usize,
        bytes: &mut [u8],
    ) -> Result<(), CollectiveError> {
        match self {
            Self::All if rank == root => mesh.exchange(round, &mut Broadcast { turn: Turn::GivesAll, bytes }),
            Self::All => mesh.exchange(round, &mut Broadcast { turn: Turn::Takes(root), bytes }),
            Self::Cube => bits(world_size).try_for_each(|bit| {
                let turn = match rank ^ root {
                    far if far < bit => Turn::Gives(rank ^ bit),
                    far if far < 2 * bit => Turn::Takes(rank ^ bit),
                    _ => Turn::Waits,
                };
                mesh.exchange(round, &mut Broadcast { turn, bytes: &mut *bytes })
            }),
        }
    }
}

/// The bits of the numbers of so many ranks, a power of two.
pub(crate) fn bits(world_size: usize) -> impl Iterator<Item = usize> {
    (0..world_size.ilog2()).map(|bit| 1 << bit)
}

/// The ranks whose rows a rank knows before the round of `bit`.
pub(crate) fn known(rank: usize, bit: usize) -> Range<usize> {
    let first = rank & !(bit - 1);
    first..first + bit
}

/// Rows on their way to everyone.
struct Rows<'a, B> {
    rank: usize,
    /// `None` where everyone's go to everyone at once.
    bit: Option<usize>,
    rows: &'a mut [B],
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Rows<'_, B> {
    fn mine(&self, peer: usize) -> Range<usize> {
        match self.bit {
            None => self.rank..self.rank + 1,
            Some(bit) if self.rank ^ peer == bit => known(self.rank, bit),
            Some(_) => 0..0,
        }
    }

    fn theirs(&self, peer: usize) -> Range<usize> {
        match self.bit {
            None => peer..peer + 1,
            Some(bit) if self.rank ^ peer == bit => known(peer, bit),
            Some(_) => 0..0,
        }
    }

    fn bytes(&self, rows: Range<usize>) -> Option<usize> {
        (!rows.is_empty()).then(|| self.rows[rows].iter().map(|row| row.as_ref().len()).sum())
    }

    /// The row in which byte `from` of some rows lies, and where in it.
    fn place(&self, rows: Range<usize>, mut from: usize) -> (usize, usize) {
        for row in rows {
            let len = self.rows[row].as_ref().len();
            if from < len {
                return (row, from);
            }
            from -= len;
        }
        unreachable!("a transport asks for bytes of the message only")
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Payload for Rows<'_, B> {
    fn outgoing_bytes(&self, peer: usize) -> Option<usize> {
        self.bytes(self.mine(peer))
    }

    fn outgoing(&self, peer: usize, from: usize) -> &[u8] {
        let (row, at) = self.place(self.mine(peer), from);
        &self.rows[row].as_ref()[at..]
    }

    fn incoming_bytes(&self, peer: usize) -> Option<usize> {
        self.bytes(self.theirs(peer))
    }

    fn incoming(&mut self, peer: usize, from: usize) -> &mut [u8] {
        let (row, at) = self.place(self.theirs(peer), from);
        &mut self.rows[row].as_mut()[at..]
    }
}

/// What a rank does in one round of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    GivesAll,
    Gives(usize),
    Takes(usize),
    Waits,
}

/// One rank's bytes on their way to everyone.
struct Broadcast<'a> {
    turn: Turn,
    bytes: &'a mut [u8],
}

impl Payload for Broadcast<'_> {
    fn outgoing_bytes(&self, peer: usize) -> Option<usize> {
        let gives = self.turn == Turn::GivesAll || self.turn == Turn::Gives(peer);
        gives.then_some(self.bytes.len())
    }

    fn outgoing(&self, _peer: usize, from: usize) -> &[u8] {
        &self.bytes[from..]
    }

    fn incoming_bytes(&self, peer: usize) -> Option<usize> {
        (self.turn == Turn::Takes(peer)).then_some(self.bytes.len())
    }

    fn incoming(&mut self, _peer: usize, from: usize) -> &mut [u8] {
        &mut self.bytes[from..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(lanes: u32, world_size: u32) -> Links {
        Links::of(&TreePlan::new(lanes, world_size))
    }

    #[test]
    fn connections_of_large_groups_grow_as_the_logarithm() {
        for (lanes, world_size, expected) in
            [(8, 8, 3), (64, 16, 4), (64, 64, 6), (4, 4, 3), (9, 9, 8), (16, 12, 11)]
        {
            for rank in 0..world_size as usize {
                let links = links(lanes, world_size);
                let joined = (0..world_size as usize).filter(|peer| links.join(rank, *peer)).count();
                assert_eq!(joined, expected, "rank {rank} of {world_size}, {lanes} lanes");
            }
        }
    }

    #[test]
    fn after_all_rounds_everyone_knows_everyones_row() {
        for rank in 0..16 {
            let mut all = known(rank, 1);
            assert_eq!(all, rank..rank + 1);
            for bit in bits(16) {
                let theirs = known(rank ^ bit, bit);
                all = all.start.min(theirs.start)..all.end.max(theirs.end);
            }
            assert_eq!(all, 0..16);
        }
    }
}

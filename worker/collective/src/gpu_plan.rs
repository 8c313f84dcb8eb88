//! What the ranks of a generation send each other when their lanes' vectors lie on GPUs:
//! the halves of [`Group`](crate::Group)'s all-reduce, as lists of transfers.
//!
//! Invariants:
//!
//! 1. Transfers between two ranks are in one order on both, which is how NCCL matches them,
//!    and have the same lengths.
//! 2. A rank that has received everything holds its elements of every subtree's sum.
//!
//! Pure arithmetic; nothing here knows of GPUs.

use std::ops::Range;

use crate::{share::segment, tree::TreePlan};

/// One side of a transfer. Empty ones are left out on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// Elements of one of this rank's own lanes' vectors.
    Send { to: usize, lane: usize, elements: Range<usize> },
    /// Into this rank's room for others' partial sums.
    Receive { from: usize, room: Range<usize> },
}

/// One rank's part of all-reduces over vectors of one length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GpuPlan<'a> {
    pub(crate) tree: &'a TreePlan,
    pub(crate) rank: usize,
    pub(crate) world_size: usize,
    pub(crate) len: usize,
}

/// Where a subtree's sum lies on a rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// In one of its own lanes' vectors.
    Lane { lane: usize, elements: Range<usize> },
    /// In its room for others' partial sums.
    Room(Range<usize>),
}

impl GpuPlan<'_> {
    /// The elements that a rank adds up.
    pub(crate) fn segment(&self, rank: usize) -> Range<usize> {
        segment(self.len, self.world_size, rank)
    }

    /// Numbers of others' partial sums.
    pub(crate) fn room(&self) -> usize {
        (self.tree.subtrees() - self.tree.held(self.rank).len()) * self.segment(self.rank).len()
    }

    /// Where this rank's elements of a subtree's sum lie once everything is there.
    pub(crate) fn held(&self, subtree: usize) -> Held {
        let (own, elements) = (self.tree.held(self.rank), self.segment(self.rank));
        if own.contains(&subtree) {
            return Held::Lane { lane: self.tree.place(self.rank, subtree - own.start), elements };
        }
        let foreign = if subtree < own.start { subtree } else { subtree - own.len() };
        Held::Room(foreign * elements.len()..(foreign + 1) * elements.len())
    }

    /// The first half: partial sums to those who own their elements.
    pub(crate) fn scatter(&self) -> Vec<Transfer> {
        let mut transfers = Vec::new();
        for peer in self.peers() {
            let elements = self.segment(peer);
            let own = 0..self.tree.held(self.rank).len();
            let send = |nth| Transfer::Send {
                to: peer,
                lane: self.tree.place(self.rank, nth),
                elements: elements.clone(),
            };
            transfers.extend(own.map(send).filter(|_| !elements.is_empty()));
            for subtree in self.tree.held(peer) {
                if let Held::Room(room) = self.held(subtree)
                    && !room.is_empty()
                {
                    transfers.push(Transfer::Receive { from: peer, room });
                }
            }
        }
        transfers
    }

    /// The other ranks.
    pub(crate) fn peers(&self) -> impl Iterator<Item = usize> + use<> {
        let rank = self.rank;
        (0..self.world_size).filter(move |peer| *peer != rank)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{reduction::Reduction, share::share, tree::tree_sum};

    /// What a rank has on its GPU.
    struct Gpu {
        lanes: Vec<Vec<f32>>,
        room: Vec<f32>,
        out: Vec<f32>,
    }

    impl Gpu {
        fn read(&self, held: &Held) -> Vec<f32> {
            match held {
                Held::Lane { lane, elements } => self.lanes[*lane][elements.clone()].to_vec(),
                Held::Room(room) => self.room[room.clone()].to_vec(),
            }
        }

        fn write(&mut self, held: &Held, numbers: &[f32]) {
            match held {
                Held::Lane { lane, elements } => self.lanes[*lane][elements.clone()].copy_from_slice(numbers),
                Held::Room(room) => self.room[room.clone()].copy_from_slice(numbers),
            }
        }
    }

    fn add(left: &[f32], right: &[f32]) -> Vec<f32> {
        let mut sum = vec![0.0; left.len()];
        Reduction::Sum.fold(left, right, &mut sum);
        sum
    }

    /// Both halves, with what NCCL does done in memory.
    fn all_reduce(tree: &TreePlan, gpus: &mut [Gpu], len: usize) {
        let world_size = gpus.len();
        let plan = |rank| GpuPlan { tree, rank, world_size, len };
        let mut wires: BTreeMap<(usize, usize), Vec<Vec<f32>>> = BTreeMap::new();
        for (rank, gpu) in gpus.iter_mut().enumerate() {
            for addition in tree.local(rank) {
                gpu.lanes[addition.left] = add(&gpu.lanes[addition.left], &gpu.lanes[addition.right]);
            }
            gpu.room = vec![f32::NAN; plan(rank).room()];
            for transfer in plan(rank).scatter() {
                if let Transfer::Send { to, lane, elements } = transfer {
                    wires.entry((rank, to)).or_default().push(gpu.lanes[lane][elements].to_vec());
                }
            }
        }
        for (rank, gpu) in gpus.iter_mut().enumerate() {
            for transfer in plan(rank).scatter() {
                if let Transfer::Receive { from, room } = transfer {
                    let message = wires.get_mut(&(from, rank)).expect("somebody sends").remove(0);
                    gpu.room[room].copy_from_slice(&message);
                }
            }
            for addition in tree.rest() {
                let (left, right) = (plan(rank).held(addition.left), plan(rank).held(addition.right));
                let sum = add(&gpu.read(&left), &gpu.read(&right));
                gpu.write(&left, &sum);
            }
            let elements = plan(rank).segment(rank);
            let root = gpu.read(&plan(rank).held(tree.root()));
            gpu.out[elements].copy_from_slice(&root);
        }
        assert!(wires.values().all(Vec::is_empty), "everything that was sent was received");
        let segments: Vec<_> = (0..world_size).map(|owner| plan(0).segment(owner)).collect();
        let parts: Vec<_> = segments
            .iter()
            .zip(gpus.iter())
            .map(|(elements, gpu)| gpu.out[elements.clone()].to_vec())
            .collect();
        for gpu in gpus {
            gpu.out = parts.concat();
        }
    }

    proptest! {
        #[test]
        fn transfers_give_the_bits_of_the_serial_tree(
            lanes in 1_u32..=16, ranks in 1_u32..=16, len in 0_usize..40, seed in any::<u32>(),
        ) {
            let world_size = ranks.min(lanes);
            let mut word = seed;
            let mut number = || {
                word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f32::from_bits(word)
            };
            let mut vectors: Vec<Vec<f32>> =
                (0..lanes).map(|_| (0..len).map(|_| number()).collect()).collect();
            let tree = TreePlan::new(lanes, world_size);
            let mut gpus: Vec<_> = (0..world_size)
                .map(|rank| {
                    let owned = share(lanes, world_size, rank);
                    let lanes = vectors[owned.start as usize..owned.end as usize].to_vec();
                    Gpu { lanes, room: Vec::new(), out: vec![0.0; len] }
                })
                .collect();
            all_reduce(&tree, &mut gpus, len);
            let mut expected = vec![0.0; len];
            tree_sum(&mut vectors, &mut expected);
            let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
            for gpu in &gpus {
                prop_assert_eq!(bits(&gpu.out), bits(&expected));
            }
        }
    }
}

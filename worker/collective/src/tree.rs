//! The one order in which lanes are added, and the loops that add them.
//!
//! A node of the tree is a run of lanes `[lo, hi)`. With more than one lane it
//! splits at `lo + p`, where `p` is the largest power of two below `hi - lo`, and
//! its sum is `left + right` in `f32`. The tree is a function of the number of
//! lanes alone.
//!
//! Invariants:
//!
//! 1. A node's sum lies where its first lane lay: `left += right` in place, in
//!    post-order, is the whole algorithm.
//! 2. Operations are per element: where a vector is cut never changes a bit.
//!
//! Nothing here knows of ranks' addresses, sockets or threads.

use std::ops::Range;

use crate::{reduction::Reduction, share::share};

/// Elements that are carried through all additions of a tree before the next ones,
/// so that they are still in the cache: 16 KiB a lane.
const BLOCK: usize = 4_096;

/// One lane's vector: a `Vec<f32>`, or a part of one.
pub trait Lane: AsRef<[f32]> + AsMut<[f32]> {}

impl<L: AsRef<[f32]> + AsMut<[f32]>> Lane for L {}

/// The serial sum over all lanes, element by element: what every all-reduce gives,
/// on any number of ranks. In: one vector per lane, all as long as `out`; they may
/// be destroyed. Out: the tree's sum. A single lane is copied, bit for bit.
///
/// # Panics
///
/// Without a lane, or where lengths differ.
pub fn tree_sum(lanes: &mut [impl Lane], out: &mut [f32]) {
    tree_reduce(Reduction::Sum, lanes, out);
}

/// [`tree_sum`] for any reduction.
///
/// # Panics
///
/// As [`tree_sum`].
pub fn tree_reduce(reduction: Reduction, lanes: &mut [impl Lane], out: &mut [f32]) {
    assert!(!lanes.is_empty(), "a sum over no lane");
    assert!(lanes.iter().all(|lane| lane.as_ref().len() == out.len()), "lanes and sum differ in length");
    let mut additions = Vec::new();
    push_additions(&(0..lanes.len()), &mut additions);
    sum_lanes(reduction, lanes, &additions, out);
    reduction.finish(lanes.len() as u32, out);
}

/// [`tree_reduce`] over lanes that stay as they are, before it is finished. `scratch` is
/// kept from call to call.
pub(crate) fn reduce_views(reduction: Reduction, lanes: &[&[f32]], out: &mut [f32], scratch: &mut Vec<f32>) {
    scratch.resize(lanes.len().next_power_of_two().ilog2() as usize * BLOCK, 0.0);
    for block in blocks(0..out.len()) {
        reduce_block(reduction, lanes, &block, &mut out[block.clone()], scratch);
    }
}

/// One block of a node's sum. `scratch` has a block for each level below the node.
fn reduce_block(
    reduction: Reduction,
    lanes: &[&[f32]],
    block: &Range<usize>,
    out: &mut [f32],
    scratch: &mut [f32],
) {
    match lanes {
        [lane] => out.copy_from_slice(&lane[block.clone()]),
        [left, right] => reduction.fold(&left[block.clone()], &right[block.clone()], out),
        _ => {
            let (left, right) = lanes.split_at(lanes.len().next_power_of_two() / 2);
            reduce_block(reduction, left, block, out, scratch);
            let (sum, below) = scratch.split_at_mut(BLOCK);
            let sum = &mut sum[..out.len()];
            reduce_block(reduction, right, block, sum, below);
            reduction.fold_into(out, sum);
        }
    }
}

/// `left += right`, for two places in a list of partial sums. `left < right` always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addition {
    pub(crate) left: usize,
    pub(crate) right: usize,
}

/// How one group shares the work of the tree out among its ranks.
#[derive(Debug)]
pub(crate) struct TreePlan {
    /// The maximal whole subtrees of all ranks, in the order of the lanes.
    subtrees: Vec<Range<usize>>,
    /// Of every rank: which of `subtrees` it holds.
    held: Vec<Range<usize>>,
    /// The first lane of every rank.
    first_lanes: Vec<usize>,
    /// Of every rank: the additions among its own lanes, counted from its first one.
    local: Vec<Vec<Addition>>,
    /// The additions among `subtrees`, the root's last.
    rest: Vec<Addition>,
}

impl TreePlan {
    /// The plan for `lanes` lanes on `world_size` ranks.
    pub(crate) fn new(lanes: u32, world_size: u32) -> Self {
        let mut plan = Self {
            subtrees: Vec::new(),
            held: Vec::new(),
            first_lanes: Vec::new(),
            local: Vec::new(),
            rest: Vec::new(),
        };
        let root = 0..lanes as usize;
        for rank in 0..world_size {
            let owned = share(lanes, world_size, rank);
            let owned = owned.start as usize..owned.end as usize;
            let first = plan.subtrees.len();
            push_subtrees(&root, &owned, &mut plan.subtrees);
            let mut local = Vec::new();
            for subtree in &plan.subtrees[first..] {
                push_additions(&(subtree.start - owned.start..subtree.end - owned.start), &mut local);
            }
            plan.held.push(first..plan.subtrees.len());
            plan.first_lanes.push(owned.start);
            plan.local.push(local);
        }
        plan.push_rest(&root);
        plan
    }

    /// How many ranks there are.
    pub(crate) fn ranks(&self) -> usize {
        self.held.len()
    }

    /// How many subtrees all ranks hold together.
    pub(crate) fn subtrees(&self) -> usize {
        self.subtrees.len()
    }

    /// Which of the subtrees `rank` holds.
    pub(crate) fn held(&self, rank: usize) -> Range<usize> {
        self.held[rank].clone()
    }

    /// Which of its own lanes, counted from its first, holds the sum of the `nth`
    /// subtree of `rank`.
    pub(crate) fn place(&self, rank: usize, nth: usize) -> usize {
        self.subtrees[self.held[rank].start + nth].start - self.first_lanes[rank]
    }

    /// The additions among `rank`'s own lanes, counted from its first one.
    #[cfg(any(feature = "nccl", test))]
    pub(crate) fn local(&self, rank: usize) -> &[Addition] {
        &self.local[rank]
    }

    /// The additions among the subtrees of all ranks, the root's last.
    #[cfg(any(feature = "nccl", test))]
    pub(crate) fn rest(&self) -> &[Addition] {
        &self.rest
    }

    /// The subtree in whose place the sum over all lanes ends.
    #[cfg(any(feature = "nccl", test))]
    pub(crate) fn root(&self) -> usize {
        self.rest.last().map_or(0, |root| root.left)
    }

    /// Whether two ranks hold one subtree each: then there is one addition left, and
    /// what arrives can be added to what is here at once.
    pub(crate) fn is_pair(&self) -> bool {
        self.held.len() == 2 && self.subtrees.len() == 2
    }

    /// Whether the ranks, a power of two of them, hold one subtree each, so that the tree
    /// above them is a perfect one: neighbours first, then pairs of neighbours.
    pub(crate) fn is_perfect(&self) -> bool {
        self.held.len().is_power_of_two()
            && self.subtrees.len() == self.held.len()
            && self.subtrees.iter().all(|subtree| subtree.len() == self.subtrees[0].len())
    }

    /// The whole tree, for a world of one rank, which holds all lanes.
    pub(crate) fn sum_all(&self, reduction: Reduction, lanes: &mut [impl Lane], out: &mut [f32]) {
        assert_eq!(self.held.len(), 1, "invariant: only one rank holds all lanes");
        sum_lanes(reduction, lanes, &self.local[0], out);
    }

    /// Adds elements `range` of `rank`'s own lanes up to the sums of its subtrees, in place.
    pub(crate) fn sum_own(
        &self,
        reduction: Reduction,
        rank: usize,
        lanes: &mut [impl Lane],
        range: Range<usize>,
    ) {
        if !self.local[rank].is_empty() {
            for block in blocks(range) {
                add_lanes(reduction, lanes, &self.local[rank], &block);
            }
        }
    }

    /// Adds all ranks' subtrees up to the root. `subtrees` holds the sum of each,
    /// as long as `out`; they are destroyed.
    pub(crate) fn sum_rest(&self, reduction: Reduction, subtrees: &mut [&mut [f32]], out: &mut [f32]) {
        assert_eq!(subtrees.len(), self.subtrees.len(), "invariant: one sum per subtree");
        let Some((root, below)) = self.rest.split_last() else {
            return out.copy_from_slice(subtrees[0]);
        };
        for block in blocks(0..out.len()) {
            for addition in below {
                let (lower, upper) = subtrees.split_at_mut(addition.right);
                reduction.fold_into(&mut lower[addition.left][block.clone()], &upper[0][block.clone()]);
            }
            let (left, right) = (&subtrees[root.left][block.clone()], &subtrees[root.right][block.clone()]);
            reduction.fold(left, right, &mut out[block]);
        }
    }

    /// Appends the additions below and at `node` that no rank does alone, and returns
    /// where its sum lies.
    fn push_rest(&mut self, node: &Range<usize>) -> usize {
        if let Some(slot) = self.subtrees.iter().position(|subtree| subtree == node) {
            return slot;
        }
        let (left, right) = children(node).expect("invariant: a single lane is a subtree of its rank");
        let (left, right) = (self.push_rest(&left), self.push_rest(&right));
        self.rest.push(Addition { left, right });
        left
    }
}

/// The two halves of a node of more than one lane.
fn children(node: &Range<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let lanes = node.len();
    if lanes < 2 {
        return None;
    }
    let middle = node.start + (lanes.next_power_of_two() / 2);
    Some((node.start..middle, middle..node.end))
}

/// The maximal nodes below `node` that lie within `owned`.
fn push_subtrees(node: &Range<usize>, owned: &Range<usize>, subtrees: &mut Vec<Range<usize>>) {
    if node.start >= owned.end || node.end <= owned.start {
        return;
    }
    if owned.start <= node.start && node.end <= owned.end {
        return subtrees.push(node.clone());
    }
    let (left, right) = children(node).expect("invariant: a single lane lies within a run or outside of it");
    push_subtrees(&left, owned, subtrees);
    push_subtrees(&right, owned, subtrees);
}

/// The additions of the tree over `node`, post-order. The split depends on the
/// node's length only, so that `node` may be counted from any lane.
fn push_additions(node: &Range<usize>, additions: &mut Vec<Addition>) {
    if let Some((left, right)) = children(node) {
        push_additions(&left, additions);
        push_additions(&right, additions);
        additions.push(Addition { left: left.start, right: right.start });
    }
}

/// All `additions`, the last of them into `out`.
fn sum_lanes(reduction: Reduction, lanes: &mut [impl Lane], additions: &[Addition], out: &mut [f32]) {
    let Some((root, below)) = additions.split_last() else {
        return out.copy_from_slice(lanes[0].as_ref());
    };
    for block in blocks(0..out.len()) {
        add_lanes(reduction, lanes, below, &block);
        let (left, right) = (lanes[root.left].as_ref(), lanes[root.right].as_ref());
        reduction.fold(&left[block.clone()], &right[block.clone()], &mut out[block]);
    }
}

fn add_lanes(reduction: Reduction, lanes: &mut [impl Lane], additions: &[Addition], block: &Range<usize>) {
    for addition in additions {
        let (lower, upper) = lanes.split_at_mut(addition.right);
        let (left, right) = (lower[addition.left].as_mut(), upper[0].as_ref());
        reduction.fold_into(&mut left[block.clone()], &right[block.clone()]);
    }
}

fn blocks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(BLOCK).map(move |start| start..(start + BLOCK).min(end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word for word.
    fn define(lanes: &[f32]) -> f32 {
        if lanes.len() == 1 {
            return lanes[0];
        }
        let mut power = 1;
        while power * 2 < lanes.len() {
            power *= 2;
        }
        let sum = define(&lanes[..power]) + define(&lanes[power..]);
        if sum.is_nan() { f32::from_bits(0x7fc0_0000) } else { sum }
    }

    fn bits(vector: &[f32]) -> Vec<u32> {
        vector.iter().map(|number| number.to_bits()).collect()
    }

    fn check_splits(lanes: usize, expected: &[(usize, usize)]) {
        let mut additions = Vec::new();
        push_additions(&(0..lanes), &mut additions);
        let found: Vec<_> = additions.iter().map(|addition| (addition.left, addition.right)).collect();
        assert_eq!(found, expected, "{lanes} lanes");
    }

    #[test]
    fn a_node_splits_at_the_largest_power_of_two_below_its_length() {
        check_splits(1, &[]);
        check_splits(2, &[(0, 1)]);
        check_splits(3, &[(0, 1), (0, 2)]);
        check_splits(4, &[(0, 1), (2, 3), (0, 2)]);
        check_splits(6, &[(0, 1), (2, 3), (0, 2), (4, 5), (0, 4)]);
    }

    #[test]
    fn a_rank_with_an_equal_power_of_two_share_holds_one_subtree() {
        for (lanes, world_size) in [(4, 1), (4, 2), (4, 4), (8, 2), (64, 16), (64, 64)] {
            let plan = TreePlan::new(lanes, world_size);
            assert_eq!(plan.subtrees(), world_size as usize, "{lanes} lanes, {world_size} ranks");
        }
        assert_eq!(TreePlan::new(8, 3).subtrees, [0..2, 2..3, 3..4, 4..6, 6..8]);
    }

    #[test]
    fn a_sum_that_is_no_number_has_one_pattern_of_bits() {
        let nan = |payload: u32| f32::from_bits(0x7f80_0000 | payload);
        for (left, right) in
            [(nan(1), 1.0), (1.0, nan(0x40_0001)), (nan(2), nan(3)), (f32::INFINITY, f32::NEG_INFINITY)]
        {
            let mut out = [0.0];
            tree_sum(&mut [vec![left], vec![right]], &mut out);
            assert_eq!(out[0].to_bits(), 0x7fc0_0000);
        }
    }

    #[test]
    fn a_single_lane_is_copied_bit_for_bit() {
        let patterns = [0x7f80_0001, 0xffc1_2345, 0x0000_0001, 0x8000_0000];
        let mut out = [0.0; 4];
        tree_sum(&mut [patterns.map(f32::from_bits).to_vec()], &mut out);
        assert_eq!(bits(&out), patterns);
    }

    proptest! {
        #[test]
        fn the_sum_is_the_one_that_the_definition_gives(
            lanes in prop::collection::vec(prop::collection::vec(any::<u32>(), 33), 1..=64),
        ) {
            let mut lanes: Vec<Vec<f32>> =
                lanes.into_iter().map(|lane| lane.into_iter().map(f32::from_bits).collect()).collect();
            let expected: Vec<f32> = (0..33)
                .map(|place| define(&lanes.iter().map(|lane| lane[place]).collect::<Vec<_>>()))
                .collect();
            let mut out = vec![0.0; 33];
            let mut in_place = vec![0.0; 33];
            let views: Vec<&[f32]> = lanes.iter().map(Vec::as_slice).collect();
            reduce_views(Reduction::Sum, &views, &mut in_place, &mut Vec::new());
            prop_assert_eq!(bits(&in_place), bits(&expected));
            tree_sum(&mut lanes, &mut out);
            prop_assert_eq!(bits(&out), bits(&expected));
        }

        #[test]
        fn ranks_that_add_their_subtrees_first_get_the_same_bits(
            lanes in 1_u32..=64,
            ranks in 1_u32..=64,
            seed in any::<u32>(),
        ) {
            let world_size = ranks.min(lanes);
            let plan = TreePlan::new(lanes, world_size);
            let mut word = seed;
            let mut vectors: Vec<Vec<f32>> = (0..lanes)
                .map(|_| {
                    (0..5).map(|_| {
                        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        f32::from_bits(word)
                    }).collect()
                })
                .collect();
            let mut partials: Vec<Vec<f32>> = Vec::new();
            for rank in 0..world_size {
                let owned = share(lanes, world_size, rank);
                let mut own = vectors[owned.start as usize..owned.end as usize].to_vec();
                plan.sum_own(Reduction::Sum, rank as usize, &mut own, 0..5);
                for nth in 0..plan.held(rank as usize).len() {
                    partials.push(own[plan.place(rank as usize, nth)].clone());
                }
            }
            let (mut out, mut expected) = (vec![0.0; 5], vec![0.0; 5]);
            let mut views: Vec<&mut [f32]> = partials.iter_mut().map(Vec::as_mut_slice).collect();
            plan.sum_rest(Reduction::Sum, &mut views, &mut out);
            tree_sum(&mut vectors, &mut expected);
            prop_assert_eq!(bits(&out), bits(&expected));
        }
    }
}

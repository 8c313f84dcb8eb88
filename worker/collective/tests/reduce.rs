//! Operations that go right: their results on every rank, for many shapes of groups.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};

use phalanx_collective::{Group, tree_sum};
use proptest::prelude::*;
use support::{bits, lane_vector, on_ranks};

fn expected(seed: u64, lanes: u32, len: usize) -> Vec<u32> {
    let mut vectors: Vec<_> = (0..lanes).map(|lane| lane_vector(seed, lane, len)).collect();
    let mut sum = vec![0.0; len];
    tree_sum(&mut vectors, &mut sum);
    bits(&sum)
}

fn reduce(group: &mut Group, seed: u64, len: usize) -> Vec<u32> {
    let mut vectors: Vec<_> = group.lanes().map(|lane| lane_vector(seed, lane, len)).collect();
    let mut sum = vec![f32::NAN; len];
    group.all_reduce_lanes(&mut vectors, &mut sum).expect("all ranks take part");
    bits(&sum)
}

/// Reduces vectors of these lengths one after the other and compares every rank's sums.
fn check(seed: u64, lanes: u32, world_size: u32, lens: &[usize]) {
    let sums = on_ranks(lanes, world_size, |mut group| {
        lens.iter().map(|len| reduce(&mut group, seed, *len)).collect::<Vec<_>>()
    });
    for (nth, len) in lens.iter().enumerate() {
        let expected = expected(seed, lanes, *len);
        for (rank, sums) in sums.iter().enumerate() {
            assert!(
                sums[nth] == expected,
                "rank {rank} of {world_size}, {lanes} lanes, {len} elements, seed {seed}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_group_gets_the_bits_of_the_serial_tree_sum(
        seed in any::<u64>(),
        lanes in 1_u32..=64,
        ranks in 1_u32..=8,
        lens in prop::collection::vec(
            prop_oneof![Just(0), Just(1), 2_usize..9, Just(97), Just(4_099), 0_usize..20_000],
            1..4,
        ),
    ) {
        check(seed, lanes, ranks.min(lanes), &lens);
    }
}

#[test]
fn every_world_size_gets_the_same_bits() {
    for world_size in 1..=4 {
        check(1, 4, world_size, &[0, 1, 2, 3, 5, 1_009]);
    }
    for world_size in [1, 3, 5, 7] {
        check(2, 7, world_size, &[3, 1_009]);
    }
}

#[test]
fn megabytes_both_ways_at_once_do_not_deadlock() {
    check(3, 2, 2, &[4_000_037]);
    check(4, 4, 3, &[1_500_007, 1_500_007]);
}

#[test]
fn eight_ranks_on_few_cores_come_to_the_end() {
    check(5, 8, 8, &[50_021; 12]);
}

#[test]
fn the_largest_group_gets_the_same_bits() {
    check(6, 64, 64, &[1_000, 1]);
}

#[test]
fn a_broadcast_gives_the_roots_bytes_to_all_ranks() {
    let content = |root: u32| vec![root as u8; [0, 1, 3_000_000][root as usize]];
    let received = on_ranks(3, 3, |mut group| {
        let mut all = Vec::new();
        for root in 0..3 {
            let mut bytes = if group.rank() == root { content(root) } else { vec![9; 77] };
            group.broadcast(root, &mut bytes).expect("all ranks take part");
            all.push(bytes);
        }
        all
    });
    assert!(received.iter().all(|all| *all == [content(0), content(1), content(2)]));
}

#[test]
fn an_all_gather_gives_everyones_bytes_by_rank() {
    let content = |rank: u32| vec![rank as u8 + 1; [5, 0, 2_000_003, 1][rank as usize]];
    let gathered =
        on_ranks(4, 4, |mut group| group.all_gather(&content(group.rank())).expect("all ranks take part"));
    let expected: Vec<_> = (0..4).map(content).collect();
    assert!(gathered.iter().all(|all| *all == expected));
}

#[test]
fn nobody_leaves_a_barrier_before_everyone_has_come() {
    let came = AtomicU32::new(0);
    on_ranks(5, 5, |mut group| {
        for round in 1..=20 {
            came.fetch_add(1, Ordering::SeqCst);
            group.barrier().expect("all ranks take part");
            assert!(came.load(Ordering::SeqCst) >= 5 * round);
            group.barrier().expect("all ranks take part");
        }
    });
}

#[test]
fn a_world_of_one_rank_does_everything_alone() {
    on_ranks(6, 1, |mut group| {
        assert_eq!(reduce(&mut group, 7, 100), expected(7, 6, 100));
        let mut bytes = vec![1, 2, 3];
        group.broadcast(0, &mut bytes).expect("nothing can fail");
        assert_eq!(bytes, [1, 2, 3]);
        assert_eq!(group.all_gather(&bytes).expect("nothing can fail"), [bytes]);
        group.barrier().expect("nothing can fail");
    });
}

#[test]
fn a_rank_may_leave_while_others_still_finish() {
    for _ in 0..20 {
        on_ranks(3, 3, |mut group| {
            let mut bytes = vec![group.rank() as u8; 100_000];
            group.broadcast(0, &mut bytes).expect("the root has sent everything before it leaves");
            assert_eq!(bytes, [0; 100_000]);
        });
    }
}

//! Operations that go right: their results on every rank, for many shapes of groups.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};

use phalanx_collective::{
    BucketPlan, CollectiveError, Field, Group, GroupConfig, Reduction, Transport, tree_sum,
};
use proptest::prelude::*;
use support::{
    Carrier, REDUCTIONS, TRANSPORTS, abort, bits, config, lane_vector, listener, on_ranks, reduced,
};

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
fn check_over(transport: impl Into<Carrier>, seed: u64, lanes: u32, world_size: u32, lens: &[usize]) {
    let transport = transport.into();
    let sums = on_ranks(transport, lanes, world_size, |mut group| {
        lens.iter().map(|len| reduce(&mut group, seed, *len)).collect::<Vec<_>>()
    });
    for (nth, len) in lens.iter().enumerate() {
        let expected = expected(seed, lanes, *len);
        for (rank, sums) in sums.iter().enumerate() {
            assert!(
                sums[nth] == expected,
                "rank {rank} of {world_size}, {transport:?}, {lanes} lanes, {len} elements, seed {seed}"
            );
        }
    }
}

fn check(seed: u64, lanes: u32, world_size: u32, lens: &[usize]) {
    TRANSPORTS.iter().for_each(|transport| check_over(*transport, seed, lanes, world_size, lens));
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
    check(4, 6, 2, &[3_000_001]);
}

#[test]
fn eight_ranks_on_few_cores_come_to_the_end() {
    check(5, 8, 8, &[50_021; 12]);
}

#[test]
fn the_largest_group_gets_the_same_bits() {
    check(6, 64, 64, &[1_000, 1, 0]);
}

#[test]
fn groups_that_halve_get_the_same_bits() {
    check(12, 8, 8, &[0, 1, 7, 8, 50_021]);
    check(13, 16, 8, &[1_009]);
    check_over(Transport::SharedMemory, 14, 8, 8, &[2_200_003]);
}

#[test]
fn a_broadcast_gives_the_roots_bytes_to_all_ranks() {
    for transport in TRANSPORTS {
        let content = |root: u32| vec![root as u8; [0, 1, 3_000_000][root as usize]];
        let received = on_ranks(transport, 3, 3, |mut group| {
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
}

#[test]
fn a_hypercube_hands_everything_to_everyone() {
    for transport in TRANSPORTS {
        for world_size in [8, 16] {
            let content = |rank: u32| vec![rank as u8 + 1; (rank as usize * 7_001) % 30_000];
            on_ranks(transport, world_size, world_size, |mut group| {
                let gathered = group.all_gather(&content(group.rank())).expect("all ranks take part");
                assert!(gathered.into_iter().eq((0..world_size).map(content)));
                for root in [0, 5, world_size - 1] {
                    let mut bytes = if group.rank() == root { content(root) } else { vec![9; 77] };
                    group.broadcast(root, &mut bytes).expect("all ranks take part");
                    assert!(bytes == content(root));
                }
                group.barrier().expect("all ranks take part");
            });
        }
    }
}

#[test]
fn an_all_gather_gives_everyones_bytes_by_rank() {
    for transport in TRANSPORTS {
        let content = |rank: u32| vec![rank as u8 + 1; [5, 0, 2_000_003, 1][rank as usize]];
        let gathered = on_ranks(transport, 4, 4, |mut group| {
            group.all_gather(&content(group.rank())).expect("all ranks take part")
        });
        let expected: Vec<_> = (0..4).map(content).collect();
        assert!(gathered.iter().all(|all| *all == expected));
    }
}

#[test]
fn nobody_leaves_a_barrier_before_everyone_has_come() {
    for transport in TRANSPORTS {
        let came = AtomicU32::new(0);
        on_ranks(transport, 5, 5, |mut group| {
            for round in 1..=20 {
                came.fetch_add(1, Ordering::SeqCst);
                group.barrier().expect("all ranks take part");
                assert!(came.load(Ordering::SeqCst) >= 5 * round);
                group.barrier().expect("all ranks take part");
            }
        });
    }
}

#[test]
fn a_world_of_one_rank_does_everything_alone() {
    on_ranks(Transport::Auto, 6, 1, |mut group| {
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
    for transport in TRANSPORTS {
        for _ in 0..20 {
            on_ranks(transport, 3, 3, |mut group| {
                let mut bytes = vec![group.rank() as u8; 100_000];
                group.broadcast(0, &mut bytes).expect("the root has sent everything before it leaves");
                assert_eq!(bytes, [0; 100_000]);
            });
        }
    }
}

#[test]
fn every_reduction_has_the_bits_of_the_serial_one() {
    for transport in TRANSPORTS {
        for (lanes, world_size, len) in
            [(2, 2, 5_003), (5, 3, 40_009), (4, 4, 17), (3, 1, 100), (16, 8, 40_009)]
        {
            on_ranks(transport, lanes, world_size, |mut group| {
                for reduction in REDUCTIONS {
                    let mut vectors: Vec<_> = group.lanes().map(|lane| lane_vector(8, lane, len)).collect();
                    let mut out = vec![f32::NAN; len];
                    group.all_reduce(reduction, &mut vectors, &mut out).expect("all ranks take part");
                    assert!(
                        bits(&out) == reduced(reduction, 8, lanes, len),
                        "{reduction:?} of {lanes} lanes"
                    );
                }
            });
        }
    }
}

#[test]
fn short_vectors_in_hypercubes_are_reduced_too() {
    for (transport, world_size) in
        TRANSPORTS.into_iter().flat_map(|transport| [(transport, 8), (transport, 16)])
    {
        on_ranks(transport, world_size, world_size, |mut group| {
            for reduction in REDUCTIONS {
                for len in 0..=2 * world_size as usize + 1 {
                    let mut vectors: Vec<_> = group.lanes().map(|lane| lane_vector(15, lane, len)).collect();
                    let mut out = vec![f32::NAN; len];
                    group.all_reduce(reduction, &mut vectors, &mut out).expect("all ranks take part");
                    assert!(bits(&out) == reduced(reduction, 15, world_size, len), "{reduction:?} of {len}");
                }
            }
        });
    }
    // The last piece of a long vector is a short one.
    on_ranks(Transport::SharedMemory, 8, 8, |mut group| {
        let len = (1 << 20) + 3;
        let mut vectors: Vec<_> = group.lanes().map(|lane| lane_vector(16, lane, len)).collect();
        let mut out = vec![f32::NAN; len];
        group.all_reduce(Reduction::Bf16Sum, &mut vectors, &mut out).expect("all ranks take part");
        assert!(bits(&out) == reduced(Reduction::Bf16Sum, 16, 8, len));
    });
}

#[test]
fn a_reduce_scatter_and_an_all_gather_are_an_all_reduce() {
    for transport in TRANSPORTS {
        for (lanes, world_size, len) in
            [(2, 2, 600_011), (5, 3, 1_000), (4, 4, 3), (3, 1, 10), (8, 8, 100_003), (16, 16, 5)]
        {
            on_ranks(transport, lanes, world_size, |mut group| {
                let mut vectors: Vec<_> = group.lanes().map(|lane| lane_vector(9, lane, len)).collect();
                let own = group.segment(len);
                let mut vector = vec![f32::NAN; len];
                let out = &mut vector[own.clone()];
                group.reduce_scatter(Reduction::Sum, &mut vectors, out).expect("all ranks take part");
                let expected = expected(9, lanes, len);
                assert!(bits(&vector[own.clone()]) == expected[own]);
                group.all_gather_segments(&mut vector).expect("all ranks take part");
                assert!(bits(&vector) == expected);
            });
        }
    }
}

#[test]
fn parts_of_vectors_are_reduced_where_they_lie() {
    on_ranks(Transport::Auto, 3, 2, |mut group| {
        let mut vectors: Vec<_> = group.lanes().map(|lane| lane_vector(10, lane, 100)).collect();
        let mut parts: Vec<_> = vectors.iter_mut().map(|vector| &mut vector[20..70]).collect();
        let mut out = vec![f32::NAN; 50];
        group.all_reduce_lanes(&mut parts, &mut out).expect("all ranks take part");
        assert!(bits(&out) == expected(10, 3, 100)[20..70]);
    });
}

#[test]
fn ranks_with_other_transports_meet_over_tcp() {
    let listeners = [listener(), listener(), listener()];
    let config = config(3, &listeners);
    std::thread::scope(|scope| {
        for (rank, transport) in (0..).zip([Transport::Auto, Transport::Tcp, Transport::Auto]) {
            let config = GroupConfig { rank, transport, ..config.clone() };
            let listener = &listeners[rank as usize];
            scope.spawn(move || {
                let mut group = Group::connect(listener, config, &abort()).expect("all ranks come");
                for len in [1, 100_003] {
                    assert!(reduce(&mut group, 11, len) == expected(11, 3, len));
                }
            });
        }
    });
}

#[test]
fn shared_memory_that_is_asked_for_and_refused_is_an_error() {
    let listeners = [listener(), listener()];
    let config = config(2, &listeners);
    std::thread::scope(|scope| {
        for (rank, transport) in (0..).zip([Transport::SharedMemory, Transport::Tcp]) {
            let config = GroupConfig { rank, transport, ..config.clone() };
            let listener = &listeners[rank as usize];
            scope.spawn(move || match Group::connect(listener, config, &abort()) {
                Err(CollectiveError::NotShared { rank: 1 }) => assert_eq!(rank, 0),
                other => assert!(rank == 1 && other.is_ok(), "{other:?}"),
            });
        }
    });
}

#[test]
fn plans_that_differ_are_told() {
    let errors = on_ranks(Transport::Auto, 2, 2, |mut group| {
        let plan = BucketPlan::new(&[5, 6 + group.rank() as usize], 100);
        group.agree(&plan).expect_err("plans differ")
    });
    let told = |error: &CollectiveError| {
        matches!(error, CollectiveError::Disagreement { field: Field::BucketPlan, .. })
    };
    assert!(errors.iter().any(told), "{errors:?}");
}

#[test]
fn ranks_that_reduce_differently_are_told() {
    for transport in TRANSPORTS {
        let errors = on_ranks(transport, 2, 2, |mut group| {
            let reduction = [Reduction::Sum, Reduction::Max][group.rank() as usize];
            group.all_reduce(reduction, &mut [vec![1.0; 9]], &mut [0.0; 9]).expect_err("they differ")
        });
        let told = |error: &CollectiveError| {
            matches!(error, CollectiveError::Disagreement { field: Field::Reduction, .. })
        };
        assert!(errors.iter().any(told), "{errors:?}");
    }
}

//! Buckets: reduced where they lie when ranks share memory, and copied when they do not.

mod support;

use std::{thread, time::Duration};

use phalanx_collective::{
    Bucket, BucketPlan, Buffer, CollectiveError, Field, Group, GroupConfig, Reducer, Reduction, Transport,
};
use proptest::prelude::*;
use support::{
    Carrier, REDUCTIONS, TRANSPORTS, abort, bits, config, lane_vector, listener, on_ranks, reduced,
};

fn fill(group: &Group, seed: u64, bucket: &mut Bucket) {
    for (lane, vector) in group.lanes().zip(&mut bucket.lanes) {
        let numbers = lane_vector(seed, lane, vector.len());
        vector.copy_from_slice(&numbers);
    }
}

/// Reduces buckets of these lengths a few times, and compares every rank's.
fn check(transport: impl Into<Carrier>, lanes: u32, world_size: u32, lens: &[usize]) {
    let (plan, transport) = (BucketPlan::new(lens, 0), transport.into());
    on_ranks(transport, lanes, world_size, |mut group| {
        let mut buckets = group.buckets(&plan).expect("all ranks take part");
        for (seed, reduction) in (0..).zip(REDUCTIONS) {
            for bucket in &mut buckets {
                fill(&group, seed, bucket);
                group.all_reduce_bucket(reduction, bucket).expect("all ranks take part");
            }
            for bucket in &buckets {
                let len = bucket.sum().len();
                assert!(
                    bits(bucket.sum()) == reduced(reduction, seed, lanes, len),
                    "rank {} of {world_size}, {transport:?}, {lanes} lanes, {len} elements",
                    group.rank()
                );
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_group_gets_the_bits_of_the_serial_tree(
        lanes in 1_u32..=64,
        ranks in 1_u32..=8,
        lens in prop::collection::vec(prop_oneof![Just(0), 1_usize..9, Just(4_096), 4_000_usize..40_000], 1..4),
    ) {
        TRANSPORTS.iter().for_each(|transport| check(*transport, lanes, ranks.min(lanes), &lens));
    }
}

#[test]
fn megabytes_and_the_largest_group_get_the_same_bits() {
    check(Transport::SharedMemory, 4, 2, &[3_000_001]);
    check(Transport::SharedMemory, 64, 64, &[70_001, 4_096]);
}

#[test]
fn ranks_of_which_some_share_no_memory_get_the_same_bits() {
    let listeners = [listener(), listener(), listener()];
    let config = config(5, &listeners);
    thread::scope(|scope| {
        for (rank, transport) in (0..).zip([Transport::Auto, Transport::Tcp, Transport::Auto]) {
            let config = GroupConfig { rank, transport, ..config.clone() };
            let listener = &listeners[rank as usize];
            scope.spawn(move || {
                let mut group = Group::connect(listener, config, &abort()).expect("all ranks come");
                let plan = BucketPlan::new(&[50_001], 0);
                let mut buckets = group.buckets(&plan).expect("all ranks take part");
                fill(&group, 3, &mut buckets[0]);
                group.all_reduce_bucket(Reduction::Sum, &mut buckets[0]).expect("all ranks take part");
                assert!(bits(buckets[0].sum()) == reduced(Reduction::Sum, 3, 5, 50_001));
            });
        }
    });
}

#[test]
fn a_sum_stays_as_it_is_until_its_rank_reduces_the_bucket_again() {
    on_ranks(Transport::SharedMemory, 2, 2, |mut group| {
        let mut buckets = group.buckets(&BucketPlan::new(&[100_000], 0)).expect("all ranks take part");
        for seed in 0..20 {
            fill(&group, seed, &mut buckets[0]);
            group.all_reduce_bucket(Reduction::Sum, &mut buckets[0]).expect("all ranks take part");
            // One rank is early with the next; the other still reads.
            if group.rank() == seed as u32 % 2 {
                thread::sleep(Duration::from_millis(3));
            }
            assert!(bits(buckets[0].sum()) == reduced(Reduction::Sum, seed, 2, 100_000));
        }
    });
}

#[test]
fn a_vector_that_others_cannot_see_is_refused() {
    on_ranks(Transport::SharedMemory, 4, 2, |mut group| {
        let mut buckets = group.buckets(&BucketPlan::new(&[5_000], 0)).expect("all ranks take part");
        let mut swapped = Buffer::from(vec![1.0; 5_000]);
        std::mem::swap(&mut buckets[0].lanes[1], &mut swapped);
        let error = group.all_reduce_bucket(Reduction::Sum, &mut buckets[0]).expect_err("it is another's");
        assert!(matches!(error, CollectiveError::Argument { actual: 1, .. }), "{error}");
        assert!(buckets[0].lanes.is_empty() && buckets[0].sum().is_empty(), "its memory may be in use");
        assert!(matches!(group.barrier(), Err(CollectiveError::Broken)));
        drop(swapped);
    });
}

#[test]
fn a_bucket_that_is_refused_ends_what_was_submitted_after_it() {
    on_ranks(Transport::SharedMemory, 2, 2, |mut group| {
        let mut buckets = group.buckets(&BucketPlan::new(&[5_000, 5_000], 0)).expect("all ranks take part");
        if group.rank() == 0 {
            buckets[0].lanes[0] = vec![1.0; 5_000].into();
        }
        let mut reducer = Reducer::new(group).expect("threads are left");
        buckets.into_iter().for_each(|bucket| reducer.submit(Reduction::Sum, bucket));
        for _ in 0..2 {
            reducer.wait().expect("it is pending").expect_err("rank 0 has another vector");
        }
    });
}

#[test]
fn buckets_of_another_group_are_refused() {
    let bucket = |group: &mut Group| {
        group.buckets(&BucketPlan::new(&[5_000], 0)).expect("all ranks take part").remove(0)
    };
    let old = on_ranks(Transport::SharedMemory, 2, 2, |mut group| bucket(&mut group));
    let old: Vec<_> = old.into_iter().map(|bucket| std::sync::Mutex::new(Some(bucket))).collect();
    on_ranks(Transport::SharedMemory, 2, 2, |mut group| {
        let old = old[group.rank() as usize].lock().expect("no rank panics").take();
        let error = group.all_reduce_bucket(Reduction::Sum, &mut old.expect("it is there"));
        assert!(matches!(error, Err(CollectiveError::Argument { .. })), "{error:?}");
    });
}

#[test]
fn ranks_that_reduce_different_buckets_are_told() {
    for transport in TRANSPORTS {
        let errors = on_ranks(transport, 2, 2, |mut group| {
            // Twice: what one call has made is no matter for the next.
            group.buckets(&BucketPlan::new(&[6_000], 0)).expect("all ranks take part");
            let plan = BucketPlan::new(&[5_000, 5_001], 0);
            let mut buckets = group.buckets(&plan).expect("all ranks take part");
            let nth = group.rank() as usize;
            group.all_reduce_bucket(Reduction::Sum, &mut buckets[nth]).expect_err("they differ")
        });
        let told = |error: &CollectiveError| {
            matches!(error, CollectiveError::Disagreement { field: Field::Subject, .. })
        };
        assert!(errors.iter().any(told), "{errors:?}");
    }
}

#[test]
fn an_abort_ends_a_reduction_in_place() {
    on_ranks(Transport::SharedMemory, 8, 8, |mut group| {
        let mut buckets = group.buckets(&BucketPlan::new(&[50_000], 0)).expect("all ranks take part");
        group.all_reduce_bucket(Reduction::Sum, &mut buckets[0]).expect("all ranks take part");
        if group.rank() == 3 {
            return group.abort_handle().abort();
        }
        let error = group.all_reduce_bucket(Reduction::Sum, &mut buckets[0]).expect_err("rank 3 is gone");
        assert!(matches!(error, CollectiveError::Lost { .. }), "{error}");
    });
}

#[test]
fn a_rank_that_is_gone_is_an_error_on_all_others() {
    let errors = on_ranks(Transport::SharedMemory, 3, 3, |mut group| {
        let mut buckets = group.buckets(&BucketPlan::new(&[300_000], 0)).expect("all ranks take part");
        group.all_reduce_bucket(Reduction::Sum, &mut buckets[0]).expect("all ranks take part");
        let goes = group.rank() == 1;
        (!goes).then(|| group.all_reduce_bucket(Reduction::Sum, &mut buckets[0]).expect_err("rank 1 is gone"))
    });
    for error in errors.iter().flatten() {
        assert!(matches!(error, CollectiveError::Lost { .. }), "{error}");
    }
}

#[test]
fn buckets_are_reduced_while_the_caller_goes_on() {
    let plan = BucketPlan::new(&[10, 70_001, 3, 0, 500], 4_096);
    for transport in TRANSPORTS {
        on_ranks(transport, 4, 2, |mut group| {
            let buckets = group.buckets(&plan).expect("all ranks take part");
            let mut buckets: Vec<_> = buckets.into_iter().map(Some).collect();
            let lanes = group.lanes();
            let mut reducer = Reducer::new(group).expect("threads are left");
            for step in 0..3 {
                for bucket in buckets.iter_mut().rev() {
                    let mut bucket = bucket.take().expect("it came back");
                    for (lane, vector) in lanes.clone().zip(&mut bucket.lanes) {
                        let numbers = lane_vector(step, lane, vector.len());
                        vector.copy_from_slice(&numbers);
                    }
                    reducer.submit(Reduction::Mean, bucket);
                }
                for bucket in buckets.iter_mut().rev() {
                    let bucket_back = reducer.wait().expect("it is pending").expect("all ranks take part");
                    let len = bucket_back.sum().len();
                    assert!(bits(bucket_back.sum()) == reduced(Reduction::Mean, step, 4, len));
                    *bucket = Some(bucket_back);
                }
                assert!(reducer.wait().is_none());
                reducer.group().barrier().expect("all ranks take part");
            }
        });
    }
}

//! Steps allocate nothing, once the first has shown how long the vectors are.

mod support;

use phalanx_collective::{BucketPlan, Reduction};
use support::{PLAIN, on_ranks};

#[test]
fn an_all_reduce_of_the_same_length_allocates_nothing() {
    for (transport, world_size) in
        PLAIN.into_iter().flat_map(|transport| [1, 2, 3, 8].map(|ranks| (transport, ranks)))
    {
        on_ranks(transport, 8, world_size, |mut group| {
            let mut lanes: Vec<_> = group.lanes().map(|lane| vec![lane as f32; 100_003]).collect();
            let mut sum = vec![0.0; 100_003];
            let plan = BucketPlan::new(&[100_003], 0);
            let mut buckets = group.buckets(&plan).expect("all ranks take part");
            let mut reduce = || {
                for reduction in [Reduction::Sum, Reduction::Bf16Sum] {
                    group.all_reduce(reduction, &mut lanes, &mut sum).expect("all ranks take part");
                    group.all_reduce_bucket(reduction, &mut buckets[0]).expect("all ranks take part");
                }
            };
            reduce();
            let counted = allocation_counter::measure(|| {
                (0..10).for_each(|_| reduce());
            });
            group.barrier().expect("all ranks take part");
            assert_eq!(counted.count_total, 0, "rank {} of {world_size}, {transport:?}", group.rank());
        });
    }
}

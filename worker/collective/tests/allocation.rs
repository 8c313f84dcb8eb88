//! Steps allocate nothing, once the first has shown how long the vectors are.

mod support;

use support::on_ranks;

#[test]
fn an_all_reduce_of_the_same_length_allocates_nothing() {
    for world_size in [1, 3] {
        on_ranks(4, world_size, |mut group| {
            let mut lanes: Vec<_> = group.lanes().map(|lane| vec![lane as f32; 100_003]).collect();
            let mut sum = vec![0.0; 100_003];
            group.all_reduce_lanes(&mut lanes, &mut sum).expect("all ranks take part");
            let counted = allocation_counter::measure(|| {
                for _ in 0..10 {
                    group.all_reduce_lanes(&mut lanes, &mut sum).expect("all ranks take part");
                }
                group.barrier().expect("all ranks take part");
            });
            assert_eq!(counted.count_total, 0, "rank {} of {world_size}", group.rank());
        });
    }
}

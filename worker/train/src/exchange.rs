//! The gradients of a rank's lanes on their way into the reduction, bucket by bucket.

use std::ops::Range;

use phalanx_collective::{CollectiveError, Group};

use crate::layout::Layout;

/// One bucket of all lanes that this rank owns.
struct Bucket {
    lanes: Vec<Vec<f32>>,
    /// Their sum over all ranks.
    sum: Vec<f32>,
}

/// The reduction of one step after the other.
pub(crate) struct Exchange {
    group: Group,
    buckets: Vec<Bucket>,
}

impl Exchange {
    pub(crate) fn new(group: Group, layout: &Layout) -> Self {
        let lanes = group.lanes().len();
        let bucket = |len: &usize| Bucket { lanes: vec![vec![0.0; *len]; lanes], sum: vec![0.0; *len] };
        Self { buckets: layout.bucket_lens().iter().map(bucket).collect(), group }
    }

    /// The lanes that this rank owns.
    pub(crate) fn lanes(&self) -> Range<u32> {
        self.group.lanes()
    }

    /// The group, for operations between two steps.
    pub(crate) fn group(&mut self) -> &mut Group {
        &mut self.group
    }

    /// The memory that the gradient of the `nth` owned lane is written to.
    pub(crate) fn memory(&mut self, nth: usize) -> Vec<Vec<f32>> {
        self.buckets.iter_mut().map(|bucket| std::mem::take(&mut bucket.lanes[nth])).collect()
    }

    /// Takes in a bucket of the `nth` owned lane.
    pub(crate) fn put(&mut self, nth: usize, bucket: usize, gradient: Vec<f32>) {
        self.buckets[bucket].lanes[nth] = gradient;
    }

    /// Adds up all lanes of all ranks.
    pub(crate) fn reduce(&mut self) -> Result<(), CollectiveError> {
        self.buckets
            .iter_mut()
            .try_for_each(|bucket| self.group.all_reduce_lanes(&mut bucket.lanes, &mut bucket.sum))
    }

    /// The sums, bucket by bucket.
    pub(crate) fn sums(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        self.buckets.iter_mut().map(|bucket| &mut bucket.sum)
    }
}

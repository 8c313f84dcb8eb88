//! The gradients of a rank's lanes on their way into the reduction, bucket by bucket.

use std::{io, ops::Range};

use phalanx_collective::{AbortHandle, Bucket, Buffer, CollectiveError, Group, Reducer, Reduction};

use crate::{error::TrainError, layout::Layout};

/// The reduction of one step after the other.
pub(crate) struct Exchange {
    way: Way,
    /// Of each bucket.
    reductions: Vec<Reduction>,
    buckets: Vec<Bucket>,
    lanes: Range<u32>,
}

/// How buckets are reduced.
enum Way {
    /// On this thread, when all are there: with one bucket, there is nothing to gain.
    AtTheEnd(Box<Group>),
    /// On another, as they become ready.
    Meanwhile(Reducer),
}

impl Exchange {
    /// Collective: all ranks of the group must call it.
    pub(crate) fn new(mut group: Group, layout: &Layout) -> Result<Self, TrainError> {
        let lanes = group.lanes();
        let buckets = group.buckets(layout.plan())?;
        let reductions = (0..buckets.len()).map(|bucket| layout.reduction(bucket)).collect();
        let way = if buckets.len() == 1 || group.world_size() == 1 {
            Way::AtTheEnd(Box::new(group))
        } else {
            let no_thread = |error: io::Error| TrainError::Thread { thread: "reducer", error };
            Way::Meanwhile(Reducer::new(group).map_err(no_thread)?)
        };
        Ok(Self { way, reductions, buckets, lanes })
    }

    /// The lanes that this rank owns.
    pub(crate) fn lanes(&self) -> Range<u32> {
        self.lanes.clone()
    }

    /// Ends all waits of the group.
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        match &self.way {
            Way::AtTheEnd(group) => group.abort_handle(),
            Way::Meanwhile(reducer) => reducer.abort_handle(),
        }
    }

    /// Does something else with the group, between two steps.
    pub(crate) fn with_group<T>(&mut self, act: impl FnOnce(&mut Group) -> T) -> T {
        match &mut self.way {
            Way::AtTheEnd(group) => act(group),
            Way::Meanwhile(reducer) => act(&mut reducer.group()),
        }
    }

    /// The memory that the gradient of the `nth` owned lane is written to.
    pub(crate) fn memory(&mut self, nth: usize) -> Vec<Buffer> {
        self.buckets.iter_mut().map(|bucket| std::mem::take(&mut bucket.lanes[nth])).collect()
    }

    /// Takes in a bucket of the `nth` owned lane. They come lane by lane, and for each lane
    /// in order.
    pub(crate) fn put(&mut self, nth: usize, bucket: usize, gradient: Buffer) {
        self.buckets[bucket].lanes[nth] = gradient;
        if let Way::Meanwhile(reducer) = &mut self.way
            && nth + 1 == self.lanes.len()
        {
            reducer.submit(self.reductions[bucket], std::mem::take(&mut self.buckets[bucket]));
        }
    }

    /// Returns when all lanes of all ranks are added up.
    pub(crate) fn finish(&mut self) -> Result<(), CollectiveError> {
        match &mut self.way {
            Way::AtTheEnd(group) => {
                let mut buckets = self.buckets.iter_mut().zip(&self.reductions);
                buckets.try_for_each(|(bucket, reduction)| group.all_reduce_bucket(*reduction, bucket))
            }
            Way::Meanwhile(reducer) => self.buckets.iter_mut().try_for_each(|bucket| {
                *bucket = reducer.wait().expect("invariant: every bucket was submitted")?;
                Ok(())
            }),
        }
    }

    /// The sums, bucket by bucket.
    pub(crate) fn sums(&self) -> impl Iterator<Item = &[f32]> {
        self.buckets.iter().map(Bucket::sum)
    }
}

//! The gradients of a rank's lanes on their way into the reduction, bucket by bucket.

use std::{io, ops::Range};

use burn::tensor::Tensor;
use phalanx_collective::{AbortHandle, Bucket, Group, Reducer, Reduction};
use phalanx_protocol::spec::SumOrder;

use crate::{device::ComputeDevice, error::TrainError, gpu_exchange::GpuExchange, layout::Layout};

/// The reduction of one step after the other.
pub(crate) struct Exchange {
    way: Way,
    buckets: Vec<Bucket>,
    lanes: Range<u32>,
}

/// How buckets are reduced.
enum Way {
    /// On this thread, when all are there: with one bucket, there is nothing to gain.
    AtTheEnd(Group),
    /// On another, as they become ready.
    Meanwhile(Reducer),
    /// From GPU to GPU, when all are there. The group is for everything else.
    OnGpus(Group, Box<GpuExchange>),
}

impl Exchange {
    /// Collective: all ranks of the group must call it.
    pub(crate) fn new(
        mut group: Group,
        layout: &Layout,
        (device, order): (&ComputeDevice, SumOrder),
    ) -> Result<Self, TrainError> {
        group.agree(layout.plan())?;
        let lanes = group.lanes();
        let buckets = Bucket::for_plan(layout.plan(), lanes.len());
        if let Some(gpus) = GpuExchange::connect(&mut group, device, order)? {
            return Ok(Self { way: Way::OnGpus(group, Box::new(gpus)), buckets, lanes });
        }
        let way = if buckets.len() == 1 || group.world_size() == 1 {
            Way::AtTheEnd(group)
        } else {
            let no_thread = |error: io::Error| TrainError::Thread { thread: "reducer", error };
            Way::Meanwhile(Reducer::new(group).map_err(no_thread)?)
        };
        Ok(Self { way, buckets, lanes })
    }

    /// The lanes that this rank owns.
    pub(crate) fn lanes(&self) -> Range<u32> {
        self.lanes.clone()
    }

    /// Ends all waits of the group.
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        match &self.way {
            Way::AtTheEnd(group) | Way::OnGpus(group, _) => group.abort_handle(),
            Way::Meanwhile(reducer) => reducer.abort_handle(),
        }
    }

    /// Does something else with the group, between two steps.
    pub(crate) fn with_group<T>(&mut self, act: impl FnOnce(&mut Group) -> T) -> T {
        match &mut self.way {
            Way::AtTheEnd(group) | Way::OnGpus(group, _) => act(group),
            Way::Meanwhile(reducer) => act(&mut reducer.group()),
        }
    }

    /// The memory that the gradient of the `nth` owned lane is written to.
    pub(crate) fn memory(&mut self, nth: usize) -> Vec<Vec<f32>> {
        self.buckets.iter_mut().map(|bucket| std::mem::take(&mut bucket.lanes[nth])).collect()
    }

    /// Takes in a bucket of the `nth` owned lane. They come lane by lane, and for each lane
    /// in order.
    pub(crate) fn put(&mut self, nth: usize, bucket: usize, gradient: Vec<f32>) {
        self.buckets[bucket].lanes[nth] = gradient;
        if let Way::Meanwhile(reducer) = &mut self.way
            && nth + 1 == self.lanes.len()
        {
            reducer.submit(Reduction::Sum, std::mem::take(&mut self.buckets[bucket]));
        }
    }

    /// Whether gradients are wanted on the device.
    pub(crate) fn is_on_gpus(&self) -> bool {
        matches!(self.way, Way::OnGpus(..))
    }

    /// Takes in all buckets of the next owned lane, on its device.
    ///
    /// # Panics
    ///
    /// Unless they are [wanted there](Self::is_on_gpus).
    pub(crate) fn put_on_device(&mut self, lane: Vec<Tensor<1>>) {
        match &mut self.way {
            Way::AtTheEnd(_) | Way::Meanwhile(_) => unreachable!("gradients are wanted in memory"),
            Way::OnGpus(_, gpus) => gpus.put(lane),
        }
    }

    /// Returns when all lanes of all ranks are added up.
    pub(crate) fn finish(&mut self) -> Result<(), TrainError> {
        match &mut self.way {
            Way::OnGpus(_, gpus) => gpus.finish(&mut self.buckets),
            Way::AtTheEnd(group) => Ok(self.buckets.iter_mut().try_for_each(|bucket| {
                group.all_reduce(Reduction::Sum, &mut bucket.lanes, &mut bucket.sum)
            })?),
            Way::Meanwhile(reducer) => self.buckets.iter_mut().try_for_each(|bucket| {
                *bucket = reducer.wait().expect("invariant: every bucket was submitted")?;
                Ok(())
            }),
        }
    }

    /// The sums, bucket by bucket.
    pub(crate) fn sums(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        self.buckets.iter_mut().map(|bucket| &mut bucket.sum)
    }
}

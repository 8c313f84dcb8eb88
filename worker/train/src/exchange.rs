//! The gradients of a rank's lanes on their way into the reduction, bucket by bucket.

use std::{io, ops::Range};

use burn::tensor::Tensor;
use phalanx_collective::{AbortHandle, Bucket, Buffer, Group, Reducer, Reduction};
use phalanx_protocol::spec::TrainSpec;

use crate::{device::ComputeDevice, error::TrainError, gpu_exchange::GpuExchange, layout::Layout};

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
    /// From GPU to GPU, when all are there. The group is for everything else.
    OnGpus { group: Box<Group>, gpus: Box<GpuExchange>, sums: Vec<Vec<f32>> },
}

impl Exchange {
    /// Collective: all ranks of the group must call it.
    pub(crate) fn new(
        mut group: Group,
        layout: &Layout,
        device: &ComputeDevice,
        train: &TrainSpec,
    ) -> Result<Self, TrainError> {
        let lanes = group.lanes();
        let reductions = (0..layout.bucket_lens().len()).map(|bucket| layout.reduction(bucket)).collect();
        // What is rounded, and what lanes have changed on their own, goes through the processor.
        if train.compression.is_none() && train.diloco.is_none() {
            group.agree(layout.plan())?;
            if let Some(gpus) = GpuExchange::connect(&mut group, device, train.reduction)? {
                let sums = layout.bucket_lens().iter().map(|len| vec![0.0; *len]).collect();
                let way = Way::OnGpus { group: Box::new(group), gpus: Box::new(gpus), sums };
                return Ok(Self { way, reductions, buckets: Vec::new(), lanes });
            }
        }
        let buckets = group.buckets(layout.plan())?;
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
            Way::AtTheEnd(group) | Way::OnGpus { group, .. } => group.abort_handle(),
            Way::Meanwhile(reducer) => reducer.abort_handle(),
        }
    }

    /// Does something else with the group, between two steps.
    pub(crate) fn with_group<T>(&mut self, act: impl FnOnce(&mut Group) -> T) -> T {
        match &mut self.way {
            Way::AtTheEnd(group) | Way::OnGpus { group, .. } => act(group),
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

    /// Whether gradients are wanted on the device.
    pub(crate) fn is_on_gpus(&self) -> bool {
        matches!(self.way, Way::OnGpus { .. })
    }

    /// Takes in all buckets of the next owned lane, on its device.
    ///
    /// # Panics
    ///
    /// Unless they are [wanted there](Self::is_on_gpus).
    pub(crate) fn put_on_device(&mut self, lane: Vec<Tensor<1>>) {
        match &mut self.way {
            Way::AtTheEnd(_) | Way::Meanwhile(_) => unreachable!("gradients are wanted in memory"),
            Way::OnGpus { gpus, .. } => gpus.put(lane),
        }
    }

    /// Returns when all lanes of all ranks are added up.
    pub(crate) fn finish(&mut self) -> Result<(), TrainError> {
        match &mut self.way {
            Way::OnGpus { gpus, sums, .. } => gpus.finish(sums),
            Way::AtTheEnd(group) => {
                let mut buckets = self.buckets.iter_mut().zip(&self.reductions);
                Ok(buckets.try_for_each(|(bucket, reduction)| group.all_reduce_bucket(*reduction, bucket))?)
            }
            Way::Meanwhile(reducer) => self.buckets.iter_mut().try_for_each(|bucket| {
                *bucket = reducer.wait().expect("invariant: every bucket was submitted")?;
                Ok(())
            }),
        }
    }

    /// The sums, bucket by bucket.
    pub(crate) fn sums(&self) -> Vec<&[f32]> {
        match &self.way {
            Way::OnGpus { sums, .. } => sums.iter().map(Vec::as_slice).collect(),
            Way::AtTheEnd(_) | Way::Meanwhile(_) => self.buckets.iter().map(Bucket::sum).collect(),
        }
    }
}

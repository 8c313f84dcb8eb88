//! The gradients of a rank's lanes on their way into the reduction where ranks have GPUs
//! of their own: from GPU to GPU. The sums alone come to the processor, which clips them
//! and hands them to the update.

use burn::tensor::{Device, Tensor};
use phalanx_collective::{GpuError, GpuGroup, Group, Met};
use phalanx_protocol::spec::SumOrder;
use tracing::info;

use crate::{
    device::ComputeDevice,
    error::{BuildError, TrainError},
    gpu::Borrowed,
    layout::numbers,
};

/// The reduction of one step after the other, on GPUs.
pub(crate) struct GpuExchange {
    gpus: Box<GpuGroup>,
    order: SumOrder,
    device: Device,
    /// Bucket by bucket, the lanes' vectors that have come.
    waiting: Vec<Vec<Tensor<1>>>,
}

impl GpuExchange {
    /// Connects the ranks' GPUs; nothing where gradients take the group's own transports.
    /// Collective: all ranks of the group must call it, or none.
    ///
    /// # Errors
    ///
    /// Where `fast` is asked for and GPUs cannot be connected, or connecting fails.
    pub(crate) fn connect(
        group: &mut Group,
        device: &ComputeDevice,
        order: SumOrder,
    ) -> Result<Option<Self>, TrainError> {
        let Some(index) = device.gpu() else { return Ok(None) };
        match GpuGroup::connect(group, index).map_err(failed)? {
            Met::Gpus(gpus) => {
                info!(rank = group.rank(), world_size = group.world_size(), ?order, "gradients go over NCCL");
                Ok(Some(Self { gpus, order, device: device.burn().clone(), waiting: Vec::new() }))
            }
            Met::Processors(why) if order == SumOrder::Fast => {
                let reason = format!("`fast` leaves the sum to NCCL, which cannot be used: {why}");
                Err(BuildError::Setting { setting: "reduction", reason }.into())
            }
            Met::Processors(why) => {
                info!(why, "gradients go through the processor's memory");
                Ok(None)
            }
        }
    }

    /// Takes in all buckets of the next owned lane.
    pub(crate) fn put(&mut self, buckets: Vec<Tensor<1>>) {
        self.waiting.resize_with(buckets.len(), Vec::new);
        for (waiting, bucket) in self.waiting.iter_mut().zip(buckets) {
            waiting.push(bucket);
        }
    }

    /// Writes the sums over all lanes of all ranks into `sums`, bucket by bucket.
    pub(crate) fn finish(&mut self, sums: &mut [Vec<f32>]) -> Result<(), TrainError> {
        let device = self.device.clone();
        let unwell = |error| TrainError::Gpu { reason: format!("the GPU failed: {error:?}") };
        for (lanes, out) in std::mem::take(&mut self.waiting).into_iter().zip(sums) {
            let mut lanes = lanes.into_iter().map(Borrowed::new).collect::<Result<Vec<_>, _>>()?;
            let mut sum = Borrowed::new(Tensor::zeros([out.len()], &device))?;
            // The group has a stream of its own: what burn has queued must have ended.
            device.sync().map_err(unwell)?;
            let mut vectors: Vec<_> = lanes.iter_mut().map(Borrowed::take).collect();
            let mut reduced = sum.take();
            match self.order {
                SumOrder::Exact => self.gpus.all_reduce(&mut vectors, &mut reduced),
                SumOrder::Fast => self.gpus.all_reduce_fast(&mut vectors, &mut reduced),
            }
            .map_err(failed)?;
            out.copy_from_slice(numbers(&sum.into_tensor().into_data()));
        }
        Ok(())
    }
}

/// A rank that is gone shows as NCCL's failure; the coordinator finds out which.
fn failed(error: GpuError) -> TrainError {
    match error {
        GpuError::Group(error) => error.into(),
        GpuError::Driver { .. } | GpuError::Nccl { .. } => TrainError::Gpu { reason: error.to_string() },
    }
}

//! What CUDA's driver says of a GPU, and where burn's tensors lie on it. Asks whether the
//! driver is there before anything else: calling a library that is absent panics.
#![expect(
    unsafe_code,
    reason = "the driver is C, and memory is lent by address; each block says why it may be"
)]

use std::any::Any;

use burn::{backend::Cube, tensor::Tensor};
use burn_cubecl::{
    cubecl::cuda::CudaRuntime,
    kernel::{into_contiguous, matmul::MatmulStrategy},
    tensor::CubeTensor,
};
use cubecl_runtime::runtime::Runtime;
use cudarc::driver::{result, sys};
use phalanx_collective::GpuVector;

use crate::{
    device::{DeviceError, DeviceName},
    error::TrainError,
};

/// What decides the results of the GPU of this number: its model, and the version of
/// CUDA that the driver offers, as in `nvidia-h100-80gb-hbm3-cuda13.0`.
pub(crate) fn kind(index: u16) -> Result<String, DeviceError> {
    let device = DeviceName::Cuda(index);
    if is_autotuned(&MatmulStrategy::default()) {
        return Err(DeviceError::Autotuned(device));
    }
    // SAFETY: the call loads the library of a driver, which other processes load, too.
    if !unsafe { sys::is_culib_present() } {
        return Err(DeviceError::NoDriver(device));
    }
    let failed = |error: result::DriverError| DeviceError::Driver { device, reason: error.to_string() };
    result::init().map_err(failed)?;
    let count = usize::try_from(result::device::get_count().map_err(failed)?).unwrap_or_default();
    if usize::from(index) >= count {
        return Err(DeviceError::NoSuchGpu { device, count });
    }
    let gpu = result::device::get(index.into()).map_err(failed)?;
    let model = slug(&result::device::get_name(gpu).map_err(failed)?);
    let mut version = 0;
    // SAFETY: the driver is loaded, and writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().map_err(failed)?;
    Ok(format!("{model}-cuda{}.{}", version / 1_000, version % 1_000 / 10))
}

/// Whether burn measures which kernel is the fastest, and takes that: another one in
/// another process.
fn is_autotuned(strategy: &MatmulStrategy) -> bool {
    // The other variant is there with burn's feature `autotune`, and is its default then.
    !matches!(strategy, MatmulStrategy::Cube)
}

/// A model's name in lower-case letters, digits and hyphens.
fn slug(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

/// A tensor whose memory is lent to the reduction.
pub(crate) struct Borrowed {
    tensor: CubeTensor,
    address: u64,
    /// Keeps the memory in place.
    _memory: Box<dyn Any>,
}

impl Borrowed {
    /// Lends the memory of `tensor`, or of a copy where others hold the same.
    ///
    /// # Errors
    ///
    /// Where it does not lie on a GPU, or what computes it has failed.
    pub(crate) fn new(tensor: Tensor<1>) -> Result<Self, TrainError> {
        let unfit = |reason: String| TrainError::Gpu { reason };
        let tensor = tensor.try_into_primitive::<Cube>().map_err(|error| unfit(format!("{error:?}")))?;
        let tensor = into_contiguous(tensor);
        let tensor = if tensor.handle.can_mut() { tensor } else { tensor.copy() };
        let memory = tensor.client.get_resource::<<CudaRuntime as Runtime>::Server>(tensor.handle.clone());
        let memory = memory.map_err(|error| unfit(format!("{error:?}")))?;
        let (address, size) = (memory.resource().ptr, memory.resource().size);
        let needed = tensor.meta.num_elements() * size_of::<f32>();
        assert!(size >= needed as u64, "a tensor's memory holds its numbers");
        Ok(Self { tensor, address, _memory: Box::new(memory) })
    }

    /// The memory. While it is used, `self` is neither read nor dropped, and burn's work
    /// on the device has ended.
    pub(crate) fn take(&mut self) -> GpuVector {
        // SAFETY: `_memory` keeps it in place, nobody else holds the handle, and the only caller waits
        // for the device first and keeps `self` until the operation has ended.
        unsafe { GpuVector::new(self.address, self.tensor.meta.num_elements()) }
    }

    /// The tensor with what the memory holds now.
    pub(crate) fn into_tensor(self) -> Tensor<1> {
        Tensor::from_primitive::<Cube>(self.tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_in_plain_letters() {
        assert_eq!(slug("NVIDIA H100 80GB HBM3"), "nvidia-h100-80gb-hbm3");
        assert_eq!(slug(" GeForce  RTX 4090 (Ti)"), "geforce-rtx-4090-ti");
    }

    #[test]
    fn kernels_are_not_chosen_by_measuring_them() {
        assert!(!is_autotuned(&MatmulStrategy::default()));
    }
}

//! Passes in fewer bits than the weights have.
//!
//! The weights that the optimizer keeps, its state, and what is reduced, saved and
//! exported are f32. With `[train] precision = "bf16"` a forward and a backward pass run
//! on a copy of the module whose weights are rounded to bf16; its gradients are widened,
//! which is exact, and reduced in f32. Measuring uses the f32 weights: what is measured
//! is what is exported.
//!
//! A layer with running statistics stays in f32, weights and all: they change by less
//! than bf16 can hold. Such a layer's input is f32, too.

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, FloatDType, Tensor},
};
use phalanx_protocol::spec::Precision;

use crate::{error::BuildError, layout::Layout};

/// The numbers that passes run in.
pub(crate) fn dtype(precision: Precision) -> FloatDType {
    match precision {
        Precision::F32 => FloatDType::F32,
        Precision::Bf16 => FloatDType::BF16,
    }
}

/// # Errors
///
/// Where the device cannot compute in this precision.
pub(crate) fn check(precision: Precision, device: &Device) -> Result<(), BuildError> {
    if device.supports_dtype(dtype(precision)) {
        return Ok(());
    }
    let reason = "this worker's device does not compute in bf16: set it to `f32`".to_owned();
    Err(BuildError::Setting { setting: "precision", reason })
}

/// A copy of `module` for passes in `precision`; nothing where it computes in that as it is.
pub(crate) fn copy<M: Module>(module: &M, layout: &Layout, precision: Precision) -> Option<M> {
    match precision {
        Precision::F32 => None,
        Precision::Bf16 => {
            let narrow: Vec<_> = (0..layout.slots().len()).map(|slot| !is_kept_wide(layout, slot)).collect();
            Some(module.clone().map(&mut Narrow { dtype: dtype(precision), narrow, next: 0 }))
        }
    }
}

/// Whether a tensor's layer has running statistics.
fn is_kept_wide(layout: &Layout, slot: usize) -> bool {
    let slots = layout.slots();
    let layer = |slot: usize| slots[slot].path.rsplit_once('.').map_or("", |(layer, _)| layer);
    slots.iter().enumerate().any(|(other, tensor)| !tensor.trained && layer(other) == layer(slot))
}

/// Rounds weights. They become leaves of their own, so that their gradients are had as
/// soon as those of the module's own would be.
struct Narrow {
    dtype: FloatDType,
    /// Which tensors, in walking order.
    narrow: Vec<bool>,
    next: usize,
}

impl ModuleMapper for Narrow {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let narrow = self.narrow[self.next];
        self.next += 1;
        if !narrow {
            return param;
        }
        param.map(|weight| {
            let is_trained = weight.is_require_grad();
            Tensor::from_inner(weight.inner().cast(self.dtype)).set_require_grad(is_trained)
        })
    }
}

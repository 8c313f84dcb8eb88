//! Boundaries between the layers of a model: where backpropagation says which gradients
//! are final before it is at its end, so that they can be reduced meanwhile.
//!
//! A boundary is an operation that changes nothing. Backpropagation runs through the
//! operations from the loss downwards, so when it passes a boundary, everything above
//! has been passed, and the gradients that parameters have by then are final, unless
//! the model uses a parameter above the boundary and below. burn's own hooks for this
//! are private.

use std::cell::RefCell;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::{FloatDType, Tensor, TensorData},
};

use crate::device::{Computes, Parameter};

#[cfg(feature = "cuda")]
use burn::backend::Cube;

thread_local! {
    /// What the pass on this thread wants to know at boundaries.
    static PASS: RefCell<Option<Pass>> = const { RefCell::new(None) };
}

/// A parameter whose gradient is awaited.
pub(crate) struct Awaited {
    /// Its place in the walk over the model.
    pub(crate) slot: usize,
    /// It.
    pub(crate) parameter: Parameter,
}

/// Is told a parameter's place in the walk and its gradient.
pub(crate) type Take = Box<dyn FnMut(usize, &TensorData)>;

struct Pass {
    awaited: Vec<Awaited>,
    take: Take,
}

/// Marks a boundary between two layers; `x` is what the lower one gives to the upper one.
///
/// Large models are trained faster on several workers where they have boundaries: the
/// gradients above one are reduced while those below are computed. The result has the
/// same bits with and without. A parameter must not be used first on one side only and
/// in a later batch on both.
pub fn boundary<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if PASS.with_borrow(Option::is_none) {
        return x;
    }
    Tensor::from_dispatch(<Dispatch as Boundary>::boundary(x.into_dispatch()))
}

/// Runs a forward and a backward pass; at each boundary `take` gets the gradients
/// of those `awaited` that have one by then.
pub(crate) fn watched<T>(awaited: Vec<Awaited>, take: Take, pass: impl FnOnce() -> T) -> T {
    /// Nobody is told anything after a panic.
    struct Watch;
    impl Drop for Watch {
        fn drop(&mut self) {
            PASS.set(None);
        }
    }
    PASS.set(Some(Pass { awaited, take }));
    let _watch = Watch;
    pass()
}

#[backend_extension(Autodiff, Flex, Cube: cfg(feature = "cuda"))]
trait Boundary: Backend {
    fn boundary(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl Boundary for Flex {
    fn boundary(x: FloatTensor<Self>) -> FloatTensor<Self> {
        x
    }
}

#[cfg(feature = "cuda")]
impl Boundary for Cube {
    fn boundary(x: FloatTensor<Self>) -> FloatTensor<Self> {
        x
    }
}

impl<B: Boundary + Computes, C: CheckpointStrategy> Boundary for Autodiff<B, C> {
    fn boundary(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let step = Passed.prepare::<C>([x.node()]).compute_bound();
        step.stateless(x.into_primitive())
    }
}

/// Backpropagation passes a boundary.
#[derive(Debug)]
struct Passed;

impl<B: Computes> Backward<B, 1> for Passed {
    type State = ();

    fn backward(self, ops: Ops<(), 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, gradient);
        }
        PASS.with_borrow_mut(|pass| {
            if let Some(Pass { awaited, take }) = pass {
                awaited.retain(|one| match B::own(&one.parameter).and_then(|own| grads.remove::<B>(own)) {
                    Some(gradient) => {
                        take(one.slot, &B::tensor(gradient).cast(FloatDType::F32).into_data());
                        false
                    }
                    None => true,
                });
            }
        });
    }
}

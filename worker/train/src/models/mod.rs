//! The built-in models. Each is a burn module and a [`Task`](crate::Task), with
//! no way in that a user's own model would not have.

mod cnn;
mod gpt;
mod linear;
mod mlp;

pub(crate) use cnn::Cnn;
pub(crate) use gpt::Gpt;
pub(crate) use linear::LinearModel;
pub(crate) use mlp::Mlp;

use burn::tensor::{Tensor, activation};
use phalanx_protocol::spec::Activation;

/// The function between layers.
fn activate<const D: usize>(activation: Activation, x: Tensor<D>) -> Tensor<D> {
    match activation {
        Activation::Relu => activation::relu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::Silu => activation::silu(x),
        Activation::Tanh => activation::tanh(x),
    }
}

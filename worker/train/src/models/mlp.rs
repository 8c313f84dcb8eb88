//! The multilayer perceptron.

use burn::{
    module::Module,
    nn::{Dropout, DropoutConfig, Linear, LinearConfig},
    tensor::{Device, Tensor},
};
use phalanx_data::Schema;
use phalanx_protocol::spec::{Activation, MlpSpec};

use super::activate;
use crate::{
    boundary::boundary,
    task::{Samples, Task, feature_width, score_width},
};

/// Hidden layers, each followed by the activation and dropout, then the output.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    hidden: Vec<Linear>,
    output: Linear,
    dropout: Dropout,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    pub(crate) fn new(spec: &MlpSpec, schema: &Schema, device: &Device) -> Self {
        let (width, scores) = (feature_width(&schema.features), score_width(&schema.target));
        Self::with_widths(width, &spec.hidden, scores, spec.activation, spec.dropout, device)
    }

    /// A perceptron from `width` inputs over the hidden layers to `scores` outputs.
    pub(crate) fn with_widths(
        width: usize,
        hidden: &[usize],
        scores: usize,
        activation: Activation,
        dropout: f64,
        device: &Device,
    ) -> Self {
        let inputs = std::iter::once(&width).chain(hidden);
        let layers = inputs.zip(hidden).map(|(&from, &to)| LinearConfig::new(from, to).init(device));
        Self {
            hidden: layers.collect(),
            output: LinearConfig::new(hidden.last().copied().unwrap_or(width), scores).init(device),
            dropout: DropoutConfig::new(dropout).init(),
            activation,
        }
    }

    /// The scores `[rows, scores]` of vectors `[rows, width]`.
    pub(crate) fn forward(&self, vectors: Tensor<2>) -> Tensor<2> {
        let layer = |x, layer: &Linear| {
            let x = layer.forward(boundary(x));
            self.dropout.forward(activate(self.activation, x))
        };
        self.output.forward(boundary(self.hidden.iter().fold(vectors, layer)))
    }
}

impl Task for Mlp {
    fn scores(&self, samples: &Samples<'_>) -> Tensor<2> {
        self.forward(samples.vectors())
    }
}

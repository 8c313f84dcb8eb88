//! Linear, logistic and softmax regression: one matrix and a bias, whose loss
//! the kind of target decides.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor},
};
use phalanx_data::Schema;
use phalanx_protocol::spec::LinearSpec;

use crate::task::{Samples, Task, feature_width, score_width};

/// One linear layer.
#[derive(Module, Debug)]
pub(crate) struct LinearModel {
    output: Linear,
}

impl LinearModel {
    pub(crate) fn new(spec: &LinearSpec, schema: &Schema, device: &Device) -> Self {
        let config = LinearConfig::new(feature_width(&schema.features), score_width(&schema.target));
        Self { output: config.with_bias(spec.bias).init(device) }
    }
}

impl Task for LinearModel {
    fn scores(&self, samples: &Samples<'_>) -> Tensor<2> {
        self.output.forward(samples.vectors())
    }
}

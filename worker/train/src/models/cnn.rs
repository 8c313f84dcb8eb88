//! The convolutional network: blocks of convolution, normalisation, activation
//! and 2×2 max-pooling, then a perceptron.

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Device, FloatDType, Tensor},
};
use phalanx_data::{FeatureKind, Schema};
use phalanx_protocol::spec::{Activation, CnnSpec, Norm};

use super::{activate, mlp::Mlp};
use crate::{
    boundary::boundary,
    task::{Samples, Task, score_width},
};

/// The blocks and the perceptron on top.
#[derive(Module, Debug)]
pub(crate) struct Cnn {
    blocks: Vec<Block>,
    head: Mlp,
    #[module(skip)]
    activation: Activation,
}

/// One block; it halves height and width.
#[derive(Module, Debug)]
struct Block {
    convolution: Conv2d,
    norm: Option<BatchNorm>,
    pool: MaxPool2d,
}

impl Cnn {
    pub(crate) fn new(spec: &CnnSpec, schema: &Schema, device: &Device) -> Result<Self, String> {
        let FeatureKind::Image { shape: [channels, height, width], .. } = schema.features else {
            return Err("a cnn needs images: set data.shape".to_owned());
        };
        let halvings = u32::try_from(spec.channels.len()).unwrap_or(u32::MAX);
        let halved = |side: usize| side.checked_shr(halvings).unwrap_or(0);
        let pixels = halved(height) * halved(width);
        if pixels == 0 {
            let blocks = spec.channels.len();
            return Err(format!("{blocks} blocks halve an image of {height}×{width} to nothing"));
        }
        let inputs = std::iter::once(&channels).chain(&spec.channels);
        let blocks: Vec<_> =
            inputs.zip(&spec.channels).map(|(&from, &to)| Block::new(from, to, spec, device)).collect();
        let features = spec.channels.last().copied().unwrap_or(channels) * pixels;
        let scores = score_width(&schema.target);
        let head = Mlp::with_widths(features, &spec.hidden, scores, spec.activation, spec.dropout, device);
        Ok(Self { blocks, head, activation: spec.activation })
    }
}

impl Block {
    fn new(from: usize, to: usize, spec: &CnnSpec, device: &Device) -> Self {
        let padding = spec.kernel / 2;
        Self {
            convolution: Conv2dConfig::new([from, to], [spec.kernel, spec.kernel])
                .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
                .init(device),
            norm: (spec.norm == Norm::Batch).then(|| BatchNormConfig::new(to).init(device)),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        }
    }
}

impl Task for Cnn {
    fn scores(&self, samples: &Samples<'_>) -> Tensor<2> {
        let mut x = samples.images();
        for block in &self.blocks {
            x = block.convolution.forward(boundary(x));
            if let Some(norm) = &block.norm {
                // Running statistics are of f32, whatever the convolutions compute in.
                x = norm.forward(x.cast(FloatDType::F32)).cast(samples.dtype());
            }
            // Pooling first is the same for a rising function, and four times less work.
            x = match self.activation {
                Activation::Relu | Activation::Tanh => activate(self.activation, block.pool.forward(x)),
                Activation::Gelu | Activation::Silu => block.pool.forward(activate(self.activation, x)),
            };
        }
        self.head.forward(boundary(x.flatten(1, 3)))
    }
}

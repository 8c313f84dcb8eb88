//! `[model.…]`: what to train. One table names the kind of model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The model: one of `[model.linear]`, `[model.mlp]`, `[model.cnn]`, `[model.gpt]`, `[model.custom]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelSpec {
    /// Linear, logistic or softmax regression, by what the target is.
    Linear(LinearSpec),
    /// A multilayer perceptron.
    Mlp(MlpSpec),
    /// A convolutional network over images.
    Cnn(CnnSpec),
    /// A decoder-only transformer over bytes.
    Gpt(GptSpec),
    /// A model of your own, known to your own worker binary.
    Custom(CustomSpec),
}

impl ModelSpec {
    /// The kinds of the built-in models.
    pub const BUILT_IN: [&str; 4] = ["linear", "mlp", "cnn", "gpt"];

    /// The kind of model, as the job file writes it.
    pub fn kind(&self) -> &str {
        let [linear, mlp, cnn, gpt] = Self::BUILT_IN;
        match self {
            Self::Linear(_) => linear,
            Self::Mlp(_) => mlp,
            Self::Cnn(_) => cnn,
            Self::Gpt(_) => gpt,
            Self::Custom(custom) => &custom.task,
        }
    }

    /// The task that a worker's own binary must have for it; none for a built-in model.
    pub fn custom_task(&self) -> Option<&str> {
        match self {
            Self::Custom(custom) => Some(&custom.task),
            Self::Linear(_) | Self::Mlp(_) | Self::Cnn(_) | Self::Gpt(_) => None,
        }
    }
}

/// Linear, logistic or softmax regression: one matrix and a bias.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinearSpec {
    /// Whether there is a bias.
    pub bias: bool,
}

impl Default for LinearSpec {
    fn default() -> Self {
        Self { bias: true }
    }
}

/// The function between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// max(0, x)
    #[default]
    Relu,
    /// x · Φ(x)
    Gelu,
    /// x · sigmoid(x)
    Silu,
    /// tanh(x)
    Tanh,
}

/// A multilayer perceptron.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MlpSpec {
    /// Width of each hidden layer.
    pub hidden: Vec<usize>,
    /// The function between layers.
    pub activation: Activation,
    /// Share of activations dropped while training; at least 0 and below 1.
    pub dropout: f64,
}

impl Default for MlpSpec {
    fn default() -> Self {
        Self { hidden: vec![128, 64], activation: Activation::Relu, dropout: 0.0 }
    }
}

/// Normalisation inside a convolutional block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// None.
    #[default]
    None,
    /// Batch normalisation, over the samples of one lane.
    Batch,
}

/// A convolutional network: blocks of convolution, normalisation, activation and 2×2 max-pooling, then a perceptron.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CnnSpec {
    /// Output channels of each block; a block halves the image.
    pub channels: Vec<usize>,
    /// Side of the square kernels; an odd number up to 31.
    pub kernel: usize,
    /// Normalisation after each convolution.
    pub norm: Norm,
    /// Widths of the hidden layers after the blocks.
    pub hidden: Vec<usize>,
    /// The function between layers.
    pub activation: Activation,
    /// Share of activations dropped before the last layer while training; at least 0 and below 1.
    pub dropout: f64,
}

impl Default for CnnSpec {
    fn default() -> Self {
        Self {
            channels: vec![16, 32],
            kernel: 3,
            norm: Norm::None,
            hidden: vec![128],
            activation: Activation::Relu,
            dropout: 0.0,
        }
    }
}

/// How a transformer knows where a byte or token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// Rotary embeddings (RoPE, arXiv 2104.09864).
    #[default]
    Rope,
    /// A learned vector for each position.
    Learned,
}

/// A decoder-only transformer over bytes or tokens (pre-norm, GELU, four times as wide inside).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GptSpec {
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads. They divide `width`, and for `rope` each has an even width.
    pub heads: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// How positions are given.
    pub positions: Positions,
    /// Whether the output matrix is the embedding's.
    pub tied: bool,
    /// Share of activations dropped while training; at least 0 and below 1.
    pub dropout: f64,
    /// Bytes of sample text that are generated when training is done; up to 65,536.
    pub sample_bytes: usize,
    /// What the sample begins with; at least one byte.
    pub prompt: String,
}

impl Default for GptSpec {
    fn default() -> Self {
        Self {
            layers: 4,
            heads: 4,
            width: 128,
            positions: Positions::Rope,
            tied: true,
            dropout: 0.0,
            sample_bytes: 300,
            prompt: "\n".to_owned(),
        }
    }
}

/// A model of your own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomSpec {
    /// The name under which the worker binary registers it.
    pub task: String,
    /// Settings handed to it as they are.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

//! A decoder-only transformer over bytes or tokens (GPT-2's shape: pre-norm, GELU, four
//! times as wide inside), with rotary or learned positions.

use burn::{
    module::{Initializer, Module, Param},
    nn::{
        Dropout, DropoutConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig,
    },
    tensor::{Bool, Device, Tensor, TensorData, activation, activation::softmax},
};
use phalanx_data::{FeatureKind, Schema};
use phalanx_protocol::spec::{GptSpec, Positions};

use crate::{
    boundary::boundary,
    task::{Samples, Task, score_width},
};

/// Standard deviation of GPT-2's initial weights.
const DEVIATION: f64 = 0.02;

/// Embedding, blocks, and the output matrix.
#[derive(Module, Debug)]
pub(crate) struct Gpt {
    embedding: Embedding,
    positions: Option<Param<Tensor<2>>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    /// Absent where the output matrix is the embedding's.
    output: Option<Linear>,
    dropout: Dropout,
}

/// Attention and a perceptron, each added to the residual stream.
#[derive(Module, Debug)]
struct Block {
    attention_norm: LayerNorm,
    attention: Attention,
    mlp_norm: LayerNorm,
    widen: Linear,
    narrow: Linear,
    dropout: Dropout,
}

/// Causal self-attention; one matrix makes queries, keys and values.
#[derive(Module, Debug)]
struct Attention {
    qkv: Linear,
    output: Linear,
    rope: Option<Rope>,
    dropout: Dropout,
    heads: usize,
}

impl Gpt {
    pub(crate) fn new(spec: &GptSpec, schema: &Schema, device: &Device) -> Result<Self, String> {
        let (FeatureKind::Bytes { context } | FeatureKind::Tokens { context }) = &schema.features else {
            return Err("a gpt needs a text: set [data.text]".to_owned());
        };
        let vocabulary = score_width(&schema.target);
        let initial = Initializer::Normal { mean: 0.0, std: DEVIATION };
        let learned = spec.positions == Positions::Learned;
        Ok(Self {
            embedding: EmbeddingConfig::new(vocabulary, spec.width)
                .with_initializer(initial.clone())
                .init(device),
            positions: learned.then(|| initial.init([*context, spec.width], device)),
            blocks: (0..spec.layers).map(|_| Block::new(spec, *context, device)).collect(),
            norm: LayerNormConfig::new(spec.width).init(device),
            output: (!spec.tied).then(|| linear(spec.width, vocabulary, DEVIATION, device)),
            dropout: DropoutConfig::new(spec.dropout).init(),
        })
    }
}

impl Task for Gpt {
    fn scores(&self, samples: &Samples<'_>) -> Tensor<2> {
        let tokens = samples.tokens();
        let [rows, context] = tokens.dims();
        let mut x = self.embedding.forward(tokens);
        if let Some(positions) = &self.positions {
            x = x + positions.val().narrow(0, 0, context).unsqueeze();
        }
        let mask = Tensor::<2, Bool>::tril_mask([context, context], 0, samples.device()).unsqueeze();
        x = self.dropout.forward(x);
        for block in &self.blocks {
            x = block.forward(boundary(x), &mask);
        }
        let x = self.norm.forward(x).flatten::<2>(0, 1);
        debug_assert_eq!(x.dims()[0], rows * context);
        match &self.output {
            Some(output) => output.forward(x),
            None => x.matmul(self.embedding.weight.val().transpose()),
        }
    }
}

impl Block {
    fn new(spec: &GptSpec, context: usize, device: &Device) -> Self {
        // GPT-2 scales what is added to the residual stream by the number of additions.
        let added = DEVIATION / (2.0 * spec.layers as f64).sqrt();
        let head_width = spec.width / spec.heads;
        let dropout = DropoutConfig::new(spec.dropout).init();
        Self {
            attention_norm: LayerNormConfig::new(spec.width).init(device),
            attention: Attention {
                qkv: linear(spec.width, 3 * spec.width, DEVIATION, device),
                output: linear(spec.width, spec.width, added, device),
                rope: (spec.positions == Positions::Rope).then(|| Rope::new(context, head_width, device)),
                dropout: dropout.clone(),
                heads: spec.heads,
            },
            mlp_norm: LayerNormConfig::new(spec.width).init(device),
            widen: linear(spec.width, 4 * spec.width, DEVIATION, device),
            narrow: linear(4 * spec.width, spec.width, added, device),
            dropout,
        }
    }

    fn forward(&self, x: Tensor<3>, mask: &Tensor<4, Bool>) -> Tensor<3> {
        let attended = self.attention.forward(self.attention_norm.forward(x.clone()), mask);
        let x = x + self.dropout.forward(attended);
        let inside = activation::gelu(self.widen.forward(self.mlp_norm.forward(x.clone())));
        x + self.dropout.forward(self.narrow.forward(inside))
    }
}

impl Attention {
    /// `[rows, context, width]` to the same; `mask` is true where a token must not look.
    fn forward(&self, x: Tensor<3>, mask: &Tensor<4, Bool>) -> Tensor<3> {
        let [rows, context, width] = x.dims();
        let head_width = width / self.heads;
        let qkv = self.qkv.forward(x).reshape([rows, context, 3 * self.heads, head_width]).swap_dims(1, 2);
        let (first_key, first_value) = (self.heads, 2 * self.heads);
        let value = qkv.clone().narrow(1, first_value, self.heads);
        let mut qk = qkv.narrow(1, 0, first_value);
        if let Some(rope) = &self.rope {
            qk = rope.forward(qk);
        }
        let (query, key) = (qk.clone().narrow(1, 0, self.heads), qk.narrow(1, first_key, self.heads));
        let scale = 1.0 / (head_width as f64).sqrt();
        let scores = query.mul_scalar(scale).matmul(key.transpose());
        let weights = softmax(scores.mask_fill(mask.clone(), f32::NEG_INFINITY), 3);
        let mixed = self.dropout.forward(weights).matmul(value);
        self.output.forward(mixed.swap_dims(1, 2).reshape([rows, context, width]))
    }
}

/// Rotary positions (RoPE, arXiv 2104.09864), turning number i of a head together
/// with number i + half. burn's own layer does the same by products with 2×2
/// matrices, which took a third of a step's time.
#[derive(Module, Debug)]
struct Rope {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rope {
    /// The rotations of positions `0..context` for heads of `width`, an even number.
    fn new(context: usize, width: usize, device: &Device) -> Self {
        let half = width / 2;
        let angle = |position: usize, i: usize| position as f64 / 10_000_f64.powf(i as f64 / half as f64);
        let table = |f: fn(f64) -> f64| {
            let numbers = (0..context * half).map(|at| f(angle(at / half, at % half)) as f32).collect();
            Tensor::from_data(TensorData::new::<f32, _>(numbers, [context, half]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Turns `x`, `[rows, heads, context, width]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, context, width] = x.dims();
        let half = width / 2;
        let table = |table: &Tensor<2>| table.clone().narrow(0, 0, context).unsqueeze::<4>().cast(x.dtype());
        let (cos, sin) = (table(&self.cos), table(&self.sin));
        let (a, b) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        let turned_a = a.clone() * cos.clone() - b.clone() * sin.clone();
        let turned_b = b * cos + a * sin;
        Tensor::cat(vec![turned_a, turned_b], 3)
    }
}

fn linear(from: usize, to: usize, deviation: f64, device: &Device) -> Linear {
    let initial = Initializer::Normal { mean: 0.0, std: deviation };
    LinearConfig::new(from, to).with_bias(false).with_initializer(initial).init(device)
}

//! What a model is to Phalanx: a burn module that turns samples into scores.
//!
//! The built-in models implement [`Task`] and nothing else; a model of your own
//! does the same.

use std::cell::RefCell;

use burn::{
    module::Module,
    nn::loss::{CrossEntropyLossConfig, MseLoss, Reduction},
    tensor::{Device, FloatDType, Int, Tensor, TensorData, activation::log_softmax},
};
use phalanx_data::{Batch, FeatureKind, Features, Schema, TargetKind, Targets};

/// A model that can be trained, evaluated and served.
///
/// What its forward pass draws at random (dropout) must come from burn's
/// generator, which is seeded by (seed, step, lane) before each call; what it
/// changes besides (running statistics) must be a [`Param`](burn::module::Param)
/// that requires no gradient, or burn's `RunningState`: a bare `Tensor` in a module
/// is a constant to burn, and to checkpoints. Parameters are of f32; others are
/// refused. Then the promise of the same bits holds for it too.
///
/// With `[train] precision = "bf16"` it is trained on a copy whose parameters are of
/// bf16, as [`Samples::vectors`] are then; a layer with running statistics stays in f32
/// and wants its input so (`cast`), and a bare `Tensor` stays as it is.
pub trait Task: Module + 'static {
    /// The scores of `samples`, one row each, in their order; of any precision:
    ///
    /// - for classes, logits `[rows, classes]`;
    /// - for a number, `[rows, 1]`, standardised as [`Samples::numbers`] is;
    /// - for next bytes or tokens, logits `[rows × context, vocabulary]`.
    fn scores(&self, samples: &Samples<'_>) -> Tensor<2>;

    /// The loss that training lowers: the mean over `samples`, shape `[1]`. By
    /// default cross-entropy for classes, bytes and tokens, the squared error for numbers. With
    /// `data.reweigh` each row counts by its weight ([`Samples::weights`]).
    fn loss(&self, samples: &Samples<'_>) -> Tensor<1> {
        let scores = self.scores(samples).cast(FloatDType::F32);
        match &samples.schema.target {
            TargetKind::Classes(_) | TargetKind::NextByte | TargetKind::NextToken { .. } => {
                match samples.weights() {
                    None => {
                        CrossEntropyLossConfig::new().init(samples.device).forward(scores, samples.classes())
                    }
                    Some(weights) => (surprise(scores, samples.classes()) * weights).mean(),
                }
            }
            // Only classes are weighed.
            TargetKind::Number { .. } => MseLoss::new().forward(scores, samples.numbers(), Reduction::Mean),
        }
    }
}

/// The loss of each row: `-ln p` of its class.
pub(crate) fn surprise(scores: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<1> {
    let log_probabilities = log_softmax(scores, 1);
    log_probabilities.gather(1, classes.unsqueeze_dim::<2>(1)).neg().squeeze_dim(1)
}

/// A batch of rows on a device, with what the data set's schema says of them.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    batch: &'a Batch,
    schema: &'a Schema,
    device: &'a Device,
    dtype: FloatDType,
    inputs: Option<&'a RefCell<Option<Tensor<2>>>>,
}

impl<'a> Samples<'a> {
    /// The rows of `batch`, whose form `schema` tells.
    pub fn new(batch: &'a Batch, schema: &'a Schema, device: &'a Device) -> Self {
        Self { batch, schema, device, dtype: FloatDType::F32, inputs: None }
    }

    /// With features whose gradients are wanted: the first pass that asks for them leaves them in `inputs`.
    pub(crate) fn watching(self, inputs: &'a RefCell<Option<Tensor<2>>>) -> Self {
        Self { inputs: Some(inputs), ..self }
    }

    /// With features as `dtype`.
    pub(crate) fn computed_in(self, dtype: FloatDType) -> Self {
        Self { dtype, ..self }
    }

    /// What the pass computes in; see [`Task`].
    pub fn dtype(&self) -> FloatDType {
        self.dtype
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.batch.rows
    }

    /// What is known of the data set.
    pub fn schema(&self) -> &Schema {
        self.schema
    }

    /// Where the tensors live.
    pub fn device(&self) -> &Device {
        self.device
    }

    /// The features as one vector a row: `[rows, width]`, standardised. An image
    /// is laid out by channel, row and column; bytes become numbers of 0 to 1.
    pub fn vectors(&self) -> Tensor<2> {
        let width = feature_width(&self.schema.features);
        let new = || -> Tensor<2> {
            let values = floats(&self.batch.features, self.schema);
            Tensor::from_data(TensorData::new(values, [self.batch.rows, width]), self.device)
        };
        let vectors = match self.inputs {
            None => new(),
            Some(inputs) => inputs.borrow_mut().get_or_insert_with(|| new().require_grad()).clone(),
        };
        vectors.cast(self.dtype)
    }

    /// The features as images, `[rows, channels, height, width]`, standardised.
    ///
    /// # Panics
    ///
    /// Where the data set holds no images; check the schema when building the model.
    pub fn images(&self) -> Tensor<4> {
        let FeatureKind::Image { shape: [channels, height, width], .. } = self.schema.features else {
            panic!("the data set holds no images");
        };
        self.vectors().reshape([self.batch.rows, channels, height, width])
    }

    /// The features as bytes or, where the text is cut into them, as tokens: `[rows, context]`.
    ///
    /// # Panics
    ///
    /// Where the data set is no text; check the schema when building the model.
    pub fn tokens(&self) -> Tensor<2, Int> {
        let values: Vec<i64> = match &self.batch.features {
            Features::Bytes(bytes) => bytes.iter().copied().map(i64::from).collect(),
            Features::Tokens(tokens) => tokens.iter().copied().map(i64::from).collect(),
            Features::Floats(_) => panic!("the data set is no text"),
        };
        let context = values.len() / self.batch.rows.max(1);
        Tensor::from_data(TensorData::new(values, [self.batch.rows, context]), self.device)
    }

    /// The classes to predict, `[rows]`; for text the next bytes or tokens, `[rows × context]`.
    ///
    /// # Panics
    ///
    /// Where the target is a number, or absent.
    pub fn classes(&self) -> Tensor<1, Int> {
        let values: Vec<i64> = match &self.batch.targets {
            Targets::Classes(classes) => classes.iter().copied().map(i64::from).collect(),
            Targets::Bytes(bytes) => bytes.iter().copied().map(i64::from).collect(),
            Targets::Tokens(tokens) => tokens.iter().copied().map(i64::from).collect(),
            Targets::Numbers(_) | Targets::None => panic!("the batch has no classes to predict"),
        };
        let rows = values.len();
        Tensor::from_data(TensorData::new(values, [rows]), self.device)
    }

    /// How much each row counts in the loss, `[rows]`: 1 on average over the training split. `None` where all count the
    /// same, as they do when they are measured.
    pub fn weights(&self) -> Option<Tensor<1>> {
        let weights = self.batch.weights.clone()?;
        let rows = weights.len();
        Some(Tensor::from_data(TensorData::new(weights, [rows]), self.device))
    }

    /// The numbers to predict, `[rows, 1]`, standardised with the training split's
    /// mean and deviation.
    ///
    /// # Panics
    ///
    /// Where the target is no number, or absent.
    pub fn numbers(&self) -> Tensor<2> {
        let (Targets::Numbers(numbers), TargetKind::Number { mean, deviation }) =
            (&self.batch.targets, &self.schema.target)
        else {
            panic!("the batch has no numbers to predict");
        };
        let values: Vec<f32> =
            numbers.iter().map(|number| ((f64::from(*number) - mean) / deviation) as f32).collect();
        Tensor::from_data(TensorData::new(values, [numbers.len(), 1]), self.device)
    }
}

/// Features as a model sees them: numbers as they are encoded, bytes from 0 to 1 and, of images,
/// standardised.
pub(crate) fn floats(features: &Features, schema: &Schema) -> Vec<f32> {
    match features {
        Features::Floats(values) => values.clone(),
        Features::Bytes(bytes) => match &schema.features {
            FeatureKind::Image { shape, mean, deviation } => pixels(bytes, *shape, mean, deviation),
            FeatureKind::Dense { .. } | FeatureKind::Bytes { .. } | FeatureKind::Tokens { .. } => {
                bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect()
            }
        },
        Features::Tokens(tokens) => tokens.iter().map(|token| f32::from(*token)).collect(),
    }
}

/// Numbers in one row of [`Samples::vectors`].
pub fn feature_width(features: &FeatureKind) -> usize {
    match features {
        FeatureKind::Dense { width } => *width,
        FeatureKind::Image { shape, .. } => shape.iter().product(),
        FeatureKind::Bytes { context } | FeatureKind::Tokens { context } => *context,
    }
}

/// Pixels of 0 to 255, each channel with its own mean and deviation.
fn pixels(bytes: &[u8], [channels, height, width]: [usize; 3], mean: &[f32], deviation: &[f32]) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(bytes.len());
    for (index, channel) in bytes.chunks((height * width).max(1)).enumerate() {
        let (mean, deviation) = (mean[index % channels.max(1)], deviation[index % channels.max(1)]);
        numbers.extend(channel.iter().map(|byte| (f32::from(*byte) / 255.0 - mean) / deviation));
    }
    numbers
}

/// Columns of [`Task::scores`] that a data set asks for.
pub fn score_width(target: &TargetKind) -> usize {
    match target {
        TargetKind::Classes(classes) => classes.len(),
        TargetKind::Number { .. } => 1,
        TargetKind::NextByte => 256,
        TargetKind::NextToken { lengths } => lengths.len(),
    }
}

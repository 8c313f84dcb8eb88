//! A finished model, applied to new rows.

use bytes::Bytes;
use phalanx_data::{Batch, Dataset, Encoder, Schema, TargetKind};
use phalanx_evaluate::decision::Decision;
use phalanx_protocol::spec::{JobSpec, ModelSpec};
use serde::{Deserialize, Serialize};

use crate::{
    error::{BuildError, SnapshotError},
    learner::Learner,
    measure::{next_bytes, softmax},
    snapshot,
    tasks::Tasks,
};

/// What a reader needs beside the weights: the model's settings, and how raw
/// columns become its input.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDescription {
    /// The job that made it.
    spec: JobSpec,
    /// The data set's schema.
    schema: Schema,
    /// Turns raw columns into the model's input.
    encoder: Encoder,
    /// How its probabilities become decisions.
    #[serde(default)]
    decision: Decision,
}

/// A model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PredictorError {
    /// The description is not one.
    #[error("the model's description cannot be read: {0}")]
    Description(#[from] serde_json::Error),
    /// The model cannot be built here.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The weights do not fit the description.
    #[error(transparent)]
    Weights(#[from] SnapshotError),
}

/// Predictions for some rows, in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Rows {
    /// The class that each row is taken for, as an index into the model's classes: the likeliest, or what
    /// the model's threshold says; and the probabilities of all classes, row by row.
    Classes {
        /// Index of the class.
        decisions: Vec<usize>,
        /// `rows × classes`, mended where the model's are.
        probabilities: Vec<f32>,
    },
    /// A number each, in the target's units.
    Numbers(Vec<f64>),
    /// For each text, how well the model foresaw its bytes.
    BitsPerByte(Vec<f64>),
}

/// A model that predicts.
pub struct Predictor {
    learner: Box<dyn Learner>,
    description: ModelDescription,
}

impl ModelDescription {
    pub(crate) fn new(spec: &JobSpec, dataset: &Dataset, decision: Decision) -> Self {
        let (schema, encoder) = (dataset.schema().clone(), dataset.manifest().encoder.clone());
        Self { spec: spec.clone(), schema, encoder, decision }
    }

    /// It, as it is kept.
    pub fn to_json(&self) -> Bytes {
        let json = serde_json::to_vec_pretty(self);
        json.expect("invariant: a description is made of plain values").into()
    }
}

impl Predictor {
    /// Puts a model together from its two files.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read, or the model is a custom one that `tasks` lacks.
    pub fn new(tasks: &Tasks, description: &[u8], weights: &[u8]) -> Result<Self, PredictorError> {
        let description: ModelDescription = serde_json::from_slice(description)?;
        let mut learner = tasks.build(&description.spec, &description.schema)?;
        learner.load(&snapshot::deserialize(0, weights)?.imported())?;
        Ok(Self { learner, description })
    }

    /// What turns raw rows into the batches that [`predict`](Self::predict) takes.
    pub fn encoder(&self) -> &Encoder {
        &self.description.encoder
    }

    /// How probabilities become decisions.
    pub fn decision(&self) -> &Decision {
        &self.description.decision
    }

    /// The job that made it.
    pub fn spec(&self) -> &JobSpec {
        &self.description.spec
    }

    /// What the model was trained on.
    pub fn schema(&self) -> &Schema {
        &self.description.schema
    }

    /// The model's settings.
    pub fn model(&self) -> &ModelSpec {
        &self.description.spec.model
    }

    /// Predicts each row of `batch`. Targets are needed for texts only, where they
    /// are the next bytes.
    pub fn predict(&self, batch: &Batch) -> Rows {
        match &self.description.schema.target {
            TargetKind::Classes(classes) => {
                let scores = self.learner.scores(batch);
                let mut probabilities: Vec<f32> =
                    scores.chunks_exact(classes.len()).flat_map(softmax).collect();
                let decision = self.description.decision;
                decision.mend(&mut probabilities, classes.len());
                let decisions =
                    probabilities.chunks_exact(classes.len()).map(|row| decision.class(row)).collect();
                Rows::Classes { decisions, probabilities }
            }
            TargetKind::Number { mean, deviation } => {
                let scores = self.learner.scores(batch);
                Rows::Numbers(scores.iter().map(|score| f64::from(*score) * deviation + mean).collect())
            }
            TargetKind::NextByte | TargetKind::NextToken { .. } => {
                Rows::BitsPerByte(self.bits_per_byte(batch))
            }
        }
    }

    fn bits_per_byte(&self, batch: &Batch) -> Vec<f64> {
        let bits = |(nats, bytes): (f64, u32)| nats / f64::from(bytes) / std::f64::consts::LN_2;
        self.surprise(batch).into_iter().map(bits).collect()
    }

    /// How surprised the model is by each window of a text: the sum of `-ln p` over what follows in it, and the
    /// bytes of that. None of a batch that is no text.
    pub fn surprise(&self, batch: &Batch) -> Vec<(f64, u32)> {
        let bytes: Vec<u32> = next_bytes(&self.description.schema.target, &batch.targets).collect();
        if bytes.is_empty() {
            return Vec::new();
        }
        let context = (bytes.len() / batch.rows.max(1)).max(1);
        let nats = self.learner.surprise(batch);
        let of_window = |(nats, bytes): (&[f32], &[u32])| {
            (nats.iter().map(|nats| f64::from(*nats)).sum(), bytes.iter().sum())
        };
        nats.chunks_exact(context).zip(bytes.chunks_exact(context)).map(of_window).collect()
    }
}

impl std::fmt::Debug for Predictor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Predictor").field("description", &self.description).finish_non_exhaustive()
    }
}

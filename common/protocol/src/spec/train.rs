//! `[train]`, `[workers]` and `[checkpoint]`: how to train.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AugmentSpec, Shuffle, is_default};

/// The most lanes a job may have.
pub const LANES_MAX: u32 = 64;

/// The most steps or epochs of a job: its cursor stays far inside of 64 bits.
pub const STEPS_MAX: u64 = 1_000_000_000_000;

/// The most checkpoints that a job keeps.
pub const CHECKPOINTS_MAX: usize = 1_000;

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// Samples in one step, over all workers; up to 1,048,576.
    pub batch_size: u32,
    /// Equal slices of every batch, and the most workers the job can ever have: 1 to 64. Divides `batch_size`.
    #[serde(default = "lanes")]
    pub lanes: u32,
    /// Passes over the training split. Give either `epochs` or `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    /// Optimizer updates. Give either `epochs` or `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Seed of initialisation, sample order and dropout.
    #[serde(default)]
    pub seed: u64,
    /// How the samples of an epoch are shuffled. By default `whole`, for a training split of more than 8 GiB `blocks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<Shuffle>,
    /// Data shards (of up to 32 MiB) in which `shuffle = "blocks"` shuffles samples with each other: 1 to 1,024.
    #[serde(default = "shuffle_window")]
    pub shuffle_window: u32,
    /// Change images at random, each time that they are trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<AugmentSpec>,
    /// The highest learning rate of the schedule, above 0 and at most 1.
    pub learning_rate: f64,
    /// The update rule.
    #[serde(default)]
    pub optimizer: OptimizerSpec,
    /// The learning rate's course.
    #[serde(default)]
    pub schedule: ScheduleSpec,
    /// Clip the gradient of all parameters together to this norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Bytes of the pieces in which gradients are reduced while others are still computed: 1,024 to 1 GiB.
    /// It does not change the result.
    #[serde(default = "bucket_bytes")]
    pub bucket_bytes: u32,
    /// Steps between two comparisons of the whole state among the workers, beside those at checkpoints and at the end: a worker that
    /// computes wrongly is found by them. 0 compares at those only; 1,000 by default.
    #[serde(default = "verify_every")]
    pub verify_every: u64,
    /// Keep a ledger of the samples that each lane took in each step, in the object store, for `phalanx audit`. Costs a
    /// small exchange between workers each step, and 50 bytes a lane and step for each worker. Off by default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ledger: bool,
    /// Send gradients in fewer bits between machines. The result is another one, and still the same for any
    /// number of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Let lanes train on their own for many steps between two exchanges, for slow networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diloco: Option<DilocoSpec>,
    /// What forward and backward passes compute in. The weights that are trained, saved and exported, the optimizer's
    /// state and the sum of the gradients are f32 with either. `f32` by default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// How gradients are added up; `exact` by default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reduction: SumOrder,
    /// Stop when the validation split no longer improves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stop: Option<EarlyStopSpec>,
}

impl TrainSpec {
    /// Samples that one lane takes in one step.
    pub fn lane_batch(&self) -> u32 {
        self.batch_size / self.lanes
    }

    /// Steps in one epoch over `rows` rows: only whole batches are trained on,
    /// and the order of each epoch is another one.
    pub fn steps_per_epoch(&self, rows: u64) -> u64 {
        rows / u64::from(self.batch_size)
    }

    /// Steps in the whole job over `rows` training rows. Whoever knows the rows
    /// refuses a job of more than [`STEPS_MAX`].
    pub fn total_steps(&self, rows: u64) -> u64 {
        match (self.steps, self.epochs) {
            (Some(steps), _) => steps,
            (None, Some(epochs)) => u64::from(epochs).saturating_mul(self.steps_per_epoch(rows)),
            (None, None) => 0,
        }
    }
}

/// What passes compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision. A GPU's matrix units round the factors of a product to tf32.
    #[default]
    F32,
    /// bfloat16: faster on GPUs, slower on processors, and half the memory of activations.
    Bf16,
}

/// How gradients are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SumOrder {
    /// In one order, whatever the number of workers: the same bits.
    #[default]
    Exact,
    /// In NCCL's own order, for workers with GPUs of their own: the result depends on the number of workers.
    Fast,
}

/// The update rule and its settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerSpec {
    /// Which rule.
    pub kind: Optimizer,
    /// Weight decay, from 0 to 1: added to the gradient for `sgd`, `adam`, `adagrad` and `rmsprop`, decoupled for the others.
    pub weight_decay: f64,
    /// Momentum, for `sgd`, `rmsprop` and `muon` (0.95 by default); at least 0 and below 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Nesterov's form of momentum, for `sgd` with momentum and `muon` (which has it by default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nesterov: Option<bool>,
    /// Decay of the first moment, for `adam`, `adamw`, `adan`, `lamb`, `lion`, and `muon`'s vectors; the rule's usual value by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_1: Option<f64>,
    /// Decay of the second moment (`adan`: of the gradient's differences), for the same; the rule's usual value by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_2: Option<f64>,
    /// Added to the denominator, for all but `sgd`, `lion` and `adafactor`; the rule's usual value by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
}

/// An update rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd,
    /// Adam (arXiv 1412.6980).
    Adam,
    /// Adam with decoupled weight decay (arXiv 1711.05101).
    #[default]
    Adamw,
    /// AdaGrad.
    Adagrad,
    /// RMSProp.
    Rmsprop,
    /// Adan (arXiv 2208.06677).
    Adan,
    /// Adafactor (arXiv 1804.04235): no first moment, and rows and columns of the second. The schedule decides its rate.
    Adafactor,
    /// LAMB (arXiv 1904.00962), for very large batches.
    Lamb,
    /// Lion (arXiv 2302.06675); takes a lower rate than `adamw`, and more weight decay.
    Lion,
    /// Muon (arXiv 2502.16982) for matrices, at rates as for `adamw`, which updates everything else.
    Muon,
}

/// The learning rate's course, after an optional linear warm-up.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSpec {
    /// Which course.
    pub kind: Schedule,
    /// Steps over which the rate rises linearly from zero; `noam` needs at least 1.
    pub warmup_steps: u64,
    /// The rate at the end, for `linear` and `cosine`.
    pub final_learning_rate: f64,
    /// Factor per step, for `exponential`; factor per `every_steps`, for `step`. Above 0 and at most 1; both need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Steps between drops, for `step`, which needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_steps: Option<u64>,
}

/// A course of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The same rate all along.
    #[default]
    Constant,
    /// A straight line down to the final rate.
    Linear,
    /// Half a cosine down to the final rate.
    Cosine,
    /// Times `gamma` each step.
    Exponential,
    /// Times `gamma` every `every_steps` steps.
    Step,
    /// With the inverse square root of the step (arXiv 1706.03762).
    Noam,
}

/// How gradients are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As bf16, with 8 bits of precision: every lane's gradient and every partial sum is rounded to it, whether it is sent or not. Half the bytes.
    Bf16,
}

/// DiLoCo (arXiv 2311.08105): each lane makes `local_steps` updates of its own with `train.optimizer`, then what they
/// changed is averaged and applied by an outer optimizer, SGD with Nesterov momentum. Lanes exchange parameters once in
/// so many steps, and keep an optimizer state each. The result depends on the number of lanes, as always, and not on
/// that of workers. Exchanges also come at the end of each epoch and of training; votes to stop, checkpoints and
/// reports of the loss wait for one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DilocoSpec {
    /// Steps between two exchanges: 1 to 1,000,000. The paper has 500.
    pub local_steps: u32,
    /// The outer optimizer's learning rate, above 0 and at most 2.
    #[serde(default = "outer_learning_rate")]
    pub outer_learning_rate: f64,
    /// Its Nesterov momentum, at least 0 and below 1.
    #[serde(default = "outer_momentum")]
    pub outer_momentum: f64,
}

/// Stop when the validation split no longer improves. The model is that of the last step, not that of the best one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopSpec {
    /// The metric that is watched, for example `accuracy`, `log_loss`, `rmse` or `bits_per_byte`.
    pub metric: String,
    /// Validations in a row without an improvement before the job stops.
    #[serde(default = "patience")]
    pub patience: u32,
    /// The least change that counts as an improvement.
    #[serde(default)]
    pub min_delta: f64,
}

/// How many workers the job takes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkersSpec {
    /// The fewest workers the job trains with; 1 by default. Where fewer are left, it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Workers that are waited for before it starts, or goes on after it was stopped; `min` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<u32>,
    /// The most workers it takes; as many as it has lanes by default. Workers that are idle join it while it trains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Let an idle worker take the place of a straggler: of a rank that is for long 1.5 times as slow as the median. No worker is
    /// taken out twice; without an idle one, stragglers are only named.
    pub evict_stragglers: bool,
}

impl WorkersSpec {
    /// What is set here, and otherwise what was set `before`.
    pub fn or(&self, before: &Self) -> Self {
        Self {
            min: self.min.or(before.min),
            start: self.start.or(before.start),
            max: self.max.or(before.max),
            // The job file's word.
            evict_stragglers: before.evict_stragglers,
        }
    }
}

/// When to save the state of training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSpec {
    /// Steps between checkpoints; 0 saves only when training stops.
    pub every: u64,
    /// Checkpoints kept, at least 1; older ones are deleted when a newer one is durable.
    pub keep: u32,
    /// Keep for good, beside the newest ones, the first checkpoint at or after each multiple of this many steps: at
    /// least 1. Of these, too, the oldest are deleted when a job has 1,000 checkpoints. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_every: Option<u64>,
}

impl Default for CheckpointSpec {
    fn default() -> Self {
        Self { every: 100, keep: 2, keep_every: None }
    }
}

fn lanes() -> u32 {
    4
}

fn shuffle_window() -> u32 {
    16
}

fn verify_every() -> u64 {
    1_000
}

fn bucket_bytes() -> u32 {
    25 << 20
}

fn outer_learning_rate() -> f64 {
    0.7
}

fn outer_momentum() -> f64 {
    0.9
}

fn patience() -> u32 {
    3
}

//! The job file: everything that decides a job's final weights, and what to do
//! with them. `docs/job-file.md` is generated from these types.
//!
//! Parsing reports every mistake at once, each with its line ([`JobFile`]);
//! [`problems`](JobSpec::problems) holds the rules that types cannot say.

mod clean;
mod data;
mod document;
mod encode;
mod evaluate;
mod expect;
mod feed;
mod file;
mod gate;
mod metric;
mod metrics;
mod mistake;
mod model;
mod open_api;
mod problems;
mod reference_page;
mod schedule;
mod schema;
mod source;
mod split;
mod structure;
mod suggest;
mod train;

pub use clean::{
    CastStep, CastTo, CleanStep, DuplicatesStep, Failing, FoldRareStep, ImputeStep, ImputeWith, LabelRule,
    NearDuplicatesStep, OutlierAction, OutlierRule, OutliersStep, SetMissingStep, TrimStep, VoteBy, VoteStep,
    WeakLabelStep,
};
pub use data::{DataSpec, Malformed, Objective};
pub use encode::{CategoryEncoding, ColumnEncoding, DatePart, EncodeSpec, NumberEncoding, TextEncoding};
pub use evaluate::{
    CLASSES_MAX, CalibrationSpec, EvaluateSpec, ImportanceSpec, IntervalsSpec, RegisterSpec, RobustnessSpec,
    ThresholdGoal, ThresholdSpec,
};
pub use expect::{
    Between, CountBetween, Expectation, FigureBetween, InSet, Matching, OfCells, OfColumn, OfType,
    Satisfying, Then,
};
pub use feed::{AugmentSpec, Shuffle};
pub use file::{JOB_FILE_BYTES_MAX, JobFile};
pub use gate::{
    Bound, Comparison, End, FAIRNESS_FIGURES, FairnessFigure, Figure, Gate, GateFault, InvalidGate, Subject,
};
pub use metric::{Average, InvalidMetricName, MeasuredOn, Metric, MetricName, MetricParameter};
pub use metrics::METRICS;
pub use mistake::{MISTAKES_MAX, Mistake, Mistakes, Place};
pub use model::{Activation, CnnSpec, CustomSpec, GptSpec, LinearSpec, MlpSpec, ModelSpec, Norm, Positions};
pub use open_api::open_api_schema;
pub use problems::Problem;
pub use reference_page::reference_page;
pub use schedule::{PRIORITIES, SchedulingSpec};
pub use source::{
    ArrowSpec, CsvSpec, HttpSpec, ImagesSpec, JsonSpec, LabelStudioSpec, PageBy, PagesSpec, ParquetSpec,
    SourceSpec, SqlSpec, TextSpec, is_glob, is_url,
};
pub use split::{FoldSpec, Leakage, SplitBy, SplitSpec, parse_time};
pub use train::{
    CHECKPOINTS_MAX, CheckpointSpec, Compression, DilocoSpec, EarlyStopSpec, LANES_MAX, Optimizer,
    OptimizerSpec, Precision, STEPS_MAX, Schedule, ScheduleSpec, SumOrder, TrainSpec, WorkersSpec,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::HashHex;

/// A whole job: what to read, what to train, how, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Name of the job: up to 42 lower-case letters, digits, `-` and `_`. Job ids begin with it.
    pub name: String,
    /// What to train on.
    pub data: DataSpec,
    /// What to train.
    pub model: ModelSpec,
    /// How to train it.
    pub train: TrainSpec,
    /// How many workers the job takes.
    #[serde(default)]
    pub workers: WorkersSpec,
    /// Which jobs come first where workers are short.
    #[serde(default)]
    pub schedule: SchedulingSpec,
    /// When to save the state of training.
    #[serde(default)]
    pub checkpoint: CheckpointSpec,
    /// What to measure on the test split, and what the model must reach.
    #[serde(default)]
    pub evaluate: EvaluateSpec,
    /// Where the finished model goes. Without it the model is not registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<RegisterSpec>,
}

impl JobSpec {
    /// The job as a job file says it, with what it leaves to defaults, too; nothing where TOML cannot hold
    /// a setting of a custom model.
    pub fn to_toml(&self) -> Option<String> {
        toml::to_string(self).ok()
    }

    /// Hash of everything that decides the weights: data, model and training.
    /// Two jobs with the same hash over the same data end in the same bits.
    pub fn hash(&self) -> HashHex {
        let deciding = serde_json::to_vec(&(&self.data, &self.model, &self.train))
            .expect("invariant: a job is made of plain values, which JSON can hold");
        blake3::hash(&deciding).to_hex().to_string()
    }
}

/// Whether a setting says nothing, so that it need not be written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

//! `[evaluate]` and `[register]`: what a model must reach, and where it goes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Gate;

/// The most classes of a target: the confusion matrix has a cell for each pair of
/// them, and travels in one control message.
pub const CLASSES_MAX: usize = 1_000;

/// What to measure on the test split, and what the model must reach. What else is found out about it ends in its
/// report; nothing of it changes the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateSpec {
    /// Metrics to measure beside the usual ones of the target, for example `["f_beta_weighted@2",
    /// "average_precision"]`. What gates and early stopping name is measured anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<String>>,
    /// Conditions that the test split must meet, for example `accuracy >= 0.95`. If one fails, the model is not
    /// registered and the job fails.
    pub gates: Vec<Gate>,
    /// The metric that slices, importance and robustness look at. By default `roc_auc` of two classes, `accuracy` of
    /// more, `rmse` of numbers and `bits_per_byte` of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub focus: Option<String>,
    /// Parts of the rows to look at one by one: columns, each cut by its values, or conditions in SQL such as `age >=
    /// 60 and sex = 'Male'`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<String>,
    /// Columns that say who people are, for example `["sex", "race"]`: how differently the model treats their groups,
    /// and the intersections of all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sensitive: Vec<String>,
    /// Slices and groups with fewer rows are shown and flagged, and decide nothing.
    pub small_below: u32,
    /// How far figures may be off.
    pub intervals: IntervalsSpec,
    /// From which probability on a row is taken for the second of two classes, chosen on the validation split. All
    /// metrics of decisions then use it, and so do predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<ThresholdSpec>,
    /// How probabilities are mended so that they mean what they say, fitted on the validation split. All metrics then
    /// are those of the mended probabilities, and predictions are mended, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationSpec>,
    /// What the focus metric loses without one column's information.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance: Option<ImportanceSpec>,
    /// What the focus metric is worth when inputs are disturbed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub robustness: Option<RobustnessSpec>,
}

impl Default for EvaluateSpec {
    fn default() -> Self {
        Self {
            metrics: None,
            gates: Vec::new(),
            focus: None,
            slices: Vec::new(),
            sensitive: Vec::new(),
            small_below: 30,
            intervals: IntervalsSpec::default(),
            threshold: None,
            calibration: None,
            importance: None,
            robustness: None,
        }
    }
}

/// How far figures may be off: intervals by bootstrap, of metrics, slices, fairness figures and differences to other
/// versions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IntervalsSpec {
    /// How often an interval is to hold the true figure: more than 0.5 and less than 1.
    pub level: f64,
    /// How often rows are drawn anew. By default 1,000 times, and less often, down to 200 times, for more than
    /// 200,000 rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicates: Option<u32>,
    /// What all random numbers of the evaluation stand for.
    pub seed: u64,
}

impl Default for IntervalsSpec {
    fn default() -> Self {
        Self { level: 0.95, replicates: None, seed: 0 }
    }
}

/// From which probability on a row is taken for the second of two classes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ThresholdSpec {
    /// What the threshold is to reach on the validation split.
    pub goal: ThresholdGoal,
    /// For `f_beta`: how many times recall counts as much as precision; 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// For `recall` and `precision`: the least that it must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// For `cost`: what a false positive costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_positive: Option<f64>,
    /// For `cost`: what a false negative costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_negative: Option<f64>,
    /// For `cost`: what a true positive costs, below 0 where it earns; 0 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub true_positive: Option<f64>,
    /// For `cost`: what a true negative costs; 0 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub true_negative: Option<f64>,
}

/// What a threshold is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdGoal {
    /// The highest F score.
    #[default]
    FBeta,
    /// The highest accuracy.
    Accuracy,
    /// The highest mean of the true positive and true negative rates.
    BalancedAccuracy,
    /// The highest true positive rate less the false positive rate.
    Youden,
    /// Rates of false positives and false negatives as near to each other as can be.
    EqualErrorRate,
    /// The highest precision of those with at least a recall.
    Recall,
    /// The highest recall of those with at least a precision.
    Precision,
    /// The least cost.
    Cost,
}

/// How probabilities are mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationSpec {
    /// All logits are divided by one number, which changes no ranking and no most probable class.
    Temperature,
}

/// What the focus metric loses without one column's information. Its values are put into another order over the rows
/// of the test split. Left out unless the section is there; `importance = {}` is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImportanceSpec {
    /// Orders for each column.
    pub repeats: u32,
    /// Rows of the test split to look at, spread evenly over it, if it has more.
    pub rows: u32,
    /// Points on the way to each row at which gradients are taken, for integrated gradients: what each column
    /// contributes to the output. 0 leaves them out.
    pub gradient_steps: u32,
}

impl Default for ImportanceSpec {
    fn default() -> Self {
        Self { repeats: 5, rows: 10_000, gradient_steps: 0 }
    }
}

/// What the focus metric is worth when inputs are disturbed. Left out unless the section is there; `robustness = {}`
/// is enough. Sizes are in the unit of encoded features: 1 is a standard deviation of a column of numbers, and the
/// whole way from one category to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RobustnessSpec {
    /// Standard deviations of normal noise on every number.
    pub noise: Vec<f64>,
    /// Whether to leave out one column after the other, as if it were missing in all rows.
    pub missing: bool,
    /// Sizes of one step along the sign of the loss's gradient (FGSM).
    pub fgsm: Vec<f64>,
    /// Half widths of the box around the input in which many such steps stay (PGD).
    pub pgd: Vec<f64>,
    /// Steps of PGD, each a quarter of the half width.
    pub pgd_steps: u32,
    /// The share of the metric whose loss counts as withstood.
    pub tolerated_loss: f64,
    /// Rows of the test split to look at, spread evenly over it, if it has more.
    pub rows: u32,
}

impl Default for RobustnessSpec {
    fn default() -> Self {
        Self {
            noise: vec![0.1, 0.3, 1.0],
            missing: true,
            fgsm: vec![0.05, 0.1, 0.3],
            pgd: vec![0.1],
            pgd_steps: 10,
            tolerated_loss: 0.05,
            rows: 10_000,
        }
    }
}

/// Where the finished model goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterSpec {
    /// The model's name in the registry; each finished job makes a new version of it.
    pub model: String,
    /// An alias that is set to the new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

//! All that is known of one model version, or of how one did on other data. Owns nothing but its
//! values; whoever trains and evaluates fills them in.
//!
//! What a job did not ask for, and what does not apply, is absent, and the page says what could be
//! asked for. So every part but [`Identity`] is optional.

use std::collections::BTreeMap;

use phalanx_evaluate::{
    compare::Comparison,
    cross_validation::CrossValidated,
    importance::{IntegratedGradients, PermutationImportance},
    learning_curve::LearningCurve,
    robustness::Robustness,
    slices::Slices,
    verdict::Verdict,
};
use serde::{Deserialize, Serialize};

use crate::{
    ClassPart, Dataset, Environment, FairnessPart, Identity, NumberPart, OnSplit, Reproduction, SplitMetrics,
    Training,
};

/// The layout of `report.json`; a reader refuses others.
pub const FORMAT: u32 = 1;

/// The report of one model version: `report.json`.
///
/// Splits are called `train`, `validation` and `test`; a report of other data has that data's name
/// in their place. Every number is finite, as JSON has no others ([`Report::to_json`] refuses them).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The layout: [`FORMAT`].
    pub format: u32,
    /// Which model this is about.
    pub identity: Identity,
    /// What became of the gates; absent where the job has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The metrics that are shown large, by name, the most important first: those of the job's gates
    /// and early stopping. Without any the page takes the usual ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headline: Vec<String>,
    /// Metrics split by split, the one that counts first: test, validation, train.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<SplitMetrics>,
    /// The predictions of one split, in plots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictions: Option<OnSplit<Predictions>>,
    /// Slices, one table a metric, each from the worst on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<OnSplit<Slices>>,
    /// How the model treats groups of people, and what was done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness: Option<OnSplit<FairnessPart>>,
    /// What metrics lose without one column's information, one table a metric.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub importance: Vec<OnSplit<PermutationImportance>>,
    /// What columns contribute to the output, by class (the empty name where the target is a number).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gradients: BTreeMap<String, OnSplit<IntegratedGradients>>,
    /// What metrics are with disturbed inputs, one table a metric.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub robustness: Vec<OnSplit<Robustness>>,
    /// The other version and which of the two is better, where a gate names one or somebody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<OnSplit<Comparison>>,
    /// Metric by metric, what folds came to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cross_validation: Vec<CrossValidated>,
    /// Metric by metric, what more rows would bring.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learning_curves: Vec<LearningCurve>,
    /// How training went; absent from a report of other data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
    /// What it was trained (or only measured) on, and where that came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Dataset>,
    /// Where it was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// How to do all of it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reproduction: Option<Reproduction>,
}

/// What is predicted, and how that looks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Predictions {
    /// One of several classes.
    Classes(Box<ClassPart>),
    /// A number.
    Numbers(NumberPart),
    /// The next byte of a text.
    Text(TextPart),
}

/// What a language model writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextPart {
    /// Text that it generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
}

impl Report {
    /// Whether it says what folds, or shares of the rows, have come to, and nothing of a model.
    pub(crate) fn is_of_several_jobs(&self) -> bool {
        let says_something = !self.cross_validation.is_empty() || !self.learning_curves.is_empty();
        says_something && self.splits.is_empty()
    }

    /// A report with nothing but what it is about.
    pub fn new(identity: Identity) -> Self {
        Self {
            format: FORMAT,
            identity,
            verdict: None,
            headline: Vec::new(),
            splits: Vec::new(),
            predictions: None,
            slices: Vec::new(),
            fairness: None,
            importance: Vec::new(),
            gradients: BTreeMap::new(),
            robustness: Vec::new(),
            comparison: None,
            cross_validation: Vec::new(),
            learning_curves: Vec::new(),
            training: None,
            dataset: None,
            environment: None,
            reproduction: None,
        }
    }
}

//! How a model treats groups of people, and what was done about it at which price. Owns nothing but
//! its values.

use phalanx_evaluate::fairness::{
    ClassFairness, Fairness, GroupThresholds, NumbersFairness, Reweighing, Thresholded,
};
use serde::{Deserialize, Serialize};

/// What was found about groups.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FairnessPart {
    /// How groups were compared.
    pub settings: Fairness,
    /// Column by column; of several columns together, their intersections.
    pub columns: Vec<FairnessOf>,
    /// What was done about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mitigations: Vec<Mitigation>,
}

/// How the groups of one column are treated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FairnessOf {
    /// Where the target is one of two classes the second, of more each.
    Classes(Vec<ClassFairness>),
    /// Where the target is a number.
    Numbers(Box<NumbersFairness>),
}

/// What was done so that groups are treated more alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mitigation {
    /// Rows were weighed in training. Its price shows against the same job without.
    Reweighing(Reweighing),
    /// Each group has a threshold of its own.
    GroupThresholds {
        /// The class that rows are selected for.
        class: String,
        /// The split that they were chosen on.
        chosen_on: String,
        /// They, and what they come to there.
        chosen: GroupThresholds,
        /// What the common threshold comes to on the split that all of this is about.
        before: Thresholded,
        /// What they come to on that split.
        after: Thresholded,
        /// What they cost there: accuracy before less accuracy after.
        price_in_accuracy: f64,
    },
}

//! How a model tells classes apart: confusions, curves, what its probabilities mean, and from which
//! on to act. Owns nothing but its values.

use phalanx_evaluate::{
    BinaryColumns,
    calibration::{BrierParts, Calibration, Isotonic, Mended, Platt, Temperature},
    interval::Interval,
    metrics::{
        curve::Curve,
        plots::{PrecisionRecallPoint, RocPoint},
    },
    threshold::{AtThreshold, ChosenThreshold},
};
use phalanx_protocol::message::Confusion;
use serde::{Deserialize, Serialize};

/// The most points of a curve: more than can be told apart on a page.
const POINTS_MAX: usize = 100;

/// Predictions of classes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassPart {
    /// How often each class was taken for each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
    /// Of two classes the curves of the second, of more those of each against the rest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<ClassCurves>,
    /// Whether probabilities mean what they say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationPart>,
    /// From which probability on to act, where a goal was stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<ThresholdPart>,
}

/// How one class is told from the rest, threshold by threshold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassCurves {
    /// The class.
    pub class: String,
    /// The share of rows that are of it: the precision of a guess.
    pub base_rate: f64,
    /// The area under the ROC curve; absent where all rows are of one kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<f64>,
    /// How far that may be off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roc_auc_interval: Option<Interval>,
    /// Precision averaged over recall.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
    /// The ROC curve.
    pub roc: Vec<RocPoint>,
    /// Precision and recall.
    pub precision_recall: Vec<PrecisionRecallPoint>,
}

/// Whether probabilities mean what they say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationPart {
    /// The class whose probability it is; absent where it is that of whichever class is most
    /// probable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The reliability curve in bins of one width, and its errors (ECE, MCE).
    pub curve: Calibration,
    /// The same in bins of as many rows each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<Calibration>,
    /// What the Brier score is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brier: Option<BrierParts>,
    /// What mending them on the validation split would bring.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mended: Vec<Mending>,
}

/// A way to mend probabilities, and what it brings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mending {
    /// How, with what was fitted.
    pub method: MendingMethod,
    /// The split that it was fitted on.
    pub fitted_on: String,
    /// Before and after, on the split that all of this is about.
    pub scores: Mended,
    /// The reliability curve afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<Calibration>,
}

/// How probabilities are mended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MendingMethod {
    /// Log-odds are divided by a number.
    Temperature(Temperature),
    /// A straight line over log-odds.
    Platt(Platt),
    /// A rising step function.
    Isotonic(Isotonic),
}

/// From which probability on to act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdPart {
    /// The class.
    pub class: String,
    /// The split that it was chosen on.
    pub chosen_on: String,
    /// The goal, and what it comes to there.
    pub chosen: ChosenThreshold,
    /// What it comes to on the split that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<AtThreshold>,
    /// What 0.5 comes to on that split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual: Option<AtThreshold>,
}

impl ClassCurves {
    /// The curves of rows that are of `class` or not, thinned to what can be drawn. Curves and areas
    /// that have no value, such as those of rows that are all of one kind, are absent.
    pub fn of(class: &str, columns: &BinaryColumns<'_>) -> Self {
        let curve = Curve::of(columns);
        let all = curve.positives() + curve.negatives();
        Self {
            class: class.to_owned(),
            base_rate: if all > 0.0 { curve.positives() / all } else { 0.0 },
            roc_auc: curve.roc_auc().ok(),
            roc_auc_interval: None,
            average_precision: curve.average_precision().ok(),
            roc: curve.roc_points(POINTS_MAX).unwrap_or_default(),
            precision_recall: curve.precision_recall_points(POINTS_MAX).unwrap_or_default(),
        }
    }
}

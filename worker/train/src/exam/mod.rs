//! What all ranks find out together about the model that they have trained: its predictions of the
//! validation and the test split, what is chosen by the first, and what the second comes to when
//! inputs are disturbed. What follows from predictions alone is found out by one rank, without the
//! group.
//!
//! Everything is predicted lane by lane in chunks of a fixed size ([`measure`](crate::measure)), and
//! everything random is that of a row, so that the bits are the same on any number of ranks.

mod attribute;
mod disturb;

use std::collections::BTreeMap;

use phalanx_collective::Group;
use phalanx_data::{Dataset, Features, Split, TargetKind};
use phalanx_evaluate::{
    Predictions,
    decision::Decision,
    evaluate_also, focus,
    importance::{IntegratedGradients, PermutationImportance},
    robustness::Robustness,
};
use phalanx_protocol::spec::{JobSpec, MetricName};

use crate::{
    error::TrainError,
    learner::Learner,
    measure::{Rows, predict, predict_split},
};

/// What was found out.
#[derive(Debug, PartialEq)]
pub struct Examined {
    /// What the model says of the test split, before it is mended; `None` where that is empty.
    pub test: Option<Predictions>,
    /// What it says of the validation split; `None` where that is empty, or a text.
    pub validation: Option<Predictions>,
    /// What was chosen on the validation split.
    pub decision: Decision,
    /// What the focus metric loses without one column's information, and of how many rows.
    pub importance: Option<(u64, PermutationImportance)>,
    /// What columns contribute to the output, by class (no name where it is a number), and of how many
    /// rows.
    pub gradients: BTreeMap<String, (u64, IntegratedGradients)>,
    /// The focus metric with disturbed inputs, and of how many rows.
    pub robustness: Option<(u64, Robustness)>,
    /// What was asked for and could not be found out, and why.
    pub without: BTreeMap<String, String>,
}

/// Examines the model. Collective: all ranks of the group must call it.
pub(crate) fn examine(
    learner: &dyn Learner,
    group: &mut Group,
    dataset: &Dataset,
    spec: &JobSpec,
) -> Result<Examined, TrainError> {
    let lanes = spec.train.lanes;
    let is_text = matches!(learner.schema().target, TargetKind::NextByte | TargetKind::NextToken { .. });
    let mut predicted = |split: Split, wanted: bool| match dataset.rows(split) {
        1.. if wanted => predict_split(learner, group, dataset, split, lanes).map(Some),
        _ => Ok(None),
    };
    let test = predicted(Split::Test, true)?;
    let validation = predicted(Split::Validation, !is_text)?;
    let mut examined = Examined {
        test: None,
        validation: None,
        decision: Decision::default(),
        importance: None,
        gradients: BTreeMap::new(),
        robustness: None,
        without: BTreeMap::new(),
    };
    if let Some(validation) = &validation {
        match Decision::choose(&spec.evaluate, validation) {
            Ok(decision) => examined.decision = decision,
            Err(error) => examined.note("threshold and calibration", error),
        }
    }
    if let Some(test) = &test {
        disturbed(learner, group, dataset, spec, (test, &mut examined))?;
    }
    Ok(Examined { test, validation, ..examined })
}

impl Examined {
    fn note(&mut self, what: &str, reason: impl std::fmt::Display) {
        self.without.insert(what.to_owned(), reason.to_string());
    }
}

/// Finds out what disturbed inputs do, where that was asked for.
fn disturbed(
    learner: &dyn Learner,
    group: &mut Group,
    dataset: &Dataset,
    spec: &JobSpec,
    (test, examined): (&Predictions, &mut Examined),
) -> Result<(), TrainError> {
    let evaluate = &spec.evaluate;
    if evaluate.importance.is_none() && evaluate.robustness.is_none() {
        return Ok(());
    }
    let Some(focus) = focus(evaluate, test) else { return Ok(()) };
    let lanes = spec.train.lanes;
    let decision = examined.decision;
    let sample = |rows_max: u32| Sample { dataset, rows: spread(dataset.rows(Split::Test), rows_max.into()) };
    if let Some(wanted) = &evaluate.importance {
        let group = &mut *group;
        let mut trial = Trial { learner, group, lanes, sample: sample(wanted.rows), focus: &focus, decision };
        match disturb::importance(&mut trial, wanted, evaluate.intervals.seed)? {
            Ok(found) => examined.importance = Some((trial.sample.count(), found)),
            Err(reason) => examined.note("importance", reason),
        }
        if wanted.gradient_steps > 0 {
            match attribute::attributions(&mut trial, wanted.gradient_steps)? {
                Ok(found) => {
                    let rows = trial.sample.count();
                    examined.gradients =
                        found.into_iter().map(|(class, found)| (class, (rows, found))).collect();
                }
                Err(reason) => examined.note("gradients", reason),
            }
        }
    }
    if let Some(wanted) = &evaluate.robustness {
        let group = &mut *group;
        let mut trial = Trial { learner, group, lanes, sample: sample(wanted.rows), focus: &focus, decision };
        match disturb::robustness(&mut trial, wanted, evaluate.intervals.seed)? {
            Ok(found) => examined.robustness = Some((trial.sample.count(), found)),
            Err(reason) => examined.note("robustness", reason),
        }
    }
    Ok(())
}

/// At most `most` of `rows` rows, spread evenly over them.
fn spread(rows: u64, most: u64) -> Vec<u64> {
    let count = rows.min(most);
    (0..count).map(|nth| (u128::from(nth) * u128::from(rows) / u128::from(count)) as u64).collect()
}

/// Some rows of the test split.
struct Sample<'a> {
    dataset: &'a Dataset,
    rows: Vec<u64>,
}

impl Sample<'_> {
    fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// The rows with these numbers among those of the sample.
    fn gather(&self, numbers: &[u64]) -> Result<phalanx_data::Batch, TrainError> {
        let rows: Vec<u64> = numbers.iter().map(|number| self.rows[*number as usize]).collect();
        Ok(self.dataset.gather(Split::Test, &rows)?)
    }
}

/// What is measured again and again.
struct Trial<'a> {
    learner: &'a dyn Learner,
    group: &'a mut Group,
    lanes: u32,
    sample: Sample<'a>,
    focus: &'a MetricName,
    decision: Decision,
}

impl Trial<'_> {
    /// The focus metric of the sample where rows are as `gather` says; or why it has no value.
    /// Collective.
    fn value(
        &mut self,
        gather: &dyn Fn(&[u64]) -> Result<phalanx_data::Batch, TrainError>,
    ) -> Result<Result<f64, String>, TrainError> {
        let rows = Rows { count: self.sample.count(), ahead: &|_| {}, gather };
        let predictions = predict(self.learner, self.group, self.lanes, &rows)?;
        let decided = self.decision.apply(&predictions);
        let name = self.focus.to_string();
        Ok(match evaluate_also(&decided, std::slice::from_ref(self.focus)) {
            Ok(mut evaluation) => evaluation.metrics.remove(&name).ok_or_else(|| {
                evaluation.undefined.remove(&name).unwrap_or_else(|| "it has no value".to_owned())
            }),
            Err(error) => Err(error.to_string()),
        })
    }
}

/// Why gradients by features cannot be had.
const NO_GRADIENT: &str =
    "the model does not ask for `Samples::vectors` or `images`, by which gradients are taken";

/// The numbers of encoded features; none where they are bytes.
fn numbers(features: &mut Features) -> &mut [f32] {
    match features {
        Features::Floats(values) => values,
        Features::Bytes(_) | Features::Tokens(_) => &mut [],
    }
}

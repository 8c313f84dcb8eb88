//! How the model treats groups of people: column by column and all columns together, and what a
//! threshold for each group would do about it. Owns no state.

use std::collections::{BTreeMap, BTreeSet};

use phalanx_evaluate::{
    ClassScores, Predictions,
    decision::Decision,
    fairness::{Constraint, Fairness, Groups, fairness_of_classes, fairness_of_numbers, group_thresholds},
};
use phalanx_protocol::spec::{EvaluateSpec, Subject};
use phalanx_report::{FairnessOf, FairnessPart, Mitigation};

use crate::{
    assess::{Exam, Validation},
    parts::{groups, told},
};

/// How far groups may be apart with a threshold for each: what is often far cheaper than less.
const TOLERANCE: f64 = 0.05;

/// What is found about the columns that the job names, and by column why nothing is.
pub(crate) fn fairness(
    exam: &Exam<'_>,
    decided: &Predictions,
    settings: Fairness,
) -> (Option<FairnessPart>, BTreeMap<String, String>) {
    let wanted = wanted(exam.spec);
    if wanted.is_empty() {
        return (None, BTreeMap::new());
    }
    let (mut part, mut without) = (FairnessPart { settings, ..FairnessPart::default() }, BTreeMap::new());
    for columns in wanted {
        let found = groups(&columns, exam.table).and_then(|groups| {
            let of = measured(decided, &groups, &settings)?;
            Ok((groups, of))
        });
        match found {
            Ok((groups, of)) => {
                part.columns.push(of);
                if let (Some(validation), Predictions::Classes(scores)) = (&exam.validation, decided) {
                    part.mitigations.extend(thresholds(exam, validation, scores, &columns, &groups));
                }
            }
            Err(reason) => {
                without.insert(columns.join(", "), reason);
            }
        }
    }
    (Some(part), without)
}

/// The sensitive columns, all of them together, and what gates name beside them.
fn wanted(spec: &EvaluateSpec) -> Vec<Vec<String>> {
    let each = spec.sensitive.iter().map(|column| vec![column.clone()]);
    let together = (spec.sensitive.len() > 1).then(|| spec.sensitive.clone());
    let gates = spec.gates.iter().filter_map(|gate| match &gate.figure.subject {
        Subject::Fairness { columns, .. } => Some(columns.clone()),
        Subject::Whole { .. } | Subject::Slice { .. } => None,
    });
    let mut seen = BTreeSet::new();
    each.chain(together).chain(gates).filter(|columns| seen.insert(columns.clone())).collect()
}

fn measured(decided: &Predictions, groups: &Groups, settings: &Fairness) -> Result<FairnessOf, String> {
    match decided {
        Predictions::Classes(scores) => {
            let probabilities: Vec<f64> = scores.probabilities.iter().copied().map(f64::from).collect();
            let (truths, decisions) = (&scores.truths, scores.decisions());
            let found = fairness_of_classes(
                &scores.classes,
                truths,
                &decisions,
                Some(&probabilities),
                groups,
                settings,
            );
            found.map(FairnessOf::Classes).map_err(told)
        }
        Predictions::Numbers(numbers) => {
            let found = fairness_of_numbers(&numbers.truths, &numbers.predictions, groups, settings);
            found.map(|found| FairnessOf::Numbers(Box::new(found))).map_err(told)
        }
        Predictions::NextBytes(_) => Err("a text has no groups".to_owned()),
    }
}

/// What a threshold for each group would do, of two classes; nothing where there are too many groups.
fn thresholds(
    exam: &Exam<'_>,
    validation: &Validation<'_>,
    scores: &ClassScores,
    columns: &[String],
    on_test: &Groups,
) -> Vec<Mitigation> {
    let Predictions::Classes(chosen_on) = exam.decision.apply(validation.predictions) else {
        return Vec::new();
    };
    let Ok(there) = groups(columns, validation.table) else { return Vec::new() };
    if scores.classes.len() != 2 {
        return Vec::new();
    }
    let settings = (common_threshold(&exam.decision), TOLERANCE, u64::from(exam.spec.small_below));
    let of = |constraint: Constraint| -> Option<Mitigation> {
        let (probabilities, truths) = (chosen_on.of_class(1), chosen_on.are(1));
        let chosen = group_thresholds(&probabilities, &truths, &there, constraint, settings).ok()?;
        let (before, after) = chosen.measure(&scores.of_class(1), &scores.are(1), on_test).ok()?;
        Some(Mitigation::GroupThresholds {
            class: scores.classes[1].clone(),
            chosen_on: validation.split.to_owned(),
            chosen,
            before,
            after,
            price_in_accuracy: before.accuracy - after.accuracy,
        })
    };
    [Constraint::DemographicParity, Constraint::EqualizedOdds].into_iter().filter_map(of).collect()
}

/// From which probability on the model takes a row for the second of two classes.
pub(crate) fn common_threshold(decision: &Decision) -> f64 {
    decision.threshold.map_or(0.5, |chosen| chosen.validation.threshold)
}

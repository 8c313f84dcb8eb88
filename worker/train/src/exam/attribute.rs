//! What each column contributes to the output: integrated gradients (Sundararajan et al. 2017) from
//! features that are all 0, which is the mean of numbers and no category, to each row. Owns no state.

use std::collections::BTreeMap;

use phalanx_data::{Batch, Features, TargetKind};
use phalanx_evaluate::importance::{Attributions, IntegratedGradients, path_points};

use super::{NO_GRADIENT, Trial};
use crate::{
    error::TrainError,
    handover::everyones,
    learner::{Learner, Output},
    measure::{CHUNK_ROWS, chunks, share_of, softmax, still_wanted},
    task::{feature_width, floats},
};

/// The most classes whose output is attributed.
const CLASSES_MAX: usize = 20;

/// The contributions of columns, by class; or why there are none. Collective.
pub(super) fn attributions(
    trial: &mut Trial<'_>,
    steps: u32,
) -> Result<Result<BTreeMap<String, IntegratedGradients>, String>, TrainError> {
    let columns = trial.sample.columns();
    if columns.is_empty() {
        return Ok(Err("they are about columns of a table, and this is none".to_owned()));
    }
    let column_of: Vec<String> =
        columns.iter().flat_map(|column| column.place.clone().map(|_| column.name.clone())).collect();
    let mut found = BTreeMap::new();
    for (name, output) in outputs(&trial.learner.schema().target) {
        match attributed(trial, output, steps)? {
            Ok(sums) => match sums.by_column(&column_of) {
                Ok(gradients) => {
                    found.insert(name, gradients);
                }
                Err(error) => return Ok(Err(error.to_string())),
            },
            Err(reason) => return Ok(Err(reason)),
        }
    }
    Ok(Ok(found))
}

fn outputs(target: &TargetKind) -> Vec<(String, Output)> {
    match target {
        TargetKind::Classes(classes) => {
            let first = usize::from(classes.len() == 2);
            let of = |(class, name): (usize, &String)| (name.clone(), Output::Class(class));
            classes.iter().enumerate().skip(first).take(CLASSES_MAX).map(of).collect()
        }
        TargetKind::Number { .. } => vec![(String::new(), Output::Number)],
        TargetKind::NextByte | TargetKind::NextToken { .. } => Vec::new(),
    }
}

/// The sums over all rows of the sample: each lane's own, added in the order of lanes.
fn attributed(
    trial: &mut Trial<'_>,
    output: Output,
    steps: u32,
) -> Result<Result<Attributions, String>, TrainError> {
    let width = feature_width(&trial.learner.schema().features);
    let abort = trial.group.abort_handle();
    let mut mine: Vec<Result<Attributions, String>> = Vec::new();
    for lane in trial.group.lanes() {
        let mut sums = Attributions::new(width).map_err(|error| error.to_string());
        for chunk in chunks(share_of(trial.sample.count(), lane, trial.lanes), CHUNK_ROWS) {
            still_wanted(&abort)?;
            let batch = trial.sample.gather(&chunk)?;
            sums = sums.and_then(|sums| add(sums, trial.learner, &batch, output, steps));
        }
        mine.push(sums);
    }
    let all: Vec<Vec<Result<Attributions, String>>> = everyones(trial.group, &mine)?;
    let mut lanes = all.into_iter().flatten();
    let first = lanes.next().unwrap_or_else(|| Err("there is no lane".to_owned()));
    Ok(lanes.fold(first, |sums, lane| {
        let (mut sums, lane) = (sums?, lane?);
        sums.merge(&lane).map_err(|error| error.to_string())?;
        Ok(sums)
    }))
}

fn add(
    mut sums: Attributions,
    learner: &dyn Learner,
    batch: &Batch,
    output: Output,
    steps: u32,
) -> Result<Attributions, String> {
    let features = floats(&batch.features, learner.schema());
    let at = |share: f64| Batch {
        features: Features::Floats(features.iter().map(|value| (f64::from(*value) * share) as f32).collect()),
        ..batch.clone()
    };
    let mut slopes = vec![0.0; features.len()];
    for point in path_points(steps as usize).map_err(|error| error.to_string())? {
        let gradient = learner.input_gradient(&at(point), output);
        let gradient = gradient.ok_or_else(|| NO_GRADIENT.to_owned())?;
        slopes.iter_mut().zip(gradient).for_each(|(slope, at)| *slope += f64::from(at) / f64::from(steps));
    }
    let changes = outputs_of(learner, batch, output).into_iter().zip(outputs_of(learner, &at(0.0), output));
    let width = features.len() / batch.rows.max(1);
    let rows = features.chunks_exact(width.max(1)).zip(slopes.chunks_exact(width.max(1)));
    for ((values, slopes), (to, from)) in rows.zip(changes) {
        let parts: Vec<f64> =
            values.iter().zip(slopes).map(|(value, slope)| f64::from(*value) * slope).collect();
        sums.add(&parts, to - from).map_err(|error| error.to_string())?;
    }
    Ok(sums)
}

/// The output of each row.
fn outputs_of(learner: &dyn Learner, batch: &Batch, output: Output) -> Vec<f64> {
    let scores = learner.scores(batch);
    let width = scores.len() / batch.rows.max(1);
    let rows = scores.chunks_exact(width.max(1));
    match output {
        Output::Class(class) => rows.map(|row| f64::from(softmax(row)[class])).collect(),
        Output::Number | Output::Loss => rows.map(|row| f64::from(row[0])).collect(),
    }
}

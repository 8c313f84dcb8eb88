//! The focus metric when inputs are disturbed: a column's values in another order, or missing; noise;
//! and steps along the gradient of the loss. Owns no state.

use phalanx_data::{Batch, EncodedColumn, Features};
use phalanx_evaluate::{
    importance::{PermutationImportance, Permuted, permutation_importance, permuted_rows},
    robustness::{Disturbance, Robustness, noise, robustness as summed_up},
};
use phalanx_protocol::spec::{ImportanceSpec, RobustnessSpec};

use super::{NO_GRADIENT, Sample, Trial, numbers};
use crate::{
    error::TrainError,
    learner::{Learner, Output},
    task::{feature_width, floats},
};

/// What a step of PGD is of the half width of its box.
const STEP_SHARE: f64 = 0.25;

/// Reason why there is nothing to say.
type Without = String;

/// What the focus metric loses without one column's information. Collective.
pub(super) fn importance(
    trial: &mut Trial<'_>,
    wanted: &ImportanceSpec,
    seed: u64,
) -> Result<Result<PermutationImportance, Without>, TrainError> {
    let columns = trial.sample.columns();
    if columns.is_empty() {
        return Ok(Err("it is about columns of a table, and this is none".to_owned()));
    }
    let baseline = match value(trial, &|sample, rows| sample.gather(rows))? {
        Ok(value) => value,
        Err(reason) => return Ok(Err(reason)),
    };
    let rows = trial.sample.count() as usize;
    let mut permuted = Vec::with_capacity(columns.len());
    for (number, column) in (0..).zip(&columns) {
        let mut values = Vec::new();
        for repeat in 0..wanted.repeats {
            let Ok(order) = permuted_rows(rows, seed, number, repeat) else { continue };
            let shuffled = value(trial, &|sample, rows| {
                let mut batch = sample.gather(rows)?;
                let others: Vec<u64> = rows.iter().map(|row| order[*row as usize].into()).collect();
                let mut donors = sample.gather(&others)?;
                swap_in(&mut batch, numbers(&mut donors.features), column);
                Ok(batch)
            })?;
            match shuffled {
                Ok(value) => values.push(value),
                Err(reason) => return Ok(Err(format!("with `{}` in another order: {reason}", column.name))),
            }
        }
        permuted.push(Permuted { column: column.name.clone(), values });
    }
    let more_is_better = trial.focus.metric.more_is_better;
    let found = permutation_importance(&trial.focus.to_string(), more_is_better, baseline, permuted);
    Ok(found.map_err(|error| error.to_string()))
}

/// What the focus metric is worth when inputs are disturbed. Collective.
pub(super) fn robustness(
    trial: &mut Trial<'_>,
    wanted: &RobustnessSpec,
    seed: u64,
) -> Result<Result<Robustness, Without>, TrainError> {
    let baseline = match value(trial, &|sample, rows| sample.gather(rows))? {
        Ok(value) => value,
        Err(reason) => return Ok(Err(reason)),
    };
    let learner = trial.learner;
    // Asked of one row before all ranks begin, so that none of them waits for one that cannot.
    let attacks = !wanted.fgsm.is_empty() || !wanted.pgd.is_empty();
    if attacks && learner.input_gradient(&trial.sample.gather(&[0])?, Output::Loss).is_none() {
        return Ok(Err(NO_GRADIENT.to_owned()));
    }
    let columns = trial.sample.columns();
    let mut values = Vec::new();
    for disturbance in disturbances(wanted, &columns) {
        let disturbed = value(trial, &|sample, rows| {
            Ok(disturb(learner, sample.gather(rows)?, &disturbance, &columns, (rows, seed)))
        })?;
        match disturbed {
            Ok(value) => values.push((disturbance, value)),
            Err(reason) => return Ok(Err(reason)),
        }
    }
    let (name, more_is_better) = (trial.focus.to_string(), trial.focus.metric.more_is_better);
    let found = summed_up(&name, more_is_better, baseline, values, wanted.tolerated_loss);
    Ok(found.map_err(|error| error.to_string()))
}

fn disturbances(wanted: &RobustnessSpec, columns: &[EncodedColumn]) -> Vec<Disturbance> {
    let steps = wanted.pgd_steps;
    let noise = wanted.noise.iter().map(|deviation| Disturbance::Noise { deviation: *deviation });
    let missing = columns.iter().filter(|_| wanted.missing);
    let missing = missing.map(|column| Disturbance::MissingColumn { column: column.name.clone() });
    let fgsm = wanted.fgsm.iter().map(|eps| Disturbance::Fgsm { eps: *eps });
    let pgd = wanted.pgd.iter().map(|eps| Disturbance::Pgd { eps: *eps, steps, step_size: eps * STEP_SHARE });
    noise.chain(missing).chain(fgsm).chain(pgd).collect()
}

/// The same rows, disturbed.
fn disturb(
    learner: &dyn Learner,
    mut batch: Batch,
    disturbance: &Disturbance,
    columns: &[EncodedColumn],
    (rows, seed): (&[u64], u64),
) -> Batch {
    if let Disturbance::MissingColumn { column } = disturbance {
        if let Some(column) = columns.iter().find(|known| known.name == *column) {
            let width = numbers(&mut batch.features).len() / batch.rows.max(1);
            for row in numbers(&mut batch.features).chunks_exact_mut(width.max(1)) {
                row[column.place.clone()].copy_from_slice(&column.missing);
            }
        }
        return batch;
    }
    // Images are bytes until here; disturbed they are none any more.
    let mut features = floats(&batch.features, learner.schema());
    match disturbance {
        Disturbance::MissingColumn { .. } => {}
        Disturbance::Noise { deviation } => {
            let width = feature_width(&learner.schema().features);
            for (row, values) in rows.iter().zip(features.chunks_exact_mut(width.max(1))) {
                let drawn = noise(seed, *row, width);
                values.iter_mut().zip(drawn).for_each(|(value, noise)| *value += *deviation as f32 * noise);
            }
        }
        Disturbance::Fgsm { eps } => {
            let gradient = gradient(learner, &batch, &features);
            features
                .iter_mut()
                .zip(&gradient)
                .for_each(|(value, slope)| *value += *eps as f32 * sign(*slope));
        }
        Disturbance::Pgd { eps, steps, step_size } => {
            let (from, eps, step) = (features.clone(), *eps as f32, *step_size as f32);
            for _ in 0..*steps {
                let gradient = gradient(learner, &batch, &features);
                for ((value, slope), from) in features.iter_mut().zip(&gradient).zip(&from) {
                    *value = (*value + step * sign(*slope)).clamp(from - eps, from + eps);
                }
            }
        }
    }
    Batch { features: Features::Floats(features), ..batch }
}

/// The loss's gradient; nothing of a model that has none, which was asked first.
fn gradient(learner: &dyn Learner, batch: &Batch, features: &[f32]) -> Vec<f32> {
    let batch = Batch { features: Features::Floats(features.to_vec()), ..batch.clone() };
    learner.input_gradient(&batch, Output::Loss).unwrap_or_default()
}

/// The sign, and 0 of 0: what the loss does not depend on stays as it is.
fn sign(slope: f32) -> f32 {
    if slope == 0.0 { 0.0 } else { slope.signum() }
}

/// Puts the features of one column of other rows into `batch`.
fn swap_in(batch: &mut Batch, donors: &[f32], column: &EncodedColumn) {
    let width = donors.len() / batch.rows.max(1);
    let rows = numbers(&mut batch.features).chunks_exact_mut(width.max(1));
    for (row, donor) in rows.zip(donors.chunks_exact(width.max(1))) {
        row[column.place.clone()].copy_from_slice(&donor[column.place.clone()]);
    }
}

/// Rows of a sample, by their numbers, as they are to be measured.
type Disturbed<'a> = dyn Fn(&Sample<'_>, &[u64]) -> Result<Batch, TrainError> + 'a;

/// The focus metric where rows of the sample are as `of` says.
fn value(trial: &mut Trial<'_>, of: &Disturbed<'_>) -> Result<Result<f64, Without>, TrainError> {
    let sample = Sample { dataset: trial.sample.dataset, rows: trial.sample.rows.clone() };
    trial.value(&|rows| of(&sample, rows))
}

impl Sample<'_> {
    pub(super) fn columns(&self) -> Vec<EncodedColumn> {
        self.dataset.manifest().encoder.columns()
    }
}

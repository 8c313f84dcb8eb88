//! Metrics of numbers: mean squared error, its root, mean absolute error and R².
//! Owns no state.

use crate::{
    evaluation::Evaluation,
    predictions::Numbers,
    sum::{mean, sum},
};

/// Writes all metrics of `values`, which are checked, into `evaluation`.
pub(crate) fn measure(values: &Numbers, evaluation: &mut Evaluation) {
    let rows = values.truths.len();
    let squared_error = sum(errors(values).map(|error| error * error));
    let mse = squared_error / rows as f64;
    evaluation.insert("mse", mse);
    evaluation.insert("rmse", mse.sqrt());
    evaluation.insert("mae", mean(rows, errors(values).map(f64::abs)));
    evaluation.insert_or_undefine("r2", r2(values, squared_error));
}

fn errors(values: &Numbers) -> impl Iterator<Item = f64> {
    values.truths.iter().zip(&values.predictions).map(|(truth, prediction)| truth - prediction)
}

/// The share of the truths' variance that the predictions explain. Where the truths
/// do not vary, predictions without error have 1 and all others 0.
fn r2(values: &Numbers, squared_error: f64) -> Result<f64, String> {
    if values.truths.len() < 2 {
        return Err("it needs at least two rows".to_owned());
    }
    let squared_deviation = squared_deviation(&values.truths);
    Ok(match (squared_error == 0.0, squared_deviation == 0.0) {
        (true, true) => 1.0,
        (false, true) => 0.0,
        (_, false) => 1.0 - squared_error / squared_deviation,
    })
}

/// The sum of the squared distances from the mean.
fn squared_deviation(truths: &[f64]) -> f64 {
    // Asked of the truths themselves: their mean may round, and then the sum is not 0.
    if truths.iter().all(|truth| *truth == truths[0]) {
        return 0.0;
    }
    let mean = mean(truths.len(), truths.iter().copied());
    sum(truths.iter().map(|truth| (truth - mean) * (truth - mean)))
}

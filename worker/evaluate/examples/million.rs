//! Measures how long all metrics of two classes take on one core, without and with weights,
//! and all metrics of numbers.
//!
//!     million [ROWS]
//!
//! Prints one line for each; 1,000,000 rows by default.

use std::{env, error::Error, time::Instant};

use phalanx_evaluate::{
    ClassColumns, NumberColumns,
    metrics::{classes::ClassMeasure, numbers::NumberMeasure},
};
use phalanx_protocol::spec::{Average, METRICS, MeasuredOn, MetricName};
use rand::{RngExt, SeedableRng, rngs::StdRng};

fn main() -> Result<(), Box<dyn Error>> {
    let rows: usize = env::args().nth(1).map_or(Ok(1_000_000), |rows| rows.parse())?;
    let mut rng = StdRng::seed_from_u64(7);
    let positive: Vec<f32> = (0..rows).map(|_| rng.random_range(0.0..1.0)).collect();
    let probabilities: Vec<f32> = positive.iter().flat_map(|share| [1.0 - share, *share]).collect();
    let truths: Vec<u32> =
        positive.iter().map(|share| u32::from(rng.random_range(0.0..1.0) < *share)).collect();
    let weights: Vec<f64> = (0..rows).map(|_| rng.random_range(0.1..2.0)).collect();
    let classes = ["no".to_owned(), "yes".to_owned()];
    for weights in [None, Some(weights.as_slice())] {
        let names = names(MeasuredOn::Classes)?;
        let count = names.len();
        let start = Instant::now();
        let mut measure = ClassMeasure::new(classes.to_vec(), names)?;
        measure.update(&ClassColumns::new(&classes, &probabilities, &truths, weights)?)?;
        let evaluation = measure.finish();
        let seconds = start.elapsed().as_secs_f64();
        let (auc, weighted) =
            (evaluation.metrics["roc_auc"], if weights.is_some() { "with" } else { "without" });
        println!(
            "{rows} rows of two classes {weighted} weights: {count} metrics in {seconds:.3} s (ROC-AUC {auc:.4})"
        );
    }
    let truths: Vec<f64> = (0..rows).map(|_| rng.random_range(0.1..100.0)).collect();
    let predictions: Vec<f64> = truths.iter().map(|truth| truth + rng.random_range(0.0..3.0)).collect();
    let names = names(MeasuredOn::Numbers)?;
    let count = names.len();
    let start = Instant::now();
    let mut measure = NumberMeasure::new(names)?;
    measure.update(&NumberColumns::new(&predictions, &truths, None)?);
    let evaluation = measure.finish();
    let (seconds, r2) = (start.elapsed().as_secs_f64(), evaluation.metrics["r2"]);
    println!("{rows} rows of numbers: {count} metrics in {seconds:.3} s (R² {r2:.4})");
    Ok(())
}

/// Every metric in every form but that of a single class; parameters that have no default are 0.5
/// or, where they must be whole, 5.
fn names(on: MeasuredOn) -> Result<Vec<MetricName>, Box<dyn Error>> {
    let mut names = Vec::new();
    for metric in METRICS.iter().filter(|metric| metric.measured_on == on) {
        let parameter = match (metric.name, metric.parameter) {
            (_, None) => "",
            ("tweedie_deviance" | "d2_tweedie", Some(_)) => "@1.5",
            (_, Some(parameter)) if parameter.is_whole => "@5",
            (_, Some(_)) => "@0.5",
        };
        names.push(MetricName::parse(&format!("{}{parameter}", metric.name))?);
        for average in metric.averages.iter().map(|average: &Average| average.name()) {
            names.push(MetricName::parse(&format!("{}_{average}{parameter}", metric.name))?);
        }
    }
    Ok(names)
}

//! Two models that have predicted the same rows. Owns no state.

use phalanx_evaluate::{
    Predictions,
    compare::{Comparison, PairedTests, contrast, delong_test, mcnemar, paired_t, wilcoxon},
    interval::Bootstrap,
    metrics::{classes, numbers},
    named_metric,
};
use phalanx_protocol::spec::{METRICS, MeasuredOn, MetricName};

/// Another model's predictions of the same rows, as it serves them.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// What it is called: `adult@3`.
    pub name: String,
    /// What it says.
    pub predictions: Predictions,
}

/// Two models that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// They predict different things.
    #[error("{a} and {b} do not predict the same: {difference}")]
    Unlike {
        /// The first.
        a: String,
        /// The second.
        b: String,
        /// What differs.
        difference: &'static str,
    },
}

/// How `b` compares with `a` on the usual metrics of what they predict and on `also`. A metric that has
/// no value on these rows is left out.
///
/// # Errors
///
/// Where the two do not predict the same rows.
pub fn compare(
    a: &Baseline,
    b: &Baseline,
    also: &[MetricName],
    settings: &Bootstrap,
) -> Result<Comparison, CompareError> {
    if let Some(difference) = difference(&a.predictions, &b.predictions) {
        return Err(CompareError::Unlike { a: a.name.clone(), b: b.name.clone(), difference });
    }
    let mut names = usual(&b.predictions);
    for name in also.iter().filter(|name| name.metric.measured_on != MeasuredOn::Everything) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let contrasts = names.iter().filter_map(|name| {
        let (of_a, of_b) =
            (named_metric(&a.predictions, name).ok()?, named_metric(&b.predictions, name).ok()?);
        contrast(&name.to_string(), name.metric.more_is_better, &*of_a, &*of_b, settings).ok()
    });
    let tests = tests(&a.predictions, &b.predictions, settings.level);
    Ok(Comparison::new(&a.name, &b.name, contrasts.collect(), tests))
}

/// The usual metrics, without those of single classes.
fn usual(predictions: &Predictions) -> Vec<MetricName> {
    match predictions {
        Predictions::Classes(scores) => {
            classes::usual(&scores.classes).into_iter().filter(|name| name.class.is_none()).collect()
        }
        Predictions::Numbers(_) => numbers::usual(),
        Predictions::NextBytes(_) => {
            let metric = METRICS.iter().find(|metric| metric.name == "bits_per_byte");
            metric.and_then(MetricName::of).into_iter().collect()
        }
    }
}

/// What keeps two models' predictions from being of the same rows.
pub(crate) fn difference(a: &Predictions, b: &Predictions) -> Option<&'static str> {
    match (a, b) {
        (Predictions::Classes(a), Predictions::Classes(b)) if a.classes != b.classes => {
            Some("their classes are others")
        }
        (Predictions::Classes(a), Predictions::Classes(b)) => (a.truths != b.truths).then_some(ROWS),
        (Predictions::Numbers(a), Predictions::Numbers(b)) => (a.truths != b.truths).then_some(ROWS),
        (Predictions::NextBytes(a), Predictions::NextBytes(b)) => (a.bytes != b.bytes).then_some(ROWS),
        (Predictions::Classes(_) | Predictions::Numbers(_) | Predictions::NextBytes(_), _) => {
            Some("one predicts classes, the other numbers, or a text")
        }
    }
}

const ROWS: &str = "their rows are others";

/// The tests that fit the target.
fn tests(a: &Predictions, b: &Predictions, level: f64) -> PairedTests {
    match (a, b) {
        (Predictions::Classes(a), Predictions::Classes(b)) => {
            let right = |decisions: Vec<u32>, truths: &[u32]| -> Vec<bool> {
                decisions.iter().zip(truths).map(|(taken, truth)| taken == truth).collect()
            };
            let mcnemar = mcnemar(&right(a.decisions(), &a.truths), &right(b.decisions(), &b.truths)).ok();
            let delong = (a.classes.len() == 2)
                .then(|| delong_test(&a.of_class(1), &b.of_class(1), &a.are(1), level).ok())
                .flatten();
            PairedTests { mcnemar, delong, ..PairedTests::default() }
        }
        (Predictions::Numbers(a), Predictions::Numbers(b)) => {
            let errors = |predictions: &[f64]| -> Vec<f64> {
                predictions.iter().zip(&a.truths).map(|(told, truth)| (told - truth).abs()).collect()
            };
            let (a, b) = (errors(&a.predictions), errors(&b.predictions));
            let (paired_t, wilcoxon) = (paired_t(&a, &b, level).ok(), wilcoxon(&a, &b).ok());
            PairedTests { paired_t, wilcoxon, ..PairedTests::default() }
        }
        (Predictions::Classes(_) | Predictions::Numbers(_) | Predictions::NextBytes(_), _) => {
            PairedTests::default()
        }
    }
}

//! Metrics of language models: perplexity, bits per byte, and how often the most
//! probable token is the next one. [`TokenMeasure`] owns the sums.

use std::f64::consts::LN_2;

use phalanx_protocol::spec::{MeasuredOn, MetricName};
use serde::{Deserialize, Serialize};

use crate::{
    error::EvaluateError,
    evaluation::Evaluation,
    predictions::NextBytes,
    sum::ExactSum,
    undefined::{Undefined, finite},
};

/// The metrics of a text over bytes.
const USUAL: &[&str] = &["bits_per_byte", "perplexity"];

/// Measures tokens of a text, batch by batch and part by part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenMeasure {
    loss_nats: ExactSum,
    tokens: u64,
    bytes: u64,
    correct: u64,
}

impl TokenMeasure {
    /// Takes in tokens by the surprise of each, `-ln p(token)`, which together are `bytes` bytes
    /// of text, and of which `correct` were the most probable.
    ///
    /// # Errors
    ///
    /// Where a surprise is negative or no number; it says at which token.
    pub fn update(&mut self, surprises: &[f32], bytes: u64, correct: u64) -> Result<(), EvaluateError> {
        let none = |nats: &f32| !(nats.is_finite() && *nats >= 0.0);
        if let Some(row) = surprises.iter().position(none) {
            return Err(EvaluateError::ScoreNotFinite { row, actual: surprises[row].into() });
        }
        self.loss_nats.extend(surprises.iter().map(|nats| f64::from(*nats)));
        self.tokens += surprises.len() as u64;
        self.bytes += bytes;
        self.correct += correct;
        Ok(())
    }

    /// Takes in what another part has measured.
    pub fn merge(&mut self, other: &Self) {
        self.loss_nats.merge(&other.loss_nats);
        self.tokens += other.tokens;
        self.bytes += other.bytes;
        self.correct += other.correct;
    }

    /// `perplexity` and `token_accuracy` for each token, and `bits_per_byte`.
    pub fn finish(&self) -> Evaluation {
        let mut evaluation = Evaluation::default();
        let per =
            |part: f64, of: u64| if of == 0 { Err(Undefined::NoRows) } else { finite(part / of as f64) };
        let nats = self.loss_nats.value();
        evaluation.record("perplexity", per(nats, self.tokens).map(f64::exp));
        evaluation.record("token_accuracy", per(self.correct as f64, self.tokens));
        evaluation.record("bits_per_byte", per(nats / LN_2, self.bytes));
        evaluation
    }
}

/// Measures a text: the bits that a byte costs an ideal coder, and the perplexity for each byte. There
/// is nothing else to ask for.
///
/// # Errors
///
/// Where no byte was predicted, or a loss is none.
pub(crate) fn measure(text: &NextBytes) -> Result<Evaluation, EvaluateError> {
    let (nats, bytes) = text.total()?;
    let mut evaluation = Evaluation::default();
    for name in USUAL {
        evaluation.record(*name, finite(figure(name, nats / bytes as f64)));
    }
    Ok(evaluation)
}

/// Whether `name` is of a metric of a text.
///
/// # Errors
///
/// Where it is not.
pub(crate) fn fits(name: &MetricName) -> Result<(), EvaluateError> {
    if name.metric.measured_on == MeasuredOn::Text {
        return Ok(());
    }
    let reason = "is not one of a text".to_owned();
    Err(EvaluateError::NoSuchMetric { name: name.to_string(), reason })
}

/// The metric called `name` where a byte costs so many nats.
pub(crate) fn figure(name: &str, nats_per_byte: f64) -> f64 {
    if name == "perplexity" { nats_per_byte.exp() } else { nats_per_byte / LN_2 }
}

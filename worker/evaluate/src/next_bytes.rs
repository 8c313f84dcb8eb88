//! Metrics of a language model over bytes. Owns no state.

use std::f64::consts::LN_2;

use crate::{evaluation::Evaluation, predictions::NextBytes};

/// Writes all metrics of `loss`, which is checked, into `evaluation`: the bits that
/// a byte costs an ideal coder, and the perplexity for each byte.
pub(crate) fn measure(loss: NextBytes, evaluation: &mut Evaluation) {
    let nats_per_byte = loss.loss_nats / loss.bytes as f64;
    evaluation.insert("bits_per_byte", nats_per_byte / LN_2);
    evaluation.insert("perplexity", nats_per_byte.exp());
}

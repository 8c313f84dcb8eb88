//! Text from a language model, byte by byte.

use phalanx_data::{Batch, FeatureKind, Features, Targets};
use phalanx_protocol::spec::{JobSpec, ModelSpec};

use crate::{error::TrainError, learner::Learner, measure::softmax};

/// Logits are divided by this before a byte is drawn: below 1 the likely bytes
/// become likelier.
const TEMPERATURE: f32 = 0.8;

/// What the job's model writes after its prompt, if the job asks for that.
/// `still_wanted` is asked before each byte.
pub(crate) fn sample(
    learner: &dyn Learner,
    spec: &JobSpec,
    still_wanted: &dyn Fn() -> Result<(), TrainError>,
) -> Result<Option<String>, TrainError> {
    let ModelSpec::Gpt(gpt) = &spec.model else { return Ok(None) };
    let FeatureKind::Bytes { context } = learner.schema().features else { return Ok(None) };
    let mut text = gpt.prompt.clone().into_bytes();
    let mut dice = blake3::Hasher::new().update(&spec.train.seed.to_le_bytes()).finalize_xof();
    for _ in 0..gpt.sample_bytes {
        still_wanted()?;
        let window = &text[text.len().saturating_sub(context)..];
        let batch = Batch { rows: 1, features: Features::Bytes(window.to_vec()), targets: Targets::None };
        let scores = learner.scores(&batch);
        let last: Vec<f32> = scores[scores.len() - 256..].iter().map(|score| score / TEMPERATURE).collect();
        let mut word = [0; 4];
        dice.fill(&mut word);
        text.push(draw(&softmax(&last), u32::from_le_bytes(word)));
    }
    Ok(Some(String::from_utf8_lossy(&text).trim_start().to_owned()))
}

/// The byte at which the summed probabilities pass `throw / 2^32`.
fn draw(probabilities: &[f32], throw: u32) -> u8 {
    let mut left = f64::from(throw) / 2.0_f64.powi(32);
    for (byte, probability) in (0_u8..=255).zip(probabilities) {
        left -= f64::from(*probability);
        if left < 0.0 {
            return byte;
        }
    }
    b' '
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_drawn_as_often_as_it_is_likely() {
        let mut probabilities = vec![0.0; 256];
        probabilities[7] = 0.25;
        probabilities[9] = 0.75;
        assert_eq!(draw(&probabilities, 0), 7);
        assert_eq!(draw(&probabilities, u32::MAX / 5), 7);
        assert_eq!(draw(&probabilities, u32::MAX / 2), 9);
    }
}

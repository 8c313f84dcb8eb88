//! Text from a language model, byte by byte or token by token.

use std::borrow::Cow;

use phalanx_data::{Batch, Encoder, FeatureKind, Features, Targets, Tokenizer};
use phalanx_evaluate::most_probable;
use phalanx_protocol::spec::{JobSpec, ModelSpec};

use crate::{
    error::TrainError,
    learner::Learner,
    measure::softmax,
    task::{feature_width, score_width},
};

/// Logits are divided by this before one is drawn: below 1 the likely ones
/// become likelier.
const TEMPERATURE: f32 = 0.8;

/// What the job's model writes after its prompt, if the job asks for that.
/// `still_wanted` is asked before each byte or token.
pub(crate) fn sample(
    learner: &dyn Learner,
    spec: &JobSpec,
    encoder: &Encoder,
    still_wanted: &dyn Fn() -> Result<(), TrainError>,
) -> Result<Option<String>, TrainError> {
    let ModelSpec::Gpt(gpt) = &spec.model else { return Ok(None) };
    let mut text = match &learner.schema().features {
        FeatureKind::Bytes { .. } => Text::Bytes(gpt.prompt.clone().into_bytes()),
        FeatureKind::Tokens { .. } => {
            let Some(tokenizer) = encoder.tokenizer() else { return Ok(None) };
            Text::Tokens { tokens: tokenizer.encode(&gpt.prompt), tokenizer }
        }
        FeatureKind::Dense { .. } | FeatureKind::Image { .. } => return Ok(None),
    };
    let mut dice = blake3::Hasher::new().update(&spec.train.seed.to_le_bytes()).finalize_xof();
    let context = feature_width(&learner.schema().features);
    let vocabulary = score_width(&learner.schema().target);
    let bytes_wanted = gpt.prompt.len() + gpt.sample_bytes;
    // Each token has a byte at least.
    for _ in 0..gpt.sample_bytes {
        if text.bytes().len() >= bytes_wanted {
            break;
        }
        still_wanted()?;
        let batch = Batch::new(1, text.last(context), Targets::None);
        let scores = learner.scores(&batch);
        let last = scores[scores.len() - vocabulary..].iter().map(|score| score / TEMPERATURE);
        let mut word = [0; 4];
        dice.fill(&mut word);
        text.push(draw(&softmax(&last.collect::<Vec<_>>()), u32::from_le_bytes(word)));
    }
    Ok(Some(String::from_utf8_lossy(&text.bytes()).trim_start().to_owned()))
}

/// A text that grows.
enum Text<'a> {
    Bytes(Vec<u8>),
    Tokens { tokens: Vec<u16>, tokenizer: &'a Tokenizer },
}

impl Text<'_> {
    /// The end of it, as a model reads it.
    fn last(&self, context: usize) -> Features {
        match self {
            Self::Bytes(bytes) => Features::Bytes(bytes[bytes.len().saturating_sub(context)..].to_vec()),
            Self::Tokens { tokens, .. } => {
                Features::Tokens(tokens[tokens.len().saturating_sub(context)..].to_vec())
            }
        }
    }

    fn push(&mut self, drawn: u16) {
        match self {
            // Of 256.
            Self::Bytes(bytes) => bytes.push(drawn as u8),
            Self::Tokens { tokens, .. } => tokens.push(drawn),
        }
    }

    fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Bytes(bytes) => bytes.into(),
            Self::Tokens { tokens, tokenizer } => tokenizer.decode(tokens).into(),
        }
    }
}

/// What the summed probabilities pass `throw / 2^32` at; the likeliest where rounding keeps them below it.
fn draw(probabilities: &[f32], throw: u32) -> u16 {
    let mut left = f64::from(throw) / 2.0_f64.powi(32);
    for (drawn, probability) in (0..=u16::MAX).zip(probabilities) {
        left -= f64::from(*probability);
        if left < 0.0 {
            return drawn;
        }
    }
    most_probable(probabilities) as u16
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

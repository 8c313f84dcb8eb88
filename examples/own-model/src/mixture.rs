//! A mixture of experts (Jacobs, Jordan, Nowlan and Hinton 1991): some small
//! perceptrons, and a gate that says for each row how much each of them counts.
//!
//! It knows nothing of workers, lanes or checkpoints, and trains on any of them.

use burn::{
    module::Module,
    nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig},
    tensor::{Device, Tensor, activation},
};
use phalanx_data::{Schema, TargetKind};
use phalanx_train::{Samples, Settings, Task, feature_width, score_width};
use serde::Deserialize;

/// The most experts that settings may ask for.
const EXPERTS_MAX: usize = 64;

/// The widest expert that settings may ask for.
const WIDTH_MAX: usize = 4_096;

/// `[model.custom.settings]` of the job file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MixtureSettings {
    /// How many experts there are.
    experts: usize,
    /// How wide each of their two hidden layers is.
    width: usize,
}

/// Experts and their gate.
#[derive(Module, Debug)]
pub(crate) struct Mixture {
    experts: Vec<Expert>,
    gate: Linear,
}

/// A perceptron with a shortcut around its second layer.
#[derive(Module, Debug)]
struct Expert {
    input: Linear,
    norm: LayerNorm,
    hidden: Linear,
    output: Linear,
}

impl Mixture {
    /// The model for a data set of this `schema`: one vector a row in, classes or a number out.
    pub(crate) fn new(settings: &Settings, schema: &Schema, device: &Device) -> Result<Self, String> {
        let MixtureSettings { experts, width } =
            serde_json::from_value(settings.clone().into()).map_err(|error| format!("settings: {error}"))?;
        if !(1..=EXPERTS_MAX).contains(&experts) {
            return Err(format!("settings: experts = {experts}, expected 1 to {EXPERTS_MAX}"));
        }
        if !(1..=WIDTH_MAX).contains(&width) {
            return Err(format!("settings: width = {width}, expected 1 to {WIDTH_MAX}"));
        }
        if matches!(schema.target, TargetKind::NextByte | TargetKind::NextToken { .. }) {
            return Err("a mixture needs classes or a number to predict, found text".to_owned());
        }
        let (features, scores) = (feature_width(&schema.features), score_width(&schema.target));
        let expert = |_| Expert {
            input: LinearConfig::new(features, width).init(device),
            norm: LayerNormConfig::new(width).init(device),
            hidden: LinearConfig::new(width, width).init(device),
            output: LinearConfig::new(width, scores).init(device),
        };
        Ok(Self {
            experts: (0..experts).map(expert).collect(),
            gate: LinearConfig::new(features, experts).init(device),
        })
    }
}

impl Expert {
    fn forward(&self, vectors: Tensor<2>) -> Tensor<2> {
        let x = activation::gelu(self.input.forward(vectors));
        let x = x.clone() + activation::gelu(self.hidden.forward(self.norm.forward(x)));
        self.output.forward(x)
    }
}

impl Task for Mixture {
    /// Shapes, for `n` rows, `e` experts and `s` scores: the gate gives `[n, e]`, each
    /// expert `[n, s]`, and so does their weighted sum.
    fn scores(&self, samples: &Samples<'_>) -> Tensor<2> {
        let vectors = samples.vectors();
        let shares = activation::softmax(self.gate.forward(vectors.clone()), 1);
        let weighed = self.experts.iter().enumerate().map(|(expert, model)| {
            let share = shares.clone().narrow(1, expert, 1);
            model.forward(vectors.clone()) * share
        });
        weighed.reduce(|sum, scores| sum + scores).expect("invariant: there is an expert")
    }
}

#[cfg(test)]
mod tests {
    use phalanx_data::{Batch, FeatureKind, Features, Targets};
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema {
            features: FeatureKind::Dense { width: 3 },
            target: TargetKind::Number { mean: 0.0, deviation: 1.0 },
        }
    }

    fn build(settings: &serde_json::Value) -> Result<Mixture, String> {
        Mixture::new(settings.as_object().expect("a table"), &schema(), &Device::flex())
    }

    #[test]
    fn every_row_gets_one_number() {
        let model = build(&json!({ "experts": 4, "width": 8 })).expect("the settings are right");
        let batch = Batch::new(5, Features::Floats(vec![0.5; 15]), Targets::None);
        let (schema, device) = (schema(), Device::flex());
        assert_eq!(model.scores(&Samples::new(&batch, &schema, &device)).dims(), [5, 1]);
    }

    #[test]
    fn wrong_settings_are_told() {
        for (settings, told) in [
            (json!({ "experts": 4 }), "width"),
            (json!({ "experts": 0, "width": 8 }), "experts = 0"),
            (json!({ "experts": 4, "width": 100_000 }), "width = 100000"),
            (json!({ "experts": 4, "width": 8, "gates": 1 }), "gates"),
        ] {
            let error = build(&settings).expect_err("the settings are wrong");
            assert!(error.contains(told), "{error}");
        }
    }
}

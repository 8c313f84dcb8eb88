//! How probabilities become decisions: mended first, if the job asks for it, then compared with a
//! threshold. Chosen on the validation split, kept with the model, and applied wherever it predicts, so
//! that what is measured is what is served. Owns what was chosen.

use phalanx_protocol::spec::{CalibrationSpec, EvaluateSpec, ThresholdGoal, ThresholdSpec};
use serde::{Deserialize, Serialize};

use crate::{
    calibration::{Temperature, fit_temperature},
    columns::decision,
    input::InputError,
    predictions::{ClassScores, Predictions},
    threshold::{ChosenThreshold, Goal, choose_threshold},
};

/// What was chosen. Without anything, probabilities stay as they are and the most probable class is
/// taken.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decision {
    /// What logits are divided by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,
    /// From which probability, mended, a row is taken for the second of two classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<ChosenThreshold>,
}

impl Decision {
    /// Chooses what `spec` asks for by what the model says of the validation split.
    ///
    /// # Errors
    ///
    /// Where that has no classes, not two of them for a threshold, or no rows of both.
    pub fn choose(spec: &EvaluateSpec, validation: &Predictions) -> Result<Self, InputError> {
        if spec.calibration.is_none() && spec.threshold.is_none() {
            return Ok(Self::default());
        }
        let Predictions::Classes(scores) = validation else {
            return Err(setting("target", "no set of classes", "classes"));
        };
        let count = scores.classes.len();
        let temperature = match spec.calibration {
            None => None,
            Some(CalibrationSpec::Temperature) => {
                Some(fit_temperature(&wide(&scores.probabilities), &scores.truths, count)?)
            }
        };
        let mended = Self { temperature, threshold: None }.applied(scores);
        let threshold = match &spec.threshold {
            None => None,
            Some(_) if count != 2 => {
                return Err(setting("classes", &count.to_string(), "two of them for a threshold"));
            }
            Some(threshold) => Some(choose_threshold(&mended.of_class(1), &mended.are(1), threshold.into())?),
        };
        Ok(Self { temperature, threshold })
    }

    /// The same predictions, mended and with the threshold to decide by.
    pub fn apply(&self, predictions: &Predictions) -> Predictions {
        match predictions {
            Predictions::Classes(scores) => Predictions::Classes(self.applied(scores)),
            Predictions::Numbers(_) | Predictions::NextBytes(_) => predictions.clone(),
        }
    }

    /// Mends probabilities of `classes` classes, row by row.
    pub fn mend(&self, probabilities: &mut [f32], classes: usize) {
        let Some(temperature) = self.temperature else { return };
        let mut mended = wide(probabilities);
        temperature.apply(&mut mended, classes);
        probabilities.iter_mut().zip(mended).for_each(|(to, from)| *to = from as f32);
    }

    /// The class that a row with these mended probabilities is taken for.
    pub fn class(&self, probabilities: &[f32]) -> usize {
        decision(probabilities, self.least_probability())
    }

    /// From which probability on a row is taken for the second of two classes; where it is the more probable
    /// one, without.
    pub fn least_probability(&self) -> Option<f64> {
        self.threshold.map(|chosen| chosen.validation.threshold)
    }

    fn applied(&self, scores: &ClassScores) -> ClassScores {
        let mut applied = ClassScores { threshold: self.least_probability(), ..scores.clone() };
        self.mend(&mut applied.probabilities, scores.classes.len());
        applied
    }
}

impl From<&ThresholdSpec> for Goal {
    fn from(spec: &ThresholdSpec) -> Self {
        let at_least = spec.at_least.unwrap_or_default();
        let cost = |cost: Option<f64>| cost.unwrap_or_default();
        match spec.goal {
            ThresholdGoal::FBeta => Self::FBeta { beta: spec.beta.unwrap_or(1.0) },
            ThresholdGoal::Accuracy => Self::Accuracy,
            ThresholdGoal::BalancedAccuracy => Self::BalancedAccuracy,
            ThresholdGoal::Youden => Self::Youden,
            ThresholdGoal::EqualErrorRate => Self::EqualErrorRate,
            ThresholdGoal::Recall => Self::Recall { at_least },
            ThresholdGoal::Precision => Self::Precision { at_least },
            ThresholdGoal::Cost => Self::Cost {
                false_positive: cost(spec.false_positive),
                false_negative: cost(spec.false_negative),
                true_positive: cost(spec.true_positive),
                true_negative: cost(spec.true_negative),
            },
        }
    }
}

fn wide(probabilities: &[f32]) -> Vec<f64> {
    probabilities.iter().copied().map(f64::from).collect()
}

fn setting(setting: &'static str, actual: &str, expected: &str) -> InputError {
    InputError::Setting { setting, actual: actual.to_owned(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::evaluate;

    /// Says 0.9 or 0.2 of the second class, and is right in 7 of 10.
    fn scores() -> Predictions {
        let says = |row: u32| if row.is_multiple_of(2) { [0.1, 0.9] } else { [0.8, 0.2] };
        Predictions::Classes(ClassScores {
            classes: ["no", "yes"].map(str::to_owned).to_vec(),
            probabilities: (0..200).flat_map(says).collect(),
            truths: (0..200).map(|row| (row + u32::from(row % 20 < 6)) % 2).map(|odd| 1 - odd).collect(),
            threshold: None,
        })
    }

    #[test]
    fn what_is_chosen_decides_the_metrics() {
        let before = evaluate(&scores()).unwrap().metrics;
        let spec = EvaluateSpec {
            calibration: Some(CalibrationSpec::Temperature),
            threshold: Some(ThresholdSpec {
                goal: ThresholdGoal::Recall,
                at_least: Some(1.0),
                ..ThresholdSpec::default()
            }),
            ..EvaluateSpec::default()
        };
        let chosen = Decision::choose(&spec, &scores()).unwrap();
        assert!(chosen.temperature.unwrap().temperature > 1.0, "{chosen:?}");
        let after = evaluate(&chosen.apply(&scores())).unwrap().metrics;
        assert!(after["log_loss"] < before["log_loss"] - 0.01, "{after:?}");
        assert_eq!(after["recall[yes]"], 1.0);
        assert!(before["recall[yes]"] < 1.0);
        assert!((after["roc_auc"] - before["roc_auc"]).abs() < 1e-12);
        let mut row = [0.8, 0.2];
        chosen.mend(&mut row, 2);
        assert_eq!(chosen.class(&row), 1);
        let json = serde_json::to_string(&chosen).unwrap();
        assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), chosen);
    }

    #[test]
    fn without_a_wish_nothing_is_chosen_and_what_does_not_fit_is_refused() {
        let none = Decision::choose(&EvaluateSpec::default(), &scores()).unwrap();
        assert_eq!(none, Decision::default());
        assert_eq!(none.apply(&scores()), scores());
        let spec = EvaluateSpec { threshold: Some(ThresholdSpec::default()), ..EvaluateSpec::default() };
        let numbers = Predictions::Numbers(crate::Numbers { predictions: vec![1.0], truths: vec![1.0] });
        let error = Decision::choose(&spec, &numbers).unwrap_err().to_string();
        assert_eq!(error, "`target` is no set of classes, expected classes");
    }
}

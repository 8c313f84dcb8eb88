//! What belongs to a job's state beside its tensors: whether early stopping is
//! near, and how training went so far, for the report. The same on every rank, since all ranks see the
//! same metrics and losses.

use std::collections::BTreeMap;

use phalanx_evaluate::Evaluation;
use phalanx_protocol::spec::{EarlyStopSpec, Metric};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// How training fares on the validation split.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainingProgress {
    /// The best value so far of the metric that early stopping watches.
    best: Option<f64>,
    /// Validations since then.
    without_improvement: u32,
    /// Why training is over before its planned end.
    stopped: Option<String>,
    /// The loss of steps.
    #[serde(default)]
    pub(crate) losses: Curve,
    /// What validations came to, by metric: the loss and what early stopping watches.
    #[serde(default)]
    pub(crate) validations: BTreeMap<String, Curve>,
}

/// The most points of a [`Curve`]: it is part of every checkpoint's manifest.
const POINTS_MAX: usize = 200;

/// Figures after steps, thinned so that they stay few: of `every` figures one is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// Steps made by then, and the figure.
    pub points: Vec<(u64, f64)>,
    /// Figures that came so far.
    seen: u64,
    /// One of so many is kept.
    every: u64,
}

impl Default for Curve {
    fn default() -> Self {
        Self { points: Vec::new(), seen: 0, every: 1 }
    }
}

impl Curve {
    fn add(&mut self, step: u64, value: f64) {
        let is_kept = self.seen.is_multiple_of(self.every);
        self.seen += 1;
        if !is_kept || !value.is_finite() {
            return;
        }
        self.points.push((step, value));
        if self.points.len() > POINTS_MAX {
            let mut nth = 0;
            self.points.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
            self.every *= 2;
        }
    }
}

impl TrainingProgress {
    /// Why training is over, if it is.
    pub(crate) fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Takes in the loss of a step, which is the number of steps made with it.
    pub(crate) fn stepped(&mut self, step: u64, loss: f32) {
        self.losses.add(step, loss.into());
    }

    /// Keeps what a validation after `step` steps came to.
    pub(crate) fn note(&mut self, step: u64, watched: Option<&str>, evaluation: &Evaluation) {
        for name in std::iter::once("loss").chain(watched.filter(|name| *name != "loss")) {
            if let Some(value) = evaluation.metrics.get(name) {
                self.validations.entry(name.to_owned()).or_default().add(step, *value);
            }
        }
    }

    /// Takes in one validation.
    pub(crate) fn validated(
        &mut self,
        spec: &EarlyStopSpec,
        evaluation: &Evaluation,
    ) -> Result<(), TrainError> {
        let Evaluation { metrics, undefined, .. } = evaluation;
        let value = *metrics.get(&spec.metric).ok_or_else(|| TrainError::NoSuchMetric {
            metric: spec.metric.clone(),
            reason: undefined.get(&spec.metric).cloned().unwrap_or_else(|| {
                format!("it has {}", metrics.keys().cloned().collect::<Vec<_>>().join(", "))
            }),
        })?;
        let gain = |best: f64| if more_is_better(&spec.metric) { value - best } else { best - value };
        if self.best.is_none_or(|best| gain(best) > spec.min_delta) {
            self.best = Some(value);
            self.without_improvement = 0;
            return Ok(());
        }
        self.without_improvement += 1;
        if self.without_improvement >= spec.patience {
            let best = self.best.unwrap_or(value);
            let EarlyStopSpec { metric, patience, .. } = spec;
            self.stopped = Some(format!("{metric} has not improved on {best:.6} for {patience} validations"));
        }
        Ok(())
    }
}

/// Whether more of a metric is better; a per-class figure is as its metric is.
fn more_is_better(metric: &str) -> bool {
    Metric::named(metric).is_some_and(|metric| metric.more_is_better)
}

#[cfg(test)]
mod tests {
    use phalanx_protocol::message::Metrics;

    use super::*;

    fn after(values: &[f64], metric: &str, patience: u32) -> TrainingProgress {
        let spec = EarlyStopSpec { metric: metric.to_owned(), patience, min_delta: 0.0 };
        let mut progress = TrainingProgress::default();
        for value in values {
            let metrics = Metrics::from([(metric.to_owned(), *value)]);
            let evaluation = Evaluation { metrics, ..Evaluation::default() };
            progress.validated(&spec, &evaluation).expect("the metric is there");
        }
        progress
    }

    #[test]
    fn training_stops_after_as_many_validations_without_gain_as_patience_says() {
        assert!(after(&[0.5, 0.6, 0.6, 0.59], "accuracy", 3).stopped().is_none());
        assert!(after(&[0.5, 0.6, 0.6, 0.59, 0.6], "accuracy", 3).stopped().is_some());
    }

    #[test]
    fn a_curve_stays_short_and_reaches_from_end_to_end() {
        let mut progress = TrainingProgress::default();
        (1..=10_000).for_each(|step| progress.stepped(step, 1.0 / step as f32));
        let points = &progress.losses.points;
        assert!(points.len() <= POINTS_MAX && points.len() > POINTS_MAX / 3, "{}", points.len());
        assert_eq!(points[0].0, 1);
        assert!(points[points.len() - 1].0 > 9_900 && points.is_sorted());
        let json = serde_json::to_string(&progress).expect("it is plain");
        assert_eq!(serde_json::from_str::<TrainingProgress>(&json).expect("it is read"), progress);
        assert!(json.len() < 10_000, "{}", json.len());
    }

    #[test]
    fn a_loss_improves_downwards() {
        assert!(after(&[0.5, 0.4, 0.3], "log_loss", 1).stopped().is_none());
        assert!(after(&[0.5, 0.6], "log_loss", 1).stopped().is_some());
    }
}

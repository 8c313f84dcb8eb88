//! What belongs to a job's state beside its tensors: whether early stopping is
//! near. The same on every rank, since all ranks see the same metrics.

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
}

impl TrainingProgress {
    /// Why training is over, if it is.
    pub(crate) fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
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
    fn a_loss_improves_downwards() {
        assert!(after(&[0.5, 0.4, 0.3], "log_loss", 1).stopped().is_none());
        assert!(after(&[0.5, 0.6], "log_loss", 1).stopped().is_some());
    }
}

//! The learning rate's course, from burn's schedulers.

use burn::lr_scheduler::{
    LrSchedulerConfig, cosine::CosineAnnealingLrSchedulerConfig, exponential::ExponentialLrSchedulerConfig,
    linear::LinearLrSchedulerConfig, module_lr_scheduler::ModuleLrScheduler,
    sequential::SequentialLrSchedulerConfig, step::StepLrSchedulerConfig,
};
use phalanx_protocol::spec::{Schedule, TrainSpec};

use crate::error::BuildError;

/// The learning rate of each step in turn.
pub(crate) struct LearningRate(ModuleLrScheduler);

impl LearningRate {
    /// The course of a job of `total_steps`, at the point where `done` steps are finished.
    pub(crate) fn new(spec: &TrainSpec, total_steps: u64, done: u64) -> Result<Self, BuildError> {
        let refused = |reason| BuildError::Setting { setting: "schedule", reason };
        let warmup = usize::try_from(spec.schedule.warmup_steps).unwrap_or(usize::MAX);
        let total = usize::try_from(total_steps).unwrap_or(usize::MAX);
        let main = main_course(spec, total.saturating_sub(warmup).max(1));
        let mut scheduler = if warmup == 0 {
            SequentialLrSchedulerConfig::new(vec![main], vec![])
        } else {
            // The first step already learns a little: from 1/n up to the full rate.
            let first = spec.learning_rate / warmup as f64;
            let rise = match warmup {
                1 => constant(spec.learning_rate),
                _ => LinearLrSchedulerConfig::new(first, spec.learning_rate, warmup - 1).into(),
            };
            SequentialLrSchedulerConfig::new(vec![rise, main], vec![warmup])
        }
        .init()
        .map_err(refused)?;
        // The schedulers are pure functions of how often they were asked.
        for _ in 0..done {
            scheduler.step();
        }
        Ok(Self(scheduler))
    }

    /// The rate of the next step.
    pub(crate) fn next(&mut self) -> f64 {
        self.0.step().base()
    }
}

fn main_course(spec: &TrainSpec, steps: usize) -> LrSchedulerConfig {
    let schedule = &spec.schedule;
    let (rate, last) = (spec.learning_rate, schedule.final_learning_rate);
    let gamma = schedule.gamma.unwrap_or(1.0);
    match schedule.kind {
        Schedule::Constant => constant(rate),
        Schedule::Linear => LinearLrSchedulerConfig::new(rate, last, steps).into(),
        Schedule::Cosine => CosineAnnealingLrSchedulerConfig::new(rate, steps).with_min_lr(last).into(),
        Schedule::Exponential => ExponentialLrSchedulerConfig::new(rate, gamma).into(),
        Schedule::Step => {
            let every = usize::try_from(schedule.every_steps.unwrap_or(1)).unwrap_or(usize::MAX);
            StepLrSchedulerConfig::new(rate, every).with_gamma(gamma).into()
        }
    }
}

fn constant(rate: f64) -> LrSchedulerConfig {
    LrSchedulerConfig::Constant(rate)
}

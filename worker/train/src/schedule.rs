//! The learning rate's course, from burn's schedulers.

use burn::lr_scheduler::{
    LrSchedulerConfig, cosine::CosineAnnealingLrSchedulerConfig, exponential::ExponentialLrSchedulerConfig,
    linear::LinearLrSchedulerConfig, module_lr_scheduler::ModuleLrScheduler, noam::NoamLrSchedulerConfig,
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
        // Noam's course rises by itself.
        let mut scheduler = if warmup == 0 || spec.schedule.kind == Schedule::Noam {
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
        Schedule::Noam => {
            let warmup = schedule.warmup_steps.max(1);
            let factor = rate * (warmup as f64).sqrt();
            let warmup = usize::try_from(warmup).unwrap_or(usize::MAX);
            NoamLrSchedulerConfig::new(factor).with_warmup_steps(warmup).with_model_size(1).into()
        }
    }
}

fn constant(rate: f64) -> LrSchedulerConfig {
    LrSchedulerConfig::Constant(rate)
}

#[cfg(test)]
mod tests {
    use phalanx_protocol::spec::ScheduleSpec;

    use super::*;

    /// The rates of all steps of a job of `steps` with a highest rate of 1.
    fn check(schedule: &ScheduleSpec, steps: u64, expected: &[f64]) {
        let json =
            serde_json::json!({"batch_size": 1, "lanes": 1, "learning_rate": 1.0, "schedule": schedule});
        let spec: TrainSpec = serde_json::from_value(json).expect("settings");
        let course = |done| {
            let mut rates = LearningRate::new(&spec, steps, done).expect("a course");
            (done..steps).map(|_| rates.next()).collect::<Vec<_>>()
        };
        let whole = course(0);
        let near = |(actual, expected): (&f64, &f64)| (actual - expected).abs() < 1e-9;
        assert!(
            whole.len() == expected.len() && whole.iter().zip(expected).all(near),
            "{schedule:?}: {whole:?}"
        );
        for done in 1..steps {
            assert_eq!(course(done), whole[done as usize..], "{schedule:?}, resumed after {done} steps");
        }
    }

    fn of(kind: Schedule, warmup_steps: u64) -> ScheduleSpec {
        ScheduleSpec { kind, warmup_steps, ..ScheduleSpec::default() }
    }

    #[test]
    fn a_rate_rises_then_takes_its_course_and_goes_on_where_it_stopped() {
        let half = 0.5_f64.sqrt();
        check(&of(Schedule::Constant, 0), 3, &[1.0, 1.0, 1.0]);
        check(&of(Schedule::Constant, 1), 3, &[1.0, 1.0, 1.0]);
        check(&of(Schedule::Constant, 4), 6, &[0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        check(&of(Schedule::Constant, 4), 3, &[0.25, 0.5, 0.75]);
        check(&of(Schedule::Linear, 2), 6, &[0.5, 1.0, 1.0, 0.75, 0.5, 0.25]);
        check(&of(Schedule::Cosine, 0), 4, &[1.0, 0.5 + half / 2.0, 0.5, 0.5 - half / 2.0]);
        check(&of(Schedule::Noam, 2), 4, &[0.5, 1.0, (2.0_f64 / 3.0).sqrt(), half]);
        check(&ScheduleSpec { gamma: Some(0.5), ..of(Schedule::Exponential, 0) }, 3, &[1.0, 0.5, 0.25]);
        let step = ScheduleSpec { gamma: Some(0.1), every_steps: Some(2), ..of(Schedule::Step, 0) };
        check(&step, 5, &[1.0, 1.0, 0.1, 0.1, 0.01]);
    }
}

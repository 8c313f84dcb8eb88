//! How fast this worker trains, summed up from one heartbeat to the next: the trainer's thread
//! adds each step, and the call that asks for directives takes the sum along. So it costs
//! training no message, and a coordinator that is away costs nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use phalanx_protocol::{
    id::{Generation, JobId},
    pace::{Pace, StepTime},
};

/// The steps since the last heartbeat. Clones are the same meter.
#[derive(Debug, Clone, Default)]
pub(crate) struct PaceMeter(Arc<Mutex<Option<Pace>>>);

impl PaceMeter {
    /// Adds a step over `lanes` lanes in a generation of a job. What is left of another one is dropped.
    pub(crate) fn add(&self, (job, generation): (&JobId, Generation), lanes: u32, step: &StepTime) {
        let mut sum = self.sum();
        let of_it = |pace: &Pace| pace.generation == generation && pace.job == *job;
        let pace = match sum.take().filter(of_it) {
            Some(pace) => sum.insert(pace),
            None => sum.insert(Pace {
                job: job.clone(),
                generation,
                steps: 0,
                lanes,
                gradients: Default::default(),
                reduction: Default::default(),
                update: Default::default(),
            }),
        };
        pace.add(step);
    }

    /// The steps since the last time, if there are any.
    pub(crate) fn take(&self) -> Option<Pace> {
        self.sum().take()
    }

    fn sum(&self) -> MutexGuard<'_, Option<Pace>> {
        // A panic between two steps leaves the sum whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn steps_are_summed_up_until_they_are_taken_and_those_of_an_older_generation_dropped() {
        let meter = PaceMeter::default();
        let job = JobId::new("j", 1);
        let step = StepTime { gradients: Duration::from_millis(3), ..StepTime::default() };
        let add = |generation: u64| meter.add((&job, Generation::new(generation)), 2, &step);
        for generation in [1, 1, 2, 2, 2] {
            add(generation);
        }
        let pace = meter.take().expect("steps were made");
        assert_eq!((pace.generation, pace.steps), (Generation::new(2), 3));
        assert_eq!((pace.lanes, pace.gradients), (2, Duration::from_millis(9)));
        assert_eq!(meter.take(), None);
    }
}

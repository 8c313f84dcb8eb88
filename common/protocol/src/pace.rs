//! How fast a rank works: what its worker tells with its heartbeats. Whether that is slow is for
//! the coordinator to say.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Generation, JobId};

/// Where the time of some steps has gone on one rank. All times are sums over these steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// The job.
    pub job: JobId,
    /// The generation in which the steps were made.
    pub generation: Generation,
    /// Steps, 1 or more.
    pub steps: u64,
    /// Lanes that the rank owns, 1 or more.
    pub lanes: u32,
    /// On the gradients of its lanes, with the wait for their batches.
    pub gradients: Duration,
    /// In the reduction: most of it is the wait for the slowest rank.
    pub reduction: Duration,
    /// On the update.
    pub update: Duration,
}

impl Pace {
    /// Adds a step.
    pub fn add(&mut self, step: &StepTime) {
        self.steps += 1;
        self.gradients += step.gradients;
        self.reduction += step.reduction;
        self.update += step.update;
    }

    /// Seconds of a step in which the rank works itself.
    pub fn own_seconds(&self) -> f64 {
        (self.gradients.as_secs_f64() + self.update.as_secs_f64()) / self.steps.max(1) as f64
    }

    /// Seconds of a step in the reduction.
    pub fn reduction_seconds(&self) -> f64 {
        self.reduction.as_secs_f64() / self.steps.max(1) as f64
    }

    /// [`own_seconds`](Self::own_seconds) as if the rank had one lane: what can be compared among
    /// ranks, which may own different numbers of lanes.
    pub fn lane_seconds(&self) -> f64 {
        let lane = self.gradients.as_secs_f64() / f64::from(self.lanes.max(1));
        (lane + self.update.as_secs_f64()) / self.steps.max(1) as f64
    }
}

/// Where the time of one step has gone on one rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepTime {
    /// On the gradients of its lanes, with the wait for their batches.
    pub gradients: Duration,
    /// In the reduction.
    pub reduction: Duration,
    /// On the update.
    pub update: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_with_twice_the_lanes_is_not_slower_for_that() {
        let pace = |lanes: u32| Pace {
            job: JobId::new("j", 1),
            generation: Generation::new(1),
            steps: 10,
            lanes,
            gradients: Duration::from_millis(100) * lanes,
            reduction: Duration::from_millis(50),
            update: Duration::from_millis(20),
        };
        assert_eq!(pace(1).lane_seconds(), pace(2).lane_seconds());
        assert!((pace(2).own_seconds() - 0.022).abs() < 1e-9);
        assert!((pace(2).reduction_seconds() - 0.005).abs() < 1e-9);
    }
}

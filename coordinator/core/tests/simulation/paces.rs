//! How fast simulated workers are: one process in three is slow for its whole life.

use std::time::Duration;

use phalanx_protocol::{pace::Pace, view::JobView};

use crate::{process::Slot, world::World};

impl Slot {
    /// What its worker tells with a poll. Where it does not train yet, it speaks too early.
    pub(crate) fn pace(&self) -> Option<Pace> {
        let (life, job, generation) = self.trains()?;
        let is_slow = life % 3 == 0;
        Some(Pace {
            job: job.clone(),
            generation,
            steps: 1,
            lanes: 1,
            gradients: Duration::from_millis(if is_slow { 300 } else { 100 }),
            reduction: Duration::from_millis(if is_slow { 10 } else { 210 }),
            update: Duration::from_millis(10),
        })
    }
}

impl World {
    /// Counts what a job has told of stragglers.
    pub(crate) fn count_stragglers(&mut self, job: &JobView) {
        let told = |text: &str| job.messages.iter().filter(|message| message.text.contains(text)).count();
        self.ended.stragglers += told("is a straggler:") as u64;
        self.ended.relieved += told("is to take the place of") as u64;
    }
}

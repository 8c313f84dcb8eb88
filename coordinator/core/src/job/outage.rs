//! A job whose object store is away. Its workers, and the coordinator where it writes a manifest,
//! tell that they wait for it and that they do so no longer. Steps go on meanwhile: nothing of the
//! job's life changes but what people are told, and how long a rank may take to load its state.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use phalanx_protocol::{id::WorkerId, view::StoreAway};

use super::{Job, Phase, bounded};
use crate::{context::Context, record::OutageRecord};

impl Job {
    /// Somebody waits for the store, which has not answered for so long: `worker`, or the coordinator.
    pub(crate) fn store_is_away(
        &mut self,
        cx: &mut Context<'_>,
        worker: Option<WorkerId>,
        lasting: Duration,
        why: String,
    ) {
        if self.phase.state().is_over() {
            return;
        }
        let known = self.record.outage.take();
        let is_new = known.is_none();
        let mut outage = known.unwrap_or_else(|| OutageRecord {
            since: before(cx.now.wall, lasting),
            why: bounded(why),
            workers: BTreeSet::new(),
            coordinator: false,
        });
        match worker {
            Some(worker) => drop(outage.workers.insert(worker)),
            None => outage.coordinator = true,
        }
        let what = format!("the object store does not answer ({})", outage.why);
        self.record.outage = Some(outage);
        if is_new {
            let then = self.what_waits();
            self.say(cx, format!("{what}: {then}"));
        }
        self.store(cx);
    }

    /// `worker`, or the coordinator, waits no longer: the store has answered. The outage is over when nobody waits.
    pub(crate) fn store_is_back(&mut self, cx: &mut Context<'_>, worker: Option<WorkerId>) {
        let Some(outage) = &mut self.record.outage else { return };
        match worker {
            Some(worker) => drop(outage.workers.remove(&worker)),
            None => outage.coordinator = false,
        }
        if outage.workers.is_empty() && !outage.coordinator {
            let lasted = cx.now.wall.duration_since(outage.since).max(SignedDuration::ZERO);
            self.record.outage = None;
            self.say(cx, format!("the object store answers again, after {} s", lasted.as_secs()));
        }
        self.store(cx);
    }

    /// Its workers form another generation: they tell anew if they wait.
    pub(super) fn outage_outlives_generation(&mut self) {
        if let Some(outage) = &mut self.record.outage {
            outage.workers.clear();
        }
    }

    /// Whether a member waits for the store.
    pub(super) fn members_wait_for_store(&self) -> bool {
        self.record.outage.as_ref().is_some_and(|outage| !outage.workers.is_empty())
    }

    /// The outage as users see it.
    pub(super) fn store_away(&self) -> Option<StoreAway> {
        let outage = self.record.outage.as_ref()?;
        Some(StoreAway { since: outage.since, why: outage.why.clone() })
    }

    /// Why the job is where it is, if that is because of the store.
    pub(super) fn waits_for_store(&self) -> Option<String> {
        let outage = self.record.outage.as_ref()?;
        match self.phase {
            // It would wait anyway, or does not wait at all.
            Phase::Queued { .. }
            | Phase::Paused { .. }
            | Phase::Cancelled { .. }
            | Phase::Done
            | Phase::Failed { .. } => None,
            Phase::Preparing { .. }
            | Phase::Forming { .. }
            | Phase::Training { .. }
            | Phase::Evaluating { .. }
            | Phase::Stopping { .. }
            | Phase::Regrouping { .. }
            | Phase::Registering { .. } => {
                Some(format!("{}: the object store does not answer ({})", self.what_waits(), outage.why))
            }
        }
    }

    /// What an outage of the store means for the job now.
    pub(super) fn what_waits(&self) -> String {
        match self.phase {
            Phase::Training { .. } | Phase::Regrouping { .. } => {
                let last = match self.record.checkpoints.last() {
                    Some(last) => format!("the last one that is durable is of step {}", last.checkpoint.step),
                    None => "none is durable yet".to_owned(),
                };
                format!("checkpoints are stalled while training goes on; {last}")
            }
            Phase::Evaluating { .. } => {
                "the last checkpoint and the model's files wait for the store".to_owned()
            }
            Phase::Queued { .. }
            | Phase::Preparing { .. }
            | Phase::Forming { .. }
            | Phase::Stopping { .. }
            | Phase::Registering { .. }
            | Phase::Paused { .. }
            | Phase::Cancelled { .. }
            | Phase::Done
            | Phase::Failed { .. } => "the job waits for it".to_owned(),
        }
    }
}

/// The time of day that `duration` has passed since.
fn before(now: Timestamp, duration: Duration) -> Timestamp {
    now.checked_sub(duration).unwrap_or(now)
}

//! Reports on their way to the coordinator, between those who have something to tell and the one
//! task that sends it. Which reports wait, and which are let go, [`phalanx_member::Reports`] decides.
//!
//! The queue never blocks whoever adds to it, so the trainer's thread may.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use phalanx_member::{Answered, Outgoing, Voice};
use phalanx_protocol::{
    codec,
    id::{Generation, JobId},
    message::{Event, Failure, Report},
    rpc::Rejected,
};
use tokio::{sync::Notify, time::sleep};
use tracing::{Span, warn};

use crate::orders::Orders;

/// How often is looked whether everything is heard.
const HEARD_EVERY: Duration = Duration::from_millis(5);

/// Bytes of a frame that are left to what is around a report.
const ENVELOPE_BYTES: usize = 4 << 10;

/// Reports that wait to be sent, each with the span in which it was made.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<phalanx_member::Reports<Span>>,
    added: Notify,
}

/// The outbox as the work of one generation sees it. Clones are the same voice.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    outbox: Arc<Outbox>,
    job: JobId,
    generation: Generation,
    orders: Arc<Orders>,
    voice: Arc<Mutex<Voice>>,
}

impl Reports {
    /// Reports of `generation` of `job`, whose work gets these `orders`.
    pub(crate) fn new(outbox: Arc<Outbox>, job: JobId, generation: Generation, orders: Arc<Orders>) -> Self {
        Self { outbox, job, generation, orders, voice: Arc::default() }
    }

    /// Tells what happened, in the current span, if there is still something to be told.
    pub(crate) fn tell(&self, event: Event) {
        let is_over = self.orders.is_over();
        let tells = locked(&self.voice).tells(&event, is_over);
        if tells {
            self.outbox.add(Report { job: self.job.clone(), generation: self.generation, event });
        }
    }

    /// Whether the coordinator has heard everything that was told.
    pub(crate) fn are_heard(&self) -> bool {
        locked(&self.outbox.queue).is_empty_of(&self.job, self.generation)
    }

    /// Waits until the coordinator has heard everything that was told.
    pub(crate) async fn heard(&self) {
        while !self.are_heard() {
            sleep(HEARD_EVERY).await;
        }
    }
}

impl Outbox {
    /// Adds a report, made in the current span.
    pub(crate) fn add(&self, report: Report) {
        let report = within_a_frame(report);
        locked(&self.queue).add(report, Span::current());
        self.added.notify_one();
    }

    /// Waits for the report that is to be sent next. It stays in the queue until it is
    /// [`answered`](Self::answered).
    pub(crate) async fn next(&self) -> Outgoing<Span> {
        loop {
            let added = self.added.notified();
            let next = locked(&self.queue).send();
            if let Some(next) = next {
                return next;
            }
            added.await;
        }
    }

    /// The coordinator has answered a report.
    pub(crate) fn answered(&self, number: u64, answer: Result<(), Rejected>) -> Answered {
        locked(&self.queue).answered(number, answer)
    }

    /// Drops everything: who was to hear it knows nothing of this worker any more.
    pub(crate) fn clear(&self) {
        locked(&self.queue).clear();
    }
}

fn locked<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic between two lines leaves it whole: each change is one call.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `report`, or in its place a failure that says that no frame can hold it: sent
/// again and again, it would hold up all that wait behind it.
fn within_a_frame(report: Report) -> Report {
    let bytes_max = codec::FRAME_BYTES_MAX - ENVELOPE_BYTES;
    match codec::encode(&report) {
        Ok(bytes) if bytes.len() <= bytes_max => report,
        _ => {
            let Report { job, generation, .. } = report;
            warn!(%job, %generation, bytes_max, "a report is too large to be sent");
            let reason = format!("a report is larger than a control message can be ({bytes_max} bytes)");
            Report { job, generation, event: Event::Failed(Failure::Job { reason }) }
        }
    }
}

#[cfg(test)]
mod tests {
    use phalanx_protocol::{
        message::{Confusion, Finished},
        reference::{FileRef, ModelArtifact},
    };

    use super::*;

    fn reports() -> Reports {
        let orders = Arc::new(Orders::new().expect("there are descriptors"));
        Reports::new(Arc::default(), JobId::new("j", 1), Generation::new(1), orders)
    }

    fn waiting(reports: &Reports) -> Vec<Event> {
        locked(&reports.outbox.queue).waiting().map(|report| report.event.clone()).collect()
    }

    #[test]
    fn clones_have_one_voice() {
        let reports = reports();
        let failed = Event::Failed(Failure::Storage { reason: "no space".into() });
        for event in [Event::Fetched, failed.clone(), Event::Evaluating, Event::Stopped { step: 1 }] {
            reports.clone().tell(event);
        }
        assert_eq!(waiting(&reports), [Event::Fetched, failed]);
    }

    #[tokio::test]
    async fn reports_are_sent_one_after_the_other_and_heard_in_the_end() {
        let reports = reports();
        for event in [Event::Fetched, Event::Evaluating] {
            reports.tell(event.clone());
            let sending = reports.outbox.next().await;
            assert_eq!(sending.report.event, event);
            assert!(!reports.are_heard());
            assert_eq!(reports.outbox.answered(sending.number, Ok(())), Answered::Heard);
        }
        reports.heard().await;
    }

    #[test]
    fn a_report_that_no_frame_can_hold_fails_the_job_instead_of_waiting_for_ever() {
        let file = || FileRef { path: "p".into(), bytes: 1, blake3: "00".into() };
        let reports = reports();
        let classes = 2_500;
        let finished = Finished {
            step: 1,
            cursor: 1,
            stopped_early: None,
            metrics: Default::default(),
            undefined: Default::default(),
            moot: Default::default(),
            compared: Default::default(),
            confusion: Some(Confusion {
                classes: vec![String::new(); classes],
                counts: vec![vec![0; classes]; classes],
            }),
            state_hash: "00".into(),
            artifact: ModelArtifact::new(file(), file()),
            sample: None,
        };
        reports.tell(Event::Finished(Box::new(finished)));
        assert!(matches!(waiting(&reports).as_slice(), [Event::Failed(Failure::Job { .. })]));
    }
}

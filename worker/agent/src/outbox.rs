//! Reports on their way to the coordinator: a bounded queue between those who
//! have something to tell and the one task that sends it.
//!
//! The queue never blocks whoever adds to it, so the trainer's thread may. While
//! the coordinator is away it keeps what decides a job and lets go of the rest:
//!
//! 1. `Prepared`, `Fetched`, `Formed`, `Stopped`, `Finished` and `Failed` are never dropped; a
//!    generation has one of each at most.
//! 2. Of checkpoint parts the newest [`PARTS_MAX`] are kept: a newer checkpoint
//!    replaces what an older one is for.
//! 3. Progress is put together with the progress that waits before it, and dropped
//!    first where the queue is full.
//! 4. What is being sent is not touched until the sender says what became of it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use phalanx_protocol::{
    codec,
    id::{Generation, JobId},
    message::{Event, Failure, Progress, Report},
};
use tokio::{sync::Notify, time::sleep};
use tracing::{Span, warn};

use crate::orders::Orders;

/// How often is looked whether everything is heard.
const HEARD_EVERY: Duration = Duration::from_millis(5);

/// The most reports that wait.
const REPORTS_MAX: usize = 1_024;

/// The most checkpoint parts among them.
const PARTS_MAX: usize = 64;

/// The most points of the loss curve in one report; beyond it every second point is left out.
const CURVE_POINTS_MAX: usize = 2_000;

/// Bytes of a frame that are left to what is around a report.
const ENVELOPE_BYTES: usize = 4 << 10;

/// Reports that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    added: Notify,
}

/// The outbox as the work of one generation sees it. Clones are the same voice: after
/// a last word (`Stopped`, `Finished`, `Failed`) nothing is told.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    outbox: Arc<Outbox>,
    job: JobId,
    generation: Generation,
    orders: Arc<Orders>,
    silent: Arc<AtomicBool>,
}

impl Reports {
    /// Reports of `generation` of `job`, whose work gets these `orders`.
    pub(crate) fn new(outbox: Arc<Outbox>, job: JobId, generation: Generation, orders: Arc<Orders>) -> Self {
        Self { outbox, job, generation, orders, silent: Arc::default() }
    }

    /// Tells what happened, in the current span; nothing after a last word, nor once the
    /// generation is over, except why this rank has ended it.
    pub(crate) fn tell(&self, event: Event) {
        let silent = if is_last_word(&event) {
            self.silent.swap(true, Ordering::AcqRel)
        } else {
            self.silent.load(Ordering::Acquire)
        };
        let is_its_own = matches!(&event, Event::Failed(failure) if !matches!(failure, Failure::Peer { .. }));
        if !silent && (is_its_own || !self.orders.is_over()) {
            self.outbox.add(Report { job: self.job.clone(), generation: self.generation, event });
        }
    }
}

impl Reports {
    /// Whether the coordinator has heard everything that was told.
    pub(crate) fn are_heard(&self) -> bool {
        self.outbox.is_empty_of(&self.job, self.generation)
    }

    /// Waits until the coordinator has heard everything that was told.
    pub(crate) async fn heard(&self) {
        while !self.are_heard() {
            sleep(HEARD_EVERY).await;
        }
    }
}

/// A report that is being sent.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// Its number, for [`Outbox::sent`].
    pub(crate) number: u64,
    /// The report.
    pub(crate) report: Report,
    /// The span in which it was made.
    pub(crate) span: Span,
}

impl Outbox {
    /// Adds a report, made in the current span.
    pub(crate) fn add(&self, report: Report) {
        let report = within_a_frame(report);
        self.queue().add(report, Span::current());
        self.added.notify_one();
    }

    /// Waits for the report that is to be sent next. It stays in the queue until
    /// [`sent`](Self::sent) or [`drop_generation`](Self::drop_generation) takes it out.
    pub(crate) async fn next(&self) -> Outgoing {
        loop {
            let added = self.added.notified();
            if let Some(next) = self.queue().begin() {
                return next;
            }
            added.await;
        }
    }

    /// The coordinator has the report.
    pub(crate) fn sent(&self, number: u64) {
        self.queue().waiting.retain(|outgoing| outgoing.number != number);
    }

    fn is_empty_of(&self, job: &JobId, generation: Generation) -> bool {
        let of_it = |report: &Report| report.job == *job && report.generation == generation;
        !self.queue().waiting.iter().any(|outgoing| of_it(&outgoing.report))
    }

    /// Drops everything: who was to hear it knows nothing of this worker any more.
    pub(crate) fn clear(&self) {
        self.queue().waiting.clear();
    }

    /// Drops what belongs to `generation` of `job` or an older one.
    pub(crate) fn drop_generation(&self, job: &JobId, generation: Generation) {
        let over = |report: &Report| report.job == *job && report.generation <= generation;
        self.queue().waiting.retain(|outgoing| !over(&outgoing.report));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic between two lines of the queue leaves it whole: each change is one call.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue itself.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Outgoing>,
    /// Number of the report that is being sent.
    sending: Option<u64>,
    added: u64,
}

impl Queue {
    fn add(&mut self, report: Report, span: Span) {
        let Some(report) = self.merge(report) else { return };
        self.added += 1;
        self.waiting.push_back(Outgoing { number: self.added, report, span });
        let is_part = |event: &Event| matches!(event, Event::CheckpointPart(_));
        if self.waiting.iter().filter(|outgoing| is_part(&outgoing.report.event)).count() > PARTS_MAX {
            self.drop_oldest(is_part);
        }
        if self.waiting.len() > REPORTS_MAX {
            self.drop_oldest(is_droppable);
        }
    }

    /// Puts `report` together with the last one that waits, or gives it back.
    fn merge(&mut self, report: Report) -> Option<Report> {
        let sending = self.sending;
        let Some(last) = self.waiting.back_mut().filter(|last| Some(last.number) != sending) else {
            return Some(report);
        };
        if (&last.report.job, last.report.generation) != (&report.job, report.generation) {
            return Some(report);
        }
        match (&mut last.report.event, report.event) {
            (Event::Progress(last), Event::Progress(newer)) => merge_progress(last, newer),
            (last @ Event::Preparing { .. }, newer @ Event::Preparing { .. }) => *last = newer,
            (_, event) => return Some(Report { event, ..report }),
        }
        None
    }

    fn begin(&mut self) -> Option<Outgoing> {
        let first = self.waiting.front()?;
        self.sending = Some(first.number);
        Some(first.clone())
    }

    fn drop_oldest(&mut self, kind: impl Fn(&Event) -> bool) {
        let droppable =
            |outgoing: &Outgoing| Some(outgoing.number) != self.sending && kind(&outgoing.report.event);
        if let Some(index) = self.waiting.iter().position(droppable) {
            self.waiting.remove(index);
        }
    }
}

/// Whether a job goes the same way without this report.
fn is_droppable(event: &Event) -> bool {
    match event {
        Event::Preparing { .. }
        | Event::Progress(_)
        | Event::Validated { .. }
        | Event::Verified { .. }
        | Event::Evaluating => true,
        Event::Prepared { .. }
        | Event::Fetched
        | Event::Formed { .. }
        | Event::CheckpointPart(_)
        | Event::StoreAway { .. }
        | Event::StoreBack
        | Event::Stopped { .. }
        | Event::Finished(_)
        | Event::Failed(_) => false,
    }
}

/// Whether a rank has nothing more to say after it.
fn is_last_word(event: &Event) -> bool {
    matches!(event, Event::Stopped { .. } | Event::Finished(_) | Event::Failed(_))
}

fn merge_progress(last: &mut Progress, newer: Progress) {
    let mut curve = std::mem::take(&mut last.curve);
    curve.extend(&newer.curve);
    if curve.len() > CURVE_POINTS_MAX {
        curve = curve.into_iter().step_by(2).collect();
    }
    *last = Progress { curve, ..newer };
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
        id::Rank,
        message::{CheckpointPart, Confusion, Finished, StateSource},
        reference::{FileRef, ModelArtifact},
    };

    use super::*;

    fn report(generation: u64, event: Event) -> Report {
        Report { job: JobId::new("j", 1), generation: Generation::new(generation), event }
    }

    fn progress(step: u64) -> Event {
        Event::Progress(Progress {
            step,
            epoch: 0,
            cursor: step,
            loss: 1.0,
            learning_rate: 0.1,
            samples_per_second: 1.0,
            curve: vec![(step, 1.0)],
        })
    }

    fn formed() -> Event {
        Event::Formed { step: 0, from: StateSource::Seed }
    }

    fn file() -> FileRef {
        FileRef { path: "p".into(), bytes: 1, blake3: "00".into() }
    }

    fn part(step: u64) -> Event {
        Event::CheckpointPart(Box::new(CheckpointPart {
            step,
            cursor: step,
            rank: Rank::new(0),
            state_hash: "00".into(),
            file: file(),
            progress_json: "{}".into(),
        }))
    }

    fn waiting(outbox: &Outbox) -> Vec<Event> {
        outbox.queue().waiting.iter().map(|outgoing| outgoing.report.event.clone()).collect()
    }

    #[test]
    fn progress_that_waits_is_put_together() {
        let outbox = Outbox::default();
        for step in 1..=3 {
            outbox.add(report(1, progress(step)));
        }
        let events = waiting(&outbox);
        let [Event::Progress(one)] = events.as_slice() else { panic!("one report, not {events:?}") };
        assert_eq!((one.step, one.curve.len()), (3, 3));
    }

    #[tokio::test]
    async fn what_is_being_sent_stays_as_it_is() {
        let outbox = Outbox::default();
        outbox.add(report(1, progress(1)));
        let sending = outbox.next().await;
        outbox.add(report(1, progress(2)));
        assert_eq!(waiting(&outbox).len(), 2);
        outbox.sent(sending.number);
        assert_eq!(outbox.next().await.report.event, progress(2));
    }

    #[test]
    fn a_full_queue_lets_go_of_progress_and_keeps_what_decides_a_job() {
        let outbox = Outbox::default();
        outbox.add(report(1, formed()));
        for step in 0..2 * REPORTS_MAX as u64 {
            outbox.add(report(1, progress(step)));
            outbox.add(report(1, Event::Evaluating));
            outbox.add(report(1, part(step)));
        }
        outbox.add(report(1, Event::Stopped { step: 9 }));
        let events = waiting(&outbox);
        assert!(events.len() <= REPORTS_MAX);
        assert_eq!(events[0], formed());
        assert_eq!(events[events.len() - 1], Event::Stopped { step: 9 });
        let parts = events.iter().filter(|event| matches!(event, Event::CheckpointPart(_))).count();
        assert_eq!(parts, PARTS_MAX);
        assert!(events.contains(&part(2 * REPORTS_MAX as u64 - 1)), "the newest part is kept");
    }

    #[test]
    fn a_generation_that_is_over_takes_its_reports_with_it() {
        let outbox = Outbox::default();
        outbox.add(report(1, formed()));
        outbox.add(report(2, Event::Evaluating));
        outbox.drop_generation(&JobId::new("j", 1), Generation::new(1));
        assert_eq!(waiting(&outbox), [Event::Evaluating]);
    }

    #[test]
    fn after_its_last_word_a_rank_is_silent() {
        let outbox = Arc::new(Outbox::default());
        let orders = Arc::new(Orders::new().expect("there are descriptors"));
        let reports = Reports::new(Arc::clone(&outbox), JobId::new("j", 1), Generation::new(1), orders);
        let failed = Event::Failed(Failure::Storage { reason: "no space".into() });
        for event in [formed(), failed.clone(), Event::Evaluating, Event::Stopped { step: 1 }] {
            reports.clone().tell(event);
        }
        assert_eq!(waiting(&outbox), [formed(), failed]);
    }

    #[test]
    fn a_long_curve_is_thinned() {
        let outbox = Outbox::default();
        for step in 0..3 * CURVE_POINTS_MAX as u64 {
            outbox.add(report(1, progress(step)));
        }
        let events = waiting(&outbox);
        let [Event::Progress(one)] = events.as_slice() else { panic!("one report, not {events:?}") };
        assert!(one.curve.len() <= CURVE_POINTS_MAX);
        assert!(one.curve.is_sorted());
    }

    #[test]
    fn a_report_that_no_frame_can_hold_fails_the_job_instead_of_waiting_for_ever() {
        let outbox = Outbox::default();
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
        outbox.add(report(1, Event::Finished(Box::new(finished))));
        assert!(matches!(waiting(&outbox).as_slice(), [Event::Failed(Failure::Job { .. })]));
    }
}

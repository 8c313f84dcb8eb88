//! What a worker has to tell the coordinator, until that has heard it: a bounded queue from which one
//! report after the other is sent, each until it is heard.
//!
//! While the coordinator is away it keeps what decides a job and lets go of the rest:
//!
//! 1. `Prepared`, `Fetched`, `Formed`, `Stopped`, `Finished` and `Failed` are never dropped; a
//!    generation has one of each at most.
//! 2. Of checkpoint parts the newest [`PARTS_MAX`] are kept: a newer checkpoint
//!    replaces what an older one is for.
//! 3. Progress is put together with the progress that waits before it, and dropped
//!    first where the queue is full.
//! 4. What is being sent is not touched until it is known what became of it.

use std::collections::VecDeque;

use phalanx_protocol::{
    id::{Generation, JobId},
    message::{Event, Failure, Progress, Report},
    rpc::Rejected,
};

/// The most reports that wait.
pub const REPORTS_MAX: usize = 1_024;

/// The most checkpoint parts among them.
pub const PARTS_MAX: usize = 64;

/// The most points of the loss curve in one report; beyond it every second point is left out.
pub const CURVE_POINTS_MAX: usize = 2_000;

/// The right of one generation's work to speak: after a last word (`Stopped`, `Finished`,
/// `Failed`) it tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Voice {
    is_silent: bool,
}

impl Voice {
    /// Whether the work tells of this event. Once its generation `is_over` it tells nothing but why
    /// it has ended that itself.
    pub fn tells(&mut self, event: &Event, is_over: bool) -> bool {
        let was_silent = self.is_silent;
        self.is_silent |= is_last_word(event);
        let is_its_own = matches!(event, Event::Failed(failure) if !matches!(failure, Failure::Peer { .. }));
        !was_silent && (is_its_own || !is_over)
    }
}

/// Whether a rank has nothing more to say after it.
fn is_last_word(event: &Event) -> bool {
    matches!(event, Event::Stopped { .. } | Event::Finished(_) | Event::Failed(_))
}

/// Reports that wait to be sent, each with something that its owner wants to find with it.
#[derive(Debug)]
pub struct Reports<T> {
    waiting: VecDeque<Outgoing<T>>,
    /// Number of the report that is being sent.
    sending: Option<u64>,
    added: u64,
}

/// A report that is being sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing<T> {
    /// Its number, for [`Reports::answered`].
    pub number: u64,
    /// The report.
    pub report: Report,
    /// What belongs to it.
    pub with: T,
}

/// What an answer to a report means for the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It is heard.
    Heard,
    /// It is refused for ever, and dropped.
    Refused(Rejected),
    /// The report's generation is over, and all that was to be told of it is dropped.
    Superseded,
    /// It is sent again when the worker has attached again, if it still waits then.
    AttachFirst,
    /// It is sent again a little later.
    Later(Rejected),
}

impl<T> Default for Reports<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), sending: None, added: 0 }
    }
}

impl<T: Clone> Reports<T> {
    /// Adds a report.
    pub fn add(&mut self, report: Report, with: T) {
        let Some(report) = self.merge(report) else { return };
        self.added += 1;
        self.waiting.push_back(Outgoing { number: self.added, report, with });
        let is_part = |event: &Event| matches!(event, Event::CheckpointPart(_));
        if self.waiting.iter().filter(|outgoing| is_part(&outgoing.report.event)).count() > PARTS_MAX {
            self.drop_oldest(is_part);
        }
        if self.waiting.len() > REPORTS_MAX {
            self.drop_oldest(is_droppable);
        }
    }

    /// The report that is to be sent now. It stays in the queue until it is [`answered`](Self::answered).
    pub fn send(&mut self) -> Option<Outgoing<T>> {
        let first = self.waiting.front()?;
        self.sending = Some(first.number);
        Some(first.clone())
    }

    /// The coordinator has answered the report with this number.
    pub fn answered(&mut self, number: u64, answer: Result<(), Rejected>) -> Answered {
        match answer {
            Ok(()) => {
                self.remove(number);
                Answered::Heard
            }
            Err(refused @ Rejected::Impossible(_)) => {
                self.remove(number);
                Answered::Refused(refused)
            }
            Err(Rejected::StaleGeneration { .. }) => {
                if let Some(stale) = self.remove(number) {
                    self.drop_generation(&stale.job, stale.generation);
                }
                Answered::Superseded
            }
            Err(Rejected::UnknownWorker(_)) => Answered::AttachFirst,
            Err(later @ (Rejected::Unavailable(_) | Rejected::Standby(_))) => Answered::Later(later),
        }
    }

    fn remove(&mut self, number: u64) -> Option<Report> {
        let index = self.waiting.iter().position(|outgoing| outgoing.number == number)?;
        self.waiting.remove(index).map(|outgoing| outgoing.report)
    }

    /// Whether nothing waits that is of this generation of `job`.
    pub fn is_empty_of(&self, job: &JobId, generation: Generation) -> bool {
        let of_it = |report: &Report| report.job == *job && report.generation == generation;
        !self.waiting.iter().any(|outgoing| of_it(&outgoing.report))
    }

    /// What waits, the oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Report> {
        self.waiting.iter().map(|outgoing| &outgoing.report)
    }

    /// Drops everything: who was to hear it knows nothing of this worker any more.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Drops what belongs to `generation` of `job` or an older one.
    fn drop_generation(&mut self, job: &JobId, generation: Generation) {
        let over = |report: &Report| report.job == *job && report.generation <= generation;
        self.waiting.retain(|outgoing| !over(&outgoing.report));
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

    fn drop_oldest(&mut self, kind: impl Fn(&Event) -> bool) {
        let droppable =
            |outgoing: &Outgoing<T>| Some(outgoing.number) != self.sending && kind(&outgoing.report.event);
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

fn merge_progress(last: &mut Progress, newer: Progress) {
    let mut curve = std::mem::take(&mut last.curve);
    curve.extend(&newer.curve);
    if curve.len() > CURVE_POINTS_MAX {
        curve = curve.into_iter().step_by(2).collect();
    }
    *last = Progress { curve, ..newer };
}

#[cfg(test)]
mod tests {
    use phalanx_protocol::{
        id::{Rank, WorkerId},
        message::{CheckpointPart, StateSource},
        reference::FileRef,
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

    fn part(step: u64) -> Event {
        Event::CheckpointPart(Box::new(CheckpointPart {
            step,
            cursor: step,
            rank: Rank::new(0),
            state_hash: "00".into(),
            file: FileRef { path: "p".into(), bytes: 1, blake3: "00".into() },
            progress_json: "{}".into(),
        }))
    }

    fn storage() -> Failure {
        Failure::Storage { reason: "no space".into() }
    }

    fn peer() -> Failure {
        Failure::Peer { reason: "a connection broke".into(), step: 1 }
    }

    fn added(reports: impl IntoIterator<Item = Report>) -> Reports<()> {
        let mut queue = Reports::default();
        reports.into_iter().for_each(|report| queue.add(report, ()));
        queue
    }

    fn waiting(queue: &Reports<()>) -> Vec<Event> {
        queue.waiting().map(|report| report.event.clone()).collect()
    }

    #[test]
    fn progress_that_waits_is_put_together() {
        let events = waiting(&added((1..=3).map(|step| report(1, progress(step)))));
        let [Event::Progress(one)] = events.as_slice() else { panic!("one report, not {events:?}") };
        assert_eq!((one.step, one.curve.len()), (3, 3));
    }

    #[test]
    fn what_is_being_sent_stays_as_it_is() {
        let mut queue = added([report(1, progress(1))]);
        let sending = queue.send().expect("one waits");
        queue.add(report(1, progress(2)), ());
        assert_eq!(waiting(&queue).len(), 2);
        assert_eq!(queue.answered(sending.number, Ok(())), Answered::Heard);
        assert_eq!(queue.send().map(|next| next.report.event), Some(progress(2)));
    }

    #[test]
    fn a_full_queue_lets_go_of_progress_and_keeps_what_decides_a_job() {
        let mut queue = added([report(1, formed())]);
        for step in 0..2 * REPORTS_MAX as u64 {
            for event in [progress(step), Event::Evaluating, part(step)] {
                queue.add(report(1, event), ());
            }
        }
        queue.add(report(1, Event::Stopped { step: 9 }), ());
        let events = waiting(&queue);
        assert!(events.len() <= REPORTS_MAX);
        assert_eq!(events[0], formed());
        assert_eq!(events[events.len() - 1], Event::Stopped { step: 9 });
        let parts = events.iter().filter(|event| matches!(event, Event::CheckpointPart(_))).count();
        assert_eq!(parts, PARTS_MAX);
        assert!(events.contains(&part(2 * REPORTS_MAX as u64 - 1)), "the newest part is kept");
    }

    #[test]
    fn a_long_curve_is_thinned() {
        let steps = 0..3 * CURVE_POINTS_MAX as u64;
        let events = waiting(&added(steps.map(|step| report(1, progress(step)))));
        let [Event::Progress(one)] = events.as_slice() else { panic!("one report, not {events:?}") };
        assert!(one.curve.len() <= CURVE_POINTS_MAX);
        assert!(one.curve.is_sorted());
    }

    #[test]
    fn a_report_waits_until_it_is_heard_and_one_that_came_too_late_takes_its_generation_along() {
        let busy = || Rejected::Unavailable("it stops".into());
        let impossible = || Rejected::Impossible("step 9 of 8".into());
        let (of, current) = (Generation::new(1), Generation::new(2));
        let check = |rejected: Rejected, expected, left: &[Event]| {
            let all = [report(1, formed()), report(2, Event::Evaluating), report(1, part(1))];
            let mut queue = added(all);
            let sending = queue.send().expect("one waits");
            assert_eq!(queue.answered(sending.number, Err(rejected)), expected);
            assert_eq!(waiting(&queue), left, "{expected:?}");
        };
        let all = [formed(), Event::Evaluating, part(1)];
        check(Rejected::UnknownWorker(WorkerId::new(1)), Answered::AttachFirst, &all);
        check(busy(), Answered::Later(busy()), &all);
        check(impossible(), Answered::Refused(impossible()), &all[1..]);
        check(Rejected::StaleGeneration { got: of, current }, Answered::Superseded, &all[1..2]);
    }

    /// Which of these events a work tells of; the `over`th and those after come when its generation is over.
    fn check(events: &[Event], over: usize, told: &[usize]) {
        let mut voice = Voice::default();
        let tells = events.iter().enumerate().filter(|(nth, event)| voice.tells(event, *nth >= over));
        assert_eq!(tells.map(|(nth, _)| nth).collect::<Vec<_>>(), told, "{events:?}");
    }

    #[test]
    fn after_its_last_word_a_rank_is_silent() {
        let stopped = || Event::Stopped { step: 1 };
        check(&[formed(), Event::Failed(storage()), Event::Evaluating, stopped()], 9, &[0, 1]);
        check(&[formed(), stopped(), Event::Failed(storage())], 9, &[0, 1]);
    }

    #[test]
    fn of_a_generation_that_is_over_a_rank_tells_only_why_it_has_ended_it() {
        check(&[formed(), Event::Evaluating, Event::Failed(peer())], 1, &[0]);
        check(&[formed(), Event::Failed(storage())], 1, &[0, 1]);
    }
}

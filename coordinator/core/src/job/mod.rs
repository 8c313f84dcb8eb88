//! A job: what survives a restart (its record) and what does not (its phase).
//! Owns both; nobody else changes them.
//!
//! In reading order: the phases, how a generation begins and ends, how the next one
//! follows, what its members report, how fast they are, how an outage of the store is told,
//! how a job is stopped and resumed, how it finishes.

mod differ;
mod finish;
mod generation;
mod outage;
mod pace;
mod phase;
mod regroup;
mod report;
mod save;
mod stop;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use phalanx_protocol::{
    id::{Generation, JobId, TraceParent, WorkerId},
    spec::JobSpec,
    view::{JobView, Message},
};
use tracing::info;

pub(crate) use pace::EVICTED_MAX;
pub(crate) use phase::{Gang, Muster, Phase};

use pace::{Paces, Relief};

use crate::{
    Effect, Leftovers, Record,
    claims::Waiting,
    context::Context,
    curve::LossCurve,
    record::{JobRecord, MEASUREMENTS_MAX, MESSAGES_MAX, ProgressRecord, Standing, TEXT_CHARS_MAX},
};

/// A job.
#[derive(Debug)]
pub(crate) struct Job {
    record: JobRecord,
    phase: Phase,
    /// Workers that are to join.
    newcomers: BTreeMap<WorkerId, Newcomer>,
    /// Members that are not to be ones of the next generation.
    leaving: BTreeSet<WorkerId>,
    /// It does not grow before: a worker could not join.
    grows_after: Option<Duration>,
    /// How fast its members are.
    paces: Paces,
    /// A newcomer that takes the place of a member.
    relief: Option<Relief>,
}

/// A worker that is to join the next generation.
#[derive(Debug, Clone, Copy)]
struct Newcomer {
    /// The generation that it was told of, which speaks of nothing else.
    told_in: Generation,
    /// Whether it has the data set at hand.
    ready: bool,
    /// Until then it must have it.
    deadline: Duration,
}

impl Job {
    /// A job that was just submitted.
    pub(crate) fn submitted(
        cx: &mut Context<'_>,
        id: JobId,
        number: u64,
        spec: Box<JobSpec>,
        (trace, key): (Option<TraceParent>, Option<String>),
    ) -> Self {
        let record = JobRecord {
            id,
            number,
            key,
            workers: spec.workers.clone(),
            spec,
            trace,
            generation: Generation::default(),
            standing: Standing::Waiting,
            wish: None,
            dispute: None,
            disputed_in: None,
            progress: ProgressRecord::default(),
            checkpoints: Vec::new(),
            outage: None,
            dataset: None,
            kind: None,
            world_size: 0,
            fruitless_generations: 0,
            curve: LossCurve::default(),
            validation: Default::default(),
            finished: None,
            outcome: None,
            evicted: BTreeSet::new(),
            messages: Vec::new(),
            submitted_at: cx.now.wall,
            started_at: None,
            finished_at: None,
        };
        let phase = Phase::Queued { muster: Muster::Start, why: "waits".to_owned() };
        let mut job = Self::restored(record, phase);
        job.say(cx, "submitted");
        job.enter(cx, job.phase.clone());
        job
    }

    /// A job as its record left it.
    pub(crate) fn restored(record: JobRecord, phase: Phase) -> Self {
        Self {
            record,
            phase,
            newcomers: BTreeMap::new(),
            leaving: BTreeSet::new(),
            grows_after: None,
            paces: Paces::default(),
            relief: None,
        }
    }

    pub(crate) fn record(&self) -> &JobRecord {
        &self.record
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// What it asks of the scheduler, while it waits.
    /// `kind_is_there` tells whether a worker of a kind is attached.
    pub(crate) fn waiting(&self, kind_is_there: impl Fn(&str) -> bool) -> Option<Waiting<'_>> {
        let Phase::Queued { muster, .. } = &self.phase else { return None };
        // The same bits need the same kind of processor. Only a user who
        // resumes the job elsewhere may take it to another one.
        let stays = |kind: &&str| *muster != Muster::Start || kind_is_there(kind);
        let at_start = self.record.workers.start.filter(|_| *muster == Muster::Start).unwrap_or(0);
        let (workers_min, workers_max) = self.record.workers_range();
        Some(Waiting {
            workers_min: workers_min.max(at_start as usize).min(workers_max),
            workers_max,
            task: self.record.spec.model.custom_task(),
            kind: self.record.kind.as_deref().filter(stays),
        })
    }

    /// Whether workers can join and leave it now.
    pub(crate) fn is_elastic(&self) -> bool {
        matches!(self.phase, Phase::Training { .. })
            && self.newcomers.is_empty()
            && self.grows_after.is_none()
    }

    /// Its members by rank and those that join, without those that it gives up.
    pub(crate) fn team(&self) -> Vec<WorkerId> {
        let members = self.phase.gang().map(|gang| gang.members.as_slice()).unwrap_or_default();
        let all = members.iter().chain(self.newcomers.keys());
        let relieved = self.relief.map(|relief| relief.out);
        all.filter(|worker| !self.leaving.contains(worker) && Some(**worker) != relieved).copied().collect()
    }

    /// Whether this member is not to be one of the next generation.
    pub(crate) fn gives_up(&self, worker: WorkerId) -> bool {
        self.leaving.contains(&worker)
    }

    /// Whether it gives up all its members, for another job.
    pub(crate) fn is_preempted(&self) -> bool {
        !self.leaving.is_empty() && self.team().is_empty()
    }

    fn workers_max(&self) -> u32 {
        u32::try_from(self.record.workers_range().1).unwrap_or(u32::MAX)
    }

    fn workers_min(&self) -> u32 {
        u32::try_from(self.record.workers_range().0).unwrap_or(u32::MAX)
    }

    /// Whether it counts on this worker, which is no member yet.
    pub(crate) fn expects(&self, worker: WorkerId) -> bool {
        self.newcomers.contains_key(&worker)
    }

    /// Notes why it waits.
    pub(crate) fn goes_on_waiting(&mut self, cx: &mut Context<'_>, reason: String) {
        if let Phase::Queued { why, .. } = &mut self.phase
            && *why != reason
        {
            *why = reason;
            cx.turn.changed.insert(self.record.id.clone());
        }
    }

    /// Goes into `phase` and stores the job. Every transition that a restart
    /// must know of goes through here.
    fn enter(&mut self, cx: &mut Context<'_>, phase: Phase) {
        self.phase = phase;
        let is_over = self.phase.state().is_over();
        if is_over {
            self.record.outage = None;
        }
        let was_over = self.record.finished_at.is_some();
        match (is_over, self.record.finished_at) {
            (true, None) => self.record.finished_at = Some(cx.now.wall),
            (false, Some(_)) => self.record.finished_at = None,
            (true, Some(_)) | (false, None) => {}
        }
        // A job that begins to wait may start; one that no longer waits holds nobody back.
        cx.turn.placement_due = true;
        self.store(cx);
        if is_over && !was_over {
            let JobRecord { id, generation, checkpoints, .. } = &self.record;
            let leftovers = Leftovers::of(id, *generation, checkpoints);
            cx.turn.effects.push(Effect::DeleteLeftovers(Box::new(leftovers)));
        }
    }

    /// Stores the job as it is now.
    fn store(&mut self, cx: &mut Context<'_>) {
        self.record.standing = self.phase.standing(&self.record.id, cx.fleet);
        cx.persist(Record::Job(Box::new(self.record.clone())));
        cx.turn.changed.insert(self.record.id.clone());
    }

    /// Tells people something.
    fn say(&mut self, cx: &mut Context<'_>, text: impl Into<String>) {
        self.tell(cx, text.into(), false);
    }

    /// Tells people what happened, or a measurement.
    fn tell(&mut self, cx: &mut Context<'_>, text: String, measurement: bool) {
        let text = bounded(text);
        info!(job = %self.record.id, generation = %self.record.generation, text, "job message");
        let number = self.record.messages.last().map_or(1, |last| last.number + 1);
        let messages = &mut self.record.messages;
        messages.push(Message { number, at: cx.now.wall, text, measurement });
        let measurements = messages.iter().filter(|message| message.measurement).count();
        let mut excess = measurements.saturating_sub(MEASUREMENTS_MAX);
        messages.retain(|message| {
            let goes = message.measurement && excess > 0;
            excess -= usize::from(goes);
            !goes
        });
        let excess = messages.len().saturating_sub(MESSAGES_MAX);
        messages.drain(..excess);
        cx.turn.changed.insert(self.record.id.clone());
    }

    /// The job as users see it.
    pub(crate) fn view(&self) -> JobView {
        let record = &self.record;
        let progress = &record.progress;
        let outcome = record.outcome.as_ref();
        let gang = self.phase.gang();
        let newest = record.checkpoints.last().map(|newest| &newest.checkpoint.state_hash);
        JobView {
            id: record.id.clone(),
            name: record.spec.name.clone(),
            state: self.phase.state(),
            reason: self.waits_for_store().or_else(|| self.phase.reason().map(str::to_owned)),
            step: progress.step,
            total_steps: progress.total_steps,
            epoch: progress.epoch,
            cursor: progress.cursor,
            loss: progress.loss,
            samples_per_second: progress.samples_per_second,
            learning_rate: progress.learning_rate,
            metrics: outcome.map(|outcome| outcome.metrics.clone()).unwrap_or_default(),
            validation: record.validation.clone(),
            confusion: outcome.and_then(|outcome| outcome.confusion.clone()),
            workers: gang.map(|gang| gang.members.clone()).unwrap_or_default(),
            ranks: gang.map(|gang| self.paces.view(gang)).unwrap_or_default(),
            world_size: gang.map_or(record.world_size, Gang::world_size),
            lanes: record.spec.train.lanes,
            batch_size: record.spec.train.batch_size,
            ledger: record.spec.train.ledger,
            generation: record.generation,
            state_hash: outcome.map(|outcome| &outcome.state_hash).or(newest).cloned(),
            checkpoints: record.checkpoints.iter().map(|kept| kept.checkpoint.clone()).collect(),
            store_away: self.store_away(),
            dataset: record.dataset.clone(),
            model: outcome.and_then(|outcome| outcome.model.clone()),
            artifact: outcome.map(|outcome| outcome.artifact.clone()),
            sample: outcome.and_then(|outcome| outcome.sample.clone()),
            messages: record.messages.clone(),
            submitted_at: record.submitted_at,
            started_at: record.started_at,
            finished_at: record.finished_at,
        }
    }
}

/// A text that is kept, cut to [`TEXT_CHARS_MAX`].
fn bounded(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Some workers' numbers for people: `1, 2, 3`.
fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

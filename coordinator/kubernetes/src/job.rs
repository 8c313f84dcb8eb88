//! One resource and its job: what is known of both, and what follows from it. Decides what is to be asked of Kubernetes and
//! how urgent that is; it asks for nothing itself, and takes the time as an argument.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use phalanx_protocol::view::{JobState, JobView};
use serde_json::Value;

use crate::{
    resource::TrainingJob,
    status::{Refusal, reason, status},
};

/// A status is written at most this often while only figures change.
const FIGURES_EVERY: Duration = Duration::from_secs(1);

/// And this often while a job waits: each job that ends changes why the others wait.
const WAITING_EVERY: Duration = Duration::from_secs(10);

/// The most events of one resource that wait to be told; older ones are left out.
const EVENTS_MAX: usize = 4;

/// Something to be told as an event of the resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// Whether something is wrong.
    pub(crate) is_warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) note: String,
}

/// Something to be asked of Kubernetes for one resource, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Request {
    /// Whoever deletes the resource waits for it.
    LetGo,
    /// Where the job is has changed.
    Status,
    /// The resource is to stay until its job is over.
    Hold,
    /// Only figures have changed.
    Figures,
    /// An event is to be told.
    Event,
}

/// A resource and its job.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The newest that was seen.
    pub(crate) resource: TrainingJob,
    /// The newest that was seen.
    pub(crate) job: Option<JobView>,
    /// Why the newest `spec` was not taken.
    pub(crate) refusal: Option<Refusal>,
    /// The hash of what the job has begun with.
    pub(crate) spec_hash: Option<String>,
    /// The generation whose `spec` was looked at.
    pub(crate) looked_at: Option<i64>,
    /// Whether everything that is to be known before a status is told is known.
    pub(crate) is_known: bool,
    /// What the status shall be, and what it is.
    shall: Value,
    is: Value,
    written_at: Option<Instant>,
    events: VecDeque<Told>,
}

impl Entry {
    /// A resource that was not known.
    pub(crate) fn new(resource: TrainingJob) -> Self {
        let is = resource.status.clone();
        let spec_hash = is["specHash"].as_str().map(str::to_owned);
        // What was looked at before this coordinator came to lead need not be looked at again.
        let looked_at = is["observedGeneration"].as_i64();
        Self {
            resource,
            job: None,
            refusal: None,
            spec_hash,
            looked_at,
            is_known: false,
            shall: is.clone(),
            is,
            written_at: None,
            events: VecDeque::new(),
        }
    }

    /// The resource has changed. What a watch tells may be older than the answer to what was written last.
    pub(crate) fn seen(&mut self, resource: TrainingJob) {
        if resource.version() < self.resource.version() {
            return;
        }
        self.is = resource.status.clone();
        self.resource = resource;
    }

    /// Whether its last word was that its job is over.
    pub(crate) fn was_over(&self) -> bool {
        let over = [JobState::Done, JobState::Failed, JobState::Cancelled, JobState::Paused];
        over.iter().any(|state| self.is["state"] == state.as_str())
    }

    /// Whether the job is there and goes on.
    pub(crate) fn is_live(&self) -> bool {
        self.job.as_ref().is_some_and(|job| !job.state.is_over())
    }

    /// Notes the job's newest state, and what is to be told of that.
    pub(crate) fn job_is(&mut self, job: JobView) {
        let before = self.job.as_ref().map(|job| job.state.as_str()).or_else(|| self.is["state"].as_str());
        if before != Some(job.state.as_str()) {
            self.events.extend(told(&job));
        }
        self.job = Some(job);
        self.bound_events();
    }

    /// Notes that the newest `spec` was not taken.
    pub(crate) fn refused(&mut self, refusal: Refusal) {
        if self.refusal.as_ref() != Some(&refusal) {
            let (reason, note) = (refusal.reason(), refusal.message());
            self.events.push_back(Told { is_warning: true, reason, note });
            self.bound_events();
        }
        self.refusal = Some(refusal);
    }

    /// Works out what the status shall be.
    pub(crate) fn update(&mut self, now: Timestamp) {
        if self.is_known {
            let (job, refusal) = (self.job.as_ref(), self.refusal.as_ref());
            self.shall = status(&self.resource, job, refusal, self.spec_hash.as_deref(), (&self.is, now));
        }
    }

    /// What is to be asked for next, and when: at `now` or later.
    pub(crate) fn next(&self, now: Instant) -> Option<(Request, Instant)> {
        if self.resource.is_deleted() {
            let waits = self.is_live() || !self.is_known;
            return (self.resource.has_finalizer() && !waits).then_some((Request::LetGo, now));
        }
        let matters = MATTERS.iter().any(|field| !same(&self.shall[*field], &self.is[*field]));
        if matters {
            return Some((Request::Status, now));
        }
        if self.is_live() && !self.resource.has_finalizer() {
            return Some((Request::Hold, now));
        }
        let told = (!self.events.is_empty()).then_some((Request::Event, now));
        if same(&self.shall, &self.is) {
            return told;
        }
        let waits = self.job.as_ref().is_some_and(|job| job.state == JobState::Queued);
        let every = if waits { WAITING_EVERY } else { FIGURES_EVERY };
        let due = self.written_at.map_or(now, |written| now.max(written + every));
        if due > now { told.or(Some((Request::Figures, due))) } else { Some((Request::Figures, due)) }
    }

    /// The status to be written.
    pub(crate) fn status(&self) -> &Value {
        &self.shall
    }

    /// The status was written.
    pub(crate) fn written(&mut self, at: Instant) {
        self.is = self.shall.clone();
        self.written_at = Some(at);
    }

    /// The oldest event that was not told, which is taken for told.
    pub(crate) fn event(&mut self) -> Option<Told> {
        self.events.pop_front()
    }

    fn bound_events(&mut self) {
        while self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }
}

/// Whether two statuses say the same. Kubernetes may write 1 for 1.0.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| same(one, other)))
        }
        (one, other) => one == other,
    }
}

/// Fields of a status whose change is told at once.
const MATTERS: [&str; 5] = ["observedGeneration", "job", "state", "workers", "model"];

/// The event of a job that has just come to this state.
fn told(job: &JobView) -> Option<Told> {
    let is_warning = match job.state {
        JobState::Failed | JobState::Paused => true,
        JobState::Queued | JobState::Training | JobState::Cancelled | JobState::Done => false,
        // They pass, or are told by their outcome.
        JobState::Preparing
        | JobState::Forming
        | JobState::Evaluating
        | JobState::Registering
        | JobState::Stopping => return None,
    };
    let id = &job.id;
    let note = match (job.state, &job.reason) {
        (JobState::Training, _) => format!("{id} trains on {} workers", job.workers.len()),
        (JobState::Done, _) => match &job.model {
            Some(model) => format!("{id} is done: {}@{}", model.name, model.version),
            None => format!("{id} is done"),
        },
        (state, Some(why)) => format!("{id} is {}: {why}", state.as_str()),
        (state, None) => format!("{id} is {}", state.as_str()),
    };
    Some(Told { is_warning, reason: reason(job.state), note: note.chars().take(NOTE_CHARS_MAX).collect() })
}

/// The most characters of an event's note; Kubernetes takes 1,024 bytes.
const NOTE_CHARS_MAX: usize = 250;

#[cfg(test)]
mod tests;

//! What a resource tells of itself: a pure function of the job, as it is known, and of the mistakes in what was asked for.
//! Owns no state.

use jiff::Timestamp;
use phalanx_protocol::view::{JobState, JobView};
use serde_json::{Value, json};

use crate::resource::TrainingJob;

/// Why the newest `spec` did not become a job, or did not change one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is wrong; each mistake names its field.
    Wrong(Vec<String>),
    /// It is right, and its job has begun with another one: only `workers` can change.
    Begun,
    /// There are too many jobs; it is tried again.
    Full(String),
}

impl Refusal {
    /// The condition's reason.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Wrong(_) => "WrongSpec",
            Self::Begun => "ChangeRefused",
            Self::Full(_) => "TooManyJobs",
        }
    }

    /// It in words.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Wrong(mistakes) => mistakes.join("; "),
            Self::Begun => "`data`, `model` and `train` decide the result and cannot change once the job has begun; of the \
                            rest only `workers` does: make another resource"
                .to_owned(),
            Self::Full(why) => why.clone(),
        }
    }
}

/// The most characters of a message in a condition.
const MESSAGE_CHARS_MAX: usize = 4_000;

/// What the resource's status shall be at `now`. `before` is what it was: conditions that stay as they are keep their time.
pub(crate) fn status(
    resource: &TrainingJob,
    job: Option<&JobView>,
    refusal: Option<&Refusal>,
    spec_hash: Option<&str>,
    (before, now): (&Value, Timestamp),
) -> Value {
    let mut status = json!({"observedGeneration": resource.generation()});
    let state = job.map(|job| job.state);
    status["state"] = json!(state.map_or("refused", JobState::as_str));
    if let Some(job) = job {
        of_job(&mut status, job);
    }
    if let Some(hash) = spec_hash {
        status["specHash"] = json!(hash);
    }
    let message = match (refusal, job) {
        (Some(refusal), _) => refusal.message(),
        (None, Some(job)) => told(job),
        (None, None) => String::new(),
    };
    if refusal.is_some_and(|refusal| matches!(refusal, Refusal::Full(_))) {
        status["state"] = json!("waiting");
    }
    status["message"] = json!(cut(&message));
    let conditions = conditions(job, refusal, &message).map(|condition| condition.at(before, now));
    status["conditions"] = json!(conditions);
    status
}

/// What is known of the job in fields of their own.
fn of_job(status: &mut Value, job: &JobView) {
    let fields = [
        ("job", json!(job.id)),
        ("step", json!(job.step)),
        ("totalSteps", json!(job.total_steps)),
        ("epoch", json!(job.epoch)),
        ("loss", json!(job.loss)),
        ("samplesPerSecond", json!(job.samples_per_second)),
        ("generation", json!(job.generation.get())),
        ("workers", json!(job.workers.len())),
        ("metrics", json!(finite(&job.metrics))),
        ("validation", json!(finite(&job.validation))),
        ("stateHash", json!(job.state_hash)),
        ("model", json!(job.model.as_ref().map(|model| format!("{}@{}", model.name, model.version)))),
        ("startedAt", json!(job.started_at)),
        ("finishedAt", json!(job.finished_at)),
    ];
    for (name, value) in fields {
        if !value.is_null() && value != json!({}) {
            status[name] = value;
        }
    }
}

/// Those that JSON can hold.
fn finite(metrics: &phalanx_protocol::message::Metrics) -> phalanx_protocol::message::Metrics {
    metrics
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(name, value)| (name.clone(), *value))
        .collect()
}

/// Why the job is where it is, or else what happened to it last.
fn told(job: &JobView) -> String {
    let last = job.messages.iter().rev().find(|message| !message.measurement);
    job.reason.clone().or_else(|| last.map(|message| message.text.clone())).unwrap_or_default()
}

/// A condition without its time.
struct Condition {
    name: &'static str,
    holds: bool,
    reason: String,
    message: String,
}

impl Condition {
    /// It as Kubernetes writes it: its time is that of its last change.
    fn at(&self, before: &Value, now: Timestamp) -> Value {
        let status = if self.holds { "True" } else { "False" };
        let known = before["conditions"].as_array().into_iter().flatten();
        let mut known = known.filter(|known| known["type"] == self.name && known["status"] == status);
        // Kubernetes writes whole seconds.
        let now = now.round(jiff::Unit::Second).unwrap_or(now);
        let since = known.next().map_or_else(|| json!(now), |known| known["lastTransitionTime"].clone());
        json!({
            "type": self.name,
            "status": status,
            "reason": self.reason,
            "message": cut(&self.message),
            "lastTransitionTime": since,
        })
    }
}

/// All conditions, always the same ones: whoever waits for one waits for it to be true.
fn conditions(job: Option<&JobView>, refusal: Option<&Refusal>, message: &str) -> [Condition; 4] {
    let accepted = match (job, refusal) {
        (_, Some(refusal)) => (job.is_some(), refusal.reason(), refusal.message()),
        (Some(job), None) => (true, "Submitted", format!("it is the job {}", job.id)),
        (None, None) => (false, "Pending", String::new()),
    };
    let state = job.map(|job| job.state);
    let reason = state.map_or("Refused", reason);
    let condition = |name, holds, reason: &str, message: &str| Condition {
        name,
        holds,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    [
        condition("Accepted", accepted.0, accepted.1, &accepted.2),
        condition(
            "Running",
            job.is_some_and(|job| !job.state.is_over() && !job.workers.is_empty()),
            reason,
            message,
        ),
        condition("Complete", state == Some(JobState::Done), reason, message),
        condition("Failed", matches!(state, Some(JobState::Failed)), reason, message),
    ]
}

/// A state as the reason of a condition or an event.
pub(crate) fn reason(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "Queued",
        JobState::Preparing => "Preparing",
        JobState::Forming => "Forming",
        JobState::Training => "Training",
        JobState::Evaluating => "Evaluating",
        JobState::Registering => "Registering",
        JobState::Stopping => "Stopping",
        JobState::Paused => "Paused",
        JobState::Cancelled => "Cancelled",
        JobState::Done => "Done",
        JobState::Failed => "Failed",
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

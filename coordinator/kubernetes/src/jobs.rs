//! Makes jobs of resources and tells resources how their jobs are, while this coordinator leads. Owns what is known of
//! each resource; what follows from that is said in `job`.
//!
//! | seen | then |
//! | --- | --- |
//! | a resource without a job | submitted with its uid as the key, so that there is one job however often that is done |
//! | a `spec` that is wrong | the condition `Accepted` names the field; there is no job, and a mended `spec` makes one |
//! | another `workers` | the job is scaled; another change is refused in the condition |
//! | the job changes | the status is written: at once where the job's state has changed, else once a second at the most |
//! | the resource is deleted | the job is cancelled; when it is over, the finalizer is taken away |
//! | a job whose resource is gone | cancelled: somebody has taken the finalizer away |
//! | a resource that says its job is over, and nobody knows that job | left as it is: the state is one from a backup |

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, Stream, StreamExt as _, stream::BoxStream};
use jiff::Timestamp;
use kube::{
    Api, Resource as _,
    api::{Patch, PatchParams},
    runtime::{
        WatchStreamExt as _,
        events::{Event as Announcement, EventType, Recorder, Reporter},
        watcher::{self, Event, watcher},
    },
};
use phalanx_protocol::{id::JobId, spec::JobSpec, view::JobState};
use phalanx_server::{Jobs, JobsError, Rejected};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep_until};
use tracing::{debug, info, warn};

use crate::{
    cluster::{Budget, COORDINATOR, Cluster, Unanswered, answered},
    job::{Entry, Request, Told},
    resource::{FINALIZER, GROUP, KIND, TrainingJob, VERSION},
    status::Refusal,
};

/// Jobs are looked at this often at the most, however often they change.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What failed is tried again after this long, and what was refused for now.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The most events of the watch that are taken before anything else is done.
const EVENTS_AT_ONCE: usize = 1_000;

type Watched = BoxStream<'static, Result<Event<TrainingJob>, watcher::Error>>;

/// Everything that is known, of one term.
struct Resources {
    jobs: Jobs,
    api: Api<TrainingJob>,
    recorder: Recorder,
    budget: Budget,
    /// By their names.
    known: BTreeMap<String, Entry>,
    /// Resources whose `spec` or whose deletion was not dealt with.
    dirty: BTreeSet<String>,
    /// The names in a list that is under way; at its end, all others are gone.
    listed: Option<BTreeSet<String>>,
    /// Whether there was a whole list, so that a job without a resource is known to have none.
    is_complete: bool,
    /// The state of each job that was looked at last, by key: those that are over and were seen so are not asked for.
    seen: BTreeMap<String, JobState>,
    /// No requests before then: the API server does not answer, or not well.
    quiet_until: Option<Instant>,
    /// The watch does not get through, and that was told.
    is_away: bool,
}

/// Goes on until the term is over.
///
/// # Errors
///
/// This coordinator leads no more.
pub(crate) async fn run(cluster: &Cluster, jobs: Jobs) -> Result<(), JobsError> {
    let api: Api<TrainingJob> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let watched = watcher(api.clone(), watcher::Config::default()).default_backoff().boxed();
    let reporter = Reporter::from(COORDINATOR);
    let changes = jobs.changes()?;
    let resources = Resources {
        jobs,
        api,
        recorder: Recorder::new(cluster.client.clone(), reporter),
        budget: Budget::new(),
        known: BTreeMap::new(),
        dirty: BTreeSet::new(),
        listed: None,
        is_complete: false,
        seen: BTreeMap::new(),
        quiet_until: None,
        is_away: false,
    };
    resources.turns(watched, changes).await
}

impl Resources {
    async fn turns(
        mut self,
        mut watched: Watched,
        mut changes: watch::Receiver<u64>,
    ) -> Result<(), JobsError> {
        let mut look_at = Some(Instant::now());
        let mut dirty_at = None;
        loop {
            let now = Instant::now();
            let next = self.next(now);
            let request_at = next.as_ref().map(|(_, _, at)| *at);
            let wake = [look_at, dirty_at, request_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                event = watched.next() => {
                    // A watch never ends by itself: it begins anew.
                    if let Some(event) = event { self.watched(event).await?; }
                    self.drain(&mut watched).await?;
                    (look_at, dirty_at) = (Some(now), Some(now));
                }
                changed = changes.changed(), if look_at.is_none() => {
                    changed.map_err(|_| JobsError::NotLeading)?;
                    look_at = Some(Instant::now() + LOOK_EVERY);
                }
                () = sleep_until(wake.unwrap_or(now).into()), if wake.is_some() => {
                    if dirty_at.is_some_and(|at| at <= Instant::now()) {
                        dirty_at = self.adopt().await?;
                        look_at = look_at.or(Some(Instant::now()));
                    }
                    if look_at.is_some_and(|at| at <= Instant::now()) {
                        look_at = None;
                        changes.mark_unchanged();
                        self.look().await?;
                    }
                    if let Some((name, request, at)) = next && at <= Instant::now() {
                        self.ask(&name, request).await;
                    }
                }
            }
        }
    }

    /// What is to be asked for first of all that is due, or next.
    fn next(&self, now: Instant) -> Option<(String, Request, Instant)> {
        let open_at = self.budget.next().max(self.quiet_until.unwrap_or(now)).max(now);
        let wanted = self.known.iter().filter_map(|(name, entry)| {
            let (request, at) = entry.next(now)?;
            Some((at.max(open_at), request, name))
        });
        let first = wanted.min_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
        first.map(|(at, request, name)| (name.clone(), request, at))
    }

    /// Takes what the watch has told meanwhile: a list comes resource by resource.
    async fn drain(
        &mut self,
        watched: &mut (impl Stream<Item = Result<Event<TrainingJob>, watcher::Error>> + Unpin),
    ) -> Result<(), JobsError> {
        for _ in 0..EVENTS_AT_ONCE {
            match watched.next().now_or_never() {
                Some(Some(event)) => self.watched(event).await?,
                Some(None) | None => break,
            }
        }
        Ok(())
    }

    async fn watched(&mut self, event: Result<Event<TrainingJob>, watcher::Error>) -> Result<(), JobsError> {
        if event.is_ok() {
            self.is_away = false;
        }
        match event {
            Ok(Event::Init) => self.listed = Some(BTreeSet::new()),
            Ok(Event::InitApply(resource)) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(resource.name().to_owned());
                }
                self.seen(resource).await?;
            }
            Ok(Event::Apply(resource)) => self.seen(resource).await?,
            Ok(Event::Delete(resource)) => self.gone(resource.name()).await?,
            Ok(Event::InitDone) => {
                let listed = self.listed.take().unwrap_or_default();
                let gone = self.known.keys().filter(|name| !listed.contains(*name));
                for name in gone.cloned().collect::<Vec<_>>() {
                    self.gone(&name).await?;
                }
                self.is_complete = true;
                // Of jobs that are over, too, whose resources may not say so yet.
                self.seen.clear();
            }
            Err(error) if std::mem::replace(&mut self.is_away, true) => {
                debug!(%error, "training jobs cannot be watched");
            }
            Err(error) => warn!(%error, "training jobs cannot be watched; it is tried again"),
        }
        Ok(())
    }

    async fn seen(&mut self, resource: TrainingJob) -> Result<(), JobsError> {
        let name = resource.name().to_owned();
        match self.known.get_mut(&name) {
            Some(entry) if entry.resource.uid() == resource.uid() => entry.seen(resource),
            Some(_) => {
                self.gone(&name).await?;
                self.known.insert(name.clone(), Entry::new(resource));
            }
            None => {
                self.known.insert(name.clone(), Entry::new(resource));
            }
        }
        self.dirty.insert(name);
        Ok(())
    }

    /// A resource is not there any more. Its job is over, unless somebody took the finalizer away.
    async fn gone(&mut self, name: &str) -> Result<(), JobsError> {
        let Some(entry) = self.known.remove(name) else { return Ok(()) };
        self.dirty.remove(name);
        self.seen.remove(entry.resource.uid());
        match entry.job.filter(|job| !job.state.is_over()) {
            Some(job) => self.cancel(job.id).await,
            None => Ok(()),
        }
    }

    /// Deals with what is asked for in resources: the most important jobs first. Returns when it is to be tried again.
    async fn adopt(&mut self) -> Result<Option<Instant>, JobsError> {
        let mut names: Vec<(i64, String)> = std::mem::take(&mut self.dirty)
            .into_iter()
            .filter_map(|name| {
                let priority = self.known.get(&name)?.resource.spec["schedule"]["priority"].as_i64();
                Some((priority.unwrap_or(0).saturating_neg(), name))
            })
            .collect();
        names.sort();
        for (_, name) in names {
            if !self.adopt_one(&name).await? {
                self.dirty.insert(name);
            }
        }
        Ok((!self.dirty.is_empty()).then(|| Instant::now() + AGAIN_AFTER))
    }

    /// Whether it is done with.
    async fn adopt_one(&mut self, name: &str) -> Result<bool, JobsError> {
        let jobs = self.jobs.clone();
        let Some(entry) = self.known.get_mut(name) else { return Ok(true) };
        let uid = entry.resource.uid().to_owned();
        if entry.job.is_none() {
            let mut found = jobs.with_key(move |key, _| key == uid).await?;
            entry.job = found.pop().map(|(_, job)| job);
        }
        if entry.resource.is_deleted() {
            entry.is_known = true;
            let live = entry.job.as_ref().filter(|job| !job.state.is_over()).map(|job| job.id.clone());
            if let Some(job) = live {
                self.cancel(job).await?;
            }
            return Ok(true);
        }
        if entry.is_known && entry.looked_at == Some(entry.resource.generation()) && entry.refusal.is_none() {
            return Ok(true);
        }
        if entry.job.is_none() && entry.was_over() {
            return Ok(true);
        }
        let done = match checked(&entry.resource).await {
            Err(mistakes) => {
                entry.refused(Refusal::Wrong(mistakes));
                true
            }
            Ok(spec) if entry.job.is_none() => submit(entry, &jobs, spec).await?,
            Ok(spec) => change(entry, &jobs, spec).await?,
        };
        entry.is_known = true;
        entry.looked_at = Some(entry.resource.generation());
        entry.update(Timestamp::now());
        Ok(done)
    }

    /// Gives a job up that is not over; if it is by now, that is as well.
    async fn cancel(&self, job: JobId) -> Result<(), JobsError> {
        match self.jobs.cancel(job).await {
            Ok(()) | Err(JobsError::Rejected(_)) => Ok(()),
            Err(JobsError::NotLeading) => Err(JobsError::NotLeading),
        }
    }

    /// Looks at the jobs that may have changed, and at those that nobody wants any more.
    async fn look(&mut self) -> Result<(), JobsError> {
        let seen = self.seen.clone();
        let wanted = move |key: &str, state: JobState| !state.is_over() || seen.get(key) != Some(&state);
        let views = self.jobs.with_key(wanted).await?;
        let names: BTreeMap<String, String> =
            self.known.iter().map(|(name, entry)| (entry.resource.uid().to_owned(), name.clone())).collect();
        let now = Timestamp::now();
        for (key, job) in views {
            let state = job.state;
            match names.get(&key).and_then(|name| self.known.get_mut(name)) {
                Some(entry) => {
                    entry.job_is(job);
                    entry.update(now);
                }
                None if self.is_complete && !state.is_over() && state != JobState::Stopping => {
                    info!(job = %job.id, "cancelled: its resource is gone");
                    self.cancel(job.id).await?;
                }
                None => {}
            }
            self.seen.insert(key, state);
        }
        Ok(())
    }

    /// Asks Kubernetes for something, and notes what comes of it.
    async fn ask(&mut self, name: &str, request: Request) {
        let Some(entry) = self.known.get_mut(name) else { return };
        self.budget.take(Instant::now());
        let answer = match request {
            Request::Hold | Request::LetGo => {
                hold(&self.api, &entry.resource, request == Request::Hold).await
            }
            Request::Status | Request::Figures => {
                let written = write(&self.api, &entry.resource, entry.status()).await;
                if written.is_ok() {
                    entry.written(Instant::now());
                }
                written.map(Some)
            }
            Request::Event => {
                let told = entry.event();
                if let Some(told) = told {
                    announce(&self.recorder, &entry.resource, told).await;
                }
                Ok(None)
            }
        };
        match answer {
            Ok(resource) => {
                resource.into_iter().for_each(|resource| entry.seen(resource));
                self.quiet_until = None;
            }
            // It is gone, or another one of that name, or has changed: the watch will tell.
            Err(error) if matches!(error.code(), Some(404 | 409)) => {
                debug!(%error, name, "a training job has changed meanwhile");
                self.quiet_until = Some(Instant::now() + AGAIN_AFTER / 10);
            }
            Err(error) => {
                warn!(%error, name, ?request, "a training job cannot be written");
                self.quiet_until = Some(Instant::now() + AGAIN_AFTER);
            }
        }
    }
}

/// The job that a resource asks for. A rule that panics on what nobody thought of must end this look and not the coordinator.
async fn checked(resource: &TrainingJob) -> Result<JobSpec, Vec<String>> {
    let resource = resource.clone();
    let checked = tokio::spawn(async move { resource.job_spec() }).await;
    checked.unwrap_or_else(|_panicked| {
        Err(vec!["it cannot be checked: the coordinator's log says why".to_owned()])
    })
}

/// Makes a job of a resource; `false` if it is to be tried again.
async fn submit(entry: &mut Entry, jobs: &Jobs, spec: JobSpec) -> Result<bool, JobsError> {
    let hash = spec.hash();
    match jobs.submit(entry.resource.uid(), spec).await {
        Ok(job) => {
            info!(name = entry.resource.name(), %job, "a training job was submitted");
            entry.refusal = None;
            entry.spec_hash = Some(hash);
            let uid = entry.resource.uid().to_owned();
            for (_, job) in jobs.with_key(move |key, _| key == uid).await? {
                entry.job_is(job);
            }
            Ok(true)
        }
        Err(JobsError::Rejected(full @ Rejected::Full { .. })) => {
            entry.refused(Refusal::Full(full.to_string()));
            Ok(false)
        }
        Err(JobsError::Rejected(other)) => {
            entry.refused(Refusal::Wrong(vec![other.to_string()]));
            Ok(true)
        }
        Err(JobsError::NotLeading) => Err(JobsError::NotLeading),
    }
}

/// Carries over what can change of a `spec` once its job has begun.
async fn change(entry: &mut Entry, jobs: &Jobs, spec: JobSpec) -> Result<bool, JobsError> {
    let hash = spec.hash();
    if *entry.spec_hash.get_or_insert_with(|| hash.clone()) != hash {
        entry.refused(Refusal::Begun);
        return Ok(true);
    }
    entry.refusal = None;
    let live = entry.job.as_ref().filter(|job| !job.state.is_over()).map(|job| job.id.clone());
    let (Some(job), true) = (live, entry.looked_at.is_some_and(|at| at != entry.resource.generation()))
    else {
        return Ok(true);
    };
    match jobs.scale(job, spec.workers).await {
        Ok(()) => Ok(true),
        Err(JobsError::Rejected(why)) => {
            debug!(%why, "a training job was not scaled");
            Ok(true)
        }
        Err(JobsError::NotLeading) => Err(JobsError::NotLeading),
    }
}

/// Puts the finalizer on a resource, or takes it away. The version that was seen must still be the one there.
async fn hold(
    api: &Api<TrainingJob>,
    resource: &TrainingJob,
    holds: bool,
) -> Result<Option<TrainingJob>, Unanswered> {
    let mut finalizers = resource.metadata.finalizers.clone().unwrap_or_default();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    if holds {
        finalizers.push(FINALIZER.to_owned());
    }
    let metadata = json!({"resourceVersion": resource.metadata.resource_version, "finalizers": finalizers});
    let patch = Patch::Merge(json!({"metadata": metadata}));
    let patched = answered(api.patch(resource.name(), &PatchParams::default(), &patch)).await;
    match patched {
        Ok(resource) => Ok(Some(resource)),
        // Nothing is left to take it away from.
        Err(error) if error.code() == Some(404) && !holds => Ok(None),
        Err(error) => Err(error),
    }
}

/// Applies a status. The uid keeps it away from another resource of the same name.
async fn write(
    api: &Api<TrainingJob>,
    resource: &TrainingJob,
    status: &Value,
) -> Result<TrainingJob, Unanswered> {
    let whole = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": {"name": resource.name(), "uid": resource.uid()},
        "status": status,
    });
    let params = PatchParams::apply(COORDINATOR).force();
    answered(api.patch_status(resource.name(), &params, &Patch::Apply(&whole))).await
}

/// Tells an event. That it is lost does no harm.
async fn announce(recorder: &Recorder, resource: &TrainingJob, told: Told) {
    let type_ = if told.is_warning { EventType::Warning } else { EventType::Normal };
    let event = Announcement {
        type_,
        reason: told.reason.to_owned(),
        note: Some(told.note.chars().take(250).collect()),
        action: "Train".to_owned(),
        secondary: None,
    };
    let reference = resource.object_ref(&());
    let told = tokio::time::timeout(Duration::from_secs(10), recorder.publish(&event, &reference)).await;
    if let Ok(Err(error)) = told {
        debug!(%error, "an event was not told");
    }
}

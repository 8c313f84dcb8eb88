//! One round: a job under faults, from its submission to the audit of its ledger.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use phalanx_protocol::{
    ledger::Verdict,
    view::{JobState, JobView},
};
use phalanx_tests::{Deadline, eventually};

use crate::{
    ground::{Ground, job_of},
    log::Log,
    options::Kind,
    plan::{Fault, Injection, Plan},
};

/// The longest that faults go on in one round.
const FAULTS_MAX: Duration = Duration::from_secs(40);

/// The longest that a job may stand still after the last fault.
const STILL_MAX: Duration = Duration::from_secs(90);

/// How often a job may pause and be resumed.
const PAUSES_MAX: u32 = 20;

/// How often faults are looked after, and the job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often the job's state is told.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// What became of a round.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    pub(crate) faults: BTreeMap<Kind, u32>,
    pub(crate) pauses: u32,
    pub(crate) steps: u64,
    pub(crate) generations: u64,
    /// Whether it ended in the bits of the undisturbed run; absent where it did not end.
    pub(crate) same_hash: Option<bool>,
    pub(crate) audit: Option<Verdict>,
    /// What went wrong.
    pub(crate) wrong: Vec<String>,
    /// What happened, for the case that something did.
    pub(crate) events: String,
}

/// A job and what it is held to.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) file: &'a Path,
    /// State hash of the undisturbed run.
    pub(crate) expected: &'a str,
}

/// A round under way.
struct Round<'a> {
    ground: &'a mut Ground,
    log: Log,
    plan: Plan,
    next: Option<Injection>,
    /// When the last fault began.
    last: Instant,
    /// Faults under way, and when they end.
    pending: Vec<(Instant, Fault)>,
    outcome: Outcome,
}

/// Runs one round. No fault begins after `until`.
pub(crate) fn run(ground: &mut Ground, subject: &Subject<'_>, seed: u64, until: Instant) -> Outcome {
    let mut log = Log::begin();
    ground.expect_well(&mut log);
    let (coordinators, workers) = ground.sizes();
    let plan = Plan::new(seed, ground.kinds(), workers, coordinators);
    let outcome = Outcome { seed, ..Outcome::default() };
    let last = Instant::now();
    let mut round = Round { ground, log, plan, next: None, last, pending: Vec::new(), outcome };
    if let Some(id) = round.submit(subject.file) {
        if let Some(job) = round.disturb(&id, until.min(Instant::now() + FAULTS_MAX)) {
            round.compare(&job, subject.expected);
        }
        round.audit(&id);
    }
    round.conclude()
}

impl Round<'_> {
    /// Submits the job; its id.
    fn submit(&mut self, file: &Path) -> Option<String> {
        let file = file.to_string_lossy();
        let ended = self.ground.ask(&["submit", &file, "--json", "--set", "train.ledger=true"]);
        let job = serde_json::from_str::<JobView>(&ended.stdout);
        let Ok(job) = job else {
            self.wrong(format!("the job could not be submitted: {}", ended.stderr));
            return None;
        };
        self.log.tell(format_args!("{} is submitted", job.id));
        Some(job.id.to_string())
    }

    /// Lets things go wrong until `until`, and waits for the job's end.
    fn disturb(&mut self, id: &str, until: Instant) -> Option<JobView> {
        let watch = Watch::begin(self.ground, id);
        let (mut told, mut moved, mut place) = (Instant::now(), Instant::now(), None);
        loop {
            let now = Instant::now();
            self.end_faults(now);
            self.ground.supervise(&mut self.log);
            let job = watch.latest();
            match job.as_ref().filter(|job| job.state.is_over()).map(|job| job.state) {
                None => {}
                Some(JobState::Done) => {
                    self.end_all();
                    return job;
                }
                Some(JobState::Paused) => self.resume(id, &watch),
                Some(_) => break,
            }
            if now < until {
                self.begin_faults(now);
            }
            let new_place = job.as_ref().map(|job| (job.generation, job.step));
            if now < until || !self.pending.is_empty() || new_place != place {
                (moved, place) = (now, new_place);
            }
            if moved.elapsed() > STILL_MAX || self.outcome.pauses > PAUSES_MAX {
                break;
            }
            if told.elapsed() > TELL_EVERY {
                told = now;
                self.tell(job.as_ref());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.end_all();
        let last = watch.latest().map_or_else(|| "nobody knows it".to_owned(), |job| described(&job));
        self.wrong(format!("{id} does not go on: {last}"));
        None
    }

    fn begin_faults(&mut self, now: Instant) {
        if self.ground.kinds().is_empty() {
            return;
        }
        let next = self.next.get_or_insert_with(|| self.plan.next());
        if now < self.last + next.after {
            return;
        }
        let Some(Injection { fault, lasts, .. }) = self.next.take() else { return };
        self.last = now;
        if self.ground.begin(&fault) {
            self.log.tell(format_args!("{fault:?} for {:.1} s", lasts.as_secs_f64()));
            *self.outcome.faults.entry(fault.kind()).or_default() += 1;
            self.pending.push((now + lasts, fault));
        }
    }

    fn end_faults(&mut self, now: Instant) {
        let (over, pending) = std::mem::take(&mut self.pending).into_iter().partition(|(end, _)| *end <= now);
        self.pending = pending;
        for (_, fault) in over {
            self.log.tell(format_args!("{fault:?} is over"));
            self.ground.end(&fault);
        }
    }

    fn end_all(&mut self) {
        for (_, fault) in std::mem::take(&mut self.pending) {
            self.ground.end(&fault);
        }
    }

    /// Resumes a job that has paused: the store was away for too long.
    fn resume(&mut self, id: &str, watch: &Watch) {
        let Some(job) = watch.latest() else { return };
        let ended = self.ground.ask(&["resume", id]);
        if ended.code == Some(0) {
            self.outcome.pauses += 1;
            self.log.tell(format_args!("{id} has paused and is resumed: {}", job.reason.unwrap_or_default()));
        }
        watch.forget();
    }

    fn tell(&mut self, job: Option<&JobView>) {
        let told = job.map_or_else(|| "no coordinator has told of the job".to_owned(), described);
        self.log.tell(told);
    }

    fn compare(&mut self, job: &JobView, expected: &str) {
        self.log.tell(format_args!("done after {} generations", job.generation));
        self.outcome.steps = job.step;
        self.outcome.generations = job.generation.get();
        let same = job.state_hash.as_deref() == Some(expected);
        self.outcome.same_hash = Some(same);
        if !same {
            self.wrong(format!("it ended in {:?}, undisturbed in {expected}", job.state_hash));
        }
    }

    fn audit(&mut self, id: &str) {
        self.ground.expect_well(&mut self.log);
        let ended = self.ground.ask(&["audit", id, "--json"]);
        self.outcome.audit = serde_json::from_str(&ended.stdout).ok();
        match &self.outcome.audit {
            Some(verdict) if verdict.is_right() => {}
            Some(verdict) => self.wrong(format!("not exactly once: {:?}", verdict.violations)),
            None => self.wrong(format!("the ledger could not be audited: {}", ended.stderr)),
        }
    }

    fn conclude(mut self) -> Outcome {
        for panic in self.ground.take_panics() {
            self.wrong(format!("a process has crashed: {panic}"));
        }
        self.outcome.time = self.log.begun().elapsed();
        self.outcome.events = self.log.text();
        self.outcome
    }

    fn wrong(&mut self, what: String) {
        self.log.tell(format_args!("WRONG: {what}"));
        self.outcome.wrong.push(what);
    }
}

/// A job in one line.
fn described(job: &JobView) -> String {
    let JobView { id, step, total_steps, generation, world_size, reason, .. } = job;
    let why = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    let state = job.state.as_str();
    format!("{id} {state}, step {step} of {total_steps}, generation {generation}, {world_size} workers{why}")
}

/// A thread that looks at the job, so that a coordinator that hangs holds up no fault.
struct Watch {
    latest: Arc<Mutex<Option<JobView>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn begin(ground: &Ground, id: &str) -> Self {
        let (latest, over) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let (apis, id, shared, end) = (ground.apis(), id.to_owned(), Arc::clone(&latest), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Acquire) {
                if let Some(job) = job_of(&apis, &id) {
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
                }
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Self { latest, over, thread: Some(thread) }
    }

    /// The job as it was told last.
    fn latest(&self) -> Option<JobView> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for another look.
    fn forget(&self) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        eventually("a look at the job", Deadline::default(), || self.latest().map(drop));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.thread.take().into_iter().for_each(|thread| _ = thread.join());
    }
}

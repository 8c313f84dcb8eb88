//! The workers that are attached: their leases, what they serve, and the
//! directives that wait for them. Owns all that is known of a worker, with what is
//! remembered of its process. A restart
//! is survived by those that serve a generation, because its job's record has them.
//!
//! A worker that was released is not idle before it has seen its release: so
//! one that died with its peers is not taken into the next generation.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use jiff::Timestamp;
use phalanx_protocol::{
    id::{Generation, JobId, WorkerId},
    message::{Directive, Hello, Numbered},
    rpc,
};

use crate::{
    Now,
    processes::{ERRORS_MAX, Processes},
    record::{Distrusted, Known, Process},
    schedule::Unusable,
};

/// The most directives that can wait for one worker. A generation sends it at most five
/// (`Fetch`, `Prepare`, `Train`, `Stop`, `Release`), and it gets no other generation
/// before it has shown that it has heard the last of those but its release.
pub(crate) const DIRECTIVES_MAX: usize = 8;

/// A directive has a smaller number: a worker that gets a thousand a second comes to it after
/// hundreds of years. What a worker has seen is believed after a restart, and counted on from there.
pub(crate) const DIRECTIVE_NUMBERS: u64 = 1 << 44;

/// The workers that are attached.
#[derive(Debug)]
pub(crate) struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
    /// The same workers by the ends of their leases, so that only those are looked at whose lease is over.
    leases: BTreeSet<(Duration, WorkerId)>,
    /// Those that are about to leave and have not been told to.
    draining: BTreeSet<WorkerId>,
    processes: Processes,
    next: u64,
}

/// One attached worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) hello: Hello,
    pub(crate) attached_at: Timestamp,
    lease_ends: Duration,
    pub(crate) duty: Duty,
    /// Whether its connection is there, as far as is known.
    pub(crate) connected: bool,
    /// Whether it is about to leave: it gets no more work.
    pub(crate) draining: bool,
    /// How often its state was wrong.
    pub(crate) errors: u32,
    /// The job whose state it keeps, or will: the last that it was sent to train, unless it was
    /// told to give that up.
    pub(crate) holds: Option<JobId>,
    outbox: Outbox,
}

impl Worker {
    /// Whether it has been wrong too often.
    pub(crate) fn is_quarantined(&self) -> bool {
        self.errors >= ERRORS_MAX
    }

    /// Whether it is to have no work, not even what it is at.
    pub(crate) fn is_to_go(&self) -> bool {
        self.draining || self.is_quarantined()
    }

    /// Whether it is there, and can have work from now on.
    pub(crate) fn can_work(&self) -> bool {
        self.unusable().is_none()
    }

    /// Why it gets no work, if it gets none.
    pub(crate) fn unusable(&self) -> Option<Unusable> {
        if self.is_quarantined() {
            Some(Unusable::Quarantined)
        } else if self.draining {
            Some(Unusable::Draining)
        } else {
            (!self.connected).then_some(Unusable::CutOff)
        }
    }

    /// What is stored of it with the job that it serves.
    pub(crate) fn known(&self, job: &JobId) -> Known {
        let Self { hello, attached_at, holds, .. } = self;
        Known { hello: hello.clone(), attached_at: *attached_at, holds_state: holds.as_ref() == Some(job) }
    }

    /// Does with the state that it holds what the worker will do when it sees this directive.
    fn follow(&mut self, directive: &Directive) {
        match directive {
            Directive::Train(assignment) => self.holds = Some(assignment.job.clone()),
            Directive::Prepare { job, .. } | Directive::Fetch { job, .. } => {
                self.holds.take_if(|held| held != job);
            }
            Directive::Release { job, keep: false, .. } => {
                self.holds.take_if(|held| held == job);
            }
            Directive::Release { keep: true, .. } | Directive::Stop { .. } | Directive::Leave => {}
        }
    }
}

/// What a worker does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing.
    Idle,
    /// It is a member of the job's gang, or is about to be one.
    Serving(JobId),
    /// Its generation is over, it has not seen that yet, and will be a member of the next one.
    Homing {
        /// The job.
        job: JobId,
        /// Number of the release in its queue.
        release: u64,
    },
    /// It has been released and has not seen that yet.
    Released {
        /// Number of the release in its queue.
        release: u64,
    },
}

impl Duty {
    /// The job that it works for.
    pub(crate) fn job(&self) -> Option<&JobId> {
        match self {
            Self::Serving(job) | Self::Homing { job, .. } => Some(job),
            Self::Idle | Self::Released { .. } => None,
        }
    }
}

/// What follows from what a worker has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing.
    Nothing,
    /// It is idle.
    Idle,
    /// It is there for the next generation of the job.
    Home(JobId),
}

/// Directives that the worker has not confirmed, oldest first.
#[derive(Debug)]
struct Outbox {
    last: u64,
    waiting: VecDeque<Numbered>,
    /// Whether numbers follow on those that the worker has seen. After a restart that is not
    /// known before it asks.
    numbered: bool,
}

impl Outbox {
    fn new(numbered: bool) -> Self {
        Self { last: 0, waiting: VecDeque::new(), numbered }
    }
}

impl Fleet {
    /// An empty fleet whose first worker gets the number `next`. Of some `processes` something is known.
    pub(crate) fn new(next: u64, processes: Processes) -> Self {
        let (workers, leases, draining) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { workers, leases, draining, processes, next }
    }

    /// The number of the next worker.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().map(|(id, worker)| (*id, worker))
    }

    pub(crate) fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    /// The worker that is this process.
    pub(crate) fn of_process(&self, process: &Process) -> Option<WorkerId> {
        self.iter().find(|(_, worker)| process.is(&worker.hello)).map(|(id, _)| id)
    }

    /// What is remembered of processes.
    pub(crate) fn processes(&self) -> &Processes {
        &self.processes
    }

    /// Takes a worker in; its lease begins.
    pub(crate) fn attach(&mut self, now: Now, lease: Duration, hello: Hello) -> WorkerId {
        let id = WorkerId::new(self.next);
        self.next += 1;
        let worker = Worker {
            hello,
            attached_at: now.wall,
            lease_ends: now.instant + lease,
            duty: Duty::Idle,
            connected: true,
            draining: false,
            errors: 0,
            holds: None,
            outbox: Outbox::new(true),
        };
        self.insert(id, worker);
        id
    }

    /// Takes in a worker that served `job` before a restart.
    pub(crate) fn restore(&mut self, id: WorkerId, known: Known, lease_ends: Duration, job: &JobId) {
        let Known { hello, attached_at, holds_state } = known;
        let worker = Worker {
            hello,
            attached_at,
            lease_ends,
            duty: Duty::Serving(job.clone()),
            connected: true,
            draining: false,
            errors: 0,
            holds: holds_state.then(|| job.clone()),
            outbox: Outbox::new(false),
        };
        self.insert(id, worker);
    }

    /// Adds a worker, with what is remembered of its process.
    fn insert(&mut self, id: WorkerId, mut worker: Worker) {
        let process = Process::of(&worker.hello);
        worker.errors = self.processes.errors(&process);
        worker.draining = self.processes.is_draining(&process);
        if worker.draining {
            self.draining.insert(id);
        }
        self.leases.insert((worker.lease_ends, id));
        self.workers.insert(id, worker);
    }

    pub(crate) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        let removed = self.workers.remove(&id)?;
        self.leases.remove(&(removed.lease_ends, id));
        Some(removed)
    }

    /// Renews a lease. Returns whether the worker was thought to be cut off.
    pub(crate) fn hear(&mut self, id: WorkerId, lease_ends: Duration) -> Result<bool, rpc::Rejected> {
        let worker = self.workers.get_mut(&id).ok_or(rpc::Rejected::UnknownWorker(id))?;
        if lease_ends > worker.lease_ends {
            self.leases.remove(&(worker.lease_ends, id));
            self.leases.insert((lease_ends, id));
            worker.lease_ends = lease_ends;
        }
        Ok(!std::mem::replace(&mut worker.connected, true))
    }

    /// Notes that a worker's connection is gone.
    pub(crate) fn disconnected(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.connected = false;
        }
    }

    /// Notes that a worker is about to leave.
    pub(crate) fn drain(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.draining = true;
            self.draining.insert(id);
            self.processes.drains(&Process::of(&worker.hello));
        }
    }

    /// Workers that are about to leave and have nothing more to do; each is named once.
    pub(crate) fn drained(&mut self) -> Vec<WorkerId> {
        let mut done = Vec::new();
        self.draining.retain(|id| match self.workers.get(id) {
            Some(worker) if worker.duty == Duty::Idle => {
                done.push(*id);
                false
            }
            Some(_) => true,
            None => false,
        });
        done
    }

    /// Whether a worker is there, and can have work from now on.
    pub(crate) fn can_work(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(Worker::can_work)
    }

    /// Whether a worker keeps the state of a job.
    pub(crate) fn holds(&self, id: WorkerId, job: &JobId) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.holds.as_ref() == Some(job))
    }

    /// Notes that nobody is to go on from the state that a worker holds. It may be out of reach, and
    /// turn up with that under another number.
    pub(crate) fn distrust(&mut self, id: WorkerId, distrusted: Distrusted) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.holds = None;
            self.processes.distrust(&Process::of(&worker.hello), distrusted);
        }
    }

    /// The last generation in which a worker's process has kept a state of `job` that is not to be trusted.
    pub(crate) fn distrusted(&self, id: WorkerId, job: &JobId) -> Option<Generation> {
        self.processes.distrusted(&Process::of(&self.workers.get(&id)?.hello), job)
    }

    /// A process has left in order. Returns whether what is remembered of processes has changed.
    pub(crate) fn has_left(&mut self, process: &Process) -> bool {
        self.processes.has_left(process)
    }

    /// Whether a worker is there and keeps the state of a job, even if it is about to leave.
    pub(crate) fn can_save(&self, id: WorkerId, job: &JobId) -> bool {
        let is_there = |worker: &Worker| matches!(worker.unusable(), None | Some(Unusable::Draining));
        self.workers.get(&id).is_some_and(is_there) && self.holds(id, job)
    }

    /// Counts that the state of a process was wrong, which may be gone by now. Returns whether it
    /// gets no more work for that.
    pub(crate) fn has_erred(&mut self, process: &Process) -> bool {
        let errors = self.processes.has_erred(process);
        if let Some(worker) = self.of_process(process).and_then(|id| self.workers.get_mut(&id)) {
            worker.errors = errors;
        }
        errors >= ERRORS_MAX
    }

    /// Drops the directives up to number `after`, which the worker has seen.
    pub(crate) fn confirm(&mut self, id: WorkerId, after: u64) -> Seen {
        let Some(worker) = self.workers.get_mut(&id) else { return Seen::Nothing };
        let outbox = &mut worker.outbox;
        if !std::mem::replace(&mut outbox.numbered, true) {
            outbox.last += after;
            outbox.waiting.iter_mut().for_each(|directive| directive.number += after);
            if let Duty::Homing { release, .. } | Duty::Released { release } = &mut worker.duty {
                *release += after;
            }
        }
        while outbox.waiting.front().is_some_and(|first| first.number <= after) {
            outbox.waiting.pop_front();
        }
        match &worker.duty {
            Duty::Released { release } if *release <= after => {
                worker.duty = Duty::Idle;
                Seen::Idle
            }
            Duty::Homing { job, release } if *release <= after => {
                let job = job.clone();
                worker.duty = Duty::Serving(job.clone());
                Seen::Home(job)
            }
            Duty::Idle | Duty::Serving(_) | Duty::Homing { .. } | Duty::Released { .. } => Seen::Nothing,
        }
    }

    pub(crate) fn directives_after(&self, id: WorkerId, after: u64) -> Option<Vec<Numbered>> {
        let outbox = &self.workers.get(&id)?.outbox;
        Some(outbox.waiting.iter().filter(|directive| directive.number > after).cloned().collect())
    }

    /// How many directives wait for a worker.
    pub(crate) fn waiting(&self, id: WorkerId) -> usize {
        self.workers.get(&id).map_or(0, |worker| worker.outbox.waiting.len())
    }

    /// Leases that have ended.
    pub(crate) fn expired(&self, instant: Duration) -> Vec<WorkerId> {
        self.leases.iter().take_while(|(ends, _)| *ends <= instant).map(|(_, id)| *id).collect()
    }

    /// When the first lease ends.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.leases.first().map(|(ends, _)| *ends)
    }

    /// Makes the worker a member of a gang.
    pub(crate) fn take(&mut self, id: WorkerId, job: &JobId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            let fits = worker.duty == Duty::Idle || worker.duty == Duty::Serving(job.clone());
            debug_assert!(fits, "invariant 2: a worker serves one job at most");
            worker.duty = Duty::Serving(job.clone());
        }
    }

    /// Lets a worker go of which it is known that it works no more.
    pub(crate) fn dismiss(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.duty = Duty::Idle;
        }
    }

    /// Notes that a worker has shown that its generation is over for it.
    pub(crate) fn is_home(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && let Duty::Homing { job, .. } = &worker.duty
        {
            worker.duty = Duty::Serving(job.clone());
        }
    }

    /// No longer waits for a worker that was told of its generation's end.
    pub(crate) fn give_up(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && let Duty::Homing { release, .. } = worker.duty
        {
            worker.duty = Duty::Released { release };
        }
    }

    /// Queues a directive for a worker. Returns whether it is attached.
    pub(crate) fn send(&mut self, id: WorkerId, directive: Directive) -> bool {
        self.queue(id, directive).is_some()
    }

    /// Queues the release of a worker, which serves nobody from then on.
    pub(crate) fn release(&mut self, id: WorkerId, release: Directive) -> bool {
        let Some(release) = self.queue(id, release) else { return false };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.duty = Duty::Released { release };
        }
        true
    }

    /// Queues the release of a worker that is a member of the next generation, too.
    pub(crate) fn recall(&mut self, id: WorkerId, job: &JobId, release: Directive) -> bool {
        let Some(release) = self.queue(id, release) else { return false };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.duty = Duty::Homing { job: job.clone(), release };
        }
        true
    }

    fn queue(&mut self, id: WorkerId, directive: Directive) -> Option<u64> {
        let worker = self.workers.get_mut(&id)?;
        worker.follow(&directive);
        let outbox = &mut worker.outbox;
        outbox.last += 1;
        outbox.waiting.push_back(Numbered { number: outbox.last, directive });
        debug_assert!(outbox.waiting.len() <= DIRECTIVES_MAX, "invariant 8: queues are bounded");
        Some(outbox.last)
    }
}

/// A worker as messages name it: `3 (host, process 4711)`.
pub(crate) fn describe(id: WorkerId, hello: &Hello) -> String {
    format!("{id} ({})", Process::of(hello))
}

/// So many of something, for people: `1 worker`, `2 workers`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

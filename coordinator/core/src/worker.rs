//! The workers that are attached: their leases, what they serve, and the
//! directives that wait for them. Owns all that is known of a worker; none of
//! it survives a restart.
//!
//! A worker that was released is not idle before it has seen its release: so
//! one that died with its peers is not taken into the next generation.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use jiff::Timestamp;
use phalanx_protocol::{
    id::{JobId, WorkerId},
    message::{Directive, Hello, Numbered},
    rpc,
};

use crate::Now;

/// The most directives that can wait for one worker: a generation sends it at
/// most one of each kind, and it gets no other generation before it has seen
/// its release.
pub(crate) const DIRECTIVES_MAX: usize = 4;

/// The workers that are attached.
#[derive(Debug)]
pub(crate) struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
    next: u64,
}

/// One attached worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) hello: Hello,
    pub(crate) attached_at: Timestamp,
    pub(crate) lease_ends: Duration,
    pub(crate) duty: Duty,
    outbox: Outbox,
}

/// What a worker does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing.
    Idle,
    /// It is a member of the job's gang.
    Serving(JobId),
    /// It has been released and has not seen that yet.
    Leaving {
        /// Number of the release in its queue.
        release: u64,
    },
}

/// Directives that the worker has not confirmed, oldest first.
#[derive(Debug, Default)]
struct Outbox {
    last: u64,
    waiting: VecDeque<Numbered>,
}

impl Fleet {
    /// An empty fleet whose first worker gets the number `next`.
    pub(crate) fn new(next: u64) -> Self {
        Self { workers: BTreeMap::new(), next }
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

    /// The worker that is the same process as the one that says `hello`. Containers on one host may
    /// share its name, and each have a process 1, but no address.
    pub(crate) fn same_process(&self, hello: &Hello) -> Option<WorkerId> {
        let place = |hello: &Hello| (hello.pid, hello.data_addr);
        let same = |worker: &Worker| place(&worker.hello) == place(hello) && worker.hello.host == hello.host;
        self.iter().find(|(_, worker)| same(worker)).map(|(id, _)| id)
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
            outbox: Outbox::default(),
        };
        self.workers.insert(id, worker);
        id
    }

    pub(crate) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        self.workers.remove(&id)
    }

    /// Renews a lease.
    pub(crate) fn hear(&mut self, id: WorkerId, lease_ends: Duration) -> Result<(), rpc::Rejected> {
        let worker = self.workers.get_mut(&id).ok_or(rpc::Rejected::UnknownWorker(id))?;
        worker.lease_ends = worker.lease_ends.max(lease_ends);
        Ok(())
    }

    /// Drops the directives up to number `after`, which the worker has seen.
    /// Returns whether it is idle because of that.
    pub(crate) fn confirm(&mut self, id: WorkerId, after: u64) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        while worker.outbox.waiting.front().is_some_and(|first| first.number <= after) {
            worker.outbox.waiting.pop_front();
        }
        match worker.duty {
            Duty::Leaving { release } if release <= after => {
                worker.duty = Duty::Idle;
                true
            }
            Duty::Idle | Duty::Serving(_) | Duty::Leaving { .. } => false,
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
        self.iter().filter(|(_, worker)| worker.lease_ends <= instant).map(|(id, _)| id).collect()
    }

    /// When the first lease ends.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.workers.values().map(|worker| worker.lease_ends).min()
    }

    /// Makes the worker a member of a gang.
    pub(crate) fn take(&mut self, id: WorkerId, job: &JobId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            debug_assert_eq!(worker.duty, Duty::Idle, "invariant 2: a worker serves one job at most");
            worker.duty = Duty::Serving(job.clone());
        }
    }

    /// Lets a member go that was never told of its job.
    pub(crate) fn dismiss(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.duty = Duty::Idle;
        }
    }

    /// Queues a directive for a worker. Returns whether it is attached.
    pub(crate) fn send(&mut self, id: WorkerId, directive: Directive) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        let is_release = matches!(directive, Directive::Release { .. });
        worker.outbox.last += 1;
        let number = worker.outbox.last;
        if is_release {
            worker.duty = Duty::Leaving { release: number };
        }
        worker.outbox.waiting.push_back(Numbered { number, directive });
        debug_assert!(worker.outbox.waiting.len() <= DIRECTIVES_MAX, "invariant 8: queues are bounded");
        true
    }
}

/// A worker as messages name it: `3 (host, process 4711)`.
pub(crate) fn describe(id: WorkerId, hello: &Hello) -> String {
    format!("{id} ({}, process {})", hello.host, hello.pid)
}

/// So many of something, for people: `1 worker`, `2 workers`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

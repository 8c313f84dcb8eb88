//! Reducing while the caller computes: a thread that owns the rounds, fed with buckets in
//! the order in which they become ready. Buckets change hands, so that nobody reads what
//! is being reduced. The order of operations stays the same on all ranks, because it is
//! the order of [`submit`](Reducer::submit).

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use crate::{
    error::CollectiveError, group::Group, in_place::Bucket, reduction::Reduction, signal::AbortHandle,
};

/// A group on a thread of its own. While it waits for other ranks it sleeps, so that it
/// takes no core from whoever computes.
///
/// After an error every bucket comes back with one; dropping it ends the thread, after
/// the buckets that were submitted. [`AbortHandle::abort`] ends them at once.
#[derive(Debug)]
pub struct Reducer {
    group: Arc<Mutex<Group>>,
    abort: AbortHandle,
    /// `None` only while it is being dropped.
    orders: Option<Sender<(Reduction, Bucket)>>,
    done: Receiver<Result<Bucket, CollectiveError>>,
    pending: usize,
    thread: Option<JoinHandle<()>>,
}

impl Reducer {
    /// Takes the group over.
    ///
    /// # Errors
    ///
    /// Where the system gives no thread.
    pub fn new(mut group: Group) -> io::Result<Self> {
        group.sleep_while_waiting();
        let abort = group.abort_handle();
        let group = Arc::new(Mutex::new(group));
        let (orders, ordered) = channel::<(Reduction, Bucket)>();
        let (finished, done) = channel();
        let shared = Arc::clone(&group);
        let thread = thread::Builder::new().name("collective-reducer".into()).spawn(move || {
            for (reduction, mut bucket) in ordered {
                let mut group = lock(&shared);
                let result = group.all_reduce_bucket(reduction, &mut bucket);
                drop(group);
                if finished.send(result.map(|()| bucket)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { group, abort, orders: Some(orders), done, pending: 0, thread: Some(thread) })
    }

    /// Lets a bucket be reduced, after those submitted before it. Returns at once.
    pub fn submit(&mut self, reduction: Reduction, bucket: Bucket) {
        let orders = self.orders.as_ref().expect("invariant: it is not being dropped");
        // A thread that is gone has panicked; the next wait says so.
        let _ = orders.send((reduction, bucket));
        self.pending += 1;
    }

    /// Waits for the bucket that was submitted first of those not returned yet; `None`
    /// where there is none.
    ///
    /// # Errors
    ///
    /// Those of [`Group::all_reduce_bucket`]. The bucket is lost.
    pub fn wait(&mut self) -> Option<Result<Bucket, CollectiveError>> {
        self.pending = self.pending.checked_sub(1)?;
        Some(self.done.recv().unwrap_or(Err(CollectiveError::Broken)))
    }

    /// The group, for operations between reductions.
    ///
    /// # Panics
    ///
    /// While buckets are pending: ranks would not agree on the order of operations.
    pub fn group(&mut self) -> MutexGuard<'_, Group> {
        assert_eq!(self.pending, 0, "an operation between submitted buckets has no place in their order");
        lock(&self.group)
    }

    /// Ends all waits of the group, from any thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }
}

impl Drop for Reducer {
    fn drop(&mut self) {
        self.orders = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("the collective's reducer had panicked");
        }
    }
}

fn lock(group: &Mutex<Group>) -> MutexGuard<'_, Group> {
    group.lock().unwrap_or_else(PoisonError::into_inner)
}

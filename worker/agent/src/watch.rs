//! Watches whether the work of a generation makes progress: a thread that hangs, or a disk that answers
//! nothing, would otherwise be noticed by its peers alone, and by nobody where it has none.
//!
//! | who | its progress | what it may wait for without a limit here |
//! | --- | --- | --- |
//! | the trainer's thread | what the session tells, a batch that is asked for | other ranks and the store, whose limits are their own |
//! | calls to a folder, for as long as the work lasts | a piece that is read or written, an end | nothing |
//!
//! Calls to a service end by themselves. Owns nothing of the training, and does not end it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use phalanx_data::Dataset;
use phalanx_storage::Store;
use tokio::time::sleep;

use crate::orders::Orders;

/// Looks in one limit. A process that was halted in between has looked less often, and is not
/// blamed for the time.
const LOOKS: u32 = 16;

/// What a trainer does that can be seen.
#[derive(Debug)]
pub(crate) struct Watch {
    dataset: Arc<Dataset>,
    orders: Arc<Orders>,
    /// What the session has told, and waits for the store that it has begun or ended: odd while it waits.
    told: AtomicU64,
    store: AtomicU64,
    /// The trainer has ended.
    ended: AtomicBool,
}

/// What was seen of a trainer in one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    told: u64,
    batches: u64,
    store: u64,
    ranks: u64,
}

impl Watch {
    /// Over a trainer that reads `dataset` and has these orders.
    pub(crate) fn new(dataset: Arc<Dataset>, orders: Arc<Orders>) -> Self {
        let (told, store, ended) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Self { dataset, orders, told, store, ended }
    }

    /// The session has told something.
    pub(crate) fn tells(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }

    /// The trainer waits for the store until `done`.
    pub(crate) fn wait_for_store<T>(&self, done: impl FnOnce() -> T) -> T {
        self.store.fetch_add(1, Ordering::Relaxed);
        let result = done();
        self.store.fetch_add(1, Ordering::Relaxed);
        result
    }

    /// The trainer has ended: nothing more is expected of it.
    pub(crate) fn ends(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Waits until the trainer has shown no progress for `limit`.
    pub(crate) async fn until_stuck(&self, limit: Duration) {
        unchanged(limit, || self.look().filter(|look| !look.waits())).await;
    }

    fn look(&self) -> Option<Look> {
        let look = || Look {
            told: self.told.load(Ordering::Relaxed),
            batches: self.dataset.gathered(),
            store: self.store.load(Ordering::Relaxed),
            ranks: self.orders.abort_handle().waits(),
        };
        (!self.ended.load(Ordering::Relaxed)).then(look)
    }
}

impl Look {
    fn waits(&self) -> bool {
        self.store % 2 == 1 || self.ranks % 2 == 1
    }
}

/// Waits until a call to the store has moved nothing for `limit`: its disk is dead.
pub(crate) async fn until_dead(store: &Store, limit: Duration) {
    unchanged(limit, || store.oldest_call()).await;
}

/// Waits until `look` has given the same for `limit`; with `None` there is nothing to be seen.
async fn unchanged<T: PartialEq>(limit: Duration, look: impl Fn() -> Option<T>) {
    let (mut last, mut same) = (look(), 0);
    while same < LOOKS {
        sleep(limit / LOOKS).await;
        let now = look();
        same = if now.is_some() && now == last { same + 1 } else { 0 };
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Instant};

    use phalanx_storage::StorageError;
    use tokio::time::timeout;

    use super::*;

    const STILL: Look = Look { told: 1, batches: 1, store: 2, ranks: 4 };
    const LIMIT: Duration = Duration::from_millis(160);

    #[tokio::test]
    async fn what_shows_nothing_new_for_the_limit_is_stuck() {
        let begun = Instant::now();
        unchanged(LIMIT, || Some(STILL)).await;
        assert!(begun.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn what_goes_on_or_is_not_looked_at_is_not() {
        let looks = Cell::new(0);
        let goes_on = || {
            looks.set(looks.get() + 1);
            Some(looks.get() / 10)
        };
        assert!(timeout(LIMIT * 3, unchanged(LIMIT, goes_on)).await.is_err());
        assert!(timeout(LIMIT * 3, unchanged(LIMIT, || None::<u8>)).await.is_err());
    }

    #[test]
    fn a_trainer_waits_for_the_store_and_for_ranks() {
        let waiting = [Look { store: 3, ..STILL }, Look { ranks: 5, ..STILL }];
        assert!(!STILL.waits() && waiting.iter().all(Look::waits));
    }

    #[tokio::test]
    async fn a_disk_is_dead_whose_call_does_not_end() -> Result<(), StorageError> {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path().to_str().expect("a plain path"))?;
        assert!(timeout(LIMIT * 2, until_dead(&store, LIMIT)).await.is_err(), "nothing is under way");
        // Whoever opens it waits for a writer.
        let pipe = folder.path().join("part");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("a pipe can be made");
        let creating = store.create("part", bytes::Bytes::from_static(b"a state"));
        let dead = timeout(LIMIT * 20, until_dead(&store, LIMIT));
        tokio::select! {
            created = creating => panic!("a pipe is no file: {created:?}"),
            dead = dead => assert!(dead.is_ok(), "it is not seen"),
        }
        // Lets the call end, and with it the runtime.
        drop(std::fs::OpenOptions::new().read(true).write(true).open(&pipe));
        Ok(())
    }
}

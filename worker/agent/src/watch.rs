//! Watches whether a trainer makes progress: a thread that hangs, or a disk that answers nothing,
//! would otherwise be noticed by its peers alone, and by nobody where it has none.
//!
//! Progress is what the session tells, a batch that is asked for, and a wait for other ranks that
//! begins or ends. Waits for ranks and for the store have limits of their own. Owns nothing of
//! the training, and does not end it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use phalanx_data::Dataset;
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
}

/// What was seen in one look.
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
        Self { dataset, orders, told: AtomicU64::new(0), store: AtomicU64::new(0) }
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

    /// Waits until nothing has moved for `limit`.
    pub(crate) async fn until_stuck(&self, limit: Duration) {
        stuck(limit, || self.look()).await;
    }

    fn look(&self) -> Look {
        Look {
            told: self.told.load(Ordering::Relaxed),
            batches: self.dataset.gathered(),
            store: self.store.load(Ordering::Relaxed),
            ranks: self.orders.abort_handle().waits(),
        }
    }
}

impl Look {
    fn waits(&self) -> bool {
        self.store % 2 == 1 || self.ranks % 2 == 1
    }
}

async fn stuck(limit: Duration, look: impl Fn() -> Look) {
    let (mut last, mut same) = (look(), 0);
    while same < LOOKS {
        sleep(limit / LOOKS).await;
        let now = look();
        same = if now == last && !now.waits() { same + 1 } else { 0 };
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Instant};

    use tokio::time::timeout;

    use super::*;

    const STILL: Look = Look { told: 1, batches: 1, store: 2, ranks: 4 };
    const LIMIT: Duration = Duration::from_millis(160);

    #[tokio::test]
    async fn a_trainer_that_shows_nothing_for_the_limit_is_stuck() {
        let begun = Instant::now();
        stuck(LIMIT, || STILL).await;
        assert!(begun.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn one_that_goes_on_or_waits_is_not() {
        let looks = Cell::new(0);
        let goes_on = || {
            looks.set(looks.get() + 1);
            Look { batches: looks.get() / 10, ..STILL }
        };
        assert!(timeout(LIMIT * 3, stuck(LIMIT, goes_on)).await.is_err());
        for waits in [Look { store: 3, ..STILL }, Look { ranks: 5, ..STILL }] {
            assert!(timeout(LIMIT * 3, stuck(LIMIT, || waits)).await.is_err());
        }
    }
}

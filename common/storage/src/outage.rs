//! Waiting for a store that is away: what it is waited with, and how others hear of it.
//!
//! A store calls itself away when a request was not answered. Calls then try again for a while and
//! fail in the end. Whoever can wait longer makes them through [`Patience`], which calls again
//! for as long as the store is away, and tells once that it is and once that it is back.

use std::{
    pin::pin,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use crate::{StorageError, Store};

/// A store that has not answered for less than this is not told to be away: requests are lost now and then.
const TELL_AFTER: Duration = Duration::from_secs(5);

/// How often it is looked whether the store answers while a call is under way.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The least and the most time between two calls; it doubles. Calls to a service take a minute of their own.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A store that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// Since when.
    pub since: Instant,
    /// What the last try ended in, for people.
    pub why: String,
}

/// What somebody who waits for a store tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outage {
    /// It is away.
    Away(Away),
    /// It has answered again.
    Over,
}

/// Whether a store answers.
#[derive(Debug, Default)]
pub(crate) struct Health {
    away: Mutex<Option<Away>>,
}

impl Health {
    /// Since when every answer has failed to come or was that the store cannot now.
    pub(crate) fn away(&self) -> Option<Away> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A request was answered.
    pub(crate) fn answers(&self) {
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A request that was sent at `begun` was not.
    pub(crate) fn fails(&self, begun: Instant, why: &str) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let since = away.as_ref().map_or(begun, |away| away.since);
        *away = Some(Away { since, why: why.to_owned() });
    }
}

/// Waits for a store for as long as it is away. `tell` hears of each outage once when it has lasted
/// for five seconds or has ended a call, and once when it is over.
#[derive(Debug)]
pub struct Patience<T> {
    store: Store,
    tell: T,
    told: bool,
    pause: Duration,
}

impl<T: FnMut(Outage)> Patience<T> {
    /// Nothing has been waited for yet.
    pub fn new(store: Store, tell: T) -> Self {
        Self { store, tell, told: false, pause: PAUSE_MIN }
    }

    /// What `call` gives, which is made again while the store is away. Waits without an end: drop it
    /// when nobody wants the outcome any more.
    ///
    /// # Errors
    ///
    /// Those of `call` but the transient ones.
    pub async fn call<V, W: Future<Output = Result<V, StorageError>>>(
        &mut self,
        mut call: impl FnMut() -> W,
    ) -> Result<V, StorageError> {
        loop {
            match self.watch(call()).await {
                Err(error) if error.is_transient() => self.wait(&error).await,
                done => {
                    self.done();
                    return done;
                }
            }
        }
    }

    /// What `work` gives, which uses the store; tells meanwhile whether that is away.
    pub async fn watch<V>(&mut self, work: impl Future<Output = V>) -> V {
        let mut work = pin!(work);
        loop {
            match timeout(LOOK_EVERY, &mut work).await {
                Ok(worked) => return worked,
                Err(_) => self.look(),
            }
        }
    }

    /// Work has ended in `error`, which is transient: gives the store time until the next try.
    pub async fn wait(&mut self, error: &StorageError) {
        let away = self.store.away();
        self.tell_away(away.unwrap_or_else(|| Away { since: Instant::now(), why: error.to_string() }));
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// Work has ended otherwise: whatever it waited for is over.
    pub fn done(&mut self) {
        self.pause = PAUSE_MIN;
        if std::mem::take(&mut self.told) {
            (self.tell)(Outage::Over);
        }
    }

    fn look(&mut self) {
        match self.store.away() {
            Some(away) if away.since.elapsed() >= TELL_AFTER => self.tell_away(away),
            Some(_) => {}
            None => self.done(),
        }
    }

    fn tell_away(&mut self, away: Away) {
        if !std::mem::replace(&mut self.told, true) {
            (self.tell)(Outage::Away(away));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// What a call tells that fails so often before it succeeds, and what it gives.
    async fn check(
        failures: u32,
        last: Result<u32, StorageError>,
    ) -> (Vec<&'static str>, Result<u32, StorageError>) {
        let store = Store::open("memory://").expect("it opens");
        let (told, calls, last) = (RefCell::new(Vec::new()), Cell::new(0), Cell::new(Some(last)));
        let mut patience = Patience::new(store, |outage| {
            told.borrow_mut().push(match outage {
                Outage::Away(_) => "away",
                Outage::Over => "over",
            });
        });
        let given = patience
            .call(|| {
                calls.set(calls.get() + 1);
                let fails = calls.get() <= failures;
                let given =
                    if fails { Err(StorageError::Away("gone".into())) } else { last.take().expect("once") };
                async { given }
            })
            .await;
        (told.into_inner(), given)
    }

    #[tokio::test]
    async fn an_outage_is_ridden_out_and_told_once() {
        let (told, given) = check(3, Ok(7)).await;
        assert_eq!((told, given.unwrap()), (vec!["away", "over"], 7));
    }

    #[tokio::test]
    async fn what_does_not_pass_is_given_at_once() {
        let (told, given) = check(0, Err(StorageError::Full("no space".into()))).await;
        assert!(told.is_empty() && matches!(given, Err(StorageError::Full(_))), "{told:?} {given:?}");
    }
}

//! Who leads, and for how long. Of several coordinators one sits in the leader's
//! seat; one that keeps its state in a file of its own always does.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::sleep_until};

use crate::handle::Line;

/// What this process is to the cluster at this moment.
#[derive(Debug, Clone)]
pub(crate) enum Seat {
    /// It stands by; the one that leads, as far as is known.
    Standby(Option<Leader>),
    /// It leads, and its driver takes calls here.
    Leading(Arc<Line>),
}

/// Where a leader is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leader {
    /// By users: a URL.
    pub(crate) http: String,
    /// By workers: `host:port`.
    pub(crate) rpc: String,
}

/// How long this process may act as the leader: until the lease of its seat could
/// have ended. Whoever has seen it over sees it over for ever.
#[derive(Debug, Clone)]
pub(crate) struct Term {
    until: Option<watch::Receiver<Instant>>,
}

/// Prolongs a term.
#[derive(Debug)]
pub(crate) struct Tenure {
    until: watch::Sender<Instant>,
}

impl Term {
    /// That of a coordinator which is the only one.
    pub(crate) fn endless() -> Self {
        Self { until: None }
    }

    /// One that lasts until `until`, unless it is prolonged.
    pub(crate) fn new(until: Instant) -> (Tenure, Self) {
        let (sender, receiver) = watch::channel(until);
        (Tenure { until: sender }, Self { until: Some(receiver) })
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.until.as_ref().is_some_and(|until| Instant::now() >= *until.borrow())
    }

    /// Returns when it is over.
    pub(crate) async fn over(&self) {
        let Some(mut until) = self.until.clone() else { return pending().await };
        while !self.is_over() {
            let at = *until.borrow_and_update();
            tokio::select! {
                () = sleep_until(at.into()) => {}
                changed = until.changed() => if changed.is_err() {
                    // Without a tenure nothing changes any more.
                    sleep_until(at.into()).await;
                }
            }
        }
    }
}

impl Tenure {
    /// Lets the term last until `until`, if it is not over. Returns whether it is not.
    pub(crate) fn prolong(&self, until: Instant) -> bool {
        // Looked at under the lock that readers take: who saw the end sees no longer term.
        let mut lasts = false;
        self.until.send_if_modified(|current| {
            lasts = Instant::now() < *current;
            if lasts {
                *current = until.max(*current);
            }
            lasts
        });
        lasts
    }

    /// Ends the term at once.
    pub(crate) fn end(&self) {
        self.until.send_replace(Instant::now());
    }

    /// How long the term lasts from now on, if nothing prolongs it.
    pub(crate) fn left(&self) -> Duration {
        self.until.borrow().saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_term_ends_by_the_clock_and_is_never_prolonged_again() {
        let (tenure, term) = Term::new(Instant::now() + Duration::from_millis(30));
        assert!(!term.is_over());
        term.over().await;
        assert!(term.is_over());
        assert!(!tenure.prolong(Instant::now() + LONG));
        assert!(term.is_over());
    }

    #[tokio::test]
    async fn a_term_that_is_prolonged_ends_when_its_tenure_does() {
        let (tenure, term) = Term::new(Instant::now() + LONG);
        assert!(tenure.prolong(Instant::now() + 2 * LONG));
        assert!(tenure.left() > LONG && !term.is_over());
        let end = async { tenure.end() };
        tokio::join!(term.over(), end);
        assert!(term.is_over() && !tenure.prolong(Instant::now() + LONG));
    }

    #[tokio::test]
    async fn a_term_whose_tenure_is_gone_ends_by_the_clock() {
        let (tenure, term) = Term::new(Instant::now() + Duration::from_millis(30));
        drop(tenure);
        term.over().await;
        assert!(!Term::endless().is_over());
    }
}

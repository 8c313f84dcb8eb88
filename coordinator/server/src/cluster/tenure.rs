//! The hold on a term: what a renewed lease prolongs, and a lost one ends.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::seat::Term;

/// Prolongs a term.
#[derive(Debug)]
pub(super) struct Tenure {
    until: watch::Sender<Instant>,
}

impl Tenure {
    /// A term that lasts until `until`, unless it is prolonged.
    pub(super) fn new(until: Instant) -> (Self, Term) {
        let (sender, receiver) = watch::channel(until);
        (Self { until: sender }, Term { until: Some(receiver) })
    }

    /// Lets the term last until `until`, if it is not over. Returns whether it is not.
    pub(super) fn prolong(&self, until: Instant) -> bool {
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
    pub(super) fn end(&self) {
        self.until.send_replace(Instant::now());
    }

    /// How long the term lasts from now on, if nothing prolongs it.
    pub(super) fn left(&self) -> Duration {
        self.until.borrow().saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_term_ends_by_the_clock_and_is_never_prolonged_again() {
        let (tenure, term) = Tenure::new(Instant::now() + Duration::from_millis(30));
        assert!(!term.is_over());
        term.over().await;
        assert!(term.is_over());
        assert!(!tenure.prolong(Instant::now() + LONG));
        assert!(term.is_over());
    }

    #[tokio::test]
    async fn a_term_that_is_prolonged_ends_when_its_tenure_does() {
        let (tenure, term) = Tenure::new(Instant::now() + LONG);
        assert!(tenure.prolong(Instant::now() + 2 * LONG));
        assert!(tenure.left() > LONG && !term.is_over());
        let end = async { tenure.end() };
        tokio::join!(term.over(), end);
        assert!(term.is_over() && !tenure.prolong(Instant::now() + LONG));
    }

    #[tokio::test]
    async fn a_term_whose_tenure_is_gone_ends_by_the_clock() {
        let (tenure, term) = Tenure::new(Instant::now() + Duration::from_millis(30));
        drop(tenure);
        term.over().await;
        assert!(!Term::endless().is_over());
    }
}

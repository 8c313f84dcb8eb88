//! Who leads, and for how long. Of several coordinators one sits in the leader's
//! seat; one that keeps its state in a file of its own always does.

use std::{future::pending, sync::Arc, time::Instant};

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
    /// For one that has an end.
    pub(crate) until: Option<watch::Receiver<Instant>>,
}

impl Term {
    /// That of a coordinator which is the only one.
    pub(crate) fn endless() -> Self {
        Self { until: None }
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

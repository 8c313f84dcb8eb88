//! The clock that leases are measured with: it begins with the coordinator and
//! never goes back.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use phalanx_core::Now;

/// A running clock. Copies tell the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins now.
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time.
    pub(crate) fn now(self) -> Now {
        Now { instant: self.origin.elapsed(), wall: Timestamp::now() }
    }

    /// Returns at `deadline`; never if there is none.
    pub(crate) async fn reach(self, deadline: Option<Duration>) {
        match deadline {
            Some(deadline) => tokio::time::sleep_until((self.origin + deadline).into()).await,
            None => pending().await,
        }
    }
}

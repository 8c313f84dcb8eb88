//! From one term to the next: whoever comes to lead restores the state machine
//! from what is stored, serves until the term is over, and forgets everything
//! that it has not stored. Nothing of a term lives on in the next.

use std::sync::Arc;

use phalanx_core::{Coordinator, Effect, Record};
use phalanx_storage::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    driver::Driver,
    handle,
    seat::{Seat, Term},
    server::StartError,
    state::{StateError, StateStore},
};

/// What every term of this process begins with.
#[derive(Debug)]
pub(crate) struct Terms {
    machine: phalanx_core::Config,
    clock: Clock,
    store: Store,
    seat: watch::Sender<Seat>,
}

/// A term that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    driver: Driver,
    restored: Vec<Effect>,
}

impl Terms {
    /// No term yet, and the seat that they will be served from.
    pub(crate) fn new(machine: phalanx_core::Config, store: Store) -> (Self, watch::Receiver<Seat>) {
        let (seat, taken) = watch::channel(Seat::Standby(None));
        (Self { machine, clock: Clock::start(), store, seat }, taken)
    }

    /// The one term of a coordinator that has `state` for itself.
    pub(crate) async fn only(self, state: Box<dyn StateStore>) -> Result<Begun, StartError> {
        self.begin(state, Term::endless()).await
    }

    /// Goes on from what is in `state`, and opens the interfaces.
    async fn begin(&self, state: Box<dyn StateStore>, term: Term) -> Result<Begun, StartError> {
        let snapshot = state.load().await?;
        let records = snapshot.records.iter().map(|(key, value)| Record::decode(key, value));
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let mut restored = Vec::new();
        let coordinator =
            Coordinator::restore(self.machine.clone(), self.clock.now(), records, &mut restored)?;
        let (line, inbox) = handle::line(self.clock, term);
        let driver =
            Driver::new(coordinator, self.clock, (state, snapshot.revision), self.store.clone(), inbox);
        self.seat.send_replace(Seat::Leading(Arc::new(line)));
        Ok(Begun { driver, restored })
    }
}

impl Begun {
    /// Serves until `stop`, or until the term is over.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), StateError> {
        self.driver.run(self.restored, stop).await
    }
}

#[cfg(feature = "cluster")]
mod elected {
    use tracing::{error, info, warn};

    use super::*;
    use crate::{
        cluster::{Candidate, Elected},
        metrics,
        server::ServerError,
    };

    impl Terms {
        /// Stands by and leads, in turns, until `stop`. Ends by itself only where it would be no
        /// better the next time.
        pub(crate) async fn elected(
            self,
            mut candidate: Candidate,
            stop: CancellationToken,
        ) -> Result<(), ServerError> {
            loop {
                metrics::stands_by();
                let standby = |leader| drop(self.seat.send_replace(Seat::Standby(leader)));
                let elected = tokio::select! {
                    biased;
                    () = stop.cancelled() => {
                        candidate.withdraw().await;
                        return Ok(());
                    }
                    elected = candidate.elected(standby) => elected?,
                };
                self.seat.send_replace(Seat::Standby(None));
                let ended = self.lead(&elected, stop.clone()).await;
                self.seat.send_replace(Seat::Standby(None));
                elected.resign().await;
                match ended {
                    Err(ServerError::State(error)) if error.ends_the_term() => {
                        warn!(%error, "stands by again");
                    }
                    Err(error) => {
                        error!(%error, "the leader's seat is given up");
                        return Err(error);
                    }
                    Ok(()) => return Ok(()),
                }
            }
        }

        async fn lead(&self, elected: &Elected, stop: CancellationToken) -> Result<(), ServerError> {
            let term = elected.term();
            let state = Box::new(elected.state().await?);
            let begun = self.begin(state, term).await.map_err(|error| match error {
                StartError::State(error) => ServerError::State(error),
                other => ServerError::TakeOver(Box::new(other)),
            })?;
            info!(token = elected.token(), "this coordinator leads");
            metrics::leads();
            Ok(begun.run(stop).await?)
        }
    }
}

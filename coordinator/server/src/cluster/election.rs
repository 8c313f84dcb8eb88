//! The leader's seat: a key of etcd that one coordinator holds by a lease. Whoever stands
//! by watches it, and takes it when it is empty.
//!
//! etcd's own elections are not used: a campaign of theirs waits inside of one call, which
//! then can have no limit in time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use etcd_client::{
    Compare, CompareOp, Error, EventType, PutOptions, Txn, TxnOp, TxnOpResponse, WatchOptions,
};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use tracing::{debug, info, warn};

use super::{
    Place,
    etcd::{Etcd, Patience, keys},
    store::{self, EtcdState},
    tenure::Tenure,
};
use crate::{
    seat::{Leader, Term},
    state::StateError,
};

/// Bounds of the leader's lease, which is as long as that of workers otherwise: etcd takes whole
/// seconds, and none shorter than its own elections.
const LEASE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// The name of the key.
pub(super) const SEAT: &str = "leader";

/// A coordinator that stands for the leader's seat.
#[derive(Debug)]
pub(crate) struct Candidate {
    etcd: Arc<Etcd>,
    lease: Duration,
    /// Where it will be reached.
    me: Leader,
    /// The lease that it may have got the seat with.
    granted: Option<i64>,
}

/// A coordinator that has the leader's seat. Dropped, it keeps it until its lease ends.
#[derive(Debug)]
pub(crate) struct Elected {
    etcd: Arc<Etcd>,
    lease: i64,
    token: i64,
    term: Term,
    _keeper: AbortOnDropHandle<()>,
}

/// Who sits in the seat.
struct Seated {
    lease: i64,
    token: i64,
    leader: Option<Leader>,
    /// etcd's revision at which that was seen.
    seen: i64,
}

/// How long a term lasts that was prolonged by a lease of `lease`: less, should the clocks of
/// this machine and of etcd's run apart.
fn term_of(lease: Duration) -> Duration {
    lease * 9 / 10
}

impl Candidate {
    /// A candidate for the leader's seat at `place`, reached as `me` says once it leads. Workers are
    /// lost after `lease`; so is a leader, within the bounds of etcd.
    pub(crate) async fn new(place: Place, lease: Duration, me: Leader) -> Result<Self, StateError> {
        let seconds = Duration::from_secs(lease.as_secs_f64().ceil() as u64);
        let lease = seconds.clamp(LEASE.0, LEASE.1);
        // A member of etcd that hangs must leave time for another before the lease ends.
        let etcd = Arc::new(Etcd::new(place, lease / 4).await?);
        Ok(Self { etcd, lease, me, granted: None })
    }

    /// Returns when this coordinator is elected; until then tells `standby` who leads, at each
    /// change. May be dropped while it waits; then [`withdraw`](Self::withdraw).
    ///
    /// # Errors
    ///
    /// What will be no better the next time. That etcd is away is none.
    pub(crate) async fn elected(
        &mut self,
        mut standby: impl FnMut(Option<Leader>),
    ) -> Result<Elected, StateError> {
        let mut patience = Patience::new();
        loop {
            match self.stand(&mut standby).await {
                Ok(Some(elected)) => return Ok(elected),
                Ok(None) => patience.reset(),
                Err(error) if error.ends_the_term() => {
                    standby(None);
                    patience.wait(&error).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives up a seat that this coordinator may have got without knowing it.
    pub(crate) async fn withdraw(mut self) {
        if let Some(lease) = self.granted.take() {
            revoke(&self.etcd, lease).await;
        }
    }

    /// Takes the seat if it is empty. If not, waits until it could be, and returns nothing.
    async fn stand(
        &mut self,
        standby: &mut impl FnMut(Option<Leader>),
    ) -> Result<Option<Elected>, StateError> {
        store::check_format(&self.etcd).await?;
        let seat = self.etcd.key(SEAT);
        let found = self.etcd.call(|client| async move { keys(&client).get(seat, None).await }).await?;
        if let Some(seated) = seated(found.kvs(), found.header().map_or(0, |header| header.revision())) {
            standby(seated.leader.clone());
            self.watch(&seated).await?;
            return Ok(None);
        }
        standby(None);
        self.take().await
    }

    /// Waits until the seat is empty, or it is time to look again.
    async fn watch(&self, seated: &Seated) -> Result<(), StateError> {
        let (seat, options) = (self.etcd.key(SEAT), WatchOptions::new().with_start_revision(seated.seen + 1));
        let opened =
            self.etcd.call(|client| async move { client.watch_client().watch(seat, Some(options)).await });
        let mut watch = opened.await?;
        let emptied = async {
            while let Ok(Some(change)) = watch.message().await {
                if change.canceled()
                    || change.events().iter().any(|event| event.event_type() == EventType::Delete)
                {
                    return;
                }
            }
        };
        // A watch whose connection has died silently says nothing, so it is not trusted for long.
        let _ = timeout(self.lease, emptied).await;
        Ok(())
    }

    async fn take(&mut self) -> Result<Option<Elected>, StateError> {
        let (etcd, seconds) = (Arc::clone(&self.etcd), self.lease.as_secs() as i64);
        // The lease counts from before it was asked for.
        let asked_at = Instant::now();
        let granted =
            etcd.call(|client| async move { client.lease_client().grant(seconds, None).await }).await?;
        let (lease, lasts) = (granted.id(), Duration::from_secs(granted.ttl().max(0) as u64));
        self.granted = Some(lease);
        let (tenure, term) = Tenure::new(asked_at + term_of(lasts));
        let seated = tokio::select! {
            biased;
            () = term.over() => None,
            seated = self.sit_down(lease) => Some(seated?),
        };
        self.granted = None;
        match seated {
            Some(seated) if seated.lease == lease => {
                let keeper = tokio::spawn(keep(Arc::clone(&etcd), lease, lasts, tenure));
                let _keeper = AbortOnDropHandle::new(keeper);
                Ok(Some(Elected { etcd, lease, token: seated.token, term, _keeper }))
            }
            Some(_) | None => {
                revoke(&etcd, lease).await;
                Ok(None)
            }
        }
    }

    /// Takes the seat with `lease`, unless somebody has it; who has it then.
    async fn sit_down(&self, lease: i64) -> Result<Seated, StateError> {
        let seat = self.etcd.key(SEAT);
        let me = serde_json::to_vec(&self.me).expect("invariant: two texts are JSON");
        let vacant = Compare::create_revision(seat.as_str(), CompareOp::Equal, 0);
        let options = PutOptions::new().with_lease(lease);
        let take = [TxnOp::put(seat.as_str(), me, Some(options)), TxnOp::get(seat.as_str(), None)];
        let look = [TxnOp::get(seat, None)];
        let transaction = Txn::new().when([vacant]).and_then(take).or_else(look);
        let answer = self
            .etcd
            .insist(|client| {
                let transaction = transaction.clone();
                async move { keys(&client).txn(transaction).await }
            })
            .await?;
        let seen = answer.header().map_or(0, |header| header.revision());
        let found = answer.op_responses().into_iter().find_map(|op| match op {
            TxnOpResponse::Get(found) => seated(found.kvs(), seen),
            _ => None,
        });
        found.ok_or_else(|| self.etcd.damaged("the leader's seat is empty after it was taken"))
    }
}

impl Elected {
    /// The fencing token: greater than that of every leader before.
    pub(crate) fn token(&self) -> i64 {
        self.token
    }

    /// For how long this coordinator may act.
    pub(crate) fn term(&self) -> Term {
        self.term.clone()
    }

    /// The state, which only this leader can write.
    pub(crate) async fn state(&self) -> Result<EtcdState, StateError> {
        EtcdState::open(Arc::clone(&self.etcd), self.token, self.term.clone()).await
    }

    /// Leaves the seat to the next one, if etcd can be told so quickly.
    pub(crate) async fn resign(self) {
        let Self { etcd, lease, _keeper, .. } = self;
        drop(_keeper);
        revoke(&etcd, lease).await;
    }
}

/// Keeps the seat for as long as etcd says that it is kept.
async fn keep(etcd: Arc<Etcd>, lease: i64, lasts: Duration, tenure: Tenure) {
    let pause = lasts / 3;
    loop {
        sleep(pause.min(tenure.left())).await;
        let mut patience = Patience::new();
        loop {
            let asked_at = Instant::now();
            match etcd.call(|client| renew(client, lease)).await {
                Ok(true) if tenure.prolong(asked_at + term_of(lasts)) => break,
                Ok(true) => return warn!("the leader's lease was renewed too late"),
                Ok(false) => {
                    warn!("the leader's lease is lost");
                    return tenure.end();
                }
                Err(_) if tenure.left().is_zero() => return,
                Err(error) => patience.wait(&error).await,
            }
        }
    }
}

/// Renews the lease once. Returns whether there still is one.
async fn renew(client: etcd_client::Client, lease: i64) -> Result<bool, Error> {
    match client.lease_client().keep_alive(lease).await {
        Ok(_) => Ok(true),
        Err(Error::LeaseKeepAliveError(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a lease up, and with it the seat. That it cannot be told does no harm: the lease ends.
async fn revoke(etcd: &Etcd, lease: i64) {
    let call = etcd.insist(|client| async move {
        match client.lease_client().revoke(lease).await {
            // It has ended already.
            Err(Error::GRpcStatus(status)) if status.code() == Code::NotFound => Ok(()),
            answer => answer.map(drop),
        }
    });
    match timeout(2 * etcd.limit(), call).await {
        Ok(Ok(())) => info!("the leader's lease is given back"),
        Ok(Err(error)) => debug!(%error, "the leader's lease was not given back"),
        Err(_) => debug!("the leader's lease was not given back in time"),
    }
}

fn seated(found: &[etcd_client::KeyValue], seen: i64) -> Option<Seated> {
    let found = found.first()?;
    let leader = serde_json::from_slice(found.value()).ok();
    Some(Seated { lease: found.lease(), token: found.create_revision(), leader, seen })
}

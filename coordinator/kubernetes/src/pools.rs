//! Watches pools and their pods, and sets how many pods each has, while this coordinator leads. What it sets is decided in
//! `scaling`; this holds what is known of pools.
//!
//! A pool is a StatefulSet with the label `phalanx.dev/pool`. It is scaled if it says by annotation up to where:
//!
//! | annotation | meaning | default |
//! | --- | --- | --- |
//! | `phalanx.dev/replicas-max` | the most pods | the pool is left alone |
//! | `phalanx.dev/replicas-min` | the fewest | 0 |
//! | `phalanx.dev/idle-seconds` | for how long pods stay that nobody needs | 120 |
//! | `phalanx.dev/patience-seconds` | for how long pods without a node are waited for | 300 |

use std::{
    collections::BTreeMap,
    fmt::Debug,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::BoxStream};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use phalanx_server::{Attached, Jobs, JobsError};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use crate::{
    cluster::{Budget, COORDINATOR, Cluster, answered},
    scaling::{Memory, Pool, Workers, decide, wishes},
};

/// The label of a pool and of its pods.
pub(crate) const POOL: &str = "phalanx.dev/pool";

const REPLICAS_MAX: &str = "phalanx.dev/replicas-max";
const REPLICAS_MIN: &str = "phalanx.dev/replicas-min";
const IDLE_SECONDS: &str = "phalanx.dev/idle-seconds";
const PATIENCE_SECONDS: &str = "phalanx.dev/patience-seconds";

const IDLE_DEFAULT: Duration = Duration::from_secs(120);
const PATIENCE_DEFAULT: Duration = Duration::from_secs(300);

/// The longest that an annotation can name.
const SECONDS_MAX: u64 = 7 * 24 * 3_600;

/// It is decided at most this often, however much changes.
const DECIDE_EVERY: Duration = Duration::from_millis(100);

/// What failed is tried again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// All objects of a kind, as a watch tells them.
struct Watched<K> {
    stream: BoxStream<'static, Result<Event<K>, watcher::Error>>,
    /// By their names; `None` before the first list is whole.
    known: Option<BTreeMap<String, K>>,
    /// A list that is under way.
    listed: BTreeMap<String, K>,
    /// The watch does not get through, and that was told.
    is_away: bool,
}

impl<K> Watched<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    fn new(api: Api<K>, config: watcher::Config) -> Self {
        let stream = watcher(api, config).default_backoff().boxed();
        Self { stream, known: None, listed: BTreeMap::new(), is_away: false }
    }

    /// Takes the next thing that is told. Nothing is lost if this is dropped while it waits.
    async fn next(&mut self) {
        let event = self.stream.next().await;
        let was_away = std::mem::replace(&mut self.is_away, matches!(event, Some(Err(_))));
        match event {
            Some(Ok(Event::Init)) => self.listed.clear(),
            Some(Ok(Event::InitApply(object))) => drop(self.listed.insert(object.name_any(), object)),
            Some(Ok(Event::InitDone)) => self.known = Some(std::mem::take(&mut self.listed)),
            Some(Ok(Event::Apply(object))) => {
                drop(self.known.get_or_insert_default().insert(object.name_any(), object));
            }
            Some(Ok(Event::Delete(object))) => {
                drop(self.known.get_or_insert_default().remove(&object.name_any()));
            }
            Some(Err(error)) if was_away => debug!(%error, "pools cannot be watched"),
            Some(Err(error)) => {
                warn!(%error, kind = %K::kind(&()), "pools cannot be watched; it is tried again");
            }
            // A watch never ends by itself.
            None => std::future::pending().await,
        }
    }

    fn get(&self, name: &str) -> Option<&K> {
        self.known.as_ref()?.get(name)
    }

    fn iter(&self) -> impl Iterator<Item = (&String, &K)> {
        self.known.iter().flatten()
    }
}

/// What is known of pools, of one term.
struct Pools {
    jobs: Jobs,
    api: Api<StatefulSet>,
    budget: Budget,
    begin: Instant,
    sets: Watched<StatefulSet>,
    pods: Watched<Pod>,
    /// What the workers of each pool were when some were seen last.
    workers: BTreeMap<String, Workers>,
    memory: BTreeMap<String, Memory>,
}

/// Goes on until the term is over.
///
/// # Errors
///
/// This coordinator leads no more.
pub(crate) async fn run(cluster: &Cluster, jobs: Jobs) -> Result<(), JobsError> {
    let api: Api<StatefulSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let config = watcher::Config::default().labels(POOL);
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let pools = Pools {
        jobs,
        sets: Watched::new(api.clone(), config.clone()),
        pods: Watched::new(pods, config),
        api,
        budget: Budget::new(),
        begin: Instant::now(),
        workers: BTreeMap::new(),
        memory: BTreeMap::new(),
    };
    pools.turns().await
}

impl Pools {
    async fn turns(mut self) -> Result<(), JobsError> {
        let mut changes = self.jobs.changes()?;
        let mut at = Some(Instant::now());
        loop {
            let soon = Instant::now() + DECIDE_EVERY;
            tokio::select! {
                () = self.sets.next() => at = Some(at.map_or(soon, |at| at.min(soon))),
                () = self.pods.next() => at = Some(at.map_or(soon, |at| at.min(soon))),
                changed = changes.changed() => {
                    changed.map_err(|_| JobsError::NotLeading)?;
                    at = Some(at.map_or(soon, |at| at.min(soon)));
                }
                () = sleep_until(at.unwrap_or(soon).into()), if at.is_some() => at = self.scale().await?,
            }
        }
    }

    /// Decides for all pools. Returns when that is to be done again if nothing changes.
    async fn scale(&mut self) -> Result<Option<Instant>, JobsError> {
        if self.sets.known.is_none() || self.pods.known.is_none() {
            return Ok(None);
        }
        let (demand, workers) = self.jobs.demand().await?;
        self.note_workers(&workers);
        let wall = Timestamp::now();
        let pools: BTreeMap<String, Pool> = self
            .sets
            .iter()
            .filter_map(|(name, set)| Some((name.clone(), self.pool(name, set, wall)?)))
            .collect();
        self.memory.retain(|name, _| pools.contains_key(name));
        let mut again = None::<Instant>;
        for (name, wish) in wishes(&demand, &pools) {
            let pool = &pools[name];
            let before = self.memory.get(name).cloned().unwrap_or_default();
            let decision = decide(self.begin.elapsed(), pool, wish, before.clone());
            let mut at = decision.again_at.map(|at| self.begin + at);
            let done =
                decision.replicas == pool.replicas || self.set(name, pool.replicas, decision.replicas).await;
            if done {
                self.memory.insert(name.to_owned(), decision.memory);
            } else {
                self.memory.insert(name.to_owned(), before);
                at = Some(Instant::now() + AGAIN_AFTER);
            }
            again = [again, at].into_iter().flatten().min();
        }
        // Deadlines of `scaling` are whole decisions: never at once again.
        Ok(again.map(|at| at.max(Instant::now() + DECIDE_EVERY)))
    }

    /// Notes which pool has which kind of workers: a pod has the name of its host.
    fn note_workers(&mut self, workers: &[Attached]) {
        for worker in workers {
            let Some(pool) = self.pods.get(&worker.host).and_then(|pod| self.pool_of(pod)) else { continue };
            let is = Workers { kind: worker.kind.clone(), tasks: worker.tasks.clone() };
            self.workers.insert(pool, is);
        }
    }

    /// The name of the StatefulSet that a pod belongs to.
    fn pool_of(&self, pod: &Pod) -> Option<String> {
        let (name, _) = split(pod.metadata.name.as_deref()?)?;
        self.sets.get(name).is_some().then(|| name.to_owned())
    }

    /// What is known of a pool; `None` if it is not to be scaled.
    fn pool(&self, name: &str, set: &StatefulSet, now: Timestamp) -> Option<Pool> {
        let max = u32::try_from(number(set, REPLICAS_MAX)?).unwrap_or(u32::MAX);
        let min = number(set, REPLICAS_MIN).map_or(0, |min| u32::try_from(min).unwrap_or(u32::MAX)).min(max);
        let seconds = |annotation, default| {
            number(set, annotation).map_or(default, |seconds| Duration::from_secs(seconds.min(SECONDS_MAX)))
        };
        let pods = self.pods.iter().filter_map(|(pod, is)| {
            let (of, ordinal) = split(pod)?;
            (of == name).then_some((ordinal, is))
        });
        let (mut placed, mut unplaced_for) = (0, None::<Duration>);
        for (ordinal, pod) in pods {
            match unplaced(pod, now) {
                _ if is_placed(pod) => placed = placed.max(ordinal.saturating_add(1)),
                Some(waited) => unplaced_for = Some(unplaced_for.unwrap_or_default().max(waited)),
                None => {}
            }
        }
        let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        Some(Pool {
            min,
            max,
            replicas: u32::try_from(replicas).unwrap_or(0),
            placed,
            unplaced_for,
            idle: seconds(IDLE_SECONDS, IDLE_DEFAULT),
            patience: seconds(PATIENCE_SECONDS, PATIENCE_DEFAULT),
            workers: self.workers.get(name).cloned(),
        })
    }

    /// Sets the replicas of a pool; `false` if that was not done.
    async fn set(&mut self, name: &str, from: u32, to: u32) -> bool {
        self.budget.spend().await;
        let patch = Patch::Merge(json!({"spec": {"replicas": to}}));
        let params = PatchParams { field_manager: Some(COORDINATOR.to_owned()), ..PatchParams::default() };
        match answered(self.api.patch_scale(name, &params, &patch)).await {
            Ok(_) => {
                info!(pool = name, from, to, "a pool was scaled");
                // The watch tells it later.
                let set = self.sets.known.as_mut().and_then(|sets| sets.get_mut(name));
                if let Some(spec) = set.and_then(|set| set.spec.as_mut()) {
                    spec.replicas = i32::try_from(to).ok();
                }
                true
            }
            Err(error) => {
                warn!(%error, pool = name, to, "a pool cannot be scaled");
                false
            }
        }
    }
}

/// A pod's name as that of its set and its ordinal.
fn split(pod: &str) -> Option<(&str, u32)> {
    let (set, ordinal) = pod.rsplit_once('-')?;
    Some((set, ordinal.parse().ok()?))
}

fn number(set: &StatefulSet, annotation: &str) -> Option<u64> {
    set.metadata.annotations.as_ref()?.get(annotation)?.parse().ok()
}

/// Whether it has a node.
fn is_placed(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// For how long no node was found for it, if the scheduler has said so.
fn unplaced(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let unschedulable = conditions.iter().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    })?;
    let since = unschedulable.last_transition_time.as_ref()?.0;
    Some(Duration::try_from(now.duration_since(since)).unwrap_or_default())
}

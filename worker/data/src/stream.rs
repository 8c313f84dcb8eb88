//! A data set that is larger than the cache: shards are fetched ahead, mapped while they are needed, and given up when
//! others need the room.
//!
//! Fetching goes on the runtime; whoever gathers waits for what is not there yet, for as long as the store is away, unless
//! it is not wanted any more. A shard is fetched once at a time, however many ask for it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use phalanx_storage::{Outage, Patience, Store};
use tokio::{runtime::Handle, sync::Semaphore};
use tracing::{info, warn};

use crate::{
    OpenError, ShardRef, Split,
    cache::Cache,
    dataset::FETCHES_MAX,
    figures,
    mapped::{Form, Mapped},
};

/// How often whoever waits for a shard looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The shards of a data set, some of them mapped.
#[derive(Debug)]
pub(crate) struct Stream {
    refs: [Vec<ShardRef>; 3],
    form: Form,
    store: Store,
    cache: Cache,
    runtime: Handle,
    fetching: Arc<Semaphore>,
    slots: Mutex<Slots>,
    arrived: Condvar,
}

/// Which shards are here, or on the way.
#[derive(Debug, Default)]
struct Slots {
    held: BTreeMap<(Split, usize), Slot>,
    bytes: u64,
    /// Grows with each use.
    clock: u64,
}

#[derive(Debug)]
struct Slot {
    used: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Coming,
    Here(Arc<Mapped>),
    Failed(OpenError),
}

impl Stream {
    pub(crate) fn new(refs: [Vec<ShardRef>; 3], form: Form, store: Store, cache: Cache) -> Arc<Self> {
        Arc::new(Self {
            refs,
            form,
            store,
            cache,
            runtime: Handle::current(),
            fetching: Arc::new(Semaphore::new(FETCHES_MAX)),
            slots: Mutex::default(),
            arrived: Condvar::new(),
        })
    }

    /// Asks for shards that will soon be needed.
    pub(crate) fn prefetch(self: &Arc<Self>, split: Split, shards: impl Iterator<Item = usize>) {
        let mut slots = self.slots();
        for index in shards.filter(|index| *index < self.refs[split as usize].len()) {
            if !slots.held.contains_key(&(split, index)) {
                figures::prefetched();
                self.ask(&mut slots, split, index);
            }
        }
    }

    /// The shard, once it is here; `None` if it is not wanted any more before that.
    pub(crate) fn get(
        self: &Arc<Self>,
        split: Split,
        index: usize,
        still_wanted: &dyn Fn() -> bool,
    ) -> Result<Option<Arc<Mapped>>, OpenError> {
        let key = (split, index);
        let mut slots = self.slots();
        let mut waiting_since = None;
        loop {
            slots.clock += 1;
            let now = slots.clock;
            match slots.held.get_mut(&key) {
                None => self.ask(&mut slots, split, index),
                Some(Slot { state: State::Coming, .. }) => {}
                Some(Slot { state: State::Here(mapped), used }) => {
                    *used = now;
                    let mapped = Arc::clone(mapped);
                    if let Some(since) = waiting_since {
                        figures::waited_for_shard(Instant::elapsed(&since));
                    }
                    return Ok(Some(mapped));
                }
                Some(Slot { state: State::Failed(_), .. }) => {
                    // Others who wait for it ask again.
                    if let Some(Slot { state: State::Failed(error), .. }) = self.remove(&mut slots, key) {
                        return Err(error);
                    }
                }
            }
            waiting_since.get_or_insert_with(Instant::now);
            if !still_wanted() {
                return Ok(None);
            }
            (slots, _) = self.arrived.wait_timeout(slots, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether shards of a split that are needed together, so many of them, fit into the cache together.
    pub(crate) fn has_room_for(&self, split: Split, shards: usize) -> bool {
        let refs = &self.refs[split as usize];
        let largest = refs.iter().map(|shard| shard.file.bytes).max().unwrap_or(0);
        largest.saturating_mul(shards.min(refs.len()) as u64) <= self.cache.bytes_max()
    }

    /// Nobody will ask for a shard any more: what is on its way need not arrive.
    pub(crate) fn close(&self) {
        self.fetching.close();
    }

    /// Begins to fetch a shard that nobody has asked for.
    fn ask(self: &Arc<Self>, slots: &mut Slots, split: Split, index: usize) {
        slots.clock += 1;
        slots.held.insert((split, index), Slot { used: slots.clock, state: State::Coming });
        slots.bytes += self.refs[split as usize][index].file.bytes;
        self.make_room(slots);
        let arriving = Arriving { stream: Arc::clone(self), split, index, fetched: None };
        self.runtime.spawn(arriving.fetch());
    }

    /// Gives up what was used longest ago, as long as there is more than fits into the cache. What is on its way stays.
    fn make_room(&self, slots: &mut Slots) {
        while slots.bytes > self.cache.bytes_max() {
            let here = slots.held.iter().filter(|(_, slot)| matches!(slot.state, State::Here(_)));
            let Some(oldest) = here.min_by_key(|(_, slot)| slot.used).map(|(key, _)| *key) else { break };
            self.remove(slots, oldest);
        }
        figures::mapped(slots.bytes);
    }

    fn remove(&self, slots: &mut Slots, key: (Split, usize)) -> Option<Slot> {
        let slot = slots.held.remove(&key)?;
        slots.bytes -= self.refs[key.0 as usize][key.1].file.bytes;
        Some(slot)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A shard on its way. It arrives even if the runtime drops it unfinished: nobody must wait for ever.
struct Arriving {
    stream: Arc<Stream>,
    split: Split,
    index: usize,
    fetched: Option<Result<Arc<Mapped>, OpenError>>,
}

impl Arriving {
    async fn fetch(mut self) {
        let stream = &self.stream;
        let shard = &stream.refs[self.split as usize][self.index];
        let Ok(_permit) = stream.fetching.acquire().await else { return };
        let path = &shard.file.path;
        let mut patience = Patience::new(stream.store.clone(), |outage| match outage {
            Outage::Away(away) => warn!(path, why = away.why, "a data shard waits for the object store"),
            Outage::Over => info!(path, "the object store is back"),
        });
        while !stream.fetching.is_closed() {
            match patience.watch(stream.cache.fetch(&stream.store, shard, stream.form)).await {
                Err(OpenError::Storage(error)) if error.is_transient() => patience.wait(&error).await,
                fetched => {
                    self.fetched = Some(fetched);
                    break;
                }
            }
        }
        patience.done();
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let path = || self.stream.refs[self.split as usize][self.index].file.path.clone();
        let fetched = self.fetched.take().unwrap_or_else(|| Err(OpenError::Ending { path: path() }));
        let state = fetched.map_or_else(State::Failed, State::Here);
        if let Some(slot) = self.stream.slots().held.get_mut(&(self.split, self.index)) {
            slot.state = state;
        }
        self.stream.arrived.notify_all();
    }
}

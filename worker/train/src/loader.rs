//! The loader: a thread that gathers the batches of the next steps while the
//! present one computes.

use std::{
    any::Any,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use phalanx_collective::AbortHandle;
use phalanx_data::{Augment, Batch, Dataset, EpochOrder, FeatureKind, Split, figures};
use phalanx_protocol::{ledger::Taken, spec::TrainSpec};
use tracing::warn;

use crate::{error::TrainError, measure::still_wanted};

/// Steps gathered ahead.
const AHEAD: usize = 2;

/// How often whoever waits for batches looks whether the group still wants a step.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The batches of one rank's lanes, step after step.
pub(crate) struct Loader {
    gathered: mpsc::Receiver<Result<Gathered, TrainError>>,
    /// Nobody takes batches any more.
    ended: Arc<AtomicBool>,
}

/// What one step of one rank is computed from.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// One for each lane.
    pub(crate) batches: Vec<Batch>,
    /// What each lane's batch was gathered from.
    pub(crate) taken: Vec<Taken>,
}

impl Loader {
    /// Gathers the batches of `lanes` for each of `steps`.
    pub(crate) fn spawn(
        dataset: Arc<Dataset>,
        spec: TrainSpec,
        lanes: Range<u32>,
        steps: Range<u64>,
    ) -> Result<Self, TrainError> {
        let (send, gathered) = mpsc::sync_channel(AHEAD);
        let ended = Arc::new(AtomicBool::new(false));
        let mut feeder = Feeder { dataset, spec, epoch: None, ended: Arc::clone(&ended) };
        thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                for step in steps {
                    let lanes = lanes.clone();
                    let gathered = catch_unwind(AssertUnwindSafe(|| feeder.gather(step, lanes)));
                    let gathered =
                        gathered.unwrap_or_else(|panic| Err(TrainError::Loader(panic_text(panic.as_ref()))));
                    // The trainer stopped before the planned end: so does its loader.
                    let Some(gathered) = gathered.transpose() else { return };
                    let failed = gathered.is_err();
                    if send.send(gathered).is_err() || failed {
                        return;
                    }
                }
            })
            .map_err(|error| TrainError::Thread { thread: "loader", error })?;
        Ok(Self { gathered, ended })
    }

    /// What the next step is computed from; an error where the group is told to end before that is here.
    pub(crate) fn next(&self, abort: &AbortHandle) -> Result<Gathered, TrainError> {
        let begun = Instant::now();
        loop {
            match self.gathered.recv_timeout(LOOK_EVERY) {
                Ok(gathered) => {
                    figures::waited_for_batch(begun.elapsed());
                    return gathered;
                }
                Err(RecvTimeoutError::Timeout) => still_wanted(abort)?,
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("invariant: the loader gives as many batches as there are steps")
                }
            }
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why").to_owned()
}

/// Gathers what a step needs. Which rows those are, and what happens to their images, is a pure function of seed, epoch
/// and position; the training split fills at least one batch.
///
/// Only whole batches are trained on; the rows that an epoch leaves out are other
/// ones each time, since each epoch has an order of its own.
struct Feeder {
    dataset: Arc<Dataset>,
    spec: TrainSpec,
    /// The epoch that was fed last.
    epoch: Option<Epoch>,
    /// Nobody takes batches any more.
    ended: Arc<AtomicBool>,
}

/// What is decided for a whole epoch.
struct Epoch {
    number: u64,
    order: EpochOrder,
    augment: Option<Augment>,
    /// Windows of the order whose shards were asked for.
    asked: Range<usize>,
}

impl Feeder {
    /// Gathers the batches of `lanes` for step `step` (from 0); `None` once nobody takes them.
    fn gather(&mut self, step: u64, lanes: Range<u32>) -> Result<Option<Gathered>, TrainError> {
        let steps_per_epoch = self.spec.steps_per_epoch(self.dataset.rows(Split::Train));
        let first = step % steps_per_epoch * u64::from(self.spec.batch_size);
        let number = step / steps_per_epoch;
        if self.epoch.as_ref().is_none_or(|epoch| epoch.number != number) {
            self.epoch = Some(self.begin(number));
        }
        let mut gathered = Gathered::default();
        let Self { dataset, spec, epoch: Some(epoch), ended } = self else { return Ok(None) };
        let is_wanted = || !ended.load(Ordering::Relaxed);
        epoch.ask_ahead(dataset, first);
        for lane in lanes {
            let (mut taken, rows) = epoch.lane_rows(spec, first, lane);
            let Some(mut batch) = dataset.gather_while(Split::Train, &rows, &is_wanted)? else {
                return Ok(None);
            };
            if let Some(augment) = &epoch.augment {
                augment.apply(&mut batch.features, &rows);
            }
            if spec.ledger {
                taken.digest = digest(&rows);
            }
            gathered.batches.push(batch);
            gathered.taken.push(taken);
        }
        Ok(Some(gathered))
    }

    fn begin(&self, number: u64) -> Epoch {
        let shape = match self.dataset.schema().features {
            FeatureKind::Image { shape, .. } => Some(shape),
            FeatureKind::Dense { .. } | FeatureKind::Bytes { .. } | FeatureKind::Tokens { .. } => None,
        };
        let augment = self.spec.augment.as_ref().zip(shape);
        let augment = augment.map(|(augment, shape)| Augment::new(augment, shape, self.spec.seed, number));
        let order = self.dataset.order(&self.spec, number);
        if !self.dataset.has_room_for(&order) {
            warn!(
                epoch = number,
                "the cache is too small for this order of samples: data shards are fetched more than once; raise \
                 `--cache-max`, or set `train.shuffle = \"blocks\"` and a smaller `train.shuffle_window`"
            );
        }
        Epoch { number, order, augment, asked: 0..0 }
    }
}

impl Epoch {
    /// The rows that lane `lane` takes in the step whose batch begins at `first`, and where they stand in the order.
    fn lane_rows(&self, spec: &TrainSpec, first: u64, lane: u32) -> (Taken, Vec<u64>) {
        let rows = spec.lane_batch();
        let first = first + u64::from(lane) * u64::from(rows);
        let taken = Taken { epoch: self.number, first, rows, digest: 0 };
        (taken, (first..first + u64::from(rows)).map(|position| self.order.at(position)).collect())
    }

    /// Asks for the shards of the window that `position` is in, and of the next one.
    fn ask_ahead(&mut self, dataset: &Dataset, position: u64) {
        let Some((window, windows)) = self.order.window(position) else { return };
        let wanted = window..(window + 2).min(windows);
        for window in wanted.clone().filter(|window| !self.asked.contains(window)) {
            dataset.prefetch(Split::Train, self.order.blocks(window));
        }
        self.asked = wanted;
    }
}

/// Of the numbers of rows, in their order.
fn digest(rows: &[u64]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    rows.iter().for_each(|row| _ = hasher.update(&row.to_le_bytes()));
    let hash = hasher.finalize();
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("invariant: a hash has 32 bytes"))
}

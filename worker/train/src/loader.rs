//! The loader: a thread that gathers the batches of the next steps while the
//! present one computes.

use std::{
    any::Any,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::Instant,
};

use phalanx_data::{Augment, Batch, Dataset, EpochOrder, FeatureKind, Split, figures};
use phalanx_protocol::{ledger::Taken, spec::TrainSpec};

use crate::error::TrainError;

/// Steps gathered ahead.
const AHEAD: usize = 2;

/// The batches of one rank's lanes, step after step.
pub(crate) struct Loader {
    gathered: mpsc::Receiver<Result<Gathered, TrainError>>,
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
        let mut feeder = Feeder { dataset, spec, epoch: None };
        thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                for step in steps {
                    let lanes = lanes.clone();
                    let gathered = catch_unwind(AssertUnwindSafe(|| feeder.gather(step, lanes)));
                    let gathered =
                        gathered.unwrap_or_else(|panic| Err(TrainError::Loader(panic_text(panic.as_ref()))));
                    let failed = gathered.is_err();
                    // The trainer stopped before the planned end: so does its loader.
                    if send.send(gathered).is_err() || failed {
                        return;
                    }
                }
            })
            .map_err(|error| TrainError::Thread { thread: "loader", error })?;
        Ok(Self { gathered })
    }

    /// What the next step is computed from.
    pub(crate) fn next(&self) -> Result<Gathered, TrainError> {
        let begun = Instant::now();
        let gathered = self.gathered.recv();
        figures::waited_for_batch(begun.elapsed());
        gathered.expect("invariant: the loader gives as many batches as there are steps")
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
    /// Gathers the batches of `lanes` for step `step` (from 0).
    fn gather(&mut self, step: u64, lanes: Range<u32>) -> Result<Gathered, TrainError> {
        let steps_per_epoch = self.spec.steps_per_epoch(self.dataset.rows(Split::Train));
        let first = step % steps_per_epoch * u64::from(self.spec.batch_size);
        let number = step / steps_per_epoch;
        if self.epoch.as_ref().is_none_or(|epoch| epoch.number != number) {
            self.epoch = Some(self.begin(number));
        }
        let mut gathered = Gathered::default();
        let Self { dataset, spec, epoch: Some(epoch) } = self else { return Ok(gathered) };
        epoch.ask_ahead(dataset, first);
        for lane in lanes {
            let (mut taken, rows) = epoch.lane_rows(spec, first, lane);
            let mut batch = dataset.gather(Split::Train, &rows)?;
            if let Some(augment) = &epoch.augment {
                augment.apply(&mut batch.features, &rows);
            }
            if spec.ledger {
                taken.digest = digest(&rows);
            }
            gathered.batches.push(batch);
            gathered.taken.push(taken);
        }
        Ok(gathered)
    }

    fn begin(&self, number: u64) -> Epoch {
        let shape = match self.dataset.schema().features {
            FeatureKind::Image { shape, .. } => Some(shape),
            FeatureKind::Dense { .. } | FeatureKind::Bytes { .. } | FeatureKind::Tokens { .. } => None,
        };
        let augment = self.spec.augment.as_ref().zip(shape);
        let augment = augment.map(|(augment, shape)| Augment::new(augment, shape, self.spec.seed, number));
        Epoch { number, order: self.dataset.order(&self.spec, number), augment, asked: 0..0 }
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

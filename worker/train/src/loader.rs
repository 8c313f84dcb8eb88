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
use phalanx_protocol::spec::TrainSpec;

use crate::error::TrainError;

/// Steps gathered ahead.
const AHEAD: usize = 2;

/// The batches of one rank's lanes, step after step.
pub(crate) struct Loader {
    batches: mpsc::Receiver<Result<Vec<Batch>, TrainError>>,
}

impl Loader {
    /// Gathers the batches of `lanes` for each of `steps`.
    pub(crate) fn spawn(
        dataset: Arc<Dataset>,
        spec: TrainSpec,
        lanes: Range<u32>,
        steps: Range<u64>,
    ) -> Result<Self, TrainError> {
        let (send, batches) = mpsc::sync_channel(AHEAD);
        let mut feeder = Feeder { dataset, spec, epoch: None };
        thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                for step in steps {
                    let batches = catch_unwind(AssertUnwindSafe(|| feeder.batches(step, lanes.clone())));
                    let batches =
                        batches.unwrap_or_else(|panic| Err(TrainError::Loader(panic_text(panic.as_ref()))));
                    let failed = batches.is_err();
                    // The trainer stopped before the planned end: so does its loader.
                    if send.send(batches).is_err() || failed {
                        return;
                    }
                }
            })
            .map_err(|error| TrainError::Thread { thread: "loader", error })?;
        Ok(Self { batches })
    }

    /// The batches of the next step, one for each lane.
    pub(crate) fn next(&self) -> Result<Vec<Batch>, TrainError> {
        let begun = Instant::now();
        let batches = self.batches.recv();
        figures::waited_for_batch(begun.elapsed());
        batches.expect("invariant: the loader gives as many batches as there are steps")
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
    /// The batches of `lanes` in step `step` (from 0).
    fn batches(&mut self, step: u64, lanes: Range<u32>) -> Result<Vec<Batch>, TrainError> {
        let steps_per_epoch = self.spec.steps_per_epoch(self.dataset.rows(Split::Train));
        let first = step % steps_per_epoch * u64::from(self.spec.batch_size);
        let number = step / steps_per_epoch;
        if self.epoch.as_ref().is_none_or(|epoch| epoch.number != number) {
            self.epoch = Some(self.begin(number));
        }
        let Self { dataset, spec, epoch: Some(epoch) } = self else { return Ok(Vec::new()) };
        epoch.ask_ahead(dataset, first);
        let gather = |lane| {
            let rows = lane_positions(spec, first, lane).map(|position| epoch.order.at(position));
            let rows: Vec<u64> = rows.collect();
            let mut batch = dataset.gather(Split::Train, &rows)?;
            if let Some(augment) = &epoch.augment {
                augment.apply(&mut batch.features, &rows);
            }
            Ok(batch)
        };
        lanes.map(gather).collect()
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

/// The positions in an epoch's order that lane `lane` takes in the step whose batch begins at `first`.
fn lane_positions(spec: &TrainSpec, first: u64, lane: u32) -> Range<u64> {
    let lane_batch = u64::from(spec.lane_batch());
    let first = first + u64::from(lane) * lane_batch;
    first..first + lane_batch
}

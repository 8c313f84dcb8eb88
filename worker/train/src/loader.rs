//! The loader: a thread that gathers the batches of the next steps while the
//! present one computes.

use std::{
    any::Any,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
};

use phalanx_data::{Batch, Dataset, Order, Split};
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
        thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                for step in steps {
                    let gather = |lane| dataset.gather(Split::Train, &rows_of(&dataset, &spec, step, lane));
                    let batches = catch_unwind(AssertUnwindSafe(|| lanes.clone().map(gather).collect()));
                    let batches = batches.map_err(|panic| TrainError::Loader(panic_text(panic.as_ref())));
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
        self.batches.recv().expect("invariant: the loader gives as many batches as there are steps")
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why").to_owned()
}

fn rows_of(dataset: &Dataset, spec: &TrainSpec, step: u64, lane: u32) -> Vec<u64> {
    lane_rows(spec, dataset.rows(Split::Train), step, lane)
}

/// The rows of the training split that lane `lane` takes in step `step` (from 0): a
/// pure function of seed, epoch and position. The split fills at least one batch.
///
/// Only whole batches are trained on; the rows that an epoch leaves out are other
/// ones each time, since each epoch has an order of its own.
fn lane_rows(spec: &TrainSpec, train_rows: u64, step: u64, lane: u32) -> Vec<u64> {
    let steps_per_epoch = spec.steps_per_epoch(train_rows);
    let (epoch, step_of_epoch) = (step / steps_per_epoch, step % steps_per_epoch);
    let order = Order::new(spec.seed, epoch, train_rows);
    let lane_batch = u64::from(spec.lane_batch());
    let first = step_of_epoch * u64::from(spec.batch_size) + u64::from(lane) * lane_batch;
    (first..first + lane_batch).map(|position| order.at(position)).collect()
}

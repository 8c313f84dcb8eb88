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
        thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                for step in steps {
                    let lanes = lanes.clone();
                    let gathered = catch_unwind(AssertUnwindSafe(|| gather(&dataset, &spec, step, lanes)));
                    let gathered = gathered.map_err(|panic| TrainError::Loader(panic_text(panic.as_ref())));
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
        self.gathered.recv().expect("invariant: the loader gives as many batches as there are steps")
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why").to_owned()
}

/// Gathers the batches of `lanes` for step `step` (from 0).
fn gather(dataset: &Dataset, spec: &TrainSpec, step: u64, lanes: Range<u32>) -> Gathered {
    let mut gathered = Gathered::default();
    for lane in lanes {
        let (mut taken, rows) = lane_rows(spec, dataset.rows(Split::Train), step, lane);
        if spec.ledger {
            taken.digest = digest(&rows);
        }
        gathered.batches.push(dataset.gather(Split::Train, &rows));
        gathered.taken.push(taken);
    }
    gathered
}

/// The rows of the training split that lane `lane` takes in step `step` (from 0), and where they stand
/// in the epoch's order: a pure function of seed, epoch and position. The split fills at least one batch.
///
/// Only whole batches are trained on; the rows that an epoch leaves out are other
/// ones each time, since each epoch has an order of its own.
fn lane_rows(spec: &TrainSpec, train_rows: u64, step: u64, lane: u32) -> (Taken, Vec<u64>) {
    let steps_per_epoch = spec.steps_per_epoch(train_rows);
    let (epoch, step_of_epoch) = (step / steps_per_epoch, step % steps_per_epoch);
    let order = Order::new(spec.seed, epoch, train_rows);
    let rows = spec.lane_batch();
    let first = step_of_epoch * u64::from(spec.batch_size) + u64::from(lane) * u64::from(rows);
    let taken = Taken { epoch, first, rows, digest: 0 };
    (taken, (first..first + u64::from(rows)).map(|position| order.at(position)).collect())
}

/// Of the numbers of rows, in their order.
fn digest(rows: &[u64]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    rows.iter().for_each(|row| _ = hasher.update(&row.to_le_bytes()));
    let hash = hasher.finalize();
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("invariant: a hash has 32 bytes"))
}

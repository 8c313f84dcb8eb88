//! The records of what lanes took that are not durable yet.
//!
//! Shared by the trainer, which adds the records of all lanes of a step, and whoever makes them
//! durable and then takes them out. Writes nothing itself.
//!
//! Invariant: whoever holds the state after a step has, of every step up to it, the records of
//! all lanes in here, or they are durable. So the trainer adds records before a step counts as
//! finished, a rank that takes the state from others takes their records too, and a part of a
//! checkpoint exists only after the records of its rank are durable.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use phalanx_collective::Group;
use phalanx_protocol::ledger::Entry;

use crate::{error::TrainError, handover::everyones};

/// The most records that wait: 100 MB.
const UNSAVED_MAX: usize = 1 << 20;

/// Records that are not durable yet.
#[derive(Debug, Default)]
pub struct Ledger {
    unsaved: Mutex<BTreeSet<Entry>>,
}

impl Ledger {
    /// All of them, by step and lane.
    pub fn unsaved(&self) -> Vec<Entry> {
        self.entries().iter().copied().collect()
    }

    /// These have become durable.
    pub fn saved(&self, entries: &[Entry]) {
        let mut unsaved = self.entries();
        entries.iter().for_each(|entry| _ = unsaved.remove(entry));
    }

    /// Takes in what the lanes of all ranks took; `mine` is that of this rank's. Collective.
    pub(crate) fn commit(&self, group: &mut Group, mine: &[Entry]) -> Result<(), TrainError> {
        let all: Vec<Vec<Entry>> = everyones(group, &mine)?;
        let mut unsaved = self.entries();
        unsaved.extend(all.into_iter().flatten());
        let records = unsaved.len();
        if records > UNSAVED_MAX { Err(TrainError::Ledger { records }) } else { Ok(()) }
    }

    /// Takes in the records of all ranks that are not durable yet. Collective.
    pub(crate) fn share(&self, group: &mut Group) -> Result<(), TrainError> {
        let mine = self.unsaved();
        let all: Vec<Vec<Entry>> = everyones(group, &mine)?;
        self.entries().extend(all.into_iter().flatten());
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, BTreeSet<Entry>> {
        // A panic between two records leaves a set all the same.
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The driver of the simulated coordinator: does effects in their order, and
//! crashes between them if the seed says so.

use phalanx_core::{Completion, Config, Coordinator, Effect, Input, Now, Rejected, Reply, WriteFailed};
use phalanx_protocol::{
    id::{JobId, WorkerId},
    message::{Directive, Timeouts},
    view::ModelVersionRef,
};
use std::time::Duration;

use crate::{
    support::file,
    world::{Happening, World},
};

/// The lease; all other limits derive from it.
const LEASE: Duration = Duration::from_secs(2);

pub(crate) fn config() -> Config {
    Config { timeouts: Timeouts::from_lease(LEASE), fruitless_generations_max: 6, ..Config::default() }
}

impl World {
    pub(crate) fn clock(&self) -> Now {
        let wall =
            jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::try_from(self.now).expect("a short time");
        Now { instant: self.now, wall }
    }

    /// Hands an input to the coordinator. `None` if it is down, or crashes
    /// before it can answer: the caller knows nothing then.
    pub(crate) fn call(&mut self, input: Input) -> Result<Option<Result<Reply, Rejected>>, String> {
        let now = self.clock();
        let Some(coordinator) = &mut self.coordinator else { return Ok(None) };
        let mut effects = Vec::new();
        let reply = coordinator.handle(now, input, &mut effects);
        coordinator.place(now, &mut effects);
        coordinator.check_invariants().map_err(|broken| broken.to_string())?;
        let overdue = coordinator.next_deadline().is_some_and(|deadline| deadline <= self.now);
        if overdue {
            return Err("a deadline that has passed is left: the driver would spin".to_owned());
        }
        Ok(self.perform(effects)?.then_some(reply))
    }

    /// Does effects in order; returns whether the coordinator has survived that.
    pub(crate) fn perform(&mut self, effects: Vec<Effect>) -> Result<bool, String> {
        for effect in effects {
            if self.chance(self.odds.crash) {
                self.crash();
                return Ok(false);
            }
            self.perform_one(effect)?;
        }
        Ok(true)
    }

    fn perform_one(&mut self, effect: Effect) -> Result<(), String> {
        let incarnation = self.incarnation;
        match effect {
            Effect::Persist(record) => self.stores.persist(record)?,
            Effect::Send { worker } => {
                let coordinator = self.coordinator.as_ref();
                let queue = coordinator.and_then(|coordinator| coordinator.directives_after(worker, 0));
                for numbered in queue.unwrap_or_default() {
                    self.check_sent(&numbered.directive)?;
                }
                self.wake(worker);
            }
            Effect::DeleteLeftovers(leftovers) => {
                self.schedule(1, 2_000, Happening::Sweep { incarnation, leftovers });
            }
            Effect::WriteCheckpointManifest { job, generation, manifest, path } => {
                let lasts = self.wait_for_store(&job);
                let result = self.write_file(path);
                let step = manifest.step;
                let completion = Completion::CheckpointManifest { job, generation, step, result };
                self.schedule(lasts + 1, lasts + 80, Happening::Complete { incarnation, completion });
            }
            Effect::DeleteCheckpoint { job, checkpoint, parts } => {
                self.stores.delete_checkpoint(&job, &checkpoint, &parts)?;
            }
            Effect::WriteModelManifest { job, version, path } => {
                let name = ModelVersionRef { name: version.name.clone(), version: version.version };
                let result = self.write_file(path.clone());
                if result.is_ok() {
                    self.stores.write_model(path, *version)?;
                }
                let completion = Completion::ModelManifest { job, version: name, result };
                self.schedule(1, 80, Happening::Complete { incarnation, completion });
            }
            Effect::JobChanged(_) => {}
        }
        Ok(())
    }

    /// For how many milliseconds the store is away, of which the coordinator tells the job.
    fn wait_for_store(&mut self, job: &JobId) -> u64 {
        let Some(lasts) = self.store_away_until.checked_sub(self.now) else { return 0 };
        let (incarnation, lasting) = (self.incarnation, Duration::from_millis(1));
        let why = "connection refused".to_owned();
        let completion = Completion::StoreAway { job: job.clone(), lasting, why };
        self.schedule(1, 1, Happening::Complete { incarnation, completion });
        u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX)
    }

    /// A directive waits: the worker's long poll is answered.
    fn wake(&mut self, worker: WorkerId) {
        if let Some(slot) = self.slots.iter().position(|slot| slot.id == Some(worker)) {
            let life = self.slots[slot].life;
            self.schedule(1, 20, Happening::Poll { slot, life, regular: false });
        }
    }

    /// No directive may name a generation that is not durable.
    fn check_sent(&self, directive: &Directive) -> Result<(), String> {
        let (job, generation) = match directive {
            Directive::Prepare { job, generation, .. }
            | Directive::Fetch { job, generation, .. }
            | Directive::Stop { job, generation, .. }
            | Directive::Release { job, generation, .. } => (job, *generation),
            Directive::Train(assignment) => (&assignment.job, assignment.generation),
            Directive::Leave => return Ok(()),
        };
        if generation <= self.stores.generation(job) {
            Ok(())
        } else {
            Err(format!("invariant 1: {job} is told of generation {generation}, which is not durable"))
        }
    }

    fn write_file(&mut self, path: String) -> Result<phalanx_protocol::reference::FileRef, WriteFailed> {
        if self.is_disk_full() {
            return Err(WriteFailed { reason: "the object store is full".to_owned() });
        }
        self.stores.write(path.clone());
        Ok(file(path))
    }

    /// The coordinator's process dies; what it had in memory is gone.
    pub(crate) fn crash(&mut self) {
        if self.coordinator.take().is_some() {
            self.ended.crashes += 1;
            self.note(|| "the coordinator crashes".to_owned());
            self.incarnation += 1;
            self.schedule(50, 1_500, Happening::Restart);
        }
    }

    /// A new coordinator reads what is durable.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        self.note(|| "the coordinator restarts".to_owned());
        let mut effects = Vec::new();
        let records = self.stores.records()?;
        let restored = Coordinator::restore(config(), self.clock(), records, &mut effects);
        let coordinator = restored.map_err(|error| error.to_string())?;
        coordinator.check_invariants().map_err(|broken| broken.to_string())?;
        self.coordinator = Some(coordinator);
        self.perform(effects)?;
        Ok(())
    }
}

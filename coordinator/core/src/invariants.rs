//! The numbered invariants of the crate, as far as they can be seen from
//! inside, for tests and simulations. Looks at everything and changes nothing.

use phalanx_protocol::{spec::CHECKPOINTS_MAX, view::CURVE_POINTS_MAX};

use crate::{
    Coordinator,
    checkpoint::SAVES_MAX,
    job::{EVICTED_MAX, Job, Phase},
    processes::PROCESSES_MAX,
    record::MESSAGES_MAX,
    registry::ALIAS_CHANGES_MAX,
    schedule::Verdict,
    worker::{DIRECTIVES_MAX, Duty},
};

/// An invariant that does not hold: a bug of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invariant {number} is broken: {what}")]
pub struct BrokenInvariant {
    /// Its number in the crate's documentation.
    pub number: u8,
    /// What was found.
    pub what: String,
}

fn require(number: u8, holds: bool, what: impl FnOnce() -> String) -> Result<(), BrokenInvariant> {
    if holds { Ok(()) } else { Err(BrokenInvariant { number, what: what() }) }
}

impl Coordinator {
    /// Checks every invariant that can be seen from inside. Takes time in
    /// proportion to the whole state.
    ///
    /// # Errors
    ///
    /// The first [`BrokenInvariant`].
    pub fn check_invariants(&self) -> Result<(), BrokenInvariant> {
        self.check_memberships()?;
        self.check_registry()?;
        self.check_nobody_waits_in_vain()?;
        for job in self.live_jobs() {
            let (id, noted) = (&job.record().id, self.deadlines.get(&job.record().id));
            let is_noted =
                job.deadline().is_none_or(|deadline| noted.is_some_and(|noted| *noted <= deadline));
            require(7, is_noted, || format!("it is not noted when something is due for {id}"))?;
        }
        for job in self.jobs.values() {
            check_checkpoints(job)?;
            check_done(self, job)?;
            check_bounds(job)?;
        }
        let remembered = self.fleet.processes().len();
        require(8, remembered <= PROCESSES_MAX, || format!("{remembered} processes are remembered"))?;
        for (id, _) in self.fleet.iter() {
            let waiting = self.fleet.waiting(id);
            require(8, waiting <= DIRECTIVES_MAX, || format!("{waiting} directives wait for worker {id}"))?;
        }
        Ok(())
    }

    fn check_memberships(&self) -> Result<(), BrokenInvariant> {
        for (id, worker) in self.fleet.iter() {
            let Some(job) = worker.duty.job() else { continue };
            let known = self.jobs.get(job).is_some_and(|job| {
                job.expects(id) || job.phase().gang().is_some_and(|gang| gang.rank_of(id).is_some())
            });
            require(2, known, || format!("worker {id} serves {job}, which does not know it"))?;
        }
        for job in self.jobs.values() {
            let record = job.record();
            let Some(gang) = job.phase().gang() else { continue };
            let serves = |duty: &Duty| duty.job() == Some(&record.id);
            for member in &gang.members {
                let there = self.fleet.get(*member).is_some_and(|worker| serves(&worker.duty));
                let gone = job.phase().is_gone(*member);
                require(2, there || gone, || {
                    format!("{} has member {member}, which does not serve it", record.id)
                })?;
            }
            require(2, !gang.members.is_empty(), || {
                format!("{} has a generation without members", record.id)
            })?;
        }
        Ok(())
    }

    fn check_registry(&self) -> Result<(), BrokenInvariant> {
        for (version, next) in self.registry.versions() {
            let number = version.version;
            let reserved = (1..next).contains(&number);
            require(5, reserved, || format!("version {number} of {} was never given out", version.name))?;
        }
        let changes = self.registry.alias_changes();
        require(8, changes <= ALIAS_CHANGES_MAX, || format!("a model keeps {changes} changes of aliases"))?;
        match self.registry.dangling_aliases().next() {
            Some((model, alias)) => {
                require(5, false, || format!("alias {alias} of {model} names no version"))
            }
            None => Ok(()),
        }
    }

    fn check_nobody_waits_in_vain(&self) -> Result<(), BrokenInvariant> {
        for (id, verdict) in self.plan(self.last_plan.at) {
            let changes = !matches!(verdict, Verdict::Wait { .. } | Verdict::Keep);
            require(7, !changes, || format!("the plan for {id} was not carried out: {verdict:?}"))?;
        }
        Ok(())
    }
}

fn check_checkpoints(job: &Job) -> Result<(), BrokenInvariant> {
    let record = job.record();
    let ascend = record.checkpoints.windows(2).all(|pair| pair[0].checkpoint.step < pair[1].checkpoint.step);
    require(4, ascend, || format!("the checkpoints of {} do not ascend", record.id))?;
    let newer = record.checkpoints.iter().any(|kept| kept.checkpoint.generation > record.generation);
    require(1, !newer, || format!("{} has a checkpoint of a later generation", record.id))
}

fn check_done(coordinator: &Coordinator, job: &Job) -> Result<(), BrokenInvariant> {
    let record = job.record();
    if !matches!(job.phase(), Phase::Done) || record.spec.register.is_none() {
        return Ok(());
    }
    let model = record.outcome.as_ref().and_then(|outcome| outcome.model.as_ref());
    let registered = model.is_some_and(|model| coordinator.registry.contains(&model.name, model.version));
    require(6, registered, || format!("{} is done, but its model is not registered", record.id))
}

fn check_bounds(job: &Job) -> Result<(), BrokenInvariant> {
    let record = job.record();
    let saves = job.phase().saves().map_or(0, crate::checkpoint::Saves::len);
    let bounds = [
        ("messages", record.messages.len(), MESSAGES_MAX),
        ("checkpoints", record.checkpoints.len(), CHECKPOINTS_MAX),
        ("points of training loss", record.curve.train.as_slice().len(), CURVE_POINTS_MAX),
        ("points of validation loss", record.curve.validation.as_slice().len(), CURVE_POINTS_MAX),
        ("checkpoints in the making", saves, SAVES_MAX),
        ("evicted workers", record.evicted.len(), EVICTED_MAX),
    ];
    for (what, count, max) in bounds {
        require(8, count <= max, || format!("{} has {count} {what}, more than {max}", record.id))?;
    }
    Ok(())
}

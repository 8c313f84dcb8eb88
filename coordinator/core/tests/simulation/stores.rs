//! The two stores as the simulation has them, and the invariants on what is
//! durable. They survive every crash.

use std::collections::{BTreeMap, BTreeSet};

use phalanx_core::{
    Leftovers, Record,
    record::{JobRecord, ModelHead, Standing},
};
use phalanx_protocol::{
    id::{Generation, JobId},
    reference::{CheckpointRef, FileRef},
    spec::JobSpec,
    view::ModelVersion,
};

/// What is durable.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    /// The state store.
    records: BTreeMap<String, Vec<u8>>,
    /// Jobs of the state store, decoded.
    jobs: BTreeMap<JobId, JobRecord>,
    /// Models of the state store, decoded.
    heads: BTreeMap<String, ModelHead>,
    /// Paths of the object store.
    files: BTreeSet<String>,
    /// Model manifests of the object store.
    models: BTreeMap<String, ModelVersion>,
}

type Checked = Result<(), String>;

fn require(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

impl Stores {
    /// Everything that a restarted coordinator reads.
    pub(crate) fn records(&self) -> Result<Vec<Record>, String> {
        let decode =
            |(key, value): (&String, &Vec<u8>)| Record::decode(key, value).map_err(|e| e.to_string());
        self.records.iter().map(decode).collect()
    }

    /// The generation that everybody may know of.
    pub(crate) fn generation(&self, job: &JobId) -> Generation {
        self.jobs.get(job).map(|job| job.generation).unwrap_or_default()
    }

    pub(crate) fn spec(&self, job: &JobId) -> Option<&JobSpec> {
        self.jobs.get(job).map(|job| &*job.spec)
    }

    pub(crate) fn write(&mut self, path: String) {
        self.files.insert(path);
    }

    pub(crate) fn persist(&mut self, record: Record) -> Checked {
        match &record {
            Record::Job(job) => self.check_job(job)?,
            Record::ModelVersion(version) => {
                let known = self.records.contains_key(&record.key());
                require(!known, || format!("invariant 5: {} is stored twice", record.key()))?;
                let written = self.models.values().any(|manifest| manifest == &**version);
                require(written, || format!("invariant 6: {} has no manifest", record.key()))?;
            }
            Record::Model(head) => {
                for version in head.aliases.values() {
                    let there = self.records.contains_key(&format!("version/{}/{version}", head.name));
                    require(there, || format!("invariant 5: an alias of {} names {version}", head.name))?;
                }
            }
            Record::Counters(_) | Record::Processes(_) => {}
        }
        self.records.insert(record.key(), record.encode());
        match record {
            Record::Job(job) => drop(self.jobs.insert(job.id.clone(), *job)),
            Record::Model(head) => drop(self.heads.insert(head.name.clone(), head)),
            Record::ModelVersion(_) | Record::Counters(_) | Record::Processes(_) => {}
        }
        Ok(())
    }

    fn check_job(&self, job: &JobRecord) -> Checked {
        let id = &job.id;
        let before = self.generation(id);
        require(job.generation >= before, || format!("invariant 1: {id} fell back from {before}"))?;
        for kept in &job.checkpoints {
            self.check_whole(&kept.checkpoint, &kept.parts)
                .map_err(|why| format!("invariant 4: {id}: {why}"))?;
        }
        if job.standing != Standing::Done {
            return Ok(());
        }
        let model = job.outcome.as_ref().and_then(|outcome| outcome.model.as_ref());
        let stored = |name: &str, number: u64| self.records.contains_key(&format!("version/{name}/{number}"));
        let registered =
            job.spec.register.is_none() || model.is_some_and(|model| stored(&model.name, model.version));
        require(registered, || format!("invariant 6: {id} is done, but not registered"))?;
        let Some(register) = &job.spec.register else { return Ok(()) };
        let aliases = self.heads.get(&register.model).map(|head| &head.aliases);
        let named =
            register.alias.as_ref().is_none_or(|alias| aliases.is_some_and(|a| a.contains_key(alias)));
        require(named, || format!("invariant 6: {id} is done, but its alias is not set"))
    }

    /// Whether all files of a checkpoint are there.
    pub(crate) fn check_whole(&self, checkpoint: &CheckpointRef, parts: &[FileRef]) -> Checked {
        let files = parts.iter().chain([&checkpoint.manifest]);
        let missing = files.map(|file| &file.path).find(|path| !self.files.contains(*path));
        missing.map_or(Ok(()), |path| Err(format!("step {} lacks {path}", checkpoint.step)))
    }

    pub(crate) fn delete_checkpoint(
        &mut self,
        id: &JobId,
        checkpoint: &CheckpointRef,
        parts: &[FileRef],
    ) -> Checked {
        let job = self.jobs.get(id).ok_or_else(|| format!("{id} is not stored"))?;
        let listed = job.checkpoints.iter().any(|kept| kept.checkpoint.manifest == checkpoint.manifest);
        let newer = job.checkpoints.iter().any(|kept| kept.checkpoint.step > checkpoint.step);
        let step = checkpoint.step;
        require(!listed && newer, || format!("invariant 4: {id} still needs the checkpoint at step {step}"))?;
        for file in parts.iter().chain([&checkpoint.manifest]) {
            self.files.remove(&file.path);
        }
        Ok(())
    }

    /// Deletes what `leftovers` are; no checkpoint that a job lists may be among them.
    pub(crate) fn sweep(&mut self, leftovers: &Leftovers) -> Checked {
        self.files.retain(|path| !leftovers.contains(path));
        for (id, job) in &self.jobs {
            for kept in &job.checkpoints {
                self.check_whole(&kept.checkpoint, &kept.parts)
                    .map_err(|why| format!("invariant 4: {id} after its leftovers were deleted: {why}"))?;
            }
        }
        Ok(())
    }

    pub(crate) fn write_model(&mut self, path: String, version: ModelVersion) -> Checked {
        let known = self.models.insert(path.clone(), version.clone());
        require(known.is_none_or(|known| known == version), || {
            format!("invariant 5: {path} was written anew")
        })
    }
}

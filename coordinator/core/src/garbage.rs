//! Which files of the object store nobody needs. A function of what the records
//! name, what the store lists, and an age; it deletes nothing itself.
//!
//! | path | kept if |
//! | --- | --- |
//! | `checkpoints/JOB/gG-sS/…` | a record names it, or JOB is not over and G is its generation: its workers may be writing it |
//! | `artifacts/JOB/gG/…` | the same |
//! | `ledgers/JOB/…` | always: a job can be audited as long as it is known |
//! | `models/NAME/V/manifest.json` | V is registered or reserved |
//! | `datasets/VERSION/…` | a job or a model version names VERSION, or some job is preparing a data set: which one is not known yet |
//! | anything else | always |
//!
//! Whatever is younger than the age is kept, too. It must be so long that what is
//! older cannot belong to a job that was submitted after the records were looked
//! at, by the clocks of both stores.
//!
//! Jobs and models are never forgotten. So a path of an unknown one says that
//! another coordinator writes to the same store, or that this one has lost its
//! state, and then nothing at all is garbage.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use phalanx_protocol::{
    id::{Generation, JobId},
    reference::{DatasetRef, FileRef, HashHex, ModelArtifact},
    view::{GarbageKind, JobState, ModelVersion},
};
use phalanx_storage::Listed;

use crate::{
    Coordinator,
    job::Job,
    record::{JobRecord, Standing},
    registry::Registry,
};

/// What the records name of the object store, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    files: BTreeSet<String>,
    datasets: BTreeSet<HashHex>,
    /// Every job, and the generation that may be writing if it is not over.
    jobs: BTreeMap<String, Option<Generation>>,
    /// Every model and the version that it gives out next.
    models: BTreeMap<String, u64>,
    preparing: Option<JobId>,
}

/// What is to become of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is needed, may be in the making, or is none of ours.
    Kept,
    /// Nobody needs it.
    Garbage(GarbageKind),
    /// It belongs to a job or a model that was never known here.
    Foreign {
        /// The job or model, in words.
        owner: String,
    },
}

impl Coordinator {
    /// What the records name now.
    pub fn named(&self) -> Named {
        let mut named = Named::default();
        for job in self.jobs.values() {
            named.add_job(job);
        }
        for (version, _) in self.registry.versions() {
            named.add_version(version);
        }
        named.models.extend(self.registry.next_versions().map(|(name, next)| (name.to_owned(), next)));
        named
    }
}

impl Named {
    /// What is to become of a file that the store lists. All that were not created before `before` are kept.
    pub fn judge(&self, file: &Listed, before: Timestamp) -> Verdict {
        if file.modified >= before || self.files.contains(&file.path) {
            return Verdict::Kept;
        }
        let segments: Vec<&str> = file.path.split('/').collect();
        match segments[..] {
            ["checkpoints", job, step, _] => match step.split_once("-s") {
                Some((generation, _)) => self.of_job(job, generation, GarbageKind::Checkpoint),
                None => Verdict::Kept,
            },
            ["artifacts", job, generation, _] => self.of_job(job, generation, GarbageKind::Artifact),
            ["ledgers", job, _] if !self.jobs.contains_key(job) => {
                Verdict::Foreign { owner: format!("job {job}") }
            }
            ["models", name, version, "manifest.json"] => self.of_model(name, version),
            ["datasets", version, _] if !self.needs_dataset(version) => {
                Verdict::Garbage(GarbageKind::Dataset)
            }
            _ => Verdict::Kept,
        }
    }

    /// Whether nobody goes on with a file that was begun and not ended, by the path that it is to get.
    /// All that were not begun before `before` may be in the making.
    pub fn is_abandoned(&self, file: &Listed, before: Timestamp) -> bool {
        let segments: Vec<&str> = file.path.split('/').collect();
        let may_be_written = match segments[..] {
            // One that was never known here is somebody else's.
            ["checkpoints" | "artifacts" | "ledgers", job, ..] => {
                self.jobs.get(job).is_none_or(Option::is_some)
            }
            ["datasets", ..] => self.preparing.is_some(),
            _ => false,
        };
        file.modified < before && !may_be_written
    }

    /// A job that prepares a data set now.
    pub fn preparing(&self) -> Option<&JobId> {
        self.preparing.as_ref()
    }

    fn of_job(&self, job: &str, generation: &str, kind: GarbageKind) -> Verdict {
        let number = generation.strip_prefix('g').and_then(|number| number.parse().ok());
        let Some(generation) = number.map(Generation::new) else { return Verdict::Kept };
        match self.jobs.get(job) {
            None => Verdict::Foreign { owner: format!("job {job}") },
            Some(Some(current)) if generation >= *current => Verdict::Kept,
            Some(_) => Verdict::Garbage(kind),
        }
    }

    fn of_model(&self, name: &str, version: &str) -> Verdict {
        let Ok(version) = version.parse::<u64>() else { return Verdict::Kept };
        if self.models.get(name).is_some_and(|next| version < *next) {
            Verdict::Garbage(GarbageKind::Model)
        } else {
            Verdict::Foreign { owner: format!("version {version} of model {name}") }
        }
    }

    fn needs_dataset(&self, version: &str) -> bool {
        self.preparing.is_some() || self.datasets.contains(version)
    }

    fn add_job(&mut self, job: &Job) {
        let JobRecord { id, generation, standing, checkpoints, dataset, outcome, .. } = job.record();
        let state = job.phase().state();
        self.jobs.insert(id.to_string(), (!state.is_over()).then_some(*generation));
        if state == JobState::Preparing {
            self.preparing = Some(id.clone());
        }
        for kept in checkpoints {
            self.add_files(kept.parts.iter().chain([&kept.checkpoint.manifest]));
        }
        if let Some(dataset) = dataset {
            self.add_dataset(dataset);
        }
        if let Some(outcome) = outcome {
            self.add_artifact(&outcome.artifact);
        }
        match standing {
            Standing::Registering(version) | Standing::Paused { unregistered: Some(version), .. } => {
                self.add_version(version);
            }
            Standing::Paused { unregistered: None, .. }
            | Standing::Waiting
            | Standing::Broken
            | Standing::Running { .. }
            | Standing::Cancelled { .. }
            | Standing::Done
            | Standing::Failed { .. } => {}
        }
    }

    fn add_version(&mut self, version: &ModelVersion) {
        self.files.insert(Registry::manifest_path(version));
        self.add_artifact(&version.artifact);
        self.add_dataset(&version.dataset);
    }

    fn add_artifact(&mut self, artifact: &ModelArtifact) {
        self.add_files(artifact.files());
    }

    fn add_dataset(&mut self, dataset: &DatasetRef) {
        self.files.insert(dataset.manifest.path.clone());
        self.datasets.insert(dataset.version.clone());
    }

    fn add_files<'f>(&mut self, files: impl Iterator<Item = &'f FileRef>) {
        self.files.extend(files.map(|file| file.path.clone()));
    }
}

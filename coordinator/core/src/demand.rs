//! How many workers are wanted, for whoever starts and ends them; and which jobs a key was used for. Looks at what
//! the scheduler is asked, and decides nothing.

use std::collections::BTreeMap;

use phalanx_protocol::{
    id::JobId,
    view::{JobState, JobView},
};

use crate::{Coordinator, schedule::Situation};

/// What one live job asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The fewest workers that are of use to it, at least 1.
    pub workers_min: u32,
    /// The most that it takes, and may have by the quota of its project.
    pub workers_max: u32,
    /// The kind of processor that it must stay on, if it has begun on one.
    pub kind: Option<String>,
    /// The custom task that its workers must have.
    pub task: Option<String>,
}

/// A worker that is attached: where it is, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Its host's name.
    pub host: String,
    /// Its kind of processor.
    pub kind: String,
    /// The custom tasks that it has.
    pub tasks: Vec<String>,
}

impl Coordinator {
    /// All workers.
    pub fn attached(&self) -> Vec<Attached> {
        let attached = self.fleet.iter().map(|(_, worker)| Attached {
            host: worker.hello.host.clone(),
            kind: worker.hello.kind.clone(),
            tasks: worker.hello.tasks.clone(),
        });
        attached.collect()
    }

    /// What live jobs ask for, whether they have it or not: the higher priority first, then the earlier submission.
    /// Those that could not even start under the quota of their project are left out.
    pub fn demand(&self) -> Vec<Demand> {
        let teams = self.teams();
        let mut claims = self.claims(self.last_plan.at, &teams);
        claims.retain(|claim| !matches!(claim.situation, Situation::Ending));
        claims.sort_by_key(|claim| (-i64::from(claim.priority), claim.number));
        let mut left: BTreeMap<&str, u32> =
            self.config.quotas.iter().map(|(project, quota)| (project.as_str(), *quota)).collect();
        let demand = claims.iter().filter_map(|claim| {
            let [min, max] =
                [claim.workers_min, claim.workers_max].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
            let quota = left.get_mut(claim.project);
            let max = quota.as_deref().map_or(max, |left| max.min(*left));
            if max < min {
                return None;
            }
            if let Some(left) = quota {
                *left -= max;
            }
            let [kind, task] = [claim.kind, claim.task].map(|text| text.map(str::to_owned));
            Some(Demand { workers_min: min, workers_max: max, kind, task })
        });
        demand.collect()
    }

    /// The job that was submitted with this key.
    pub fn job_of_key(&self, key: &str) -> Option<JobId> {
        let mut jobs = self.jobs.values().map(|job| job.record());
        jobs.find(|record| record.key.as_deref() == Some(key)).map(|record| record.id.clone())
    }

    /// The jobs that were submitted with a key, those of them that are `wanted` in their state.
    pub fn jobs_with_key(&self, wanted: impl Fn(&str, JobState) -> bool) -> Vec<(String, JobView)> {
        let keyed = self.jobs.values().filter_map(|job| Some((job.record().key.as_deref()?, job)));
        let keyed = keyed.filter(|(key, job)| wanted(key, job.phase().state()));
        keyed.map(|(key, job)| (key.to_owned(), job.view())).collect()
    }
}

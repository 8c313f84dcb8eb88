//! The plan in the making: who has which workers, what projects use, and what
//! was decided so far. Owns all of it for the time of one [`solve`](super::solve).

use std::collections::{BTreeMap, BTreeSet};

use phalanx_protocol::id::{JobId, WorkerId};

use super::{
    Ahead, Availability, Candidate, Claim, Problem, Readiness, Shortage, Situation, Unusable, Verdict,
    line::{Place, Share, most, places},
    workers::{Fit, Free, Freedom, Groups},
};

/// A running job, or one that starts.
#[derive(Debug)]
pub(super) struct Team {
    /// Its members by rank, without those that leave.
    pub(super) members: Vec<Member>,
    /// The kind of its members; `None` if none of them can be used.
    pub(super) kind: Option<usize>,
    /// Whether it starts with this plan.
    pub(super) starts: bool,
    /// Members that are new in a job which was running.
    pub(super) newcomers: Vec<WorkerId>,
    /// Members that it gives up.
    pub(super) leaving: Vec<WorkerId>,
    /// The job that it is preempted for.
    pub(super) preempted_by: Option<usize>,
}

/// A worker of a team.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) worker: WorkerId,
    /// Its pool; `None` if it gets no more work.
    pub(super) pool: Option<usize>,
}

/// What a project uses and may use.
#[derive(Debug)]
pub(super) struct Project {
    /// The most workers at once.
    quota: Option<usize>,
    /// Workers of its running jobs, and of those that start.
    pub(super) members: usize,
    /// Workers that its jobs are giving up, and still have.
    pub(super) leaving: usize,
    /// Workers kept for its waiting jobs that were looked at.
    pub(super) kept: usize,
    /// A job of it waits for the quota: those behind it do so, too.
    pub(super) is_used_up: bool,
    /// The most workers, to measure shares.
    most: usize,
}

impl Project {
    /// Workers that more of its jobs may use now.
    pub(super) fn room(&self) -> usize {
        self.quota.map_or(usize::MAX, |quota| {
            quota.saturating_sub(self.members).saturating_sub(self.leaving).saturating_sub(self.kept)
        })
    }

    /// How many of `needed` workers it may not use, even when those that leave are gone.
    pub(super) fn excess(&self, needed: usize) -> usize {
        self.quota.map_or(0, |quota| (self.members + self.kept + needed).saturating_sub(quota))
    }

    pub(super) fn share(&self) -> Share {
        Share { used: self.members, of: self.most }
    }
}

/// Workers that are kept for a job until it starts: as many as it needs, of one kind.
#[derive(Debug)]
pub(super) struct Reservation {
    /// Index of their kind.
    pub(super) kind: usize,
    pub(super) idle: Vec<WorkerId>,
    pub(super) leaving: Vec<WorkerId>,
}

/// The plan in the making.
#[derive(Debug)]
pub(super) struct Plan<'p> {
    pub(super) problem: &'p Problem<'p>,
    pub(super) groups: &'p Groups<'p>,
    /// By the indices of claims: their places in the line, and what they can use.
    places: Vec<Place>,
    fits: Vec<Vec<Fit>>,
    fits_of: Vec<usize>,
    obstacles: Vec<Option<Shortage>>,
    pub(super) free: Free<'p>,
    pub(super) projects: Vec<Project>,
    pub(super) project_of: Vec<usize>,
    /// Jobs with workers, by the indices of their claims.
    pub(super) teams: BTreeMap<usize, Team>,
    /// Reservations that still hold, until their jobs are looked at.
    pub(super) reservations: BTreeMap<usize, Reservation>,
    /// For each kind the first job that waits there for workers which nobody gives up.
    pub(super) blocked_by: Vec<Option<usize>>,
    /// The jobs that give up or have given up workers which are not idle yet.
    pub(super) leaves: BTreeMap<WorkerId, &'p JobId>,
    waits: BTreeMap<usize, (Shortage, Vec<WorkerId>)>,
}

impl<'p> Plan<'p> {
    /// The plan in which nothing is decided.
    pub(super) fn new(problem: &'p Problem<'p>, groups: &'p Groups<'p>) -> Self {
        let mut plan = Self {
            problem,
            groups,
            places: Vec::new(),
            fits: Vec::new(),
            fits_of: Vec::new(),
            obstacles: Vec::new(),
            free: Free::of(problem.workers, groups),
            projects: Vec::new(),
            project_of: Vec::new(),
            teams: BTreeMap::new(),
            reservations: BTreeMap::new(),
            blocked_by: vec![None; groups.kinds.len()],
            leaves: problem.workers.iter().filter_map(leaves).collect(),
            waits: BTreeMap::new(),
        };
        plan.find_fits();
        plan.find_projects();
        plan.find_teams();
        plan.obstacles = (0..problem.claims.len()).map(|job| plan.obstacle(job)).collect();
        plan.places = places(problem, groups.home.len(), |job| plan.obstacles[job].is_none());
        plan
    }

    fn find_fits(&mut self) {
        let mut known: BTreeMap<(Option<&str>, Option<&str>), usize> = BTreeMap::new();
        for claim in self.problem.claims {
            let index = *known.entry((claim.task, claim.kind)).or_insert_with(|| {
                self.fits.push(self.groups.fits(claim.task, claim.kind));
                self.fits.len() - 1
            });
            self.fits_of.push(index);
        }
    }

    fn find_projects(&mut self) {
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        let mut leaving: BTreeMap<&JobId, usize> = BTreeMap::new();
        for job in self.leaves.values() {
            *leaving.entry(*job).or_default() += 1;
        }
        for claim in self.problem.claims {
            let index = *known.entry(claim.project).or_insert_with(|| {
                self.projects.push(Project {
                    quota: self.problem.quota(claim.project),
                    members: 0,
                    leaving: 0,
                    kept: 0,
                    is_used_up: false,
                    most: most(self.problem, claim.project, self.groups.home.len()),
                });
                self.projects.len() - 1
            });
            self.project_of.push(index);
            let project = &mut self.projects[index];
            project.leaving += leaving.get(claim.id).copied().unwrap_or(0);
            if let Situation::Running { members, .. } = &claim.situation {
                project.members += members.len();
            }
        }
    }

    fn find_teams(&mut self) {
        for (job, claim) in self.problem.claims.iter().enumerate() {
            let Situation::Running { members, .. } = &claim.situation else { continue };
            let member = |worker: &WorkerId| self.member(*worker);
            let members: Vec<Member> = members.iter().map(member).collect();
            let pool = members.iter().find_map(|member| member.pool);
            let kind = pool.map(|pool| self.groups.pools[pool].kind);
            self.teams.insert(job, Team::new(members, kind, false));
        }
    }

    pub(super) fn member(&self, worker: WorkerId) -> Member {
        Member { worker, pool: self.groups.home.get(&worker).copied() }
    }

    pub(super) fn claim(&self, job: usize) -> &'p Claim<'p> {
        &self.problem.claims[job]
    }

    /// The workers that a job can use, kind by kind.
    pub(super) fn fits(&self, job: usize) -> &[Fit] {
        &self.fits[self.fits_of[job]]
    }

    /// The kinds of which there are enough workers for a job.
    pub(super) fn carrying(&self, job: usize) -> Vec<Fit> {
        let needed = self.claim(job).workers_min;
        self.fits(job).iter().filter(|fit| fit.fitting >= needed).cloned().collect()
    }

    /// Whether a job waits and how ready it is; `None` if it goes on running, or ends.
    pub(super) fn readiness(&self, job: usize) -> Option<Readiness> {
        match self.claim(job).situation {
            Situation::Waiting { readiness, .. } => Some(readiness),
            Situation::Running { .. } => {
                self.teams.get(&job)?.preempted_by.is_some().then_some(Readiness::Saving)
            }
            Situation::Ending => None,
        }
    }

    /// The jobs in the order in which they are looked at, those of one priority together.
    pub(super) fn line(&self) -> Vec<Vec<usize>> {
        let mut line = self.places.clone();
        line.sort_unstable();
        let levels = line.chunk_by(|one, next| one.priority == next.priority);
        levels.map(|level| level.iter().map(|place| place.job).collect()).collect()
    }

    /// Why a job could not even start if all workers were idle and no others were there.
    fn obstacle(&self, job: usize) -> Option<Shortage> {
        let claim = self.claim(job);
        let (needed, project) = (claim.workers_min, &self.projects[self.project_of[job]]);
        let fitting = self.fits(job).iter().map(|fit| fit.fitting).max().unwrap_or(0);
        match project.quota {
            _ if fitting == 0 => Some(self.nobody_fits(claim)),
            _ if fitting < needed => Some(Shortage::TooFew { needed, fitting }),
            Some(quota) if quota < needed => {
                Some(Shortage::QuotaTooSmall { needed, project: claim.project.to_owned(), quota })
            }
            Some(_) | None => None,
        }
    }

    fn nobody_fits(&self, claim: &Claim<'_>) -> Shortage {
        let attached = self.groups.home.len();
        let nobody_has_task = !self.groups.pools.iter().any(|pool| pool.has(claim.task));
        let nobody_is_of_kind = claim.kind.is_some_and(|kind| !self.groups.kinds.contains(&kind));
        match (claim.task.map(str::to_owned), claim.kind.map(str::to_owned)) {
            _ if attached == 0 => self.no_workers(),
            (Some(task), _) if nobody_has_task => Shortage::NoTask { task, attached },
            (_, Some(kind)) if nobody_is_of_kind => Shortage::NoKind { kind, attached },
            (Some(task), Some(kind)) => Shortage::NoTaskOnKind { task, kind },
            (_, None) | (None, _) => Shortage::TooFew { needed: claim.workers_min, fitting: 0 },
        }
    }

    fn no_workers(&self) -> Shortage {
        let count = |why| {
            let workers = self.problem.workers.iter();
            workers.filter(|worker| worker.availability == Availability::Unusable(why)).count()
        };
        Shortage::NoWorkers {
            draining: count(Unusable::Draining),
            cut_off: count(Unusable::CutOff),
            quarantined: count(Unusable::Quarantined),
        }
    }

    /// What is known to stand in a job's way for good.
    pub(super) fn known_obstacle(&self, job: usize) -> Option<Shortage> {
        self.obstacles[job].clone()
    }

    /// Whether a job comes before another in the line.
    pub(super) fn is_before(&self, job: usize, other: usize) -> bool {
        self.places[job] < self.places[other]
    }

    /// Why `other` comes before `job`.
    pub(super) fn ahead(&self, other: usize, job: usize) -> Ahead {
        let (place, behind) = (self.places[other], self.places[job]);
        let project = self.claim(other).project;
        if place.priority < behind.priority {
            Ahead::Priority
        } else if place.share < behind.share && project != self.claim(job).project {
            Ahead::Share { project: project.to_owned() }
        } else {
            Ahead::Submission
        }
    }

    /// A worker is free: it goes back to where it was taken from.
    pub(super) fn give_back(&mut self, reservation: Reservation) {
        let Reservation { kind: _, idle, leaving } = reservation;
        for (workers, freedom) in [(idle, Freedom::Idle), (leaving, Freedom::Leaving)] {
            for worker in workers {
                if let Some(pool) = self.member(worker).pool {
                    self.free.add(worker, pool, freedom);
                }
            }
        }
    }

    /// A job starts.
    pub(super) fn start(&mut self, job: usize, kind: usize, workers: Vec<WorkerId>) {
        let members: Vec<Member> = workers.into_iter().map(|worker| self.member(worker)).collect();
        self.projects[self.project_of[job]].members += members.len();
        self.teams.insert(job, Team::new(members, Some(kind), true));
    }

    /// A job waits without workers of its own.
    pub(super) fn wait(&mut self, job: usize, why: Shortage) {
        self.waits.insert(job, (why, Vec::new()));
    }

    /// A job waits until its workers are idle.
    pub(super) fn reserve(&mut self, job: usize, why: Shortage, reservation: Reservation) {
        let Reservation { kind: _, idle, leaving } = reservation;
        let reserved: BTreeSet<WorkerId> = idle.into_iter().chain(leaving).collect();
        self.waits.insert(job, (why, reserved.into_iter().collect()));
    }

    /// What was decided, in the order of the claims.
    pub(super) fn verdicts(mut self) -> Vec<Verdict> {
        (0..self.problem.claims.len()).map(|job| self.verdict(job)).collect()
    }

    fn verdict(&mut self, job: usize) -> Verdict {
        let wait = self.waits.remove(&job);
        match (self.teams.remove(&job), wait) {
            (None, Some((why, reserved))) => Verdict::Wait { why, reserved },
            (None, None) => Verdict::Keep,
            (Some(team), wait) => match team.preempted_by {
                Some(by) => Verdict::Preempt {
                    by: self.claim(by).id.clone(),
                    reserved: wait.map(|(_, reserved)| reserved).unwrap_or_default(),
                },
                None if team.starts => Verdict::Start(team.by_number()),
                None if !team.leaving.is_empty() => Verdict::Shrink(team.leaving),
                None if !team.newcomers.is_empty() => Verdict::Grow(team.newcomers),
                None => Verdict::Keep,
            },
        }
    }
}

impl Member {
    pub(super) fn is_in(&self, fit: &Fit) -> bool {
        self.pool.is_some_and(|pool| fit.pools.contains(&pool))
    }
}

impl Team {
    fn new(members: Vec<Member>, kind: Option<usize>, starts: bool) -> Self {
        Self { members, kind, starts, newcomers: Vec::new(), leaving: Vec::new(), preempted_by: None }
    }

    fn by_number(&self) -> Vec<WorkerId> {
        let workers: BTreeSet<WorkerId> = self.members.iter().map(|member| member.worker).collect();
        workers.into_iter().collect()
    }
}

/// The job that gives up a worker.
fn leaves<'p>(worker: &'p Candidate<'p>) -> Option<(WorkerId, &'p JobId)> {
    match worker.availability {
        Availability::Leaving(job) => job.map(|job| (worker.worker, job)),
        Availability::Idle | Availability::Serving | Availability::Unusable(_) => None,
    }
}

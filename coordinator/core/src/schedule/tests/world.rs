//! A cluster for tests of the scheduler: plans are made for it and carried out on it.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use phalanx_protocol::id::{JobId, WorkerId};
use proptest::prelude::*;

use crate::schedule::{
    Availability, Candidate, Claim, Problem, Readiness, Situation, Unusable, Verdict, solve,
};

/// A worker of the cluster.
#[derive(Debug, Clone)]
pub(super) struct Hand {
    pub(super) worker: WorkerId,
    pub(super) kind: &'static str,
    pub(super) tasks: Vec<String>,
    pub(super) doing: Doing,
    /// The job whose state it holds.
    pub(super) holds: Option<JobId>,
}

/// What a worker does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doing {
    Nothing,
    Serving,
    Leaving(Option<JobId>),
    Unusable(Unusable),
}

/// A job of the cluster.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) id: JobId,
    pub(super) number: u64,
    pub(super) priority: i32,
    pub(super) project: &'static str,
    pub(super) workers: RangeInclusive<usize>,
    pub(super) task: Option<&'static str>,
    pub(super) kind: Option<&'static str>,
    pub(super) elastic: bool,
    pub(super) preemptible: bool,
    pub(super) unsaved: Duration,
    pub(super) state: State,
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Waiting { readiness: Readiness, reserved: Vec<WorkerId> },
    Running(Vec<WorkerId>),
    Ending,
}

impl Task {
    pub(super) fn waits(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    pub(super) fn members(&self) -> &[WorkerId] {
        match &self.state {
            State::Running(members) => members,
            State::Waiting { .. } | State::Ending => &[],
        }
    }

    pub(super) fn fits(&self, hand: &Hand) -> bool {
        self.task.is_none_or(|task| hand.tasks.iter().any(|has| has == task))
            && self.kind.is_none_or(|kind| kind == hand.kind)
    }
}

/// A job that waits for `workers`. Its number is given by the cluster.
pub(super) fn job(workers: RangeInclusive<usize>) -> Task {
    Task {
        id: JobId::new("job", 0),
        number: 0,
        priority: 0,
        project: "default",
        workers,
        task: None,
        kind: None,
        elastic: true,
        preemptible: true,
        unsaved: Duration::from_secs(60),
        state: State::Waiting { readiness: Readiness::Ready, reserved: Vec::new() },
    }
}

/// A cluster.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pub(super) hands: Vec<Hand>,
    pub(super) jobs: Vec<Task>,
    pub(super) quotas: BTreeMap<String, u32>,
}

impl World {
    /// A cluster of idle workers with numbers from 1, each sign the kind of one.
    pub(super) fn of(kinds: &'static str) -> Self {
        let mut world = Self::default();
        for (index, number) in (0..kinds.len()).zip(1..) {
            let (worker, kind) = (WorkerId::new(number), &kinds[index..=index]);
            world.hands.push(Hand { worker, kind, tasks: Vec::new(), doing: Doing::Nothing, holds: None });
        }
        world
    }

    /// With one more job, which waits.
    pub(super) fn and(mut self, job: Task) -> Self {
        self.add(job);
        self
    }

    /// With one more job, which runs on these workers.
    pub(super) fn run(mut self, job: Task, members: &[u64]) -> Self {
        let members: Vec<WorkerId> = members.iter().copied().map(WorkerId::new).collect();
        self.add(job);
        self.occupy(self.jobs.len() - 1, &members);
        self
    }

    pub(super) fn quota(mut self, project: &str, workers: u32) -> Self {
        self.quotas.insert(project.to_owned(), workers);
        self
    }

    fn add(&mut self, job: Task) {
        let number = self.jobs.len() as u64 + 1;
        self.jobs.push(Task { id: JobId::new("job", number), number, ..job });
    }

    /// A job goes on with these members more.
    fn occupy(&mut self, job: usize, workers: &[WorkerId]) {
        for worker in workers {
            self.hand_mut(*worker).doing = Doing::Serving;
        }
        let kind = self.hand(workers[0]).kind;
        let job = &mut self.jobs[job];
        let members = job.members().iter().chain(workers).copied().collect();
        (job.kind, job.state) = (Some(kind), State::Running(members));
    }

    /// A job gives up these members.
    fn release(&mut self, job: usize, workers: &[WorkerId]) {
        let owner = self.jobs[job].id.clone();
        for worker in workers {
            let doing = &mut self.hand_mut(*worker).doing;
            if *doing == Doing::Serving {
                *doing = Doing::Leaving(Some(owner.clone()));
            }
        }
        if let State::Running(members) = &mut self.jobs[job].state {
            members.retain(|member| !workers.contains(member));
        }
    }

    pub(super) fn hand(&self, worker: WorkerId) -> &Hand {
        self.hands.iter().find(|hand| hand.worker == worker).expect("a worker of the cluster")
    }

    pub(super) fn hand_mut(&mut self, worker: WorkerId) -> &mut Hand {
        self.hands.iter_mut().find(|hand| hand.worker == worker).expect("a worker of the cluster")
    }

    /// The problem, handed to `with`.
    pub(super) fn with_problem<T>(&self, with: impl FnOnce(&Problem<'_>) -> T) -> T {
        let claims: Vec<Claim<'_>> = self.jobs.iter().map(Task::claim).collect();
        let workers: Vec<Candidate<'_>> = self.hands.iter().map(Hand::candidate).collect();
        with(&Problem { claims: &claims, workers: &workers, quotas: &self.quotas })
    }

    pub(super) fn solve(&self) -> Vec<Verdict> {
        self.with_problem(solve)
    }

    /// Carries out a plan. Jobs that are preempted are still `saving`, or wait already.
    pub(super) fn carry_out(&mut self, verdicts: &[Verdict], saving: bool) {
        for (job, verdict) in verdicts.iter().enumerate() {
            match verdict {
                Verdict::Start(workers) => {
                    self.occupy(job, workers);
                    self.jobs[job].unsaved = Duration::ZERO;
                }
                Verdict::Grow(workers) => self.occupy(job, workers),
                Verdict::Shrink(workers) => self.release(job, workers),
                Verdict::Preempt { reserved, .. } => {
                    let members = self.jobs[job].members().to_vec();
                    self.release(job, &members);
                    let readiness = if saving { Readiness::Saving } else { Readiness::Ready };
                    self.jobs[job].state = State::Waiting { readiness, reserved: reserved.clone() };
                }
                Verdict::Wait { reserved: now, .. } => {
                    if let State::Waiting { reserved, .. } = &mut self.jobs[job].state {
                        reserved.clone_from(now);
                    }
                }
                Verdict::Keep => {}
            }
        }
    }

    /// All that was under way is done: workers are idle that left, and states are saved.
    pub(super) fn settle(&mut self) {
        for hand in &mut self.hands {
            if let Doing::Leaving(_) = hand.doing {
                hand.doing = Doing::Nothing;
            }
        }
        self.jobs.retain(|job| job.state != State::Ending);
        for job in &mut self.jobs {
            if let State::Waiting { readiness: readiness @ Readiness::Saving, .. } = &mut job.state {
                *readiness = Readiness::Ready;
            }
        }
    }

    /// A running job is over, and its workers are idle.
    pub(super) fn end(&mut self, number: u64) {
        let Some(job) = self.jobs.iter().position(|job| job.number == number) else { return };
        for member in self.jobs.remove(job).members() {
            let doing = &mut self.hand_mut(*member).doing;
            if *doing == Doing::Serving {
                *doing = Doing::Nothing;
            }
        }
    }
}

impl Task {
    fn claim(&self) -> Claim<'_> {
        Claim {
            id: &self.id,
            number: self.number,
            priority: self.priority,
            project: self.project,
            workers_min: *self.workers.start(),
            workers_max: *self.workers.end(),
            task: self.task,
            kind: self.kind,
            elastic: self.elastic,
            situation: match &self.state {
                State::Waiting { readiness, reserved } => {
                    Situation::Waiting { readiness: *readiness, reserved }
                }
                State::Running(members) => {
                    Situation::Running { members, preemptible: self.preemptible, unsaved: self.unsaved }
                }
                State::Ending => Situation::Ending,
            },
        }
    }
}

impl Hand {
    pub(super) fn is_usable(&self) -> bool {
        !matches!(self.doing, Doing::Unusable(_))
    }

    fn candidate(&self) -> Candidate<'_> {
        let availability = match &self.doing {
            Doing::Nothing => Availability::Idle,
            Doing::Serving => Availability::Serving,
            Doing::Leaving(job) => Availability::Leaving(job.as_ref()),
            Doing::Unusable(why) => Availability::Unusable(*why),
        };
        let holds = self.holds.as_ref();
        Candidate { worker: self.worker, kind: self.kind, tasks: &self.tasks, availability, holds }
    }
}

/// What a random cluster is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variety {
    /// Whether workers of one kind have different tasks.
    pub(super) tasks: bool,
    /// Whether there are several projects, and quotas.
    pub(super) projects: bool,
}

/// A random cluster, in which some jobs run.
pub(super) fn any_world(variety: Variety) -> impl Strategy<Value = World> {
    let hands = prop::collection::vec((0..3_usize, 0..4_usize, 0..10_u8, 0..20_u64), 0..14);
    let jobs = prop::collection::vec((any_job(variety), 0..6_usize), 0..10);
    let quotas = prop::collection::btree_map(
        prop::sample::select(vec!["default", "vision", "speech"]).prop_map(str::to_owned),
        0..9_u32,
        if variety.projects { 0..3 } else { 0..1 },
    );
    (hands, jobs, quotas).prop_map(move |(hands, jobs, quotas)| {
        let mut world = World { quotas, ..World::default() };
        for ((kind, tasks, doing, holds), number) in hands.into_iter().zip(1..) {
            let tasks = if variety.tasks { tasks } else { 0 };
            let tasks = [&[][..], &["mine"], &["own"], &["mine", "own"]][tasks];
            let doing = match doing {
                0 => Doing::Unusable([Unusable::Draining, Unusable::CutOff, Unusable::Quarantined][kind]),
                1 => Doing::Leaving(None),
                2 => Doing::Leaving(jobs.first().map(|_| JobId::new("job", 1))),
                _ => Doing::Nothing,
            };
            let tasks = tasks.iter().map(|task| (*task).to_owned()).collect();
            let worker = WorkerId::new(number);
            let holds = (1..10).contains(&holds).then(|| JobId::new("job", holds));
            world.hands.push(Hand { worker, kind: ["a", "b", "c"][kind], tasks, doing, holds });
        }
        for (job, members) in jobs {
            world.add(job);
            world.employ(members);
        }
        world
    })
}

fn any_job(variety: Variety) -> impl Strategy<Value = Task> {
    let projects = if variety.projects { vec!["default", "vision", "speech"] } else { vec!["default"] };
    let tasks = if variety.tasks { vec![None, None, Some("mine"), Some("own")] } else { vec![None] };
    let readiness = vec![Readiness::Ready, Readiness::Ready, Readiness::Ready, Readiness::Saving];
    let sizes = (1..5_usize, 0..4_usize, -1..2_i32, 0..100_u64);
    let names = (
        prop::sample::select(projects),
        prop::sample::select(tasks),
        prop::sample::select(vec![None, None, None, Some("a"), Some("d")]),
        prop::sample::select(readiness),
    );
    let flags = (prop::bool::weighted(0.8), prop::bool::weighted(0.8), prop::bool::weighted(0.1));
    (sizes, names, flags).prop_map(
        |((min, more, priority, unsaved), (project, task, kind, readiness), (elastic, preemptible, ends))| {
            let state = match ends {
                true => State::Ending,
                false => State::Waiting { readiness, reserved: Vec::new() },
            };
            let unsaved = Duration::from_secs(unsaved);
            Task {
                priority,
                project,
                task,
                kind,
                elastic,
                preemptible,
                unsaved,
                state,
                ..job(min..=min + more)
            }
        },
    )
}

impl World {
    /// The newest job runs on up to so many workers, if some fit.
    fn employ(&mut self, members: usize) {
        let job = self.jobs.last().expect("a job was added");
        let free = |hand: &&Hand| hand.doing == Doing::Nothing && job.fits(hand);
        let Some(kind) = self.hands.iter().find(free).map(|hand| hand.kind) else { return };
        let members = members.min(*job.workers.end());
        let of_kind = self.hands.iter().filter(free).filter(|hand| hand.kind == kind);
        let members: Vec<WorkerId> = of_kind.map(|hand| hand.worker).take(members).collect();
        if job.waits() && !members.is_empty() {
            self.occupy(self.jobs.len() - 1, &members);
        }
    }
}

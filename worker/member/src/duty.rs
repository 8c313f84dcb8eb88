//! A worker's duty: the work of at most one generation, and what is kept of a job between two
//! generations. It is told what the coordinator wants, and says what is to be done about it.
//!
//! | told | idle | work of the same generation | work of another one |
//! | --- | --- | --- | --- |
//! | `Prepare`, `Fetch`, `Train` | begins; one that is over is ignored | ends it, begins; the same one again, and one that comes before it, is ignored | ends it, begins; an older one is ignored |
//! | `Stop` | ignored | stops it | ignored |
//! | `Release`, superseded | ignored | ends it | ignored |
//! | `Leave` | leaves | the same | the same |
//! | forgotten | – | ends it | ends it |
//!
//! What is kept, the data set and the state, is given up when the worker begins to work on
//! another job, when it is told that it is not to be trusted, or that its job is over.
//!
//! Invariants:
//!
//! 1. Nothing begins before what was under way has been told to end.
//! 2. What is over does not begin again, however late a directive comes.

use std::collections::VecDeque;

use phalanx_protocol::{
    id::{Generation, JobId},
    message::{Assignment, Directive},
};

/// The most jobs of which it is known which generation is over; of more, the first is forgotten.
const OVER_MAX: usize = 16;

/// What a worker works on, or is free of, and what it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Duty {
    work: Option<Work>,
    kept: Option<Keeping>,
    /// The newest generation of each job that is over, as this coordinator has told.
    over: VecDeque<(JobId, Generation)>,
}

/// What a worker has kept of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Keeping {
    job: JobId,
    /// In which its state was trained last.
    generation: Generation,
}

/// The work of one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The job.
    pub job: JobId,
    /// The generation.
    pub generation: Generation,
    /// What is wanted of the worker.
    pub kind: Kind,
}

/// What a generation wants of a worker, in the order in which it may want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// To prepare the data set.
    Prepare,
    /// To have the data set at hand.
    Fetch,
    /// To train.
    Train,
}

/// What is to be done, in this order: some actions, and then work that is to begin.
pub type Course = (Vec<Action>, Option<Work>);

/// What is to be done at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// End the work under way, and wait until it has ended.
    End,
    /// Give up all that is kept.
    GiveUp,
    /// Give up the state that is kept, but not the data set.
    GiveUpState,
    /// Stop the work under way between two steps.
    Stop {
        /// Whether the state is to be saved first.
        save: bool,
    },
    /// Leave the cluster.
    Leave,
}

impl Duty {
    /// What is under way, or was last and has come to its end by itself.
    pub fn work(&self) -> Option<&Work> {
        self.work.as_ref()
    }

    /// What a directive wants.
    pub fn directed(&mut self, directive: &Directive) -> Course {
        let actions = match directive {
            Directive::Prepare { job, generation, .. } => {
                return self.begin(job, *generation, Kind::Prepare, None);
            }
            Directive::Fetch { job, generation, .. } => {
                return self.begin(job, *generation, Kind::Fetch, None);
            }
            Directive::Train(assignment) => {
                let Assignment { job, generation, disputed, .. } = assignment.as_ref();
                return self.begin(job, *generation, Kind::Train, *disputed);
            }
            Directive::Stop { job, generation, save } if self.works_on(job, *generation) => {
                vec![Action::Stop { save: *save }]
            }
            Directive::Stop { .. } => Vec::new(),
            Directive::Release { job, generation, keep } => self.release(job, *generation, *keep),
            Directive::Leave => vec![Action::Leave],
        };
        (actions, None)
    }

    /// The answer to a report was that its generation is over.
    pub fn superseded(&mut self, job: &JobId, generation: Generation) -> Vec<Action> {
        self.release(job, generation, true)
    }

    /// The coordinator does not know this worker any more. What it keeps may be of use when it
    /// has attached again: whether it may be trusted, the next assignment says.
    pub fn forgotten(&mut self) -> Vec<Action> {
        self.over.clear();
        self.end()
    }

    /// What was to begin could not.
    pub fn not_begun(&mut self) {
        self.work = None;
    }

    /// States that were kept in the generation `disputed` or before are not to be trusted.
    fn begin(
        &mut self,
        job: &JobId,
        generation: Generation,
        kind: Kind,
        disputed: Option<Generation>,
    ) -> Course {
        let is_old = |work: &Work| work.job == *job && (work.generation, work.kind) >= (generation, kind);
        if self.work.as_ref().is_some_and(is_old) || self.is_over(job, generation) {
            return Course::default();
        }
        let mut actions = self.end();
        match &self.kept {
            Some(kept) if kept.job != *job => {
                actions.push(Action::GiveUp);
                self.kept = None;
            }
            Some(kept) if disputed.is_some_and(|disputed| kept.generation <= disputed) => {
                actions.push(Action::GiveUpState);
            }
            Some(_) | None => {}
        }
        let trained_in = match (kind, &self.kept) {
            (Kind::Prepare | Kind::Fetch, Some(kept)) => kept.generation,
            (Kind::Prepare | Kind::Fetch | Kind::Train, _) => generation,
        };
        self.kept = Some(Keeping { job: job.clone(), generation: trained_in });
        let work = Work { job: job.clone(), generation, kind };
        self.work = Some(work.clone());
        (actions, Some(work))
    }

    fn release(&mut self, job: &JobId, generation: Generation, keep: bool) -> Vec<Action> {
        if !self.is_over(job, generation) {
            self.over.retain(|(other, _)| other != job);
            self.over.push_back((job.clone(), generation));
            if self.over.len() > OVER_MAX {
                self.over.pop_front();
            }
        }
        let mut actions = if self.works_on(job, generation) { self.end() } else { Vec::new() };
        // What is kept of a later generation is not what this is about.
        let is_meant = |kept: &mut Keeping| kept.job == *job && kept.generation <= generation;
        if !keep && self.work.is_none() && self.kept.take_if(is_meant).is_some() {
            actions.push(Action::GiveUp);
        }
        actions
    }

    fn is_over(&self, job: &JobId, generation: Generation) -> bool {
        self.over.iter().any(|(of, over)| of == job && generation <= *over)
    }

    fn end(&mut self) -> Vec<Action> {
        self.work.take().map(|_| Action::End).into_iter().collect()
    }

    fn works_on(&self, job: &JobId, generation: Generation) -> bool {
        self.work.as_ref().is_some_and(|work| work.job == *job && work.generation == generation)
    }
}

#[cfg(test)]
mod tests {
    use phalanx_protocol::{reference::DatasetRef, spec::JobSpec};

    use super::*;

    fn job(number: u64) -> JobId {
        JobId::new("demo", number)
    }

    fn begins(of: u64, generation: u64, kind: Kind) -> Option<Work> {
        Some(Work { job: job(of), generation: Generation::new(generation), kind })
    }

    fn spec() -> Box<JobSpec> {
        let json = r#"{"name": "demo", "data": {"target": "y", "csv": {"path": "a.csv"}}, "model": {"linear": {}},
            "train": {"batch_size": 8, "steps": 8, "learning_rate": 0.1}}"#;
        Box::new(serde_json::from_str(json).expect("a job"))
    }

    fn dataset() -> DatasetRef {
        let json = r#"{"version": "v", "manifest": {"path": "m", "bytes": 1, "blake3": ""}, "train_rows": 1,
            "validation_rows": 1, "test_rows": 1}"#;
        serde_json::from_str(json).expect("a data set")
    }

    fn prepare(of: u64, generation: u64) -> Directive {
        Directive::Prepare {
            job: job(of),
            generation: Generation::new(generation),
            spec: spec(),
            trace: None,
        }
    }

    fn train(of: u64, generation: u64, disputed: Option<u64>) -> Directive {
        Directive::Train(Box::new(Assignment {
            job: job(of),
            generation: Generation::new(generation),
            rank: phalanx_protocol::id::Rank::new(0),
            peers: Vec::new(),
            spec: spec(),
            dataset: dataset(),
            resume: None,
            disputed: disputed.map(Generation::new),
            incumbents: Default::default(),
            verify_at: None,
            trace: None,
        }))
    }

    fn release(of: u64, generation: u64, keep: bool) -> Directive {
        Directive::Release { job: job(of), generation: Generation::new(generation), keep }
    }

    fn stop(of: u64, generation: u64) -> Directive {
        Directive::Stop { job: job(of), generation: Generation::new(generation), save: true }
    }

    /// Each directive of `history` with what is to be done about it.
    fn check(history: &[(Directive, &[Action], Option<Work>)]) {
        let mut duty = Duty::default();
        for (directive, actions, work) in history {
            assert_eq!(duty.directed(directive), (actions.to_vec(), work.clone()), "{directive:?}");
        }
    }

    #[test]
    fn a_directive_that_comes_twice_or_late_changes_nothing() {
        check(&[
            (prepare(1, 1), &[], begins(1, 1, Kind::Prepare)),
            (prepare(1, 1), &[], None),
            (train(1, 1, None), &[Action::End], begins(1, 1, Kind::Train)),
            (train(1, 1, None), &[], None),
            (prepare(1, 1), &[], None),
            (train(1, 2, None), &[Action::End], begins(1, 2, Kind::Train)),
            (train(1, 1, None), &[], None),
            (stop(1, 1), &[], None),
            (release(1, 1, false), &[], None),
            (stop(1, 2), &[Action::Stop { save: true }], None),
            (release(1, 2, true), &[Action::End], None),
            (release(1, 2, true), &[], None),
            (train(1, 2, None), &[], None),
            (release(1, 1, true), &[], None),
            (train(1, 2, None), &[], None),
            (train(1, 3, None), &[], begins(1, 3, Kind::Train)),
        ]);
    }

    #[test]
    fn a_coordinator_that_does_not_know_the_worker_begins_anew() {
        let mut duty = Duty::default();
        duty.directed(&train(1, 2, None));
        duty.directed(&release(1, 2, true));
        assert_eq!(duty.forgotten(), []);
        assert_eq!(duty.directed(&train(1, 1, None)), (vec![], begins(1, 1, Kind::Train)));
    }

    #[test]
    fn what_is_kept_of_a_job_is_given_up_for_another_one_or_when_it_is_over() {
        check(&[
            (train(1, 1, None), &[], begins(1, 1, Kind::Train)),
            (train(2, 1, None), &[Action::End, Action::GiveUp], begins(2, 1, Kind::Train)),
            (release(2, 1, false), &[Action::End, Action::GiveUp], None),
            (release(2, 1, false), &[], None),
            (train(1, 2, None), &[], begins(1, 2, Kind::Train)),
        ]);
    }

    #[test]
    fn a_release_of_an_older_generation_takes_nothing_of_a_later_one() {
        check(&[
            (train(1, 2, None), &[], begins(1, 2, Kind::Train)),
            (release(1, 2, true), &[Action::End], None),
            (release(1, 1, false), &[], None),
            (release(1, 2, false), &[Action::GiveUp], None),
        ]);
    }

    #[test]
    fn a_state_of_a_generation_in_dispute_is_given_up_even_by_who_was_away_meanwhile() {
        let mut duty = Duty::default();
        duty.directed(&train(1, 3, None));
        assert_eq!(duty.forgotten(), [Action::End]);
        let (job, generation) = (job(1), Generation::new(5));
        let fetch = Directive::Fetch { job, generation, dataset: dataset(), trace: None };
        assert_eq!(duty.directed(&fetch), (vec![], begins(1, 5, Kind::Fetch)));
        let expected = (vec![Action::End, Action::GiveUpState], begins(1, 6, Kind::Train));
        assert_eq!(duty.directed(&train(1, 6, Some(3))), expected);
        // What it has trained since is as good as the others'.
        let expected = (vec![Action::End], begins(1, 7, Kind::Train));
        assert_eq!(duty.directed(&train(1, 7, Some(3))), expected);
    }

    #[test]
    fn a_released_worker_is_free_of_its_work_and_leaves_when_told() {
        let mut duty = Duty::default();
        duty.directed(&train(1, 1, None));
        assert_eq!(duty.superseded(&job(1), Generation::new(1)), [Action::End]);
        assert_eq!(duty.work(), None);
        assert_eq!(duty.directed(&Directive::Leave), (vec![Action::Leave], None));
    }
}

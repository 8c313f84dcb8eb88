//! How a job is stopped by a user, and how it goes on again.

use std::collections::BTreeMap;

use phalanx_protocol::{id::Rank, message::Directive, spec::WorkersSpec, view::JobState};

use super::{Gang, Job, Muster, Phase};
use crate::{
    Rejected,
    context::Context,
    record::{Goal, Halt},
};

impl Job {
    /// A user gives the job up.
    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>) -> Result<(), Rejected> {
        match self.phase.state() {
            JobState::Done | JobState::Failed => Err(self.cannot("cancelled", "it is over")),
            JobState::Registering => Err(self.cannot("cancelled", "it is done in a moment")),
            JobState::Cancelled => Ok(()),
            JobState::Queued
            | JobState::Preparing
            | JobState::Forming
            | JobState::Training
            | JobState::Evaluating
            | JobState::Stopping
            | JobState::Paused => {
                self.halt(cx, Goal::Cancel);
                Ok(())
            }
        }
    }

    /// A user stops the job for now.
    pub(crate) fn interrupt(&mut self, cx: &mut Context<'_>) -> Result<(), Rejected> {
        match self.phase.state() {
            JobState::Done | JobState::Failed | JobState::Cancelled => {
                Err(self.cannot("interrupted", "it is over"))
            }
            JobState::Registering => Err(self.cannot("interrupted", "it is done in a moment")),
            JobState::Paused => Ok(()),
            JobState::Queued
            | JobState::Preparing
            | JobState::Forming
            | JobState::Training
            | JobState::Evaluating
            | JobState::Stopping => {
                self.halt(cx, Goal::Pause);
                Ok(())
            }
        }
    }

    /// A user lets the job go on, with as many workers as before or as `workers` says.
    pub(crate) fn resume(
        &mut self,
        cx: &mut Context<'_>,
        workers: Option<WorkersSpec>,
    ) -> Result<(), Rejected> {
        let unregistered = match &self.phase {
            Phase::Done => return Err(self.cannot("resumed", "nothing is left to do")),
            Phase::Stopping { goal: Goal::Pause | Goal::Cancel, .. } => {
                return Err(self.cannot("resumed", "it is still saving its state; try again in a moment"));
            }
            Phase::Queued { .. }
            | Phase::Preparing { .. }
            | Phase::Forming { .. }
            | Phase::Training { .. }
            | Phase::Evaluating { .. }
            | Phase::Stopping { goal: Goal::Regroup, .. }
            | Phase::Regrouping { .. }
            | Phase::Registering { .. } => return Err(self.cannot("resumed", "it has not stopped")),
            Phase::Paused { unregistered, .. } => unregistered.clone(),
            Phase::Cancelled { .. } | Phase::Failed { .. } => None,
        };
        if let Some(workers) = workers {
            self.record.workers = workers.or(&self.record.workers);
        }
        self.record.fruitless_generations = 0;
        self.record.wish = None;
        self.say(cx, "resumed");
        match unregistered {
            Some(version) => self.write_model_manifest(cx, version),
            None => {
                self.record.outcome = None;
                self.rewind();
                self.enter(cx, Phase::Queued { muster: Muster::Start, why: "waits".to_owned() });
            }
        }
        Ok(())
    }

    pub(super) fn cannot(&self, wish: &'static str, why: &'static str) -> Rejected {
        Rejected::WrongState { job: self.record.id.clone(), state: self.phase.state(), wish, why }
    }

    /// Brings the job to a stop. Ranks that hold state save it first.
    pub(super) fn halt(&mut self, cx: &mut Context<'_>, goal: Goal) {
        let is_saved = self.is_saved();
        match &mut self.phase {
            Phase::Training { .. } | Phase::Evaluating { .. } => {
                self.say(cx, "stopping: its state is saved first");
                self.stop_ranks(cx, goal, true);
            }
            Phase::Stopping { goal: current, .. } if *current != Goal::Regroup => {
                *current = goal.max(*current);
                self.store(cx);
            }
            // Its members hold a state that was not saved: the next generation does it.
            Phase::Stopping { .. } | Phase::Regrouping { .. } => {
                self.record.wish = Some(self.record.wish.map_or(goal, |wish| wish.max(goal)));
                self.store(cx);
            }
            Phase::Forming { .. } if !is_saved => {
                self.record.wish = Some(self.record.wish.map_or(goal, |wish| wish.max(goal)));
                self.store(cx);
            }
            Phase::Queued { .. }
            | Phase::Preparing { .. }
            | Phase::Forming { .. }
            | Phase::Registering { .. }
            | Phase::Paused { .. }
            | Phase::Cancelled { .. }
            | Phase::Done
            | Phase::Failed { .. } => self.reach(cx, goal, None),
        }
    }

    /// Tells all ranks to stop, so that the job can become what `goal` says.
    pub(super) fn stop_ranks(&mut self, cx: &mut Context<'_>, goal: Goal, save: bool) {
        let (Phase::Training { gang, saves } | Phase::Evaluating { gang, saves }) = &self.phase else {
            return;
        };
        let (gang, saves) = (gang.clone(), saves.clone());
        let deadline = cx.after(cx.config.timeouts.exchange(&self.record.spec.train));
        let members = gang.clone();
        self.phase = Phase::Stopping { gang, saves, goal, save, halted: BTreeMap::new(), deadline };
        // Its workers are about to be free, which others may have waited for.
        cx.turn.placement_due = true;
        // Before anyone can answer (a restart tells it again).
        self.store(cx);
        self.tell_to_stop(cx, &members, save);
    }

    pub(super) fn tell_to_stop(&self, cx: &mut Context<'_>, gang: &Gang, save: bool) {
        let (job, generation) = (&self.record.id, self.record.generation);
        for member in &gang.members {
            cx.tell(*member, Directive::Stop { job: job.clone(), generation, save });
        }
    }

    /// A rank has stopped as it was told.
    pub(super) fn stopped(&mut self, cx: &mut Context<'_>, rank: Rank, step: u64) {
        if let Phase::Stopping { halted, .. } = &mut self.phase {
            halted.entry(rank).or_insert(Halt::Stopped { step });
            self.record.progress.farthest_step = self.record.progress.farthest_step.max(step);
            self.store(cx);
            self.conclude_if_halted(cx);
        }
    }

    /// Leaves [`Phase::Stopping`] when all ranks have stopped and what they
    /// saved is recorded. A part may be reported after its rank has stopped, so
    /// the checkpoint is waited for, unless a rank that should write a part is gone.
    pub(super) fn conclude_if_halted(&mut self, cx: &mut Context<'_>) {
        let Phase::Stopping { gang, saves, goal, save, halted, .. } = &self.phase else { return };
        if halted.len() < gang.members.len() {
            return;
        }
        let goal = *goal;
        // Its members hold the state: a manifest, and a store that is away, are not waited for.
        if !save {
            return self.regroup(cx, None);
        }
        if saves.is_writing() {
            return;
        }
        let saved = self.saved_step();
        let stopped_at = halted.values().map(|halt| match halt {
            Halt::Stopped { step } => Some(*step),
            Halt::Gone => None,
        });
        match stopped_at.collect::<Option<Vec<u64>>>() {
            Some(steps) if steps.iter().any(|step| *step > saved) => {}
            Some(_) => self.reach(cx, goal, None),
            None => {
                let why = format!("a worker was lost while it saved: it would go on from step {saved}");
                self.reach(cx, goal, Some(why));
            }
        }
    }
}

//! How a generation begins and how it ends. One that ends for a bad reason is
//! followed by another from the newest checkpoint, with the workers left.

use std::collections::BTreeSet;

use phalanx_protocol::{
    id::WorkerId,
    message::{Assignment, Directive, Hello, Peer},
    reference::DatasetRef,
    spec::STEPS_MAX,
};

use super::{Gang, Job, Muster, Phase, listed, phase::Halt};
use crate::{
    context::Context,
    record::Goal,
    worker::{self, counted},
};

impl Job {
    /// Begins a generation with `members`, which are idle: rank 0 looks for the data set.
    pub(crate) fn start(&mut self, cx: &mut Context<'_>, members: Vec<WorkerId>) {
        let Some(leader) = members.first().copied() else { return };
        self.record.generation = self.record.generation.next();
        let gang = Gang { members, farthest_step: self.record.progress.farthest_step };
        self.record.world_size = gang.world_size();
        for member in &gang.members {
            cx.fleet.take(*member, &self.record.id);
        }
        self.settle_on_kind(cx, leader);
        let count = counted(gang.members.len(), "worker");
        self.say(cx, format!("starts with {count}: {}", listed(&gang.members)));
        // The generation must be durable before anyone hears of it (invariant 1).
        self.enter(cx, Phase::Preparing { gang, what: None });
        let prepare = Directive::Prepare {
            job: self.record.id.clone(),
            generation: self.record.generation,
            spec: self.record.spec.clone(),
            trace: self.record.trace.clone(),
        };
        cx.tell(leader, prepare);
    }

    fn settle_on_kind(&mut self, cx: &mut Context<'_>, leader: WorkerId) {
        let Some(kind) = cx.fleet.get(leader).map(|worker| worker.hello.kind.clone()) else { return };
        let before = self.record.kind.replace(kind.clone());
        if let Some(before) = before.filter(|before| *before != kind) {
            self.say(
                cx,
                format!(
                    "moves from {before} to {kind}: its bits may differ from those of an undisturbed run"
                ),
            );
        }
    }

    /// The data set is there: all ranks are sent to train.
    pub(super) fn prepared(&mut self, cx: &mut Context<'_>, dataset: DatasetRef, found: bool, summary: &str) {
        let Phase::Preparing { gang, .. } = &self.phase else { return };
        let gang = gang.clone();
        self.say(cx, format!("data set {}: {summary}", if found { "found" } else { "prepared" }));
        if let Some(reason) = self.unfit(&dataset) {
            return self.fail(cx, reason);
        }
        self.record.world_size = gang.world_size();
        self.record.progress.total_steps = self.record.spec.train.total_steps(dataset.train_rows);
        self.record.dataset = Some(dataset.clone());
        self.rewind();
        let resume = self.record.checkpoints.last().map(|newest| newest.checkpoint.clone());
        if let Some(resume) = &resume {
            self.say(cx, format!("goes on from the checkpoint at step {}", resume.step));
        }
        let deadline = cx.after(cx.config.timeouts.step);
        self.enter(cx, Phase::Forming { gang: gang.clone(), formed: BTreeSet::new(), deadline });
        let peer = |worker: &WorkerId| {
            let data_addr = cx.fleet.get(*worker).map(|attached| attached.hello.data_addr)?;
            Some(Peer { worker: *worker, data_addr })
        };
        let peers: Vec<Peer> = gang.members.iter().filter_map(peer).collect();
        debug_assert_eq!(peers.len(), gang.members.len(), "invariant 2: members are attached");
        for member in &gang.members {
            let Some(rank) = gang.rank_of(*member) else { continue };
            let assignment = Assignment {
                job: self.record.id.clone(),
                generation: self.record.generation,
                rank,
                peers: peers.clone(),
                spec: self.record.spec.clone(),
                dataset: dataset.clone(),
                resume: resume.clone(),
                trace: self.record.trace.clone(),
            };
            cx.tell(*member, Directive::Train(Box::new(assignment)));
        }
    }

    /// Why the job cannot train on this data set.
    fn unfit(&self, dataset: &DatasetRef) -> Option<String> {
        let train = &self.record.spec.train;
        if dataset.train_rows < u64::from(train.batch_size) {
            return Some(format!(
                "the training split has {} rows, fewer than one batch of {}: give more data or a smaller train.batch_size",
                dataset.train_rows, train.batch_size
            ));
        }
        let steps = train.total_steps(dataset.train_rows);
        if steps > STEPS_MAX {
            return Some(format!(
                "{steps} steps over {} training rows are more than a job can have ({STEPS_MAX}): give fewer train.epochs",
                dataset.train_rows
            ));
        }
        let before = self.record.dataset.as_ref().filter(|_| !self.record.checkpoints.is_empty())?;
        (before.version != dataset.version).then(|| {
            format!(
                "its data has changed since it began: the data set was {}, now it is {}; submit it again to train on that",
                before.version, dataset.version
            )
        })
    }

    /// All ranks are connected.
    pub(super) fn formed(&mut self, cx: &mut Context<'_>) {
        let Phase::Forming { gang, .. } = &self.phase else { return };
        let gang = gang.clone();
        let count = counted(gang.members.len(), "worker");
        self.say(cx, format!("generation {} formed: {count}", self.record.generation));
        self.record.started_at.get_or_insert(cx.now.wall);
        self.enter(cx, Phase::Training { gang, saves: Default::default() });
    }

    /// A worker is no longer there. Its duty ended with it.
    pub(crate) fn worker_lost(&mut self, cx: &mut Context<'_>, lost: WorkerId, hello: &Hello, why: &str) {
        let Some(rank) = self.phase.gang().and_then(|gang| gang.rank_of(lost)) else { return };
        let text = format!("worker {} was lost: {why}", worker::describe(lost, hello));
        match &mut self.phase {
            Phase::Preparing { gang, .. } if !rank.is_leader() => {
                // It has not been told of the job: the others go on without it.
                gang.members.retain(|member| *member != lost);
                self.record.world_size = gang.world_size();
                self.say(cx, text);
            }
            Phase::Stopping { halted, .. } => {
                halted.insert(rank, Halt::Gone);
                self.say(cx, text);
                self.conclude_if_halted(cx);
            }
            Phase::Preparing { .. }
            | Phase::Forming { .. }
            | Phase::Training { .. }
            | Phase::Evaluating { .. } => self.break_up(cx, text),
            Phase::Queued { .. }
            | Phase::Registering { .. }
            | Phase::Paused { .. }
            | Phase::Cancelled { .. }
            | Phase::Done
            | Phase::Failed { .. } => {}
        }
    }

    /// The generation is over for the reason `why`; the job goes on with the workers left.
    pub(super) fn break_up(&mut self, cx: &mut Context<'_>, why: String) {
        let Some(gang) = self.phase.gang() else { return };
        if self.record.progress.farthest_step > gang.farthest_step {
            self.record.fruitless_generations = 0;
        } else {
            self.record.fruitless_generations += 1;
        }
        if self.record.fruitless_generations >= cx.config.fruitless_generations_max {
            let count = self.record.fruitless_generations;
            return self.fail(cx, format!("{count} generations in a row made no progress; the last: {why}"));
        }
        self.say(cx, why);
        self.regroup(cx);
    }

    /// Ends the generation and queues for the next one.
    pub(super) fn regroup(&mut self, cx: &mut Context<'_>) {
        let Some(gang) = self.phase.gang() else { return };
        let left = gang.members.iter().filter(|member| cx.fleet.get(**member).is_some()).count();
        let timeouts = cx.config.timeouts;
        let (workers, wait) = match u32::try_from(left).unwrap_or(u32::MAX) {
            // Workers that were cut off come back within a lease.
            0 => (gang.world_size(), timeouts.lease),
            // A worker confirms its release at once. One that has not done so
            // within a heartbeat is most likely dead.
            left => (left, timeouts.heartbeat),
        };
        let muster = Muster::Regroup { workers, until: cx.after(wait) };
        self.end_generation(cx, Phase::Queued { muster, why: "waits for its workers".to_owned() });
    }

    /// Lets all members go, goes back to the newest checkpoint, and goes into `phase`.
    pub(super) fn end_generation(&mut self, cx: &mut Context<'_>, phase: Phase) {
        let Some(gang) = self.phase.gang() else { return };
        let (members, leader) = (gang.members.clone(), gang.leader());
        let only_leader_knows = matches!(self.phase, Phase::Preparing { .. });
        self.rewind();
        self.enter(cx, phase);
        for member in members {
            if only_leader_knows && Some(member) != leader {
                cx.fleet.dismiss(member);
                continue;
            }
            let (job, generation) = (self.record.id.clone(), self.record.generation);
            cx.tell(member, Directive::Release { job, generation });
        }
    }

    /// The coordinator has restarted, and nobody is known who served the job.
    pub(crate) fn restarted(&mut self, cx: &mut Context<'_>) {
        self.rewind();
        let step = self.record.progress.step;
        self.say(cx, format!("the coordinator was restarted; goes on from step {step}"));
        self.store(cx);
    }

    /// The coordinator has restarted while a user's wish to stop the job was being followed.
    pub(crate) fn restarted_while_stopping(&mut self, cx: &mut Context<'_>, goal: Goal) {
        self.rewind();
        let step = self.record.progress.step;
        let why = format!("the coordinator was restarted while it saved: it would go on from step {step}");
        self.reach(cx, goal, Some(why));
    }

    /// Progress is what the newest checkpoint holds, once nobody holds more.
    pub(super) fn rewind(&mut self) {
        if self.record.outcome.is_some() {
            return;
        }
        let newest = self.record.checkpoints.last().map(|newest| &newest.checkpoint);
        let (step, cursor) = newest.map_or((0, 0), |newest| (newest.step, newest.cursor));
        let rows = self.record.dataset.as_ref().map_or(0, |dataset| dataset.train_rows);
        let steps_per_epoch = self.record.spec.train.steps_per_epoch(rows);
        let progress = &mut self.record.progress;
        progress.step = step;
        progress.cursor = cursor;
        progress.epoch = step.checked_div(steps_per_epoch).unwrap_or(0);
        progress.samples_per_second = None;
        progress.validated_step = progress.validated_step.filter(|validated| *validated <= step);
        self.record.curve.go_back(step);
    }

    /// The job is over, for a reason that doing it again would not mend.
    pub(super) fn fail(&mut self, cx: &mut Context<'_>, reason: String) {
        let reason = super::bounded(reason);
        self.say(cx, format!("failed: {reason}"));
        self.leave(cx, Phase::Failed { reason });
    }

    /// The job stops for a reason that can be mended from outside.
    pub(super) fn pause(&mut self, cx: &mut Context<'_>, reason: String) {
        let reason = super::bounded(reason);
        self.say(cx, format!("paused: {reason}"));
        self.leave(cx, Phase::Paused { reason, unregistered: None });
    }

    /// The phase that a user asked for.
    pub(super) fn reach(&mut self, cx: &mut Context<'_>, goal: Goal, reason: Option<String>) {
        let phase = match goal {
            Goal::Cancel => Phase::Cancelled { reason },
            Goal::Pause => {
                let reason = reason.map_or("interrupted".to_owned(), |why| format!("interrupted; {why}"));
                Phase::Paused { reason, unregistered: None }
            }
        };
        let state = phase.state().as_str();
        let text = match phase.reason() {
            Some(reason) => format!("{state}: {reason}"),
            None => state.to_owned(),
        };
        self.say(cx, text);
        self.leave(cx, phase);
    }

    /// Goes into `phase`, in which the job has no generation.
    fn leave(&mut self, cx: &mut Context<'_>, phase: Phase) {
        if self.phase.gang().is_some() {
            self.end_generation(cx, phase);
        } else {
            self.enter(cx, phase);
        }
    }

    /// Deals with a deadline that has passed.
    pub(crate) fn overdue(&mut self, cx: &mut Context<'_>) {
        match &mut self.phase {
            Phase::Queued { muster, .. } => {
                *muster = Muster::GoOn;
                cx.turn.placement_due = true;
            }
            Phase::Forming { gang, formed, .. } => {
                let missing =
                    gang.members.iter().filter(|m| gang.rank_of(**m).is_some_and(|r| !formed.contains(&r)));
                let limit = cx.config.timeouts.step;
                let missing = listed(missing);
                let why = format!("workers {missing} did not load the data and connect within {limit:?}");
                self.break_up(cx, why);
            }
            Phase::Stopping { goal, .. } => {
                let goal = *goal;
                self.reach(cx, goal, Some("its state was not saved in time".to_owned()));
            }
            Phase::Preparing { .. }
            | Phase::Training { .. }
            | Phase::Evaluating { .. }
            | Phase::Registering { .. }
            | Phase::Paused { .. }
            | Phase::Cancelled { .. }
            | Phase::Done
            | Phase::Failed { .. } => {}
        }
    }
}

//! How a generation begins and how it ends. How the next one follows stands in `regroup`.

use std::{collections::BTreeSet, time::Duration};

use phalanx_protocol::{
    id::{Rank, WorkerId},
    message::{Assignment, Directive, Peer, StateSource},
    reference::DatasetRef,
    spec::STEPS_MAX,
};

use super::{Gang, Job, Muster, Newcomer, Phase, listed};
use crate::{checkpoint::Saves, context::Context, record::Goal, worker::counted};

impl Job {
    /// Begins a generation with `members`, which are idle or the job's own.
    pub(crate) fn start(&mut self, cx: &mut Context<'_>, members: Vec<WorkerId>) {
        let Some(leader) = members.first().copied() else { return };
        // Whether its data is still what it was is asked when a user has submitted or resumed it.
        let anew = matches!(self.phase, Phase::Queued { muster: Muster::Start, .. });
        self.record.generation = self.record.generation.next();
        let gang = Gang { members, farthest_step: self.record.progress.farthest_step };
        self.record.world_size = gang.world_size();
        self.record.finished = None;
        self.outage_outlives_generation();
        self.paces.keep(&gang.members);
        for member in &gang.members {
            cx.fleet.take(*member, &self.record.id);
        }
        self.settle_on_kind(cx, leader);
        let count = counted(gang.members.len(), "worker");
        self.say(cx, format!("starts with {count}: {}", listed(&gang.members)));
        // The generation must be durable before anyone hears of it (invariant 1).
        match self.record.dataset.clone().filter(|_| !anew) {
            Some(dataset) => self.form(cx, gang, &dataset),
            None => {
                let deadline = cx.after(cx.config.timeouts.step);
                self.enter(cx, Phase::Preparing { gang, what: None, deadline });
                self.tell_to_prepare(cx, leader);
            }
        }
    }

    fn tell_to_prepare(&self, cx: &mut Context<'_>, leader: WorkerId) {
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
        self.form(cx, gang, &dataset);
    }

    /// Sends all ranks to train.
    fn form(&mut self, cx: &mut Context<'_>, gang: Gang, dataset: &DatasetRef) {
        let deadline = cx.after(cx.config.timeouts.step);
        self.enter(cx, Phase::Forming { gang: gang.clone(), formed: BTreeSet::new(), deadline });
        self.tell_to_train(cx, &gang, dataset);
    }

    fn tell_to_train(&self, cx: &mut Context<'_>, gang: &Gang, dataset: &DatasetRef) {
        let peer = |worker: &WorkerId| {
            let data_addr = cx.fleet.get(*worker).map(|attached| attached.hello.data_addr)?;
            Some(Peer { worker: *worker, data_addr })
        };
        let peers: Vec<Peer> = gang.members.iter().filter_map(peer).collect();
        debug_assert_eq!(peers.len(), gang.members.len(), "invariant 2: members are attached");
        let incumbents = self.incumbents(cx.registry);
        for (member, rank) in gang.members.iter().zip(0..) {
            let assignment = Assignment {
                job: self.record.id.clone(),
                generation: self.record.generation,
                rank: Rank::new(rank),
                peers: peers.clone(),
                spec: self.record.spec.clone(),
                dataset: dataset.clone(),
                resume: self.record.checkpoints.last().map(|newest| newest.checkpoint.clone()),
                verify_at: self.record.dispute.as_ref().map(|dispute| dispute.step),
                disputed: self.record.disputed_in.max(cx.fleet.distrusted(*member, &self.record.id)),
                incumbents: incumbents.clone(),
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
        let step = self.record.progress.step;
        self.say(cx, format!("generation {} formed at step {step}: {count}", self.record.generation));
        self.record.started_at.get_or_insert(cx.now.wall);
        self.enter(cx, Phase::Training { gang, saves: Default::default() });
        self.follow_wishes(cx);
    }

    /// Rank 0 tells with which state the generation begins.
    pub(super) fn begins_at(&mut self, cx: &mut Context<'_>, step: u64, from: StateSource) {
        let text = match from {
            StateSource::Seed => return self.set_progress(step),
            StateSource::Checkpoint => format!("goes on from the checkpoint at step {step}"),
            StateSource::Members { healed: 0 } => {
                format!("goes on at step {step}: its workers hold the state")
            }
            StateSource::Members { healed } => {
                let count = counted(healed as usize, "worker");
                format!("goes on at step {step}: {count} took the state from the others")
            }
        };
        self.set_progress(step);
        self.say(cx, text);
    }

    /// Lets all members go and goes into `phase`.
    pub(super) fn end_generation(&mut self, cx: &mut Context<'_>, phase: Phase) {
        let Some(gang) = self.phase.gang() else { return };
        let members = gang.members.clone();
        let newcomers = std::mem::take(&mut self.newcomers);
        let leader = gang.leader();
        let only_leader_knows = matches!(self.phase, Phase::Preparing { .. });
        // Whoever pauses it may resume it soon.
        let keep = matches!(phase, Phase::Queued { .. } | Phase::Paused { .. });
        self.leaving.clear();
        self.relief = None;
        self.paces.keep(&[]);
        self.rewind();
        self.enter(cx, phase);
        for member in members {
            if only_leader_knows && Some(member) != leader {
                cx.fleet.dismiss(member);
            } else {
                let keep = keep && cx.fleet.holds(member, &self.record.id);
                cx.release(member, self.release(keep));
            }
        }
        newcomers.into_iter().for_each(|(id, newcomer)| self.release_newcomer(cx, id, newcomer, keep));
    }

    /// Lets a worker go that was to join: it knows the generation that it was told of, and no other.
    pub(super) fn release_newcomer(
        &self,
        cx: &mut Context<'_>,
        id: WorkerId,
        newcomer: Newcomer,
        keep: bool,
    ) {
        let (job, generation) = (self.record.id.clone(), newcomer.told_in);
        cx.release(id, Directive::Release { job, generation, keep });
    }

    /// Lets a member go that is one of the next generation, too, with the state that it holds.
    pub(super) fn recall(&self, cx: &mut Context<'_>, member: WorkerId) {
        let job = &self.record.id;
        let release = self.release(cx.fleet.holds(member, job));
        cx.recall(member, job, release);
    }

    /// Tells a worker that the generation is over.
    pub(super) fn release(&self, keep: bool) -> Directive {
        Directive::Release { job: self.record.id.clone(), generation: self.record.generation, keep }
    }

    /// The coordinator has restarted, and no worker is left of those before.
    pub(crate) fn restarted_alone(&mut self, cx: &mut Context<'_>) {
        if self.phase.gang().is_none() {
            return;
        }
        let goal = match self.phase {
            Phase::Stopping { goal: goal @ (Goal::Pause | Goal::Cancel), .. } => Some(goal),
            _ => self.record.wish.take(),
        };
        let step = self.saved_step();
        match goal {
            Some(goal) => {
                let why =
                    format!("the coordinator was restarted while it saved: it would go on from step {step}");
                self.reach(cx, goal, Some(why));
            }
            None => {
                self.say(cx, format!("the coordinator was restarted; goes on from step {step}"));
                self.end_generation(cx, Phase::Queued { muster: Muster::GoOn, why: "waits".to_owned() });
            }
        }
    }

    /// The coordinator has restarted. Workers go on meanwhile; what they may not have been
    /// told is told again.
    pub(crate) fn restarted(&mut self, cx: &mut Context<'_>) {
        let saves = self.phase.saves().into_iter().flat_map(Saves::writing);
        let writing: Vec<_> = saves.cloned().collect();
        writing.into_iter().for_each(|whole| self.write_manifest(cx, whole));
        self.finish_if_saved(cx);
        match &self.phase {
            Phase::Preparing { gang, .. } => {
                if let Some(leader) = gang.leader() {
                    self.tell_to_prepare(cx, leader);
                }
            }
            Phase::Forming { gang, .. } => {
                let dataset = self.record.dataset.clone();
                let dataset = dataset.expect("invariant: a generation trains on a known data set");
                self.tell_to_train(cx, gang, &dataset);
            }
            Phase::Stopping { gang, save, .. } => self.tell_to_stop(cx, gang, *save),
            Phase::Regrouping { gang, .. } => {
                gang.members.iter().for_each(|member| self.recall(cx, *member));
            }
            Phase::Queued { .. }
            | Phase::Training { .. }
            | Phase::Evaluating { .. }
            | Phase::Registering { .. }
            | Phase::Paused { .. }
            | Phase::Cancelled { .. }
            | Phase::Done
            | Phase::Failed { .. } => {}
        }
    }

    /// Progress is what the newest checkpoint holds, once nobody may hold more.
    pub(super) fn rewind(&mut self) {
        if self.record.outcome.is_none() {
            self.set_progress(self.saved_step());
        }
    }

    /// Whether the newest checkpoint holds all steps that are known to be finished.
    pub(super) fn is_saved(&self) -> bool {
        self.record.progress.step <= self.saved_step()
    }

    /// Steps finished at the newest checkpoint.
    pub(super) fn saved_step(&self) -> u64 {
        self.record.checkpoints.last().map_or(0, |newest| newest.checkpoint.step)
    }

    /// Progress is what the state at `step` holds.
    fn set_progress(&mut self, step: u64) {
        let train = &self.record.spec.train;
        let rows = self.record.dataset.as_ref().map_or(0, |dataset| dataset.train_rows);
        let progress = &mut self.record.progress;
        progress.step = step;
        progress.farthest_step = progress.farthest_step.max(step);
        progress.cursor = step * u64::from(train.batch_size);
        progress.epoch = step.checked_div(train.steps_per_epoch(rows)).unwrap_or(0);
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

    /// Does what the job was stopped for; something may have happened on the way.
    pub(super) fn reach(&mut self, cx: &mut Context<'_>, goal: Goal, reason: Option<String>) {
        let phase = match goal {
            Goal::Cancel => Phase::Cancelled { reason },
            Goal::Regroup => return self.regroup(cx, None),
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

    /// When something must have happened, or may be tried again.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let fetching = self.newcomers.values().filter(|newcomer| !newcomer.ready);
        let fetched = fetching.map(|newcomer| newcomer.deadline);
        self.phase.deadline().into_iter().chain(self.grows_after).chain(fetched).min()
    }

    /// Deals with what is due by now.
    pub(crate) fn pass_time(&mut self, cx: &mut Context<'_>) {
        let is_due = |deadline: &mut Duration| *deadline <= cx.now.instant;
        if self.grows_after.take_if(is_due).is_some() {
            cx.turn.placement_due = true;
        }
        let late = self.newcomers.iter().filter(|(_, it)| !it.ready && it.deadline <= cx.now.instant);
        for newcomer in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            let limit = cx.config.timeouts.step;
            self.not_fetched(cx, newcomer, &format!("it did not have the data set within {limit:?}"));
        }
        if self.phase.deadline().is_some_and(|deadline| deadline <= cx.now.instant) {
            self.overdue(cx);
        }
    }

    /// The deadline of its phase has passed.
    fn overdue(&mut self, cx: &mut Context<'_>) {
        let waits_for_store = self.members_wait_for_store();
        match &mut self.phase {
            // Another generation would wait for the store, too.
            Phase::Preparing { deadline, .. } | Phase::Forming { deadline, .. } if waits_for_store => {
                *deadline = cx.after(cx.config.timeouts.step);
            }
            Phase::Forming { gang, formed, .. } => {
                let missing =
                    gang.members.iter().filter(|m| gang.rank_of(**m).is_some_and(|r| !formed.contains(&r)));
                let limit = cx.config.timeouts.step;
                let missing = listed(missing);
                let why = format!("workers {missing} did not load the data and connect within {limit:?}");
                self.break_up(cx, why, None);
            }
            Phase::Preparing { gang, .. } => {
                let (leader, limit) = (gang.leader(), cx.config.timeouts.step);
                let why = format!("worker {} has told nothing of the data set for {limit:?}", listed(leader));
                // Others try it, if there are any.
                self.leaving = BTreeSet::from_iter(leader);
                self.break_up(cx, why, None);
            }
            Phase::Regrouping { .. } => self.form_next(cx),
            Phase::Stopping { goal: Goal::Regroup, .. } => {
                let why = "a worker did not stop in time for others to join or leave".to_owned();
                self.break_up(cx, why, None);
            }
            Phase::Stopping { goal, .. } => {
                let goal = *goal;
                self.reach(cx, goal, Some("its state was not saved in time".to_owned()));
            }
            Phase::Queued { .. }
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

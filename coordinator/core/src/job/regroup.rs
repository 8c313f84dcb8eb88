//! How a job goes from one generation to the next: because a worker was lost or failed, or
//! because workers join or leave. Its members keep the state meanwhile.
//!
//! ```text
//! lost, failed, a rank differs ────────────► Regrouping ──► Forming      enough are home
//! joins, leaves ──► Stopping ──► all halted ─┘    └───────► Queued       too few are
//! ```
//!
//! A member is *home* when it has shown that its generation is over for it: it has seen its
//! release, or has told how its work ended. So one that died with its peers is not taken along,
//! and nobody waits for it once its connection is seen to be gone.

use std::collections::BTreeSet;

use phalanx_protocol::{
    id::{JobId, WorkerId},
    message::{Directive, Hello},
    spec::WorkersSpec,
};

use super::{Job, Muster, Newcomer, Phase, listed};
use crate::{
    Rejected,
    context::Context,
    record::{Goal, Halt},
    worker::{self, Worker, counted},
};

impl Job {
    /// A worker is no longer there. Its duty ended with it.
    pub(crate) fn worker_lost(&mut self, cx: &mut Context<'_>, lost: WorkerId, hello: &Hello, why: &str) {
        if self.drop_newcomer(lost).is_some() {
            return self.welcome(cx);
        }
        let Some(rank) = self.phase.gang().and_then(|gang| gang.rank_of(lost)) else { return };
        let text = format!("worker {} was lost: {why}", worker::describe(lost, hello));
        match &mut self.phase {
            Phase::Preparing { .. } if !rank.is_leader() => {
                self.say(cx, text);
                self.prepare_without(cx, lost);
            }
            Phase::Stopping { halted, goal: Goal::Pause | Goal::Cancel, .. } => {
                halted.insert(rank, Halt::Gone);
                self.say(cx, text);
                self.store(cx);
                self.conclude_if_halted(cx);
            }
            Phase::Regrouping { home, .. } => {
                home.remove(&lost);
                self.say(cx, text);
                self.form_if_home(cx);
            }
            Phase::Preparing { .. }
            | Phase::Forming { .. }
            | Phase::Training { .. }
            | Phase::Evaluating { .. }
            | Phase::Stopping { .. } => self.break_up(cx, text, None),
            Phase::Queued { .. }
            | Phase::Registering { .. }
            | Phase::Paused { .. }
            | Phase::Cancelled { .. }
            | Phase::Done
            | Phase::Failed { .. } => {}
        }
    }

    /// Rank 0 prepares, and another member is gone, which has not been told of the job: the others
    /// go on without it, if they are enough.
    fn prepare_without(&mut self, cx: &mut Context<'_>, gone: WorkerId) {
        let Phase::Preparing { gang, .. } = &mut self.phase else { return };
        gang.members.retain(|member| *member != gone);
        let left = gang.world_size();
        self.record.world_size = left;
        if left < self.workers_min() {
            self.regroup(cx, None);
        } else {
            self.store(cx);
        }
    }

    /// A worker's connection is gone: it is not waited for.
    pub(crate) fn worker_disconnected(&mut self, cx: &mut Context<'_>) {
        self.form_if_home(cx);
    }

    /// The generation is over for the reason `why`, which a member may have told that is home now;
    /// the job goes on with the workers left.
    pub(super) fn break_up(&mut self, cx: &mut Context<'_>, why: String, teller: Option<WorkerId>) {
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
        self.regroup(cx, teller);
    }

    /// Ends the generation. The next one is formed as soon as its members are home; `teller` is.
    pub(super) fn regroup(&mut self, cx: &mut Context<'_>, teller: Option<WorkerId>) {
        let Some(gang) = self.phase.gang() else { return };
        let gang = gang.clone();
        let mut home = BTreeSet::from_iter(teller);
        if let Phase::Stopping { halted, .. } = &self.phase {
            let stopped = halted.iter().filter(|(_, halt)| matches!(halt, Halt::Stopped { .. }));
            home.extend(stopped.filter_map(|(rank, _)| gang.members.get(rank.get() as usize)));
        }
        // Who must give its state up is told that first.
        home.retain(|member| cx.fleet.holds(*member, &self.record.id));
        if let Phase::Preparing { .. } = &self.phase {
            // They have not been told of the generation.
            home.extend(gang.members.iter().skip(1));
        }
        // A worker is home at once. One that has not shown that within a heartbeat is most likely dead.
        let deadline = cx.after(cx.config.timeouts.heartbeat);
        self.enter(cx, Phase::Regrouping { gang: gang.clone(), home: home.clone(), deadline });
        for member in gang.members.iter().filter(|member| !home.contains(member)) {
            self.recall(cx, *member);
        }
        self.form_if_home(cx);
    }

    /// A member has shown that its generation is over for it.
    pub(crate) fn member_home(&mut self, cx: &mut Context<'_>, member: WorkerId) {
        if let Phase::Regrouping { home, .. } = &mut self.phase {
            home.insert(member);
            cx.fleet.is_home(member);
            self.form_if_home(cx);
        }
    }

    fn form_if_home(&mut self, cx: &mut Context<'_>) {
        let Phase::Regrouping { gang, home, .. } = &self.phase else { return };
        let is_there = |member: &WorkerId| cx.fleet.get(*member).is_some_and(|worker| worker.connected);
        if gang.members.iter().all(|member| home.contains(member) || !is_there(member)) {
            self.form_next(cx);
        }
    }

    /// Forms the next generation from those who are home and those who are ready to join.
    pub(super) fn form_next(&mut self, cx: &mut Context<'_>) {
        let Phase::Regrouping { gang, home, .. } = &self.phase else { return };
        let (home, away): (Vec<_>, Vec<_>) = gang.members.iter().partition(|member| home.contains(member));
        let ready = self.newcomers.iter().filter(|(_, newcomer)| newcomer.ready).map(|(id, _)| *id);
        let there: Vec<WorkerId> = home.iter().copied().chain(ready).collect();
        self.settle_relief(cx, &there);
        let stays = |worker: &WorkerId| cx.fleet.can_work(*worker) && !self.leaving.contains(worker);
        let mut members: Vec<WorkerId> = there.iter().copied().filter(stays).collect();
        if members.len() < self.workers_min() as usize && !self.is_saved() {
            members = self.last_holders(cx, &home).unwrap_or(members);
        }
        let mut excess: Vec<WorkerId> =
            there.into_iter().filter(|worker| !members.contains(worker)).collect();
        self.leaving.clear();
        excess.extend(members.drain(members.len().min(self.workers_max() as usize)..));
        let is_enough = members.len() >= self.workers_min() as usize;
        for worker in away {
            cx.fleet.give_up(worker);
        }
        if !is_enough {
            // They keep the state for as long as nobody else needs them.
            members.iter().chain(&home).for_each(|worker| cx.fleet.dismiss(*worker));
            let newcomers = std::mem::take(&mut self.newcomers);
            self.relief = None;
            self.paces.keep(&[]);
            newcomers.into_iter().for_each(|(id, newcomer)| self.release_newcomer(cx, id, newcomer, true));
            let lost = (!self.is_saved()).then(|| {
                format!("too few workers were left to save: it would go on from step {}", self.saved_step())
            });
            if home.is_empty() {
                self.rewind();
            }
            return match self.record.wish.take() {
                Some(goal) => self.reach(cx, goal, lost),
                None => self.enter(cx, Phase::Queued { muster: Muster::GoOn, why: "waits".to_owned() }),
            };
        }
        for worker in excess {
            match self.drop_newcomer(worker) {
                Some(newcomer) => self.release_newcomer(cx, worker, newcomer, false),
                None => cx.release(worker, self.release(false)),
            }
        }
        self.newcomers.retain(|newcomer, _| !members.contains(newcomer));
        self.start(cx, members);
    }

    /// Those of `home` who hold the state, where they are enough to save it before some of them leave.
    fn last_holders(&self, cx: &Context<'_>, home: &[WorkerId]) -> Option<Vec<WorkerId>> {
        let job = &self.record.id;
        let saves = |worker: &WorkerId| cx.fleet.can_save(*worker, job) && !self.leaving.contains(worker);
        let holders: Vec<WorkerId> = home.iter().copied().filter(saves).collect();
        (holders.len() >= self.workers_min() as usize).then_some(holders)
    }

    /// Workers are to join: they fetch the data set, and the generation goes on meanwhile.
    pub(crate) fn grow(&mut self, cx: &mut Context<'_>, newcomers: Vec<WorkerId>) {
        let (Phase::Training { .. }, Some(dataset)) = (&self.phase, self.record.dataset.clone()) else {
            return;
        };
        for newcomer in newcomers {
            cx.fleet.take(newcomer, &self.record.id);
            let (told_in, deadline) = (self.record.generation, cx.after(cx.config.timeouts.step));
            self.newcomers.insert(newcomer, Newcomer { told_in, ready: false, deadline });
            let fetch = Directive::Fetch {
                job: self.record.id.clone(),
                generation: self.record.generation,
                dataset: dataset.clone(),
                trace: self.record.trace.clone(),
            };
            cx.tell(newcomer, fetch);
        }
        cx.turn.changed.insert(self.record.id.clone());
    }

    /// Some members are wanted by another job: they leave after the step under way.
    pub(crate) fn shrink(&mut self, cx: &mut Context<'_>, leaving: Vec<WorkerId>) {
        if matches!(self.phase, Phase::Training { .. }) {
            self.say(cx, format!("gives up workers {} for another job", listed(&leaving)));
            self.leaving = leaving.into_iter().collect();
            self.stop_to_regroup(cx);
        }
    }

    /// All members are wanted by another job: the state is saved, and the job queues.
    pub(crate) fn preempt(&mut self, cx: &mut Context<'_>, by: &JobId) {
        if let Phase::Training { gang, .. } = &self.phase {
            self.leaving = gang.members.iter().copied().collect();
            self.say(
                cx,
                format!("makes room for job {by}, which has a higher priority: its state is saved first"),
            );
            self.stop_to_regroup(cx);
        }
    }

    /// A newcomer has the data set at hand.
    pub(super) fn fetched(&mut self, cx: &mut Context<'_>, newcomer: WorkerId) {
        if let Some(newcomer) = self.newcomers.get_mut(&newcomer) {
            newcomer.ready = true;
            self.welcome(cx);
        }
    }

    /// A newcomer cannot join.
    pub(super) fn not_fetched(&mut self, cx: &mut Context<'_>, newcomer: WorkerId, reason: &str) {
        let Some(told) = self.drop_newcomer(newcomer) else { return };
        let who =
            cx.fleet.get(newcomer).map_or(newcomer.to_string(), |it| worker::describe(newcomer, &it.hello));
        self.say(cx, format!("worker {who} cannot join: {reason}"));
        self.grows_after = Some(cx.after(cx.config.timeouts.step));
        // It may go to others, and the job may give up workers again.
        cx.turn.placement_due = true;
        self.release_newcomer(cx, newcomer, told, false);
        self.welcome(cx);
    }

    /// Begins to regroup once all newcomers are ready.
    fn welcome(&mut self, cx: &mut Context<'_>) {
        if !self.newcomers.is_empty() && self.newcomers.values().all(|newcomer| newcomer.ready) {
            self.stop_to_regroup(cx);
        }
    }

    /// A user changes how many workers the job takes; what is not set stays as it is.
    pub(crate) fn scale(&mut self, cx: &mut Context<'_>, workers: WorkersSpec) -> Result<(), Rejected> {
        if self.phase.state().is_over() {
            return Err(self.cannot("scaled", "it is over; `resume` can say how many workers it takes"));
        }
        self.record.workers = workers.or(&self.record.workers);
        let (least, most) = (self.workers_min(), self.workers_max());
        self.say(cx, format!("takes {least} to {} from now on", counted(most as usize, "worker")));
        self.store(cx);
        cx.turn.placement_due = true;
        self.follow_wishes(cx);
        Ok(())
    }

    /// A member or newcomer is about to leave.
    pub(crate) fn drain(&mut self, cx: &mut Context<'_>, leaving: WorkerId) {
        if let Some(newcomer) = self.drop_newcomer(leaving) {
            self.release_newcomer(cx, leaving, newcomer, false);
            return self.welcome(cx);
        }
        self.say(cx, format!("worker {leaving} is about to leave"));
        match &self.phase {
            Phase::Preparing { gang, .. } if gang.leader() != Some(leaving) => {
                cx.fleet.dismiss(leaving);
                self.prepare_without(cx, leaving);
            }
            Phase::Regrouping { .. } => self.form_if_home(cx),
            Phase::Training { .. } | Phase::Evaluating { .. } => self.follow_wishes(cx),
            // It leaves when that is over.
            Phase::Preparing { .. } | Phase::Forming { .. } | Phase::Stopping { .. } => {}
            Phase::Queued { .. }
            | Phase::Registering { .. }
            | Phase::Paused { .. }
            | Phase::Cancelled { .. }
            | Phase::Done
            | Phase::Failed { .. } => {}
        }
    }

    /// Does what was wanted while it could not be done yet.
    pub(super) fn follow_wishes(&mut self, cx: &mut Context<'_>) {
        let (Phase::Training { gang, .. } | Phase::Evaluating { gang, .. }) = &self.phase else { return };
        let too_many = gang.world_size() > self.workers_max();
        let leaves = gang.members.iter().any(|member| cx.fleet.get(*member).is_some_and(Worker::is_to_go));
        if matches!(self.phase, Phase::Evaluating { .. }) {
            // No step is to be finished. The last ones go when their state is saved, or the job is done.
            if leaves && (self.enough_stay(cx) || self.is_saved()) {
                self.regroup(cx, None);
            }
        } else if let Some(goal) = self.record.wish.take() {
            self.halt(cx, goal);
        } else if too_many || leaves {
            self.stop_to_regroup(cx);
        } else {
            self.welcome(cx);
        }
    }

    /// Whether enough members are left without those that are to leave.
    fn enough_stay(&self, cx: &Context<'_>) -> bool {
        let members = self.phase.gang().map(|gang| gang.members.as_slice()).unwrap_or_default();
        let stays = |member: &&WorkerId| cx.fleet.can_work(**member) && !self.leaving.contains(*member);
        members.iter().filter(stays).count() >= self.workers_min() as usize
    }

    /// Lets the ranks finish their step, so that the next generation can be formed.
    pub(super) fn stop_to_regroup(&mut self, cx: &mut Context<'_>) {
        if !matches!(self.phase, Phase::Training { .. }) {
            return;
        }
        // Lanes that train on their own hold a state that nobody else has.
        let save = self.record.spec.train.diloco.is_some() || !self.enough_stay(cx);
        self.stop_ranks(cx, Goal::Regroup, save);
    }
}

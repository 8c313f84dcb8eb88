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

use jiff::SignedDuration;
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
    worker::{self, counted},
};

impl Job {
    /// A worker is no longer there. Its duty ended with it.
    pub(crate) fn worker_lost(&mut self, cx: &mut Context<'_>, lost: WorkerId, hello: &Hello, why: &str) {
        if self.drop_newcomer(lost) {
            return self.welcome(cx);
        }
        let Some(rank) = self.phase.gang().and_then(|gang| gang.rank_of(lost)) else { return };
        let text = format!("worker {} was lost: {why}", worker::describe(lost, hello));
        match &mut self.phase {
            Phase::Preparing { gang, .. } if !rank.is_leader() => {
                // It has not been told of the job: the others go on without it.
                gang.members.retain(|member| *member != lost);
                let left = gang.world_size();
                self.record.world_size = left;
                self.say(cx, text);
                if left < self.workers_min() {
                    self.regroup(cx, BTreeSet::new(), &BTreeSet::new());
                }
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
            | Phase::Stopping { .. } => self.break_up(cx, text, BTreeSet::new(), &BTreeSet::new()),
            Phase::Queued { .. }
            | Phase::Registering { .. }
            | Phase::Paused { .. }
            | Phase::Cancelled { .. }
            | Phase::Done
            | Phase::Failed { .. } => {}
        }
    }

    /// A worker's connection is gone: it is not waited for.
    pub(crate) fn worker_disconnected(&mut self, cx: &mut Context<'_>) {
        self.form_if_home(cx);
    }

    /// The generation is over for the reason `why`; the job goes on with the workers left, of
    /// which some are home already, and some hold a state that is not to be used.
    pub(super) fn break_up(
        &mut self,
        cx: &mut Context<'_>,
        why: String,
        home: BTreeSet<WorkerId>,
        untrusted: &BTreeSet<WorkerId>,
    ) {
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
        self.regroup(cx, home, untrusted);
    }

    /// Ends the generation. The next one is formed as soon as its members are home.
    pub(super) fn regroup(
        &mut self,
        cx: &mut Context<'_>,
        mut home: BTreeSet<WorkerId>,
        untrusted: &BTreeSet<WorkerId>,
    ) {
        let Some(gang) = self.phase.gang() else { return };
        let gang = gang.clone();
        match &self.phase {
            Phase::Preparing { .. } => home.extend(gang.members.iter().skip(1)),
            Phase::Stopping { halted, .. } => home.extend(halted.iter().filter_map(|(rank, halt)| {
                matches!(halt, Halt::Stopped { .. }).then(|| gang.members.get(rank.get() as usize))?
            })),
            _ => {}
        }
        // A worker is home at once. One that has not shown that within a heartbeat is most likely dead.
        let deadline = cx.after(cx.config.timeouts.heartbeat);
        self.enter(cx, Phase::Regrouping { gang: gang.clone(), home: home.clone(), deadline });
        for member in gang.members.iter().filter(|member| !home.contains(member)) {
            cx.recall(*member, &self.record.id, self.release(!untrusted.contains(member)));
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
        let (mut members, mut excess): (Vec<_>, Vec<_>) = there
            .into_iter()
            .partition(|worker| cx.fleet.can_work(*worker) && !self.leaving.contains(worker));
        self.leaving.clear();
        excess.extend(members.drain(members.len().min(self.workers_max() as usize)..));
        let is_enough = members.len() >= self.workers_min() as usize;
        for worker in away {
            cx.fleet.give_up(worker);
        }
        if !is_enough {
            // They keep the state for as long as nobody else needs them.
            members.iter().chain(&home).for_each(|worker| cx.fleet.dismiss(*worker));
            let newcomers: Vec<_> = std::mem::take(&mut self.newcomers).into_keys().collect();
            self.relief = None;
            self.paces.keep(&[]);
            newcomers.into_iter().for_each(|newcomer| cx.release(newcomer, self.release(true)));
            if home.is_empty() {
                self.rewind();
            }
            return match self.record.wish.take() {
                Some(goal) => {
                    let why = format!(
                        "too few workers were left to save: it would go on from step {}",
                        self.saved_step()
                    );
                    self.reach(cx, goal, Some(why));
                }
                None => self.enter(cx, Phase::Queued { muster: Muster::GoOn, why: "waits".to_owned() }),
            };
        }
        for worker in excess {
            self.drop_newcomer(worker);
            cx.release(worker, self.release(false));
        }
        self.newcomers.retain(|newcomer, _| !members.contains(newcomer));
        self.start(cx, members);
    }

    /// Workers are to join: they fetch the data set, and the generation goes on meanwhile.
    pub(crate) fn grow(&mut self, cx: &mut Context<'_>, newcomers: Vec<WorkerId>) {
        let (Phase::Training { .. }, Some(dataset)) = (&self.phase, self.record.dataset.clone()) else {
            return;
        };
        for newcomer in newcomers {
            cx.fleet.take(newcomer, &self.record.id);
            let told_in = self.record.generation;
            self.newcomers.insert(newcomer, Newcomer { told_in, ready: false });
            let fetch = Directive::Fetch {
                job: self.record.id.clone(),
                generation: self.record.generation,
                dataset: dataset.clone(),
                trace: self.record.trace.clone(),
            };
            cx.tell(newcomer, fetch);
        }
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
        self.drop_newcomer(newcomer);
        let who =
            cx.fleet.get(newcomer).map_or(newcomer.to_string(), |it| worker::describe(newcomer, &it.hello));
        self.say(cx, format!("worker {who} cannot join: {reason}"));
        let pause = SignedDuration::try_from(cx.config.timeouts.step).unwrap_or(SignedDuration::MAX);
        self.grows_after = cx.now.wall.checked_add(pause).ok();
        cx.release(newcomer, self.release(false));
        self.welcome(cx);
    }

    /// Begins to regroup once all newcomers are ready.
    fn welcome(&mut self, cx: &mut Context<'_>) {
        if !self.newcomers.is_empty() && self.newcomers.values().all(|newcomer| newcomer.ready) {
            self.stop_to_regroup(cx);
        }
    }

    /// A user changes how many workers the job takes.
    pub(crate) fn scale(&mut self, cx: &mut Context<'_>, workers: WorkersSpec) -> Result<(), Rejected> {
        if self.phase.state().is_over() {
            return Err(self.cannot("scaled", "it is over; `resume` can say how many workers it takes"));
        }
        self.record.workers = workers;
        let (least, most) = (self.workers_min(), self.workers_max());
        self.say(cx, format!("takes {least} to {} from now on", counted(most as usize, "worker")));
        self.store(cx);
        cx.turn.placement_due = true;
        self.follow_wishes(cx);
        Ok(())
    }

    /// A member or newcomer is about to leave.
    pub(crate) fn drain(&mut self, cx: &mut Context<'_>, leaving: WorkerId) {
        if self.drop_newcomer(leaving) {
            cx.release(leaving, self.release(false));
            return self.welcome(cx);
        }
        self.say(cx, format!("worker {leaving} is about to leave"));
        match &mut self.phase {
            Phase::Preparing { gang, .. } if gang.leader() != Some(leaving) => {
                gang.members.retain(|member| *member != leaving);
                cx.fleet.dismiss(leaving);
                self.record.world_size = self.record.world_size.saturating_sub(1).max(1);
                self.store(cx);
            }
            // There is no step to be finished.
            Phase::Evaluating { .. } => self.regroup(cx, BTreeSet::new(), &BTreeSet::new()),
            Phase::Regrouping { .. } => self.form_if_home(cx),
            Phase::Training { .. } => self.follow_wishes(cx),
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

    /// Does what was wanted while no generation trained.
    pub(super) fn follow_wishes(&mut self, cx: &mut Context<'_>) {
        let Phase::Training { gang, .. } = &self.phase else { return };
        let too_many = gang.world_size() > self.workers_max();
        let leaves = gang.members.iter().any(|member| cx.fleet.get(*member).is_some_and(|it| it.draining));
        if let Some(goal) = self.record.wish.take() {
            self.halt(cx, goal);
        } else if too_many || leaves {
            self.stop_to_regroup(cx);
        } else {
            self.welcome(cx);
        }
    }

    /// Lets the ranks finish their step, so that the next generation can be formed.
    pub(super) fn stop_to_regroup(&mut self, cx: &mut Context<'_>) {
        let Phase::Training { gang, .. } = &self.phase else { return };
        let stays = |member: &&WorkerId| cx.fleet.can_work(**member) && !self.leaving.contains(*member);
        let staying = gang.members.iter().filter(stays).count();
        // Lanes that train on their own hold a state that nobody else has.
        let save = self.record.spec.train.diloco.is_some() || staying < self.workers_min() as usize;
        self.stop_ranks(cx, Goal::Regroup, save);
    }
}

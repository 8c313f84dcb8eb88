//! Ranks that do not hold the same state although they should: one of them has computed wrongly,
//! or its memory has. The majority is right; its members keep the state, and the others take it
//! from them. Where there is no majority, the step is *disputed*: those since the newest
//! checkpoint are computed again, the next generations compare their states after it, and what
//! comes out again is right. A worker that comes to another state than before has erred at least once.

use std::collections::BTreeMap;

use phalanx_protocol::{
    id::{Rank, WorkerId},
    reference::HashHex,
};

use super::{Job, Phase, listed};
use crate::{
    context::Context,
    record::{Dispute, Distrusted, Goal, Process, Vote},
    worker::Fleet,
};

impl Job {
    /// At `step` the states of these ranks have these hashes. Who has told that is home already.
    pub(super) fn differ(
        &mut self,
        cx: &mut Context<'_>,
        step: u64,
        hashes: &BTreeMap<Rank, HashHex>,
        teller: Option<WorkerId>,
    ) {
        let Some(gang) = self.phase.gang() else { return };
        let member = |rank: &Rank| gang.members.get(rank.get() as usize).copied();
        let votes: Vec<Vote> =
            hashes.iter().filter_map(|(rank, hash)| vote(cx.fleet, member(rank)?, hash)).collect();
        let right = self.weigh(cx, step, &votes);
        let is_wrong = |hash: &HashHex| Some(hash) != right.as_ref();
        let ranks = listed(hashes.iter().filter(|(_, hash)| is_wrong(hash)).map(|(rank, _)| rank));
        let why = if right.is_some() {
            format!("at step {step} the state of rank {ranks} differs from the others'")
        } else {
            format!(
                "at step {step} the states of ranks {ranks} differ, and nobody knows yet which is right: \
                 the steps since the last checkpoint are computed again"
            )
        };
        // Nobody goes on from them, in whichever way the job goes on.
        let (job, generation) = (self.record.id.clone(), self.record.generation);
        for vote in votes.iter().filter(|vote| is_wrong(&vote.state_hash)) {
            cx.fleet.distrust(vote.worker, Distrusted { job: job.clone(), generation });
        }
        cx.remember_processes();
        if let Phase::Stopping { goal: goal @ (Goal::Pause | Goal::Cancel), .. } = self.phase {
            return self.reach(cx, goal, Some(format!("its state was not saved: {why}")));
        }
        self.break_up(cx, why, teller);
    }

    /// All ranks hold the same state at `step`. Who has erred before may have to go for that: the
    /// job's wishes are to be followed afterwards.
    pub(super) fn verified(&mut self, cx: &mut Context<'_>, step: u64, state_hash: &HashHex) {
        let Some(disputed) = self.record.dispute.as_ref().map(|dispute| dispute.step) else { return };
        let Some(gang) = self.phase.gang().filter(|_| disputed <= step) else { return };
        let members = gang.members.iter();
        let votes: Vec<Vote> = members.filter_map(|member| vote(cx.fleet, *member, state_hash)).collect();
        if disputed < step {
            self.record.dispute = None;
        } else {
            self.weigh(cx, step, &votes);
        }
        self.store(cx);
    }

    /// Finds out what the state at `step` is, from what it is `now` and what it was when ranks
    /// disagreed on this step before. Whoever was wrong has erred. Gives nothing where that
    /// cannot be known: then whoever does not come to the same state as before has erred, and
    /// the step stays disputed.
    fn weigh(&mut self, cx: &mut Context<'_>, step: u64, now: &[Vote]) -> Option<HashHex> {
        let dispute = self.record.dispute.take_if(|dispute| dispute.step == step);
        let before = dispute.map(|dispute| dispute.votes).unwrap_or_default();
        let right = majority(now).or_else(|| repeated(before.iter().chain(now)));
        let Some(right) = right else {
            let of_now = |old: &&Vote| now.iter().find(|vote| vote.process == old.process);
            let changed = |old: &&Vote| of_now(old).is_some_and(|vote| vote.state_hash != old.state_hash);
            before.iter().filter(changed).for_each(|vote| self.has_erred(cx, vote, step));
            let others = before.iter().filter(|old| of_now(old).is_none());
            let votes = others.chain(now).cloned().collect();
            self.record.dispute = Some(Dispute { step, votes });
            self.record.disputed_in = Some(self.record.generation);
            return None;
        };
        let is_wrong = |vote: &&Vote| vote.state_hash != right;
        // Where nobody had it before, they were not asked for the same: a part's text, say.
        let before = if before.iter().all(|vote| is_wrong(&vote)) { Vec::new() } else { before };
        before.iter().chain(now).filter(is_wrong).for_each(|vote| self.has_erred(cx, vote, step));
        Some(right)
    }

    /// A worker's state was wrong. One of which that is known twice gets no more work.
    fn has_erred(&mut self, cx: &mut Context<'_>, vote: &Vote, step: u64) {
        let Vote { worker, process, .. } = vote;
        let text = if cx.fleet.has_erred(process) {
            format!(
                "worker {worker} ({process}) has computed wrongly again, at step {step}: it gets no more work"
            )
        } else {
            format!(
                "worker {worker} ({process}) has computed wrongly: its state at step {step} was not that of the others"
            )
        };
        cx.remember_processes();
        // Others may have waited for its place, or it for theirs.
        cx.turn.placement_due = true;
        self.say(cx, text);
    }
}

fn vote(fleet: &Fleet, worker: WorkerId, state_hash: &HashHex) -> Option<Vote> {
    let process = Process::of(&fleet.get(worker)?.hello);
    Some(Vote { worker, process, state_hash: state_hash.clone() })
}

/// What more than half of several say.
fn majority(votes: &[Vote]) -> Option<HashHex> {
    let (most, count) = most_frequent(votes)?;
    (votes.len() > 1 && 2 * count > votes.len()).then_some(most)
}

/// What came out more than once, and more often than anything else: errors do not repeat themselves.
fn repeated<'v>(votes: impl Iterator<Item = &'v Vote>) -> Option<HashHex> {
    most_frequent(votes).filter(|(_, count)| *count > 1).map(|(hash, _)| hash)
}

/// What came out more often than anything else, and how often.
fn most_frequent<'v>(votes: impl IntoIterator<Item = &'v Vote>) -> Option<(HashHex, usize)> {
    let mut counts: BTreeMap<&HashHex, usize> = BTreeMap::new();
    for vote in votes {
        *counts.entry(&vote.state_hash).or_default() += 1;
    }
    let most = counts.values().max().copied()?;
    let mut all = counts.into_iter().filter(|(_, count)| *count == most);
    let (hash, count) = all.next()?;
    all.next().is_none().then(|| (hash.clone(), count))
}

//! Ranks that do not hold the same state although they should: one of them has computed wrongly,
//! or its memory has. The majority is right; its members keep the state, and the others take it
//! from them. Where there is no majority, the steps since the newest checkpoint are computed
//! again, and then show who was right.

use std::collections::{BTreeMap, BTreeSet};

use phalanx_protocol::{
    id::{Rank, WorkerId},
    reference::HashHex,
};

use super::{Job, Phase, listed};
use crate::{
    context::Context,
    record::{Dispute, Goal},
    worker,
};

impl Job {
    /// At `step` the states of these ranks have these hashes. Some members are home already.
    pub(super) fn differ(
        &mut self,
        cx: &mut Context<'_>,
        step: u64,
        hashes: &BTreeMap<Rank, HashHex>,
        home: BTreeSet<WorkerId>,
    ) {
        let Some(gang) = self.phase.gang() else { return };
        let member = |rank: &Rank| gang.members.get(rank.get() as usize).copied();
        let of_members: BTreeMap<WorkerId, HashHex> =
            hashes.iter().filter_map(|(rank, hash)| Some((member(rank)?, hash.clone()))).collect();
        let right = majority(of_members.values());
        let wrong = |hash: &HashHex| Some(hash) != right.as_ref();
        let untrusted: BTreeSet<WorkerId> =
            of_members.iter().filter(|(_, hash)| wrong(hash)).map(|(id, _)| *id).collect();
        let ranks = listed(hashes.iter().filter(|(_, hash)| wrong(hash)).map(|(rank, _)| rank));
        let why = if right.is_some() {
            untrusted.iter().for_each(|worker| self.has_erred(cx, *worker, step));
            format!("at step {step} the state of rank {ranks} differs from the others'")
        } else {
            self.record.dispute = Some(Dispute { step, hashes: of_members });
            self.record.disputed_in = Some(self.record.generation);
            format!(
                "at step {step} the states of ranks {ranks} differ, and no majority says which is right: \
                 the steps since the last checkpoint are computed again"
            )
        };
        if let Phase::Stopping { goal: goal @ (Goal::Pause | Goal::Cancel), .. } = self.phase {
            return self.reach(cx, goal, Some(format!("its state was not saved: {why}")));
        }
        self.break_up(cx, why, home, &untrusted);
    }

    /// All ranks hold the same state at `step`.
    pub(super) fn verified(&mut self, cx: &mut Context<'_>, step: u64, state_hash: &HashHex) {
        let Some(dispute) = self.record.dispute.take_if(|dispute| dispute.step <= step) else { return };
        if dispute.step == step {
            let wrong = dispute.hashes.iter().filter(|(_, hash)| *hash != state_hash);
            wrong.for_each(|(worker, _)| self.has_erred(cx, *worker, step));
        }
        self.store(cx);
    }

    /// A worker's state was wrong. One of which that is known twice gets no more work.
    fn has_erred(&mut self, cx: &mut Context<'_>, id: WorkerId, step: u64) {
        let who = cx.fleet.get(id).map_or(id.to_string(), |it| worker::describe(id, &it.hello));
        let text = if cx.fleet.has_erred(id) {
            format!("worker {who} has computed wrongly again, at step {step}: it gets no more work")
        } else {
            format!("worker {who} has computed wrongly: its state at step {step} was not that of the others")
        };
        self.say(cx, text);
    }
}

/// What more than half of them say.
fn majority<'h>(hashes: impl ExactSizeIterator<Item = &'h HashHex>) -> Option<HashHex> {
    let count = hashes.len();
    let mut votes: BTreeMap<&HashHex, usize> = BTreeMap::new();
    for hash in hashes {
        *votes.entry(hash).or_default() += 1;
    }
    votes.into_iter().find(|(_, votes)| 2 * votes > count).map(|(hash, _)| hash.clone())
}

//! Where the workers go that are left over: to jobs that can take more of them.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    line::Share,
    plan::{Plan, Team},
    workers::Freedom,
};

/// Whose turn it is: the least. It only grows while workers are given out.
type Turn = (Reverse<i32>, Share, usize, u64);

impl Plan<'_> {
    /// Gives idle workers one by one to jobs that run or start: to a higher priority
    /// first, then to the project that uses the smallest share, then to the job with
    /// the fewest above those that it needs. This mirrors the order in which they are given up.
    pub(super) fn grow(&mut self) {
        let mut turns: BinaryHeap<Reverse<(Turn, usize)>> = BinaryHeap::new();
        let grows = |team: &Team| team.preempted_by.is_none() && team.leaving.is_empty();
        for (job, team) in &self.teams {
            if grows(team) && (team.starts || self.claim(*job).elastic) {
                turns.push(Reverse((self.turn(*job, team), *job)));
            }
        }
        while let Some(Reverse((turn, job))) = turns.pop() {
            let now = self.turn(job, &self.teams[&job]);
            // Others of its project got workers meanwhile: it is looked at again in its turn.
            if now > turn || self.give_one(job) {
                turns.push(Reverse((self.turn(job, &self.teams[&job]), job)));
            }
        }
    }

    fn turn(&self, job: usize, team: &Team) -> Turn {
        let claim = self.claim(job);
        let share = self.projects[self.project_of[job]].share();
        let above = team.members.len().saturating_sub(claim.workers_min);
        (Reverse(claim.priority), share, above, claim.number)
    }

    /// Gives a job one worker, if it may have more and there is one. Those that are held back for
    /// a waiting job go only to jobs that would give them up for it, or that come before it.
    fn give_one(&mut self, job: usize) -> bool {
        let claim = self.claim(job);
        let team = &self.teams[&job];
        let project = self.project_of[job];
        if team.members.len() >= claim.workers_max || self.projects[project].room() == 0 {
            return false;
        }
        let gives_back = claim.elastic && team.members.len() >= claim.workers_min;
        let blocked = team.kind.and_then(|kind| self.blocked_by[kind]);
        let comes_first = team.starts && blocked.is_some_and(|blocked| self.is_before(job, blocked));
        let fit = self.fits(job).iter().find(|fit| Some(fit.kind) == team.kind).cloned();
        let Some(fit) = fit else { return false };
        let mut worker = self.free.take(&fit, Freedom::Idle, 1, claim.id).pop();
        if worker.is_none() && (gives_back || comes_first) {
            worker = self.free.take(&fit, Freedom::HeldBack, 1, claim.id).pop();
        }
        let Some(worker) = worker else { return false };
        let member = self.member(worker);
        self.projects[project].members += 1;
        if let Some(team) = self.teams.get_mut(&job) {
            team.members.push(member);
            team.newcomers.push(worker);
        }
        true
    }
}

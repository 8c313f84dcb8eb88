//! Which waiting jobs start, and which workers are reserved or held back for the
//! others: the line is gone through once, from its beginning.

use std::{cmp::Reverse, collections::BTreeSet};

use phalanx_protocol::id::WorkerId;

use super::{
    Readiness, Shortage, Situation,
    plan::{Member, Plan, Reservation},
    takes::{Cost, Offer, Purpose, Takings},
    workers::{Fit, Freedom},
};

impl Plan<'_> {
    /// Sets aside what is reserved for jobs of one priority. A job of a higher one, which
    /// was looked at before, could still have it; one of a lower one cannot.
    pub(super) fn set_aside(&mut self, level: &[usize]) {
        for job in level {
            if let Situation::Waiting { reserved, .. } = self.claim(*job).situation
                && let Some(reservation) = self.renewed(*job, reserved)
            {
                self.reservations.insert(*job, reservation);
            }
        }
    }

    /// A reservation from the plan before, if all that the job needs is still free.
    fn renewed(&mut self, job: usize, reserved: &[WorkerId]) -> Option<Reservation> {
        let pool = |worker: &WorkerId| self.groups.home.get(worker).copied();
        let kind = self.groups.pools[reserved.iter().find_map(pool)?].kind;
        let fit = self.fits(job).iter().find(|fit| fit.kind == kind)?.clone();
        let free = |freedom: Freedom| {
            let fits = |worker: &&WorkerId| {
                let pool = pool(worker).filter(|pool| fit.pools.contains(pool));
                pool.is_some_and(|pool| self.free.freedom(**worker, pool) == Some(freedom))
            };
            reserved.iter().filter(fits).copied().collect::<Vec<_>>()
        };
        let (mut idle, mut leaving) = (free(Freedom::Idle), free(Freedom::Leaving));
        let needed = self.claim(job).workers_min;
        if idle.len() + leaving.len() < needed {
            return None;
        }
        idle.truncate(needed);
        leaving.truncate(needed - idle.len());
        for (workers, freedom) in [(&idle, Freedom::Idle), (&leaving, Freedom::Leaving)] {
            for worker in workers {
                self.free.remove(*worker, self.groups.home[worker], freedom);
            }
        }
        Some(Reservation { kind, idle, leaving })
    }

    /// Decides what becomes of one job of the line, if it waits.
    pub(super) fn decide(&mut self, job: usize) {
        let Some(readiness) = self.readiness(job) else { return };
        if let Some(obstacle) = self.known_obstacle(job) {
            return self.wait(job, obstacle);
        }
        let carrying = self.carrying(job);
        let needed = self.claim(job).workers_min;
        let excess = self.projects[self.project_of[job]].excess(needed);
        if let Some(reservation) = self.reservations.remove(&job) {
            let fit = carrying.iter().find(|fit| fit.kind == reservation.kind);
            match fit.filter(|_| excess == 0) {
                Some(fit) => return self.redeem(job, readiness, fit, reservation),
                None => self.give_back(reservation),
            }
        }
        if let Some(fit) = self.roomiest(&carrying, |plan, fit| plan.can_start(job, readiness, fit, 0)) {
            let workers = self.free.take(fit, Freedom::Idle, needed, self.claim(job).id);
            return self.start(job, fit.kind, workers);
        }
        let enough = |plan: &Self, fit: &Fit| plan.free_soon(fit) >= needed;
        let fit = match self.roomiest(&carrying, enough).filter(|_| excess == 0) {
            Some(fit) => Some(fit),
            None => self.take_from_others(job, &carrying, excess),
        };
        match fit {
            Some(fit) => self.reserve_on(job, readiness, fit),
            None => self.block(job, &carrying, excess),
        }
    }

    /// Whether a job may start on a kind now, with `reserved` idle workers that it has already.
    fn can_start(&self, job: usize, readiness: Readiness, fit: &Fit, reserved: usize) -> bool {
        let needed = self.claim(job).workers_min;
        readiness != Readiness::Saving
            && self.projects[self.project_of[job]].room() >= needed
            && reserved + self.free.count(fit, Freedom::Idle) >= needed
    }

    /// Workers of a kind that are idle, or will be soon.
    fn free_soon(&self, fit: &Fit) -> usize {
        self.free.count(fit, Freedom::Idle) + self.free.count(fit, Freedom::Leaving)
    }

    /// Of the kinds that are `enough` that with the most idle workers; of several the first by name.
    fn roomiest<'f>(&self, fits: &'f [Fit], enough: impl Fn(&Self, &Fit) -> bool) -> Option<&'f Fit> {
        // The last of equals is taken by `max_by_key`: reversed, so that the first name wins.
        let enough = fits.iter().rev().filter(|fit| enough(self, fit));
        enough.max_by_key(|fit| self.free.count(fit, Freedom::Idle))
    }

    /// A job whose workers were reserved starts if enough of its kind are idle, and else goes on waiting for them.
    fn redeem(&mut self, job: usize, readiness: Readiness, fit: &Fit, reservation: Reservation) {
        if !self.can_start(job, readiness, fit, reservation.idle.len()) {
            let why = self.coming(job, readiness, &reservation);
            self.projects[self.project_of[job]].kept += self.claim(job).workers_min;
            return self.reserve(job, why, reservation);
        }
        let Reservation { kind, idle: mut workers, leaving } = reservation;
        self.give_back(Reservation { kind, idle: Vec::new(), leaving });
        let missing = self.claim(job).workers_min - workers.len();
        workers.extend(self.free.take(fit, Freedom::Idle, missing, self.claim(job).id));
        self.start(job, kind, workers);
    }

    /// Reserves workers that are free, or will be, on a kind that has enough.
    fn reserve_on(&mut self, job: usize, readiness: Readiness, fit: &Fit) {
        let needed = self.claim(job).workers_min;
        let id = self.claim(job).id;
        let idle = self.free.take(fit, Freedom::Idle, needed, id);
        let leaving = self.free.take(fit, Freedom::Leaving, needed - idle.len(), id);
        let reservation = Reservation { kind: fit.kind, idle, leaving };
        let why = self.coming(job, readiness, &reservation);
        self.projects[self.project_of[job]].kept += needed;
        self.reserve(job, why, reservation);
    }

    /// Why a job waits whose workers are reserved.
    fn coming(&self, job: usize, readiness: Readiness, reservation: &Reservation) -> Shortage {
        let leaving = &reservation.leaving;
        if readiness == Readiness::Saving {
            return Shortage::Unsaved;
        }
        if leaving.is_empty() {
            // They are all idle, but workers that its project gives up still count.
            return self.quota_used_up(job);
        }
        let from = |worker| self.leaves.get(worker).copied().cloned();
        let from: Option<BTreeSet<_>> = leaving.iter().map(from).collect();
        let from = from.into_iter().flatten().collect();
        Shortage::Coming { coming: leaving.len(), from }
    }

    fn quota_used_up(&self, job: usize) -> Shortage {
        let claim = self.claim(job);
        let project = &self.projects[self.project_of[job]];
        Shortage::QuotaUsedUp {
            needed: claim.workers_min,
            project: claim.project.to_owned(),
            used: project.members + project.leaving + project.kept,
            quota: self.problem.quota(claim.project).unwrap_or(usize::MAX),
        }
    }

    /// Nobody can give the job what it needs. If that is its quota, only jobs of its own
    /// project wait behind it. Otherwise nobody behind it gets a worker that it could use.
    fn block(&mut self, job: usize, carrying: &[Fit], excess: usize) {
        let was_used_up = self.projects[self.project_of[job]].is_used_up;
        let has_room = || self.takings(job, None).cover(excess, Purpose::Quota);
        let is_used_up = excess > 0 && (was_used_up || !has_room());
        let why = if is_used_up { self.quota_used_up(job) } else { self.busy(job, carrying) };
        let needed = self.claim(job).workers_min;
        let project = &mut self.projects[self.project_of[job]];
        project.kept += needed;
        project.is_used_up |= is_used_up;
        if !is_used_up {
            for fit in carrying {
                self.free.hold_back(fit);
                self.blocked_by[fit.kind].get_or_insert(job);
            }
        }
        self.wait(job, why);
    }

    fn busy(&self, job: usize, carrying: &[Fit]) -> Shortage {
        let needed = self.claim(job).workers_min;
        let fit = self.roomiest(carrying, |_, _| true).expect("invariant: some kind has enough for the job");
        match self.blocked_by[fit.kind] {
            Some(other) => {
                Shortage::Behind { needed, job: self.claim(other).id.clone(), ahead: self.ahead(other, job) }
            }
            None => {
                let idle = self.free.count(fit, Freedom::Idle);
                Shortage::Busy { needed, idle, fitting: fit.fitting }
            }
        }
    }

    /// Lets running jobs give up what the job lacks: `excess` workers of its own project, so
    /// that its quota suffices, and as many as are missing on one kind. Returns that kind, on
    /// which enough workers will be free then; of several the one where least is lost.
    fn take_from_others<'f>(&mut self, job: usize, carrying: &'f [Fit], excess: usize) -> Option<&'f Fit> {
        if self.projects[self.project_of[job]].is_used_up {
            return None;
        }
        // Of a kind on which a job before it is blocked nothing is to be had but what is free.
        let open = carrying.iter().filter(|fit| excess > 0 || self.blocked_by[fit.kind].is_none());
        let choices = open.filter_map(|fit| {
            let mut takings = self.takings(job, Some(fit));
            let before = takings.usable();
            let has_room = takings.cover(excess, Purpose::Quota);
            let freed = before - takings.usable();
            let missing = self.claim(job).workers_min.saturating_sub(self.free_soon(fit) + freed);
            (has_room && takings.cover(missing, Purpose::Use)).then_some((fit, takings))
        });
        let (fit, takings) = choices.min_by_key(|(_, takings)| -> Cost { takings.cost() })?;
        for offer in takings.offers {
            self.take(job, fit, &offer);
        }
        Some(fit)
    }

    /// What running jobs can give to a job on one kind, and those of its own project on all.
    /// Where a job is blocked, nobody behind it takes anything.
    fn takings(&self, job: usize, fit: Option<&Fit>) -> Takings {
        let taker = self.claim(job);
        let mut offers = Vec::new();
        for (lender, team) in &self.teams {
            let claim = self.claim(*lender);
            let Situation::Running { preemptible, unsaved, .. } = claim.situation else { continue };
            let own = self.project_of[*lender] == self.project_of[job];
            let concerns = own || fit.is_some_and(|fit| team.kind == Some(fit.kind));
            let is_open = team.kind.is_some_and(|kind| self.blocked_by[kind].is_none());
            if !claim.elastic || team.preempted_by.is_some() || !is_open || !concerns {
                continue;
            }
            let is_usable = |member: &&Member| fit.is_some_and(|fit| member.is_in(fit));
            let may_be_preempted = preemptible && claim.priority < taker.priority;
            let loss = unsaved.as_millis() * team.members.len() as u128;
            offers.push(Offer {
                job: *lender,
                project: self.project_of[*lender],
                own,
                priority: claim.priority,
                number: claim.number,
                members: team.members.len(),
                above: team.members.len().saturating_sub(claim.workers_min),
                usable: team.members.iter().filter(is_usable).count(),
                loss: may_be_preempted.then_some(loss),
                given: 0,
                preempted: false,
            });
        }
        let shares = self.projects.iter().map(|project| project.share()).collect();
        Takings { offers, shares }
    }

    /// Takes from a running job the members that it gives up: those that can be used before
    /// others, the last ranks first.
    fn take(&mut self, job: usize, fit: &Fit, offer: &Offer) {
        let Some(team) = self.teams.get_mut(&offer.job).filter(|_| offer.given > 0) else { return };
        let mut order: Vec<usize> = (0..team.members.len()).collect();
        order.sort_by_key(|rank| (Reverse(team.members[*rank].is_in(fit)), Reverse(*rank)));
        order.truncate(offer.given);
        let leaving: Vec<Member> = order.iter().map(|rank| team.members[*rank]).collect();
        let leaves = |member: &Member| leaving.iter().any(|leaving| leaving.worker == member.worker);
        team.members.retain(|member| !leaves(member));
        team.preempted_by = offer.preempted.then_some(job);
        team.leaving.extend(leaving.iter().map(|member| member.worker));
        let project = &mut self.projects[offer.project];
        project.members -= leaving.len();
        project.leaving += leaving.len();
        let id = self.claim(offer.job).id;
        for member in leaving {
            self.leaves.insert(member.worker, id);
            if let Some(pool) = member.pool {
                self.free.add(member.worker, pool, Freedom::Leaving);
            }
        }
    }
}

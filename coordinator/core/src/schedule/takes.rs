//! Which running jobs give up workers for one that waits: first those that have
//! more than they need, then those that are preempted. Owns nothing; the plan
//! carries out what is chosen.

use std::{cmp::Reverse, collections::BTreeMap};

use super::line::Share;

/// What a running job can give to one that waits.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    /// Its index among the claims.
    pub(super) job: usize,
    /// Index of its project.
    pub(super) project: usize,
    /// Whether that is the project of the job that waits.
    pub(super) own: bool,
    /// Its priority.
    pub(super) priority: i32,
    /// Its place in the order of submission.
    pub(super) number: u64,
    /// Its workers.
    pub(super) members: usize,
    /// Those above the number that it needs at least.
    pub(super) above: usize,
    /// Those that the waiting job can use.
    pub(super) usable: usize,
    /// What is lost if it is preempted; `None` if it must not be.
    pub(super) loss: Option<u128>,
    /// The workers that it gives up, first those that can be used.
    pub(super) given: usize,
    /// Whether it is preempted, and gives up all.
    pub(super) preempted: bool,
}

/// What workers are given up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// That the quota suffices: any workers of the job's own project will do.
    Quota,
    /// That the job has workers that it can use.
    Use,
}

impl Offer {
    /// All workers that serve the purpose.
    fn all(&self, purpose: Purpose) -> usize {
        match purpose {
            Purpose::Quota if self.own => self.members,
            Purpose::Quota => 0,
            Purpose::Use => self.usable,
        }
    }

    /// Those of them that it can give up and go on.
    fn lent(&self, purpose: Purpose) -> usize {
        self.above.min(self.all(purpose))
    }

    /// What its preemption frees beyond those.
    fn gain(&self, purpose: Purpose) -> usize {
        self.all(purpose) - self.lent(purpose)
    }
}

/// What choices cost; the least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    /// The highest priority that is preempted.
    priority: Option<i32>,
    /// What is lost, in worker milliseconds.
    loss: u128,
    /// Jobs that are preempted.
    preempted: usize,
    /// Workers that are given up.
    given: usize,
}

/// The offers to one waiting job, and what is chosen of them.
#[derive(Debug)]
pub(super) struct Takings {
    /// The offers.
    pub(super) offers: Vec<Offer>,
    /// What each project uses.
    pub(super) shares: Vec<Share>,
}

impl Takings {
    /// Chooses offers that free at least `needed` workers more for `purpose`.
    /// Returns whether they suffice.
    pub(super) fn cover(&mut self, needed: usize, purpose: Purpose) -> bool {
        let open = |offer: &&Offer| !offer.preempted;
        let lent: usize = self.offers.iter().filter(open).map(|offer| offer.lent(purpose)).sum();
        let mut left = needed;
        if needed > lent {
            let Some(victims) = victims(&self.offers, purpose, needed - lent) else { return false };
            for victim in victims {
                left = left.saturating_sub(self.offers[victim].all(purpose));
                self.preempt(victim);
            }
        }
        for _ in 0..left {
            let lends = |index: &usize| open(&&self.offers[*index]) && self.offers[*index].lent(purpose) > 0;
            let lenders = (0..self.offers.len()).filter(lends);
            let Some(lender) = lenders.max_by_key(|index| self.turn(*index)) else { return false };
            self.shrink(lender);
        }
        true
    }

    /// Workers that could be used and were not chosen.
    pub(super) fn usable(&self) -> usize {
        self.offers.iter().map(|offer| offer.usable).sum()
    }

    /// What all that was chosen costs.
    pub(super) fn cost(&self) -> Cost {
        let preempted = || self.offers.iter().filter(|offer| offer.preempted);
        Cost {
            priority: preempted().map(|offer| offer.priority).max(),
            loss: preempted().filter_map(|offer| offer.loss).sum(),
            preempted: preempted().count(),
            given: self.offers.iter().map(|offer| offer.given).sum(),
        }
    }

    /// Who gives up a worker first: the greatest.
    fn turn(&self, index: usize) -> (Reverse<i32>, bool, Share, usize, u64) {
        let offer = &self.offers[index];
        let share = self.shares[offer.project];
        (Reverse(offer.priority), offer.usable > 0, share, offer.above, offer.number)
    }

    fn shrink(&mut self, index: usize) {
        let offer = &mut self.offers[index];
        offer.members -= 1;
        offer.above -= 1;
        offer.usable = offer.usable.saturating_sub(1);
        offer.given += 1;
        self.shares[offer.project].used -= 1;
    }

    fn preempt(&mut self, index: usize) {
        let offer = &mut self.offers[index];
        self.shares[offer.project].used -= offer.members;
        offer.given += offer.members;
        (offer.members, offer.above, offer.usable) = (0, 0, 0);
        offer.preempted = true;
    }
}

/// The offers that are preempted so that `needed` workers come free beyond those
/// that are lent: of all choices that suffice the one that loses least. What has
/// a higher priority counts before all that has a lower one; of equal losses that
/// with the fewest victims, and then that of jobs submitted last.
fn victims(offers: &[Offer], purpose: Purpose, needed: usize) -> Option<Vec<usize>> {
    let mut levels: BTreeMap<i32, Vec<Victim>> = BTreeMap::new();
    for (index, offer) in offers.iter().enumerate().filter(|(_, offer)| offer.gain(purpose) > 0) {
        if let Some(loss) = offer.loss {
            let victim = Victim { index, gain: offer.gain(purpose), loss, number: offer.number };
            levels.entry(offer.priority).or_default().push(victim);
        }
    }
    let mut left: usize = levels.values().flatten().map(|victim| victim.gain).sum();
    if left < needed {
        return None;
    }
    let (mut chosen, mut needed) = (Vec::new(), needed);
    for level in levels.into_values().rev() {
        // From this level comes only what those with a lower priority cannot give.
        left -= level.iter().map(|victim| victim.gain).sum::<usize>();
        for victim in cheapest(level, needed.saturating_sub(left)) {
            needed = needed.saturating_sub(victim.gain);
            chosen.push(victim.index);
        }
    }
    Some(chosen)
}

/// A job that may be preempted.
#[derive(Debug, Clone, Copy)]
struct Victim {
    index: usize,
    gain: usize,
    loss: u128,
    number: u64,
}

/// What some victims lose, how many they are, and what they gain; the least is the best.
type Sum = (u128, usize, Reverse<usize>);

/// The victims that gain `needed` together and lose least: a knapsack that is to
/// be filled, solved exactly. `needed` is bounded by the lanes of a job.
fn cheapest(mut victims: Vec<Victim>, needed: usize) -> Vec<Victim> {
    victims.sort_by_key(|victim| (victim.loss, Reverse(victim.number)));
    // The best sum that gains each number of workers, and whether a victim belongs to it.
    let mut best: Vec<Option<Sum>> = vec![None; needed + 1];
    best[0] = Some((0, 0, Reverse(0)));
    let mut taken = vec![vec![false; needed + 1]; victims.len()];
    for (victim, taken) in victims.iter().zip(&mut taken) {
        for gained in (1..=needed).rev() {
            let Some((loss, count, Reverse(gain))) = best[gained.saturating_sub(victim.gain)] else {
                continue;
            };
            let with = (loss + victim.loss, count + 1, Reverse(gain + victim.gain));
            if best[gained].is_none_or(|without| with < without) {
                (best[gained], taken[gained]) = (Some(with), true);
            }
        }
    }
    let (mut chosen, mut left) = (Vec::new(), needed);
    for (victim, taken) in victims.iter().zip(&taken).rev() {
        if taken[left] {
            chosen.push(*victim);
            left = left.saturating_sub(victim.gain);
        }
    }
    chosen
}

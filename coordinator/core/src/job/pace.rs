//! How fast a job's ranks are, and which of them is a straggler. Owns what heartbeats have told
//! of it, which a restart forgets: it is told again.
//!
//! Ranks are compared by the time that they work themselves for a lane, not by that of a step: all
//! ranks wait for the slowest, so steps take all of them the same. A rank's figure is the median of
//! its last [`WINDOW`] heartbeats; with fewer it has none. It is a straggler from [`SLOW`] times the
//! median of the ranks on, until it is below [`WELL`] times that. Of two ranks the faster one is the median.
//!
//! A job file may want stragglers out (`workers.evict_stragglers`). An idle worker takes the place of
//! one then: it fetches the data set, joins like any newcomer, and the straggler is not taken along. So the job never has fewer
//! workers for that. Each worker is taken out of a job once at the most.

use std::collections::{BTreeMap, VecDeque};

use phalanx_protocol::{id::WorkerId, pace::Pace, view::RankView};

use super::{Gang, Job, Newcomer, Phase};
use crate::{context::Context, worker};

/// The heartbeats that a rank's figure is the median of.
const WINDOW: usize = 8;

/// From this many times the median on, a rank is a straggler.
const SLOW: f64 = 1.5;

/// Below this many times the median, it is one no longer.
const WELL: f64 = 1.25;

/// The most workers that a job takes out in its life.
pub(crate) const EVICTED_MAX: usize = 64;

/// How fast the members of a job are.
#[derive(Debug, Default)]
pub(super) struct Paces(BTreeMap<WorkerId, Track>);

/// What is known of one member.
#[derive(Debug, Default)]
struct Track {
    /// What the last heartbeats have told, the newest last.
    told: VecDeque<Told>,
    straggler: bool,
}

/// What one heartbeat has told, in seconds of a step.
#[derive(Debug, Clone, Copy)]
struct Told {
    own: f64,
    reduction: f64,
    lane: f64,
}

impl Track {
    /// The time for a lane, once enough is known.
    fn figure(&self) -> Option<f64> {
        (self.told.len() == WINDOW).then(|| self.median(|told| told.lane))
    }

    fn median(&self, of: impl Fn(&Told) -> f64) -> f64 {
        median(self.told.iter().map(of).collect())
    }
}

impl Paces {
    /// Takes in what a heartbeat has told. Returns how much slower than the median the worker is,
    /// where that makes it a straggler or makes it one no longer.
    fn add(&mut self, worker: WorkerId, pace: &Pace) -> Option<f64> {
        let told =
            Told { own: pace.own_seconds(), reduction: pace.reduction_seconds(), lane: pace.lane_seconds() };
        let track = self.0.entry(worker).or_default();
        if track.told.len() == WINDOW {
            track.told.pop_front();
        }
        track.told.push_back(told);
        let slowdown = self.slowdown(worker)?;
        let track = self.0.get_mut(&worker)?;
        let limit = if track.straggler { WELL } else { SLOW };
        let was = std::mem::replace(&mut track.straggler, slowdown >= limit);
        (was != track.straggler).then_some(slowdown)
    }

    /// How many times as long as the median of those of which enough is known a worker takes.
    fn slowdown(&self, worker: WorkerId) -> Option<f64> {
        let figures: Vec<f64> = self.0.values().filter_map(Track::figure).collect();
        let own = self.0.get(&worker)?.figure()?;
        let median = (figures.len() > 1).then(|| median(figures))?;
        (median > 0.0).then(|| own / median)
    }

    /// Forgets all but these workers.
    pub(super) fn keep(&mut self, members: &[WorkerId]) {
        self.0.retain(|worker, _| members.contains(worker));
    }

    fn is_straggler(&self, worker: WorkerId) -> bool {
        self.0.get(&worker).is_some_and(|track| track.straggler)
    }

    /// How many stragglers there are.
    pub(super) fn stragglers(&self) -> usize {
        self.0.values().filter(|track| track.straggler).count()
    }

    /// How fast the members of a gang are, by rank.
    pub(super) fn view(&self, gang: &Gang) -> Vec<RankView> {
        let view = |(rank, worker): (u32, &WorkerId)| {
            let track = self.0.get(worker)?;
            let (own, reduction) = (track.median(|told| told.own), track.median(|told| told.reduction));
            let step = own + reduction;
            Some(RankView {
                rank,
                worker: *worker,
                step_seconds: own,
                waiting: if step > 0.0 { reduction / step } else { 0.0 },
                slowdown: self.slowdown(*worker),
                straggler: track.straggler,
            })
        };
        (0..).zip(&gang.members).filter_map(view).collect()
    }
}

/// The median; of an even number the lower one of the two in the middle. There is one at least.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[(figures.len() - 1) / 2]
}

/// An idle worker takes the place of a straggler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Relief {
    /// Who leaves.
    pub(super) out: WorkerId,
    /// The newcomer.
    pub(super) by: WorkerId,
}

impl Job {
    /// A member has told its pace. One of a generation that is over, or of a generation that does not
    /// train, tells nothing (invariant 3).
    pub(crate) fn paced(&mut self, cx: &mut Context<'_>, id: WorkerId, pace: &Pace) {
        let Phase::Training { gang, .. } = &self.phase else { return };
        let Some(rank) = gang.rank_of(id) else { return };
        if pace.generation != self.record.generation || pace.steps == 0 {
            return;
        }
        let Some(slowdown) = self.paces.add(id, pace) else { return };
        let who = cx.fleet.get(id).map_or(id.to_string(), |it| worker::describe(id, &it.hello));
        if self.paces.is_straggler(id) {
            self.say(
                cx,
                format!(
                    "worker {who} is a straggler: rank {rank} takes {slowdown:.1} times as long as the median"
                ),
            );
            cx.turn.placement_due |= self.record.spec.workers.evict_stragglers;
        } else {
            self.say(cx, format!("worker {who} is no straggler any more"));
        }
    }

    /// How many of its members are stragglers.
    pub(crate) fn stragglers(&self) -> usize {
        self.paces.stragglers()
    }

    /// The straggler that it would give up for an idle worker, if there is one: the slowest that it
    /// has not taken out before.
    pub(crate) fn wants_out(&self) -> Option<WorkerId> {
        let Phase::Training { gang, .. } = &self.phase else { return None };
        // The job file's word: who scales or resumes a job does not speak of it.
        let wants = self.record.spec.workers.evict_stragglers && self.record.evicted.len() < EVICTED_MAX;
        if !wants || !self.is_elastic() || !self.leaving.is_empty() {
            return None;
        }
        let stragglers = gang.members.iter().copied().filter(|member| self.paces.is_straggler(*member));
        let slowness = |member: &WorkerId| self.paces.slowdown(*member).unwrap_or(0.0);
        stragglers.filter(|member| self.may_take(*member)).max_by(|a, b| slowness(a).total_cmp(&slowness(b)))
    }

    /// Whether it has not taken this worker out.
    pub(crate) fn may_take(&self, worker: WorkerId) -> bool {
        !self.record.evicted.contains(&worker)
    }

    /// The idle worker `by` is to take the place of `out`.
    pub(crate) fn relieve(&mut self, cx: &mut Context<'_>, out: WorkerId, by: WorkerId) {
        self.say(cx, format!("worker {by} is to take the place of worker {out}, which is a straggler"));
        self.relief = Some(Relief { out, by });
        self.grow(cx, vec![by]);
    }

    /// Before the next generation is formed: where a newcomer is there for a straggler, that is not taken
    /// along, unless too few would be left. `there` are those of whom it could be formed.
    pub(super) fn settle_relief(&mut self, cx: &Context<'_>, there: &[WorkerId]) {
        let Some(Relief { out, by }) = self.relief.take_if(|relief| there.contains(&relief.by)) else {
            return;
        };
        let left = there.iter().filter(|worker| **worker != out && cx.fleet.can_work(**worker)).count();
        if cx.fleet.can_work(by) && there.contains(&out) && left >= self.workers_min() as usize {
            self.leaving.insert(out);
            self.record.evicted.insert(out);
        }
    }

    /// A worker is not to join any more, if it was.
    pub(super) fn drop_newcomer(&mut self, worker: WorkerId) -> Option<Newcomer> {
        self.relief.take_if(|relief| relief.by == worker);
        self.newcomers.remove(&worker)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use phalanx_protocol::id::{Generation, JobId};

    use super::*;

    fn pace(millis: u64) -> Pace {
        Pace {
            job: JobId::new("j", 1),
            generation: Generation::new(1),
            steps: 10,
            lanes: 1,
            gradients: Duration::from_millis(10 * millis),
            reduction: Duration::from_millis(10),
            update: Duration::ZERO,
        }
    }

    /// Tells the paces of workers 1, 2 and so on, `times` times over; what changed last.
    fn tell(paces: &mut Paces, millis: &[u64], times: usize) -> Option<(u64, bool)> {
        let mut changed = None;
        for _ in 0..times {
            for (number, millis) in (1..).zip(millis) {
                let worker = WorkerId::new(number);
                if paces.add(worker, &pace(*millis)).is_some() {
                    changed = Some((number, paces.is_straggler(worker)));
                }
            }
        }
        changed
    }

    #[test]
    fn a_rank_is_a_straggler_when_most_of_its_heartbeats_were_slow() {
        let mut paces = Paces::default();
        assert_eq!(tell(&mut paces, &[10, 10, 40], WINDOW - 1), None, "too little is known");
        assert_eq!(tell(&mut paces, &[10, 10, 40], 1), Some((3, true)));
        assert_eq!(paces.slowdown(WorkerId::new(3)), Some(4.0));
    }

    #[test]
    fn a_hiccup_makes_no_straggler() {
        let mut paces = Paces::default();
        tell(&mut paces, &[10, 10, 10], WINDOW);
        assert_eq!(tell(&mut paces, &[10, 10, 900], WINDOW / 2), None);
        assert_eq!(tell(&mut paces, &[10, 10, 10], WINDOW), None);
    }

    #[test]
    fn between_the_two_limits_it_stays_what_it_is() {
        let mut paces = Paces::default();
        assert_eq!(tell(&mut paces, &[10, 10, 14], 2 * WINDOW), None);
        assert_eq!(tell(&mut paces, &[10, 10, 16], 2 * WINDOW), Some((3, true)));
        assert_eq!(tell(&mut paces, &[10, 10, 14], 2 * WINDOW), None, "it is still one");
        assert_eq!(tell(&mut paces, &[10, 10, 12], 2 * WINDOW), Some((3, false)));
    }

    #[test]
    fn of_two_ranks_the_slower_one_is_the_straggler() {
        let mut paces = Paces::default();
        assert_eq!(tell(&mut paces, &[20, 10], WINDOW + 1), Some((1, true)));
    }

    #[test]
    fn a_rank_alone_is_never_one() {
        assert_eq!(tell(&mut Paces::default(), &[10], 2 * WINDOW), None);
    }
}

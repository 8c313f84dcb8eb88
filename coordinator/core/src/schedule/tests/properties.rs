//! The numbered properties of the scheduler, on random clusters, each told in
//! another way than the scheduler has it.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use phalanx_protocol::id::WorkerId;
use proptest::prelude::*;

use super::world::{Doing, Hand, Task, Variety, World, any_world, job};
use crate::schedule::{Shortage, Verdict};

const ALL: Variety = Variety { tasks: true, projects: true };
const ALIKE: Variety = Variety { tasks: false, projects: true };
const ONE_PROJECT: Variety = Variety { tasks: false, projects: false };

const KINDS: [&str; 3] = ["a", "b", "c"];

fn given(verdict: &Verdict) -> &[WorkerId] {
    match verdict {
        Verdict::Start(workers) | Verdict::Grow(workers) => workers,
        Verdict::Wait { .. } | Verdict::Keep | Verdict::Shrink(_) | Verdict::Preempt { .. } => &[],
    }
}

fn reserved(verdict: &Verdict) -> &[WorkerId] {
    match verdict {
        Verdict::Wait { reserved, .. } | Verdict::Preempt { reserved, .. } => reserved,
        Verdict::Start(_) | Verdict::Keep | Verdict::Grow(_) | Verdict::Shrink(_) => &[],
    }
}

/// The workers that a job gives up.
fn given_up<'w>(job: &'w Task, verdict: &'w Verdict) -> &'w [WorkerId] {
    match verdict {
        Verdict::Shrink(workers) => workers,
        Verdict::Preempt { .. } => job.members(),
        Verdict::Start(_) | Verdict::Wait { .. } | Verdict::Keep | Verdict::Grow(_) => &[],
    }
}

fn changes(verdict: &Verdict) -> bool {
    !matches!(verdict, Verdict::Wait { .. } | Verdict::Keep)
}

/// Whether a job waits for workers which nobody gives up.
fn is_blocked(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Wait { why: Shortage::Busy { .. } | Shortage::Behind { .. }, .. })
}

impl World {
    /// How many workers of a kind a job could use, if all were idle.
    fn fitting(&self, job: &Task, kind: &str) -> usize {
        let fits = |hand: &&Hand| hand.kind == kind && hand.is_usable() && job.fits(hand);
        self.hands.iter().filter(fits).count()
    }

    fn is_possible(&self, job: &Task) -> bool {
        let min = *job.workers.start();
        let quota = self.quotas.get(job.project).map_or(usize::MAX, |quota| *quota as usize);
        min <= quota && KINDS.iter().any(|kind| self.fitting(job, kind) >= min)
    }

    /// The jobs in the order of the line.
    fn line(&self) -> Vec<usize> {
        let workers = self.hands.iter().filter(|hand| hand.is_usable()).count();
        let before = |one: &Task, other: &Task| {
            one.project == other.project
                && (Reverse(one.priority), one.number) < (Reverse(other.priority), other.number)
        };
        let place = |index: &usize| {
            let job = &self.jobs[*index];
            let ahead = self.jobs.iter().filter(|other| before(other, job) && self.is_possible(other));
            let used: usize = ahead.map(|other| *other.workers.start()).sum();
            let quota = self.quotas.get(job.project).map_or(workers, |quota| (*quota as usize).min(workers));
            // All quotas are below 20, so that shares over their product are whole numbers.
            (Reverse(job.priority), used * 232_792_560 / quota.max(1), job.number)
        };
        let mut line: Vec<usize> = (0..self.jobs.len()).collect();
        line.sort_by_key(place);
        line
    }

    fn is_left_by_workers(&self, job: &Task) -> bool {
        self.hands.iter().any(|hand| hand.doing == Doing::Leaving(Some(job.id.clone())))
    }

    /// Without the jobs that wait behind one in the line.
    fn without_those_behind(&self, job: usize) -> Self {
        let line = self.line();
        let at = line.iter().position(|other| *other == job).expect("every job is in the line");
        let behind: Vec<u64> = line[at + 1..]
            .iter()
            .map(|other| &self.jobs[*other])
            .filter(|other| other.waits() && !self.is_left_by_workers(other))
            .map(|other| other.number)
            .collect();
        let mut world = self.clone();
        world.jobs.retain(|job| !behind.contains(&job.number));
        world
    }

    fn verdict_of(&self, number: u64) -> Verdict {
        let at = self.jobs.iter().position(|job| job.number == number).expect("the job is there");
        self.solve().swap_remove(at)
    }

    /// Workers that are idle and stay so, and are not reserved.
    fn left_over<'w>(&'w self, verdicts: &[Verdict]) -> Vec<&'w Hand> {
        let is_taken = |worker: &WorkerId| {
            verdicts
                .iter()
                .any(|verdict| given(verdict).contains(worker) || reserved(verdict).contains(worker))
        };
        let idle = self.hands.iter().filter(|hand| hand.doing == Doing::Nothing);
        idle.filter(|hand| !is_taken(&hand.worker)).collect()
    }

    /// Whether a blocked job may start on a worker, once others of its kind are idle.
    fn holds_back(&self, job: &Task, hand: &Hand) -> bool {
        job.fits(hand) && self.fitting(job, hand.kind) >= *job.workers.start()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn workers_are_given_once_to_jobs_that_they_fit(world in any_world(ALL)) {
        let verdicts = world.solve();
        prop_assert_eq!(verdicts.len(), world.jobs.len());
        let mut gone: Vec<WorkerId> = Vec::new();
        for (job, verdict) in world.jobs.iter().zip(&verdicts) {
            for worker in given_up(job, verdict) {
                prop_assert!(job.members().contains(worker), "property 1: another's member");
                gone.push(*worker);
            }
        }
        let mut seen: Vec<WorkerId> = Vec::new();
        for (job, verdict) in world.jobs.iter().zip(&verdicts) {
            let all = given(verdict).iter().chain(reserved(verdict)).chain(match verdict {
                Verdict::Grow(_) => job.members(),
                _ => &[],
            });
            let kinds: Vec<&str> = all.map(|worker| world.hand(*worker).kind).collect();
            prop_assert!(kinds.windows(2).all(|pair| pair[0] == pair[1]), "property 2: kinds are mixed");
            for worker in given(verdict) {
                prop_assert!(world.hand(*worker).doing == Doing::Nothing, "property 1: not idle");
            }
            for worker in given(verdict).iter().chain(reserved(verdict)) {
                prop_assert!(!seen.contains(worker), "property 1: given twice");
                seen.push(*worker);
                prop_assert!(job.fits(world.hand(*worker)), "property 2: does not fit");
            }
            for worker in reserved(verdict) {
                let doing = &world.hand(*worker).doing;
                let comes = matches!(doing, Doing::Nothing | Doing::Leaving(_)) || gone.contains(worker);
                prop_assert!(comes, "property 7: reserved and not free");
            }
            let (min, max, members) = (*job.workers.start(), *job.workers.end(), job.members().len());
            match verdict {
                Verdict::Start(workers) => prop_assert!(job.workers.contains(&workers.len()), "property 3"),
                Verdict::Grow(workers) => prop_assert!(members + workers.len() <= max, "property 3"),
                Verdict::Shrink(workers) => prop_assert!(members - workers.len() >= min, "property 3"),
                Verdict::Wait { .. } | Verdict::Keep | Verdict::Preempt { .. } => {}
            }
            let kept = reserved(verdict).len();
            prop_assert!(kept == 0 || kept == min, "property 7: {} reserved of {}", kept, min);
        }
    }

    #[test]
    fn quotas_are_kept(world in any_world(ALL)) {
        let verdicts = world.solve();
        for (project, quota) in &world.quotas {
            let jobs = || world.jobs.iter().zip(&verdicts).filter(|(job, _)| job.project == project);
            let gained: usize = jobs().map(|(_, verdict)| given(verdict).len()).sum();
            let members: usize = jobs().map(|(job, _)| job.members().len()).sum();
            let leaves = |hand: &&Hand| jobs().any(|(job, _)| hand.doing == Doing::Leaving(Some(job.id.clone())));
            let leaving = world.hands.iter().filter(leaves).count();
            prop_assert!(gained == 0 || members + leaving + gained <= *quota as usize, "property 4");
        }
    }

    #[test]
    fn jobs_behind_another_change_nothing_for_it(world in any_world(ALL)) {
        let verdicts = world.solve();
        for (index, verdict) in verdicts.iter().enumerate().filter(|(index, _)| world.jobs[*index].waits()) {
            let alone = world.without_those_behind(index).verdict_of(world.jobs[index].number);
            match (verdict, &alone) {
                (Verdict::Start(_), Verdict::Start(_)) => {}
                _ => prop_assert_eq!(verdict, &alone, "property 5"),
            }
        }
    }

    #[test]
    fn no_job_waits_without_need(world in any_world(ALIKE)) {
        let verdicts = world.solve();
        let line = world.line();
        let mut free = world.left_over(&verdicts);
        // What is left over goes only to those that nobody waits for.
        for (job, verdict) in world.jobs.iter().zip(&verdicts) {
            let spare = match verdict {
                Verdict::Start(workers) => &workers[*job.workers.start()..],
                Verdict::Grow(workers) => workers,
                Verdict::Wait { .. } | Verdict::Keep | Verdict::Shrink(_) | Verdict::Preempt { .. } => &[],
            };
            free.extend(spare.iter().map(|worker| world.hand(*worker)));
        }
        for (place, index) in line.iter().enumerate().filter(|(_, index)| is_blocked(&verdicts[**index])) {
            let job = &world.jobs[*index];
            let is_held_back = |hand: &Hand| {
                let before = line[..place].iter().filter(|other| is_blocked(&verdicts[**other]));
                before.into_iter().any(|other| world.holds_back(&world.jobs[*other], hand))
            };
            for kind in KINDS {
                let has = |hand: &&&Hand| hand.kind == kind && job.fits(hand) && !is_held_back(hand);
                let idle = free.iter().filter(has).count();
                prop_assert!(idle < *job.workers.start() || !world.is_possible(job), "property 6");
            }
        }
    }

    #[test]
    fn what_is_held_back_goes_to_no_job_behind_that_keeps_it(world in any_world(ALIKE)) {
        let verdicts = world.solve();
        let line = world.line();
        for (place, index) in line.iter().enumerate().filter(|(_, index)| !world.jobs[**index].elastic) {
            let before = || line[..place].iter().filter(|other| is_blocked(&verdicts[**other]));
            for worker in given(&verdicts[*index]) {
                let is_held_back = |other: &usize| world.holds_back(&world.jobs[*other], world.hand(*worker));
                prop_assert!(!before().any(is_held_back), "property 8: not lent");
            }
        }
    }

    #[test]
    fn a_job_starts_on_what_is_reserved_for_it_whoever_comes_meanwhile(
        mut world in any_world(ALL),
        more in any_world(ALL),
        saving in any::<bool>(),
    ) {
        let verdicts = world.solve();
        world.carry_out(&verdicts, saving);
        let due: Vec<u64> = world
            .jobs
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| !reserved(verdict).is_empty())
            .map(|(job, _)| job.number)
            .collect();
        for newcomer in more.jobs.into_iter().filter(|job| job.waits()) {
            world = world.and(Task { priority: -1, ..newcomer });
        }
        world.settle();
        for number in due {
            prop_assert!(matches!(world.verdict_of(number), Verdict::Start(_)), "property 7");
        }
    }

    #[test]
    fn backfill_delays_nobody(world in any_world(ONE_PROJECT), ends in any::<u16>()) {
        let verdicts = world.solve();
        let running: Vec<u64> =
            world.jobs.iter().filter(|job| !job.members().is_empty()).map(|job| job.number).collect();
        for (index, _) in verdicts.iter().enumerate().filter(|(_, verdict)| is_blocked(verdict)) {
            let number = world.jobs[index].number;
            let later = |mut world: World| {
                world.carry_out(&world.solve(), true);
                for number in running.iter().filter(|number| ends >> (**number % 16) & 1 == 1) {
                    world.end(*number);
                }
                world.settle();
                let verdict = world.verdict_of(number);
                matches!(verdict, Verdict::Start(_)) || !reserved(&verdict).is_empty()
            };
            let alone = later(world.without_those_behind(index));
            prop_assert!(!alone || later(world.clone()), "property 8: job {}", number);
        }
    }

    #[test]
    fn workers_are_given_up_only_for_a_reservation(world in any_world(ALL)) {
        let verdicts = world.solve();
        let is_reserved = |worker: &WorkerId| verdicts.iter().any(|verdict| reserved(verdict).contains(worker));
        for (job, verdict) in world.jobs.iter().zip(&verdicts) {
            let gone = given_up(job, verdict);
            if !gone.is_empty() {
                prop_assert!(job.elastic, "property 9: cannot change");
                let for_quota = world.quotas.contains_key(job.project);
                prop_assert!(gone.iter().any(is_reserved) || for_quota, "property 9: for nobody");
            }
            if let Verdict::Preempt { by, .. } = verdict {
                let (other, verdict) =
                    world.jobs.iter().zip(&verdicts).find(|(job, _)| job.id == *by).expect("a live job");
                prop_assert!(job.preemptible && other.priority > job.priority, "property 9: priorities");
                prop_assert!(!reserved(verdict).is_empty(), "property 9: without a use");
            }
        }
    }

    #[test]
    fn no_worker_is_left_idle_that_an_elastic_job_could_take(world in any_world(ALL)) {
        let verdicts = world.solve();
        for (job, verdict) in world.jobs.iter().zip(&verdicts) {
            let members = job.members().len() + given(verdict).len();
            let runs = !job.members().is_empty() && given_up(job, verdict).is_empty();
            let may_grow = runs && job.elastic && members < *job.workers.end();
            if !may_grow || members < *job.workers.start() || world.quotas.contains_key(job.project) {
                continue;
            }
            let kind = job.members().iter().map(|member| world.hand(*member)).find(|m| m.is_usable());
            let Some(kind) = kind.map(|member| member.kind) else { continue };
            for hand in world.left_over(&verdicts) {
                prop_assert!(hand.kind != kind || !job.fits(hand), "property 11");
            }
        }
    }

    #[test]
    fn a_plan_that_was_carried_out_is_a_fixed_point(mut world in any_world(ALIKE), saving in any::<bool>()) {
        let first = world.solve();
        world.carry_out(&first, saving);
        for (before, after) in first.iter().zip(world.solve()) {
            // Who was preempted and has saved its state may start on what is reserved for it.
            let starts = matches!((before, &after), (Verdict::Preempt { reserved, .. }, Verdict::Start(_)) if !reserved.is_empty());
            prop_assert!(!changes(&after) || (starts && !saving), "property 12: {:?}, then {:?}", before, after);
        }
    }

    #[test]
    fn plans_come_to_an_end(mut world in any_world(ALL), settles in any::<bool>()) {
        let mut rounds = 0;
        loop {
            let verdicts = world.solve();
            world.carry_out(&verdicts, true);
            if settles {
                world.settle();
            }
            if !verdicts.iter().any(changes) {
                break;
            }
            rounds += 1;
            prop_assert!(rounds < 20, "property 12: it goes on for ever");
        }
    }

    #[test]
    fn a_job_goes_on_with_those_who_hold_its_state(world in any_world(ALL)) {
        let verdicts = world.solve();
        for (job, verdict) in world.jobs.iter().zip(&verdicts) {
            let Verdict::Start(workers) = verdict else { continue };
            let holds = |hand: &Hand| hand.holds.as_ref() == Some(&job.id);
            if workers.iter().all(|worker| holds(world.hand(*worker))) {
                continue;
            }
            let kind = world.hand(workers[0]).kind;
            let left = world.left_over(&verdicts).into_iter().find(|hand| hand.kind == kind && job.fits(hand) && holds(hand));
            prop_assert!(left.is_none(), "property 14: {:?} holds the state of {}", left, job.id);
        }
    }

    #[test]
    fn the_order_of_the_arguments_does_not_matter(world in any_world(ALL), swaps in any::<prop::sample::Index>()) {
        let mut turned = world.clone();
        turned.hands.reverse();
        if !turned.jobs.is_empty() {
            let middle = swaps.index(turned.jobs.len());
            turned.jobs.rotate_left(middle);
        }
        let by_number = |world: &World| -> BTreeMap<u64, Verdict> {
            world.jobs.iter().map(|job| job.number).zip(world.solve()).collect()
        };
        prop_assert_eq!(by_number(&world), by_number(&turned), "property 13");
    }

    #[test]
    fn victims_are_those_that_lose_least(
        running in prop::collection::vec((1..4_usize, 0..3_usize, -3..2_i32, 0..4_u64, any::<bool>()), 1..7),
        idle in 0..3_usize,
        needed in 1..9_usize,
    ) {
        let size = |(min, above, ..): &(usize, usize, i32, u64, bool)| min + above;
        let total: usize = running.iter().map(size).sum::<usize>() + idle;
        let mut world = World::of(&"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"[..total]);
        let mut next = 1;
        for one in &running {
            let (min, above, priority, unsaved, preemptible) = *one;
            let members: Vec<u64> = (next..).take(min + above).collect();
            next += members.len() as u64;
            let unsaved = Duration::from_secs(unsaved);
            world = world.run(Task { priority, unsaved, preemptible, ..job(min..=min + above) }, &members);
        }
        world = world.and(job(needed..=needed));
        let verdicts = world.solve();
        let victims: Vec<bool> =
            verdicts.iter().map(|verdict| matches!(verdict, Verdict::Preempt { .. })).collect();
        let lent: usize = running.iter().map(|(_, above, ..)| above).sum::<usize>() + idle;
        // Losses of a choice by priority, the highest first; `None` if it is not allowed or not enough.
        let losses = |chosen: &dyn Fn(usize) -> bool| {
            let picked = || running.iter().enumerate().filter(|(index, _)| chosen(*index)).map(|(_, one)| one);
            let allowed = picked().all(|(_, _, priority, _, preemptible)| *preemptible && *priority < 0);
            let enough = lent + picked().map(|(min, ..)| min).sum::<usize>() >= needed;
            let mut by_priority: BTreeMap<Reverse<i32>, (u64, usize)> =
                [-1, -2, -3].map(|priority| (Reverse(priority), (0, 0))).into();
            for (min, above, priority, unsaved, _) in picked() {
                let (loss, count) = by_priority.entry(Reverse(*priority)).or_default();
                (*loss, *count) = (*loss + unsaved * (min + above) as u64, *count + 1);
            }
            (allowed && enough).then(|| by_priority.into_values().collect::<Vec<_>>())
        };
        let best = (0..1_u32 << running.len()).filter_map(|set| losses(&|index| set >> index & 1 == 1)).min();
        let waits = verdicts.last().expect("the job that waits");
        match best {
            Some(best) => prop_assert_eq!(losses(&|index| victims[index]), Some(best), "property 10"),
            None => prop_assert!(!victims.contains(&true) && !matches!(waits, Verdict::Start(_)), "property 10"),
        }
    }
}

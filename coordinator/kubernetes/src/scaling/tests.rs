//! The properties that are written above the functions.

use proptest::prelude::*;

use super::*;

const IDLE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(120);

fn pool(min: u32, max: u32, replicas: u32) -> Pool {
    Pool {
        min,
        max,
        replicas,
        placed: replicas,
        unplaced_for: None,
        idle: IDLE,
        patience: PATIENCE,
        workers: None,
    }
}

/// A pool that has every pod placed at once, followed through time.
struct Run {
    pool: Pool,
    memory: Memory,
    now: Duration,
    /// When it changed, and to what.
    changes: Vec<(Duration, u32)>,
    /// Each wish with its time.
    wished: Vec<(Duration, u32)>,
}

impl Run {
    fn new(min: u32, max: u32) -> Self {
        let wished = vec![(Duration::ZERO, 0)];
        Self {
            pool: pool(min, max, min),
            memory: Memory::default(),
            now: Duration::ZERO,
            changes: Vec::new(),
            wished,
        }
    }

    fn step(&mut self, wish: u32) -> Option<Duration> {
        self.wished.push((self.now, wish));
        let decision = decide(self.now, &self.pool, wish, std::mem::take(&mut self.memory));
        self.memory = decision.memory;
        if decision.replicas != self.pool.replicas {
            self.changes.push((self.now, decision.replicas));
            self.pool.replicas = decision.replicas;
            self.pool.placed = decision.replicas;
        }
        decision.again_at
    }

    /// Wishes for the same for so long, and looks whenever it was told to.
    fn stay(&mut self, wish: u32, lasting: Duration) {
        let end = self.now + lasting;
        while let Some(again) = self.step(wish).filter(|again| *again <= end) {
            assert!(again > self.now, "time goes on");
            self.now = again;
        }
        self.now = end;
        self.step(wish);
    }

    /// The greatest wish of the last `idle`, one that ended within it included.
    fn held(&self) -> u32 {
        let begin = self.now.checked_sub(IDLE);
        let ends = self.wished.iter().skip(1).map(|(at, _)| *at).chain([self.now]);
        let lasting = self.wished.iter().zip(ends).filter(|(_, end)| begin.is_none_or(|begin| *end > begin));
        lasting.map(|((_, wish), _)| *wish).max().unwrap_or(0)
    }
}

proptest! {
    #[test]
    fn a_pool_stays_in_its_bounds_and_keeps_what_was_wished_for_lately(
        (min, max) in (0..4_u32, 0..12_u32),
        wishes in prop::collection::vec((0..20_u32, 0..90_u64), 1..40),
    ) {
        let max = max.max(min);
        let mut run = Run::new(min, max);
        for (wish, seconds) in wishes {
            run.now += Duration::from_secs(seconds);
            // Once it may change, it has what is wished for (properties 1, 2 and 3).
            let may = run.changes.last().is_none_or(|(at, _)| *at + PACE <= run.now);
            run.step(wish);
            prop_assert!((min..=max).contains(&run.pool.replicas));
            if may {
                prop_assert!(run.pool.replicas >= wish.clamp(min, max));
                prop_assert!(run.pool.replicas >= run.held().clamp(min, max));
            }
        }
        // Property 6.
        let apart = run.changes.windows(2).all(|pair| pair[1].0 >= pair[0].0 + PACE);
        prop_assert!(apart, "{:?}", run.changes);
    }

    #[test]
    fn a_wish_that_stays_is_reached_without_going_up_again_once_it_went_down(
        before in prop::collection::vec((0..20_u32, 0..90_u64), 0..20),
        wish in 0..20_u32,
    ) {
        let mut run = Run::new(1, 12);
        for (wish, seconds) in before {
            run.now += Duration::from_secs(seconds);
            run.step(wish);
        }
        let already = run.changes.len();
        run.stay(wish, IDLE + 2 * PACE);
        prop_assert_eq!(run.pool.replicas, wish.clamp(1, 12));
        let mut at = run.changes[..already].last().map_or(1, |(_, replicas)| *replicas);
        let (mut ups, mut falls) = (0, 0);
        for (_, replicas) in &run.changes[already..] {
            if *replicas > at {
                ups += 1;
                prop_assert_eq!(falls, 0, "{:?}", run.changes);
            } else {
                falls += 1;
            }
            at = *replicas;
        }
        prop_assert!(ups <= 1, "{:?}", run.changes);
        let settled = run.changes.len();
        run.stay(wish, 10 * IDLE);
        prop_assert_eq!(run.changes.len(), settled);
    }

    #[test]
    fn jobs_are_never_given_more_than_there_can_be_and_the_order_of_pools_says_nothing(
        sizes in prop::collection::vec((0..9_u32, 0..3_usize), 1..5),
        jobs in prop::collection::vec((1..5_u32, 0..5_u32, 0..3_usize), 0..12),
    ) {
        let kinds = [None, Some("one"), Some("two")];
        let pools: BTreeMap<String, Pool> = sizes.iter().enumerate().map(|(number, (max, kind))| {
            let workers = kinds[*kind].map(|kind| Workers { kind: kind.to_owned(), tasks: Vec::new() });
            (format!("pool-{number}"), Pool { workers, ..pool(0, *max, 0) })
        }).collect();
        let demand: Vec<Demand> = jobs.iter().map(|(min, more, kind)| Demand {
            workers_min: *min,
            workers_max: min + more,
            kind: kinds[*kind].map(str::to_owned),
            task: None,
        }).collect();
        let given = wishes(&demand, &pools);
        for (name, wish) in &given {
            prop_assert!(*wish <= pools[*name].max);
        }
        let all: u32 = demand.iter().map(|job| job.workers_max).sum();
        prop_assert!(given.values().sum::<u32>() <= all);
    }
}

#[test]
fn pods_that_find_no_node_are_given_up_and_wished_for_again() {
    let mut memory = Memory::default();
    let mut pool = pool(0, 8, 0);
    let at = Duration::from_secs;
    let mut look = |now: u64, pool: &Pool, wish: u32| {
        let decision = decide(at(now), pool, wish, std::mem::take(&mut memory));
        memory = decision.memory.clone();
        decision
    };
    assert_eq!(look(0, &pool, 8).replicas, 8);
    // Five find nodes. The others are waited for.
    pool = Pool { replicas: 8, placed: 5, unplaced_for: Some(at(1)), ..pool };
    let waiting = look(1, &pool, 8);
    assert_eq!((waiting.replicas, waiting.again_at), (8, Some(at(120))));
    pool.unplaced_for = Some(PATIENCE);
    assert_eq!(look(120, &pool, 8).replicas, 5);
    pool = Pool { replicas: 5, unplaced_for: None, ..pool };
    let given_up = look(130, &pool, 8);
    assert_eq!((given_up.replicas, given_up.again_at), (5, Some(at(120) + RETRY)));
    assert_eq!(look(121 + RETRY.as_secs(), &pool, 8).replicas, 8);
}

#[test]
fn a_pod_with_a_node_stays_when_one_below_it_has_none() {
    // Pod 0 has lost its node; pods 1 to 3 have theirs.
    let pool = Pool { placed: 4, unplaced_for: Some(PATIENCE), ..pool(0, 8, 4) };
    assert_eq!(decide(Duration::ZERO, &pool, 4, Memory::default()).replicas, 4);
}

#[test]
fn what_somebody_else_has_set_counts_as_a_wish_that_has_just_ended() {
    let at = Duration::from_secs;
    let first = decide(at(5), &pool(0, 8, 6), 0, Memory::default());
    assert_eq!((first.replicas, first.again_at), (6, Some(at(65))));
    let then = decide(at(65), &pool(0, 8, 6), 0, first.memory);
    assert_eq!(then.replicas, 0);
}

#[test]
fn a_job_that_has_begun_on_a_kind_waits_for_pools_of_that_kind_and_takes_several_of_them() {
    let of = |kind: &str, max| {
        let workers = Some(Workers { kind: kind.to_owned(), tasks: Vec::new() });
        Pool { workers, ..pool(0, max, 0) }
    };
    let pools = BTreeMap::from([
        ("cpu".to_owned(), of("avx2", 3)),
        ("gpu".to_owned(), of("h200", 4)),
        ("spot".to_owned(), of("avx2", 9)),
    ]);
    let job = |kind: Option<&str>, min, max| Demand {
        workers_min: min,
        workers_max: max,
        kind: kind.map(str::to_owned),
        task: None,
    };
    let given = wishes(&[job(Some("avx2"), 5, 8)], &pools);
    assert_eq!(given, BTreeMap::from([("cpu", 3), ("gpu", 0), ("spot", 5)]));
    let given = wishes(&[job(Some("h200"), 1, 2), job(Some("neon"), 1, 2)], &pools);
    assert_eq!(given, BTreeMap::from([("cpu", 0), ("gpu", 2), ("spot", 0)]));
}

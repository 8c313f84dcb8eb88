//! Simulation of the cluster in one thread and in virtual time. The coordinator's state machine and
//! the workers' decisions (`phalanx_member`) are the real ones; modelled is what is around them: the
//! agent's delays, the collective, the stores, and users.
//!
//! A seed decides everything: delays, duplicates and losses of messages, reports that arrive long
//! after what was said since, at which effect the coordinator crashes, workers that die, hang, leave, are
//! slow, or are cut off from the coordinator or from each other, steps that only some ranks finish, connections
//! that break while ranks hand their state over, damaged and wrong state, slow and full disks, a store
//! that is away, and what users do.
//!
//! After each event the numbered invariants of the crate are checked: those that can be seen from inside by the
//! coordinator itself, those on durable state by `stores`, the others where they could be broken. In the end
//! all faults cease, and every job must come to its end in the bits that its seed stands for.
//!
//! A failing seed prints its event log. `SIMULATION_SEED=N` runs one seed alone. What a seed has found stays
//! as a scenario (`tests/scenarios`), since a change of the simulation gives each seed another history.

#[path = "../support/mod.rs"]
mod support;

mod beginning;
mod collective;
mod driver;
mod faults;
mod log;
mod paces;
mod process;
mod reports;
mod states;
mod steps;
mod stores;
mod work;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::{Ended, World};

/// Seeds of one run of the test.
const SEEDS: u64 = 10_000;

/// Lines of the event log that are printed.
const LOG_LINES_MAX: usize = 400;

#[test]
fn jobs_end_in_the_same_bits_after_any_history_of_faults() {
    let alone = std::env::var("SIMULATION_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = alone.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let count = seeds.end - seeds.start;
    let mut total = Ended::default();
    for seed in seeds {
        total.add(&run(seed));
    }
    println!("{count} seeds: {total:?}");
    if alone.is_none() {
        total.require_that_everything_happened();
    }
}

/// Runs one seed; if that fails, once more with a log, which is printed.
fn run(seed: u64) -> Ended {
    match attempt(seed, false) {
        (Ok(ended), _) => ended,
        (Err(_), _) => {
            let (result, log) = attempt(seed, true);
            let why = result.err().unwrap_or_else(|| "it did not fail again".to_owned());
            let start = log.len().saturating_sub(LOG_LINES_MAX);
            panic!("seed {seed}: {why}\nthe last events:\n{}", log[start..].join("\n"));
        }
    }
}

fn attempt(seed: u64, logging: bool) -> (Result<Ended, String>, Vec<String>) {
    let mut world = World::new(seed, logging);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    });
    (result, world.log)
}

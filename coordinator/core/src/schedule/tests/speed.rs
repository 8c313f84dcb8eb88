//! How long a large cluster takes.

use std::time::{Duration, Instant};

use phalanx_protocol::id::{JobId, WorkerId};

use super::world::{Doing, Hand, Task, World, job};
use crate::schedule::{Verdict, solve};

/// A cluster of 1,000 workers in 4 kinds, some of them with a task of their own, in which some
/// jobs run and others wait.
fn crowd(running: u64, members: u64, waiting: u64, elastic: bool) -> World {
    let kind = |number: u64| ["a", "b", "c", "d"][(number / 250) as usize];
    let hand = |number: u64| Hand {
        worker: WorkerId::new(number),
        kind: kind(number),
        tasks: if number.is_multiple_of(3) { vec!["mine".to_owned()] } else { Vec::new() },
        doing: Doing::Nothing,
        holds: number.is_multiple_of(4).then(|| JobId::new("job", number)),
    };
    let mut world = World { hands: (0..1_000).map(hand).collect(), ..World::default() };
    let projects = ["default", "vision", "speech", "search"];
    let task = |number: u64| Task {
        project: projects[number as usize % 4],
        priority: (number % 7) as i32,
        task: number.is_multiple_of(5).then_some("mine"),
        elastic,
        unsaved: Duration::from_secs(number % 60),
        ..job(1 + number as usize % 3..=8)
    };
    for number in 0..running {
        let first = number * (1_000 / running);
        let members: Vec<u64> = (first..first + members).filter(|w| kind(*w) == kind(first)).collect();
        world = world.run(Task { priority: 0, task: None, ..task(number) }, &members);
    }
    (0..waiting).fold(world, |world, number| world.and(task(number))).quota("speech", 200)
}

#[test]
fn ten_thousand_jobs_on_a_thousand_workers_are_solved_in_a_moment() {
    let crowds = [
        ("all idle", crowd(1, 1, 10_000, true)),
        ("half used, rigid", crowd(100, 5, 10_000, false)),
        ("half used, elastic", crowd(100, 5, 10_000, true)),
        ("full and more than needed", crowd(200, 5, 10_000, true)),
        ("full and all preemptible", crowd(1_000, 1, 10_000, true)),
    ];
    for (name, world) in crowds {
        world.with_problem(|problem| {
            let began = Instant::now();
            let changed = solve(problem)
                .iter()
                .filter(|verdict| !matches!(verdict, Verdict::Wait { .. } | Verdict::Keep))
                .count();
            let took = began.elapsed();
            println!("{name}: {changed} of {} jobs changed, in {took:?}", problem.claims.len());
            assert!(changed > 0 && took < Duration::from_secs(2), "{name}: {changed} changed in {took:?}");
        });
    }
}

//! Examples: one situation at a time, and the words for it.

use std::time::Duration;

use super::world::{Doing, State, Task, World, job};
use crate::schedule::{Unusable, Verdict};

/// Solves, and compares each job's verdict in words.
#[track_caller]
fn check(world: &World, expected: &[&str]) {
    let listed = |workers: &[_]| workers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let words: Vec<String> = world
        .solve()
        .iter()
        .map(|verdict| match verdict {
            Verdict::Start(workers) => format!("starts on {}", listed(workers)),
            Verdict::Wait { why, reserved } if reserved.is_empty() => why.to_string(),
            Verdict::Wait { why, reserved } => format!("{why} [{}]", listed(reserved)),
            Verdict::Keep => "keeps".to_owned(),
            Verdict::Grow(workers) => format!("gets {}", listed(workers)),
            Verdict::Shrink(workers) => format!("gives up {}", listed(workers)),
            Verdict::Preempt { by, reserved } if reserved.is_empty() => format!("makes room for {by}"),
            Verdict::Preempt { by, reserved } => format!("makes room for {by} [{}]", listed(reserved)),
        })
        .collect();
    assert_eq!(words, expected);
}

/// A job that can neither grow nor shrink nor be preempted.
fn rigid(task: Task) -> Task {
    Task { elastic: false, ..task }
}

fn of(project: &'static str, task: Task) -> Task {
    Task { project, ..task }
}

fn urgent(priority: i32, task: Task) -> Task {
    Task { priority, ..task }
}

#[test]
fn a_job_gets_what_it_needs_and_then_what_is_left() {
    check(&World::of("aaaaa").and(job(1..=2)).and(job(2..=4)), &["starts on 1 4", "starts on 2 3 5"]);
    check(&World::of("aaaaaaa").and(job(1..=4)), &["starts on 1 2 3 4"]);
    let running = World::of("aaaa").run(job(1..=4), &[3]);
    check(&running, &["gets 1 2 4"]);
    check(&running.and(job(2..=2)), &["gets 4", "starts on 1 2"]);
}

#[test]
fn a_job_takes_those_first_that_hold_its_state_and_leaves_those_of_others() {
    let mut world = World::of("aaaa").and(job(2..=2)).and(job(1..=1));
    world.hands[0].holds = Some(world.jobs[1].id.clone());
    world.hands[3].holds = Some(world.jobs[0].id.clone());
    check(&world, &["starts on 2 4", "starts on 1"]);
    let running = World::of("aaa").run(job(1..=2), &[3]).and(job(2..=2));
    let mut behind = running.clone();
    behind.hands[0].holds = Some(behind.jobs[1].id.clone());
    check(&running, &["keeps", "starts on 1 2"]);
    check(&behind, &["keeps", "starts on 1 2"]);
}

#[test]
fn kinds_are_not_mixed() {
    check(&World::of("abb").and(job(1..=4)), &["starts on 2 3"]);
    check(&World::of("abb").and(job(3..=4)), &["waits for 3 workers of one kind: 2 attached"]);
    check(&World::of("abb").and(Task { kind: Some("a"), ..job(1..=4) }), &["starts on 1"]);
    check(&World::of("aab").run(job(1..=4), &[3]), &["keeps"]);
}

#[test]
fn workers_with_tasks_are_left_for_those_who_need_them() {
    let mut world = World::of("aa").and(job(1..=1)).and(Task { task: Some("mine"), ..job(1..=1) });
    world.hands[0].tasks = vec!["mine".to_owned()];
    check(&world, &["starts on 2", "starts on 1"]);
}

#[test]
fn a_waiting_job_says_what_is_not_there() {
    check(&World::of("").and(job(1..=1)), &["waits for workers: none is attached"]);
    let mut leaving = World::of("a").and(job(1..=1));
    leaving.hands[0].doing = Doing::Unusable(Unusable::Draining);
    check(&leaving, &["waits for workers that can work: of those attached 1 draining"]);
    let mut all = World::of("aaaa").and(job(1..=1));
    let why = [Unusable::Quarantined, Unusable::CutOff, Unusable::Draining, Unusable::CutOff];
    all.hands.iter_mut().zip(why).for_each(|(hand, why)| hand.doing = Doing::Unusable(why));
    check(&all, &["waits for workers that can work: of those attached 1 draining, 2 cut off, 1 quarantined"]);
    let own = Task { task: Some("mine"), ..job(1..=1) };
    let no_task = "waits for a worker that has the task `mine`: none of the 1 attached has it";
    check(&World::of("a").and(own.clone()), &[no_task]);
    let stays = Task { kind: Some("b"), ..job(1..=1) };
    let no_kind = "waits for a worker of kind b, on which it began: none of the 1 attached is";
    check(&World::of("a").and(stays), &[no_kind]);
    let both = Task { kind: Some("b"), ..own };
    check(&World::of("b").and(both.clone()), &[no_task]);
    let mut world = World::of("ab").and(both);
    world.hands[0].tasks = vec!["mine".to_owned()];
    let neither = "waits for a worker that has the task `mine` and is of kind b, on which it began: none of \
                   those attached is both";
    check(&world, &[neither]);
}

#[test]
fn a_blocked_job_holds_back_idle_workers_that_it_could_use_and_no_others() {
    let world = World::of("aab").run(rigid(job(1..=1)), &[1]);
    let busy = "waits for 2 idle workers: of 2 that fit, 1 can be had now";
    let behind = Task { kind: Some("a"), ..job(1..=1) };
    let world = world.and(job(2..=2)).and(behind).and(job(1..=1));
    check(
        &world,
        &["keeps", busy, "waits for 1 worker behind job-2, which was submitted earlier", "starts on 3"],
    );
    let too_large = World::of("aa").run(rigid(job(1..=1)), &[1]).and(job(3..=3)).and(job(1..=1));
    check(&too_large, &["keeps", "waits for 3 workers of one kind: 2 attached", "starts on 2"]);
}

#[test]
fn what_is_held_back_is_lent_to_a_job_that_gives_it_back() {
    let world = World::of("aaaa").run(rigid(job(2..=2)), &[1, 2]).run(job(1..=4), &[3]);
    let world = world.and(job(4..=4));
    let busy = "waits for 4 idle workers: of 4 that fit, 1 can be had now";
    check(&world, &["keeps", "gets 4", busy]);
    let world = World::of("aaaa").run(rigid(job(1..=1)), &[1]).run(job(3..=4), &[2]).and(job(3..=3));
    let busy = "waits for 3 idle workers: of 4 that fit, 2 can be had now";
    check(&world, &["keeps", "keeps", busy]);
}

#[test]
fn a_job_that_starts_takes_what_would_be_held_back_for_one_behind_it_and_not_for_one_before() {
    let busy = "waits for 3 idle workers: of 3 that fit, 2 can be had now";
    check(&World::of("aaa").and(rigid(job(1..=3))).and(job(3..=3)), &["starts on 1 2 3", busy]);
    let world = World::of("aaabb").run(rigid(job(1..=1)), &[1]).and(job(3..=3)).and(rigid(job(1..=3)));
    check(&world, &["keeps", busy, "starts on 4 5"]);
}

#[test]
fn running_jobs_give_up_what_they_do_not_need_for_one_that_waits() {
    let world = World::of("aaaa").run(job(1..=4), &[4, 3, 2, 1]).and(job(2..=2));
    check(&world, &["gives up 1 2", "waits for job-1 to give up 2 workers [1 2]"]);
    let world = World::of("aaaa").run(job(1..=2), &[1, 2]).run(urgent(1, job(1..=2)), &[3, 4]);
    check(&world.and(job(1..=1)), &["gives up 2", "keeps", "waits for job-1 to give up 1 worker [2]"]);
    let world = World::of("aaaa").run(job(1..=3), &[1, 2, 3]).run(of("vision", job(1..=1)), &[4]);
    check(
        &world.and(job(3..=3)),
        &["keeps", "keeps", "waits for 3 idle workers: of 4 that fit, 0 can be had now"],
    );
}

#[test]
fn the_project_that_uses_more_gives_up_first() {
    let world = World::of("aaaaa").run(job(1..=2), &[1, 2]).run(of("vision", job(1..=3)), &[3, 4, 5]);
    let waits = "waits for job-2 to give up 1 worker [5]";
    check(&world.clone().and(job(1..=1)), &["keeps", "gives up 5", waits]);
    let same = World::of("aaaaa").run(job(1..=3), &[1, 2, 3]).run(job(1..=2), &[4, 5]).and(job(1..=1));
    check(&same, &["gives up 3", "keeps", "waits for job-1 to give up 1 worker [3]"]);
    let waits = "waits for job-1, job-2 to give up 3 workers [2 4 5]";
    check(&world.and(job(3..=3)), &["gives up 2", "gives up 5 4", waits]);
}

#[test]
fn a_higher_priority_preempts_what_loses_least() {
    let ran = |seconds, task| Task { unsaved: Duration::from_secs(seconds), ..task };
    let world = World::of("aaaa")
        .run(ran(50, job(1..=1)), &[1])
        .run(ran(20, job(2..=2)), &[2, 3])
        .run(urgent(1, ran(0, job(1..=1))), &[4]);
    let first = "waits for job-2 to give up 2 workers [2 3]";
    check(&world.clone().and(urgent(2, job(2..=2))), &["keeps", "makes room for job-4", "keeps", first]);
    let one = "waits for job-2 to give up 1 worker [2]";
    check(&world.clone().and(urgent(1, job(1..=1))), &["keeps", "makes room for job-4", "keeps", one]);
    let equal = "waits for 1 idle worker: of 4 that fit, 0 can be had now";
    check(&world.clone().and(job(1..=1)), &["keeps", "keeps", "keeps", equal]);
    let all = "waits for job-1, job-2, job-3 to give up 4 workers [1 2 3 4]";
    let room = "makes room for job-4";
    check(&world.and(urgent(2, job(4..=4))), &[room, room, room, all]);
}

#[test]
fn of_equal_losses_the_last_submission_is_preempted_and_the_larger_if_that_spares_others() {
    let one = || job(1..=1);
    let world = World::of("aa").run(one(), &[1]).run(one(), &[2]).and(urgent(1, one()));
    check(&world, &["keeps", "makes room for job-3", "waits for job-2 to give up 1 worker [2]"]);
    let low = |task| urgent(-1, Task { unsaved: Duration::ZERO, ..task });
    let world =
        World::of("aaaa").run(low(job(2..=2)), &[1, 2]).run(low(one()), &[3]).run(urgent(-2, one()), &[4]);
    let world = world.and(job(3..=3));
    let all = "waits for job-1, job-3 to give up 3 workers [1 2 4]";
    check(&world, &["makes room for job-4", "keeps", "makes room for job-4", all]);
    let world = World { jobs: world.jobs[..3].to_vec(), ..world }.and(job(2..=2));
    let one = "waits for job-1 to give up 2 workers [1 2]";
    check(&world, &["makes room for job-4", "keeps", "keeps", one]);
}

#[test]
fn a_preempted_job_goes_on_with_workers_that_only_it_can_use() {
    let mut world =
        World::of("aa").run(job(1..=1), &[1]).and(urgent(1, Task { task: Some("mine"), ..job(1..=1) }));
    world.hands[0].tasks = vec!["mine".to_owned()];
    let waits = "waits for job-1 to give up 1 worker [1]";
    check(&world, &["makes room for job-2 [2]", waits]);
    world.carry_out(&world.solve(), true);
    check(&world, &["saves its state before it goes on [2]", waits]);
    world.settle();
    check(&world, &["starts on 2", "starts on 1"]);
}

#[test]
fn a_preempted_job_queues_again_behind_the_one_that_it_made_room_for() {
    let mut world = World::of("aa").run(job(2..=2), &[1, 2]).and(urgent(1, job(2..=2)));
    let waits = "waits for job-1 to give up 2 workers [1 2]";
    check(&world, &["makes room for job-2", waits]);
    world.carry_out(&world.solve(), true);
    let behind = "waits for 2 idle workers: of 2 that fit, 0 can be had now";
    check(&world, &[behind, waits]);
    world.settle();
    check(&world, &[behind, "starts on 1 2"]);
}

#[test]
fn what_comes_free_goes_to_the_job_that_it_is_reserved_for() {
    let mut world = World::of("aaaa").run(job(1..=4), &[1, 2, 3, 4]).and(job(2..=2));
    world.carry_out(&world.solve(), true);
    let mut world = world.and(of("vision", job(1..=1)));
    let waits = "waits for job-1 to give up 2 workers [3 4]";
    let next = "waits for job-1 to give up 1 worker [2]";
    check(&world, &["gives up 2", waits, next]);
    world.hands[3].doing = Doing::Nothing;
    check(&world, &["gives up 2", "waits for job-1 to give up 1 worker [3 4]", next]);
    let higher = world.clone().and(urgent(1, job(2..=2)));
    let busy = "waits for 2 idle workers: of 4 that fit, 0 can be had now";
    check(&higher, &["gives up 2", busy, next, "waits for job-1 to give up 1 worker [3 4]"]);
    world.settle();
    check(&world, &["gives up 2", "starts on 3 4", next]);
}

#[test]
fn a_job_that_gives_up_its_workers_anyway_is_waited_for() {
    let mut world = World::of("aa").run(job(2..=2), &[1, 2]).and(job(1..=1));
    world.jobs[0].state = State::Ending;
    for hand in &mut world.hands {
        hand.doing = Doing::Leaving(Some(world.jobs[0].id.clone()));
    }
    check(&world, &["keeps", "waits for job-1 to give up 1 worker [1]"]);
    world.hands[0].doing = Doing::Leaving(None);
    check(&world, &["keeps", "waits for 1 worker to be released [1]"]);
}

#[test]
fn projects_take_turns_by_their_shares() {
    let one = || job(1..=1);
    let vision = || of("vision", one());
    let world = World::of("aaa").and(one()).and(one()).and(vision()).and(vision());
    let busy = "waits for 1 idle worker: of 3 that fit, 0 can be had now";
    check(&world, &["starts on 1", "starts on 3", "starts on 2", busy]);
    let used_up =
        "waits for its project `default`, which uses 1 of the 1 worker that it may use: it needs 1 more";
    check(&world.quota("default", 1), &["starts on 1", used_up, "starts on 2", "starts on 3"]);
}

#[test]
fn a_job_behind_another_says_why() {
    let world =
        World::of("aaa").run(rigid(job(2..=2)), &[1, 2]).and(job(2..=2)).and(of("vision", job(2..=2)));
    let first = "waits for 2 idle workers: of 3 that fit, 1 can be had now";
    let second = "waits for 2 workers behind job-3, whose project `vision` has a smaller share";
    check(&world, &["keeps", second, first]);
    let first = "waits for 3 idle workers: of 3 that fit, 1 can be had now";
    let behind = "waits for 2 workers behind job-4, which has a higher priority";
    check(&world.and(urgent(1, of("speech", job(3..=3)))), &["keeps", behind, behind, first]);
}

#[test]
fn a_quota_is_never_exceeded_and_a_project_makes_room_for_its_own() {
    let world = World::of("aaaa").run(job(1..=4), &[1, 2]).quota("default", 2);
    check(&world, &["keeps"]);
    let used_up = |needed: usize, used: usize| {
        format!(
            "waits for its project `default`, which uses {used} of the 2 workers that it may use: it needs {needed} more"
        )
    };
    // The idle worker is kept until the quota has room.
    check(&world.clone().and(job(1..=1)), &["gives up 2", &format!("{} [3]", used_up(1, 2))]);
    check(&world.clone().and(job(2..=2)), &["keeps", &used_up(2, 2)]);
    let elsewhere = Task { kind: Some("b"), ..job(1..=1) };
    let other_kind = World::of("aab").run(job(1..=4), &[1, 2]).and(elsewhere).quota("default", 2);
    check(&other_kind, &["gives up 2", &format!("{} [3]", used_up(1, 2))]);
    let never = "waits for a larger quota: it needs 3 workers, and its project `default` may use 2";
    check(&world.and(job(3..=3)).and(of("vision", job(1..=1))), &["keeps", never, "starts on 3"]);
}

//! Ranks that do not hold the same state although they should.

use phalanx_core::Input;
use phalanx_protocol::{
    id::{Generation, JobId, WorkerId},
    message::{Directive, Event, Failure},
    view::JobState,
};

use crate::{
    bench::{Bench, LEASE},
    support::hello,
};

/// The ranks save the state after `step` steps; the state of the `odd`th is another one.
fn save_odd(bench: &mut Bench, job: &JobId, members: &[WorkerId], step: u64, odd: u32) {
    save_odd_as(bench, job, members, step, odd, "another state");
}

/// The same; that state is `other`.
fn save_odd_as(bench: &mut Bench, job: &JobId, members: &[WorkerId], step: u64, odd: u32, other: &str) {
    bench.step(job, step);
    for (rank, member) in (0..).zip(members) {
        let mut part = bench.part(job, rank, step);
        if rank == odd {
            part.state_hash = other.to_owned();
        }
        bench.report(*member, job, Event::CheckpointPart(Box::new(part)));
    }
}

fn confirm(bench: &mut Bench, members: &[WorkerId]) {
    members.iter().for_each(|member| bench.confirm(*member));
}

/// Whether each is told to keep its state.
fn kept(bench: &mut Bench, members: &[WorkerId]) -> Vec<bool> {
    let kept = |member: &WorkerId| match bench.poll(*member).pop() {
        Some(Directive::Release { keep, .. }) => keep,
        other => panic!("it was told {other:?}"),
    };
    members.iter().map(kept).collect()
}

#[test]
fn a_rank_that_differs_from_the_majority_is_named_and_takes_the_state_from_it() {
    let (mut bench, job, members) = Bench::train(3, &[]);
    confirm(&mut bench, &members);
    save_odd(&mut bench, &job, &members, 5, 1);
    bench.check(&job, JobState::Forming);
    assert_eq!(kept(&mut bench, &members), [true, false, true]);
    bench.check_said(&job, "worker 2 (host, process 2) has computed wrongly: its state at step 5");
    bench.check_said(&job, "at step 5 the state of rank 1 differs from the others'");
    assert!(bench.job(&job).checkpoints.is_empty());
    confirm(&mut bench, &members);
    assert_eq!(bench.form_held(&job, 5), members);
}

#[test]
fn a_worker_that_errs_twice_gets_no_more_work() {
    let (mut bench, job, all) = Bench::train(3, &[]);
    let mut members = all;
    for step in [5, 10] {
        confirm(&mut bench, &members);
        save_odd(&mut bench, &job, &members, step, 1);
        confirm(&mut bench, &members);
        members = bench.form_held(&job, step);
    }
    assert_eq!(members.len(), 2);
    bench.check_said(
        &job,
        "worker 2 (host, process 2) has computed wrongly again, at step 10: it gets no more work",
    );
    assert!(bench.coordinator.workers()[1].quarantined);
    bench.restart();
    bench.attach_as(hello(2));
    assert!(bench.coordinator.workers()[2].quarantined, "it is the same process");
    let other = bench.submit(&[]);
    bench.check(&other, JobState::Queued);
}

#[test]
fn who_does_not_hear_that_its_state_is_wrong_gives_it_up_when_it_is_back_under_another_number() {
    let (mut bench, job, members) = Bench::train(3, &[("workers.min", "2")]);
    confirm(&mut bench, &members);
    save_odd(&mut bench, &job, &members, 5, 1);
    // Its lease ends; its process has kept the state.
    let right = [members[0], members[2]];
    bench.wait(LEASE * 2, &right);
    bench.form_held(&job, 5);
    bench.restart();
    confirm(&mut bench, &right);
    let back = bench.attach_as(hello(2));
    confirm(&mut bench, &[back]);
    bench.report(back, &job, Event::Fetched);
    for member in right {
        bench.report(member, &job, Event::Stopped { step: 6 });
    }
    assert_eq!(bench.form_held(&job, 6).len(), 3);
    assert_eq!(bench.assignment(back).disputed, Some(Generation::new(1)));
    assert_eq!(bench.assignment(members[0]).disputed, None);
}

#[test]
fn a_rank_that_is_known_to_have_erred_twice_leaves_though_all_agree_by_now() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    confirm(&mut bench, &members);
    for (step, states) in [(3, ["a", "b"]), (5, ["c", "d"])] {
        let hashes = states.map(|hash| Some(hash.to_owned())).to_vec();
        bench.report(members[0], &job, Event::Failed(Failure::Differs { step, hashes }));
        confirm(&mut bench, &members);
        bench.form(&job);
        bench.report(members[0], &job, Event::Verified { step, state_hash: states[0].to_owned() });
    }
    bench.check_said(&job, "worker 2 (host, process 2) has computed wrongly again, at step 5");
    for member in &members {
        assert!(matches!(bench.poll(*member).last(), Some(Directive::Stop { save: false, .. })));
        bench.report(*member, &job, Event::Stopped { step: 6 });
    }
    assert_eq!(bench.form_held(&job, 6), [members[0]]);
}

#[test]
fn of_two_that_differ_the_one_that_is_not_confirmed_has_erred() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.save(&job, 5);
    confirm(&mut bench, &members);
    save_odd(&mut bench, &job, &members, 10, 0);
    bench.check_said(&job, "nobody knows yet which is right");
    assert_eq!(kept(&mut bench, &members), [false, false], "nobody's state is trusted");
    bench.restart();
    confirm(&mut bench, &members);
    assert_eq!(bench.form(&job), members);
    bench.save(&job, 10);
    bench.check_said(&job, "worker 1 (host, process 1) has computed wrongly: its state at step 10");
}

#[test]
fn of_two_that_differ_the_one_that_does_not_repeat_itself_has_erred() {
    let (mut bench, job, members) = Bench::train(2, &[("workers.min", "2")]);
    bench.save(&job, 5);
    confirm(&mut bench, &members);
    save_odd_as(&mut bench, &job, &members, 10, 1, "another state");
    confirm(&mut bench, &members);
    assert_eq!(bench.form(&job), members);
    save_odd_as(&mut bench, &job, &members, 10, 1, "a third state");
    assert_eq!(kept(&mut bench, &members), [true, false], "the first has come to the same state twice");
    confirm(&mut bench, &members);
    bench.check_said(&job, "worker 2 (host, process 2) has computed wrongly again, at step 10");
    bench.check(&job, JobState::Queued);
    let other = bench.attach(1);
    assert_eq!(bench.form_held(&job, 10), [members[0], other[0]]);
}

#[test]
fn two_that_both_do_not_repeat_themselves_have_both_erred() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    confirm(&mut bench, &members);
    for states in [["a", "b"], ["c", "d"]] {
        let hashes = states.map(|hash| Some(hash.to_owned())).to_vec();
        bench.report(members[0], &job, Event::Failed(Failure::Differs { step: 3, hashes }));
        confirm(&mut bench, &members);
        bench.form(&job);
    }
    for process in [1, 2] {
        bench.check_said(&job, &format!("worker {process} (host, process {process}) has computed wrongly"));
    }
}

#[test]
fn ranks_compare_their_states_after_a_disputed_step_wherever_that_is() {
    let (mut bench, job, members) = Bench::train(2, &[("workers.max", "3")]);
    bench.save(&job, 5);
    bench.call(Input::Interrupt { job: job.clone() }).expect("a job that runs can be interrupted");
    confirm(&mut bench, &members);
    save_odd(&mut bench, &job, &members, 7, 1);
    bench.check(&job, JobState::Paused);
    confirm(&mut bench, &members);
    // Who was wrong is known when it is gone.
    bench.call(Input::Detach { worker: members[1] }).expect("leaving is taken");
    let other = bench.attach(1)[0];
    bench.call(Input::Resume { job: job.clone(), workers: None }).expect("a paused job goes on");
    assert_eq!(bench.form(&job), [members[0], other]);
    assert_eq!(bench.assignment(other).verify_at, Some(7));
    let state_hash = bench.part(&job, 0, 7).state_hash;
    bench.report(members[0], &job, Event::Verified { step: 7, state_hash });
    bench.check_said(&job, "worker 2 (host, process 2) has computed wrongly: its state at step 7");
    let later = bench.attach_as(hello(2));
    confirm(&mut bench, &[later]);
    bench.report(later, &job, Event::Fetched);
    for member in [members[0], other] {
        bench.report(member, &job, Event::Stopped { step: 8 });
    }
    let members = bench.form_held(&job, 8);
    assert_eq!(bench.assignment(later).verify_at, None);
    save_odd(&mut bench, &job, &members, 10, 2);
    bench.check_said(&job, "worker 4 (host, process 2) has computed wrongly again, at step 10");
}

#[test]
fn nobody_keeps_a_disputed_state_over_an_interruption() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.save(&job, 5);
    bench.call(Input::Interrupt { job: job.clone() }).expect("a job that runs can be interrupted");
    confirm(&mut bench, &members);
    save_odd(&mut bench, &job, &members, 7, 1);
    bench.check(&job, JobState::Paused);
    assert_eq!(kept(&mut bench, &members), [false, false]);
}

#[test]
fn a_rank_that_has_stopped_with_a_wrong_state_gives_it_up() {
    let (mut bench, job, members) = Bench::train(3, &[("workers.min", "3")]);
    bench.step(&job, 7);
    bench.submit(&[("schedule.priority", "5"), ("workers.max", "1"), ("workers.min", "1")]);
    confirm(&mut bench, &members);
    bench.check(&job, JobState::Forming);
    bench.report(members[1], &job, Event::Stopped { step: 7 });
    save_odd(&mut bench, &job, &members, 7, 1);
    assert_eq!(kept(&mut bench, &members), [true, false, true]);
    bench.restart();
    assert_eq!(kept(&mut bench, &members), [true, false, true], "it is told again");
}

#[test]
fn ranks_that_compare_their_states_tell_what_each_has() {
    let (mut bench, job, members) = Bench::train(3, &[]);
    let hashes = ["x", "x", "y"].map(|hash| Some(hash.to_owned())).to_vec();
    for member in &members {
        let failure = Failure::Differs { step: 7, hashes: hashes.clone() };
        bench.report(*member, &job, Event::Failed(failure));
    }
    assert_eq!(bench.form_held(&job, 7), members);
    let named = bench.job(&job).messages.iter().filter(|it| it.text.contains("has computed wrongly")).count();
    assert_eq!(named, 1, "it is counted once");
    bench.check_said(&job, "worker 3 (host, process 3) has computed wrongly");
}

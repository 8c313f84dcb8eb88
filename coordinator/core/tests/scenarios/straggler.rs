//! Ranks that are slower than the others for long.

use phalanx_core::Input;
use phalanx_protocol::{
    id::{JobId, WorkerId},
    message::{Directive, Event, Failure},
    view::{JobState, RankView},
};

use crate::{bench::Bench, elastic::stop_all};

/// More heartbeats than are needed to call a rank slow, or well again.
const LONG: usize = 12;

/// Heartbeats of members that need so many milliseconds for the gradients of a step.
fn beat(bench: &mut Bench, job: &JobId, members: &[WorkerId], millis: &[u64], times: usize) {
    let told: Vec<_> = members.iter().copied().zip(millis.iter().copied()).collect();
    (0..times).for_each(|_| bench.pace(job, &told));
}

fn ranks(bench: &Bench, job: &JobId) -> Vec<RankView> {
    bench.job(job).ranks
}

/// A job on `count` workers that evicts stragglers, with the last of them slow, and an idle worker.
fn slow_last(count: usize, settings: &[(&str, &str)]) -> (Bench, JobId, Vec<WorkerId>, WorkerId) {
    let evicts = [&[("workers.evict_stragglers", "true")], settings].concat();
    let (mut bench, job, members) = Bench::train(count, &evicts);
    let idle = bench.attach(1)[0];
    let millis: Vec<_> = (1..=count).map(|rank| if rank == count { 25 } else { 10 }).collect();
    beat(&mut bench, &job, &members, &millis, LONG);
    (bench, job, members, idle)
}

#[test]
fn a_rank_that_is_slow_for_long_is_named() {
    let (mut bench, job, members) = Bench::train(3, &[]);
    assert!(ranks(&bench, &job).is_empty(), "nothing is known yet");
    beat(&mut bench, &job, &members, &[10, 12, 25], 1);
    assert!(ranks(&bench, &job).iter().all(|rank| rank.slowdown.is_none()));
    beat(&mut bench, &job, &members, &[10, 12, 25], LONG);
    bench.check_said(&job, &format!("worker {} (host, process 3) is a straggler: rank 2", members[2]));
    bench.check_said(&job, "takes 2.1 times as long as the median");
    let ranks = ranks(&bench, &job);
    assert_eq!(ranks.iter().map(|rank| rank.straggler).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(ranks.iter().map(|rank| rank.worker).collect::<Vec<_>>(), members);
    assert!((ranks[2].step_seconds - 0.025).abs() < 1e-9 && (ranks[2].waiting - 1.0 / 26.0).abs() < 1e-9);
    assert_eq!(bench.coordinator.straggler_count(), 1);
}

#[test]
fn a_straggler_that_recovers_is_told_of_and_no_longer_one() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    beat(&mut bench, &job, &members, &[10, 25], LONG);
    beat(&mut bench, &job, &members, &[10, 11], LONG);
    bench.check_said(&job, "is no straggler any more");
    assert_eq!(bench.coordinator.straggler_count(), 0);
    assert_eq!(bench.job(&job).messages.iter().filter(|one| one.text.contains("straggler")).count(), 2);
}

#[test]
fn what_is_told_of_an_older_generation_counts_for_nothing() {
    let (mut bench, job, members) = Bench::train(3, &[]);
    beat(&mut bench, &job, &members, &[10, 10, 25], LONG / 2);
    bench.call(Input::Detach { worker: members[2] }).expect("leaving is taken");
    beat(&mut bench, &job, &members[..2], &[10, 25], LONG);
    assert_eq!(bench.form_held(&job, 0), members[..2]);
    assert_eq!(bench.coordinator.straggler_count(), 0);
    assert!(ranks(&bench, &job).iter().all(|rank| rank.slowdown.is_none()));
}

#[test]
fn an_idle_worker_takes_the_place_of_a_straggler() {
    let (mut bench, job, members, idle) = slow_last(3, &[]);
    assert!(matches!(bench.poll(idle)[..], [Directive::Fetch { .. }]));
    bench.check(&job, JobState::Training);
    bench.report(idle, &job, Event::Fetched);
    stop_all(&mut bench, &job, &members, 8, false);
    assert_eq!(bench.form_held(&job, 8), [members[0], members[1], idle]);
    assert!(matches!(bench.poll(members[2])[..], [Directive::Release { keep: false, .. }]));
    bench.confirm(members[2]);
    beat(&mut bench, &job, &[members[0], members[1], idle], &[10, 10, 25], LONG);
    bench.check_said(&job, &format!("worker {idle} (host, process 4) is a straggler"));
    assert!(bench.poll(members[2]).is_empty(), "whom it has taken out does not come back for another");
    let another = bench.attach(1)[0];
    assert!(matches!(bench.poll(another)[..], [Directive::Fetch { .. }]));
}

#[test]
fn stragglers_stay_where_the_job_file_does_not_want_them_out_and_where_nobody_is_idle() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    let idle = bench.attach(1)[0];
    beat(&mut bench, &job, &members, &[10, 25], LONG);
    assert!(bench.poll(idle).is_empty());
    let (mut bench, job, members) = Bench::train(2, &[("workers.evict_stragglers", "true")]);
    beat(&mut bench, &job, &members, &[10, 25], LONG);
    bench.check_said(&job, "is a straggler");
    bench.check(&job, JobState::Training);
    let late = bench.attach(1)[0];
    assert!(matches!(bench.poll(late)[..], [Directive::Fetch { .. }]), "one that comes later will do");
}

#[test]
fn a_job_that_waits_for_workers_comes_before_the_relief_of_a_straggler() {
    let (mut bench, job, members) =
        Bench::train(2, &[("workers.min", "2"), ("workers.evict_stragglers", "true")]);
    bench.submit(&[("workers.min", "2")]);
    let idle = bench.attach(1)[0];
    beat(&mut bench, &job, &members, &[10, 25], LONG);
    bench.check_said(&job, "is a straggler");
    assert!(bench.poll(idle).is_empty());
}

#[test]
fn a_straggler_stays_when_the_one_that_was_to_take_its_place_cannot() {
    let (mut bench, job, members, idle) = slow_last(2, &[]);
    let failure = Failure::Peer { reason: "it cannot map the file".to_owned(), step: 0 };
    bench.report(idle, &job, Event::Failed(failure));
    bench.check(&job, JobState::Training);
    assert_eq!(bench.job(&job).workers, members);
    assert!(bench.poll(members[0]).iter().all(|told| !matches!(told, Directive::Stop { .. })));
}

#[test]
fn a_straggler_is_taken_along_where_too_few_would_be_left_without_it() {
    let (mut bench, job, members, idle) = slow_last(3, &[("workers.min", "3")]);
    bench.report(idle, &job, Event::Fetched);
    bench.call(Input::Detach { worker: members[0] }).expect("leaving is taken");
    bench.confirm(members[1]);
    bench.confirm(members[2]);
    assert_eq!(bench.form_held(&job, 0), [members[1], members[2], idle]);
}

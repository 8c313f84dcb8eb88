//! Which of several jobs gets the workers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use phalanx_core::{
    Config, Coordinator, Input, Now, Record,
    record::{Counters, JobRecord},
};
use phalanx_protocol::{
    id::{JobId, WorkerId},
    message::{Directive, Event},
    view::JobState,
};

use crate::{bench::Bench, support::hello};

#[track_caller]
fn check_reason(bench: &Bench, job: &JobId, expected: &str) {
    bench.check(job, JobState::Queued);
    assert_eq!(bench.job(job).reason.as_deref(), Some(expected));
}

/// A job's end, and its worker seen to be idle.
fn finish(bench: &mut Bench, job: &JobId) {
    let workers = bench.job(job).workers;
    bench.finish(job);
    for worker in workers {
        bench.confirm(worker);
    }
}

#[test]
fn the_higher_priority_starts_first_and_the_other_says_so() {
    let (mut bench, job, _) = Bench::train(1, &[("schedule.priority", "5")]);
    let second = bench.submit(&[]);
    let urgent = bench.submit(&[("schedule.priority", "5")]);
    check_reason(&bench, &urgent, "waits for 1 idle worker: of 1 that fit, 0 can be had now");
    check_reason(
        &bench,
        &second,
        &format!("waits for 1 worker behind {urgent}, which has a higher priority"),
    );
    finish(&mut bench, &job);
    bench.check(&urgent, JobState::Preparing);
    check_reason(&bench, &second, "waits for 1 idle worker: of 1 that fit, 0 can be had now");
}

#[test]
fn a_job_of_a_higher_priority_makes_another_save_its_state_and_wait() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    bench.step(&job, 7);
    let urgent = bench.submit(&[("schedule.priority", "5"), ("workers.max", "1")]);
    check_reason(&bench, &urgent, &format!("waits for {job} to give up 1 worker"));
    bench.check_said(&job, &format!("makes room for job {urgent}, which has a higher priority"));
    let told = bench.poll(members[0]);
    assert!(matches!(told.last(), Some(Directive::Stop { save: true, .. })), "{told:?}");
    bench.save_parts(&job, 8);
    bench.report(members[0], &job, Event::Stopped { step: 8 });
    bench.write();
    bench.check(&job, JobState::Queued);
    assert_eq!(bench.form(&urgent), members);
    finish(&mut bench, &urgent);
    assert_eq!(bench.form(&job), members);
    bench.check_said(&job, "goes on from the checkpoint at step 8");
}

#[test]
fn a_running_job_gives_up_workers_to_one_that_waits_and_gets_them_back() {
    let (mut bench, job, members) = Bench::train(3, &[]);
    let next = bench.submit(&[("workers.max", "1")]);
    check_reason(&bench, &next, &format!("waits for {job} to give up 1 worker"));
    for member in &members {
        bench.report(*member, &job, Event::Stopped { step: 3 });
    }
    assert_eq!(bench.form_held(&job, 3), members[..2]);
    bench.confirm(members[2]);
    assert_eq!(bench.form(&next), members[2..]);
    finish(&mut bench, &next);
    bench.report(members[2], &job, Event::Fetched);
    for member in &members[..2] {
        bench.report(*member, &job, Event::Stopped { step: 5 });
    }
    assert_eq!(bench.form_held(&job, 5), members);
}

#[test]
fn the_project_with_the_smaller_share_starts_first() {
    let mut bench = Bench::new();
    bench.attach(2);
    let one = ("workers.max", "1");
    let running = [(); 2].map(|()| bench.submit(&[one]));
    running.iter().for_each(|job| assert_eq!(bench.form(job).len(), 1));
    let same = bench.submit(&[one]);
    let other = bench.submit(&[one, ("schedule.project", "vision")]);
    let behind = format!("waits for 1 worker behind {other}, whose project `vision` has a smaller share");
    check_reason(&bench, &same, &behind);
    finish(&mut bench, &running[0]);
    bench.check(&other, JobState::Preparing);
    bench.check(&same, JobState::Queued);
}

#[test]
fn a_project_uses_no_more_than_its_quota() {
    let quotas = BTreeMap::from([("default".to_owned(), 2), ("vision".to_owned(), 1)]);
    let mut bench = Bench::with(Config { quotas, ..Config::default() });
    bench.attach(4);
    let job = bench.submit(&[]);
    assert_eq!(bench.form(&job).len(), 2, "of the 4 that it could take");
    let second = bench.submit(&[("workers.min", "2")]);
    let used_up =
        "waits for its project `default`, which uses 2 of the 2 workers that it may use: it needs 2 more";
    check_reason(&bench, &second, used_up);
    let never = bench.submit(&[("schedule.project", "vision"), ("workers.min", "2")]);
    let too_small = "waits for a larger quota: it needs 2 workers, and its project `vision` may use 1";
    check_reason(&bench, &never, too_small);
    let other = bench.submit(&[("schedule.project", "vision")]);
    assert_eq!(bench.form(&other).len(), 1);
    finish(&mut bench, &job);
    assert_eq!(bench.form(&second).len(), 2);
}

#[test]
fn jobs_that_wait_together_share_what_is_there_when_it_comes() {
    let mut bench = Bench::new();
    let first = bench.submit(&[("workers.min", "2")]);
    let second = bench.submit(&[("workers.max", "1")]);
    bench.attach(1);
    check_reason(&bench, &first, "waits for 2 workers of one kind: 1 attached");
    assert_eq!(bench.form(&second).len(), 1, "nobody knows whether another worker will come");
    bench.attach(2);
    assert_eq!(bench.form(&first).len(), 2);
}

#[test]
fn a_job_that_is_interrupted_lets_another_complete_what_is_missing() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    bench.attach(2);
    let other = bench.submit(&[("workers.max", "2")]);
    assert_eq!(bench.form(&other).len(), 2);
    let next = bench.submit(&[("workers.min", "2"), ("workers.max", "2")]);
    check_reason(&bench, &next, "waits for 2 idle workers: of 3 that fit, 0 can be had now");
    bench.call(Input::Interrupt { job: job.clone() }).expect("a job that runs can be interrupted");
    check_reason(&bench, &next, &format!("waits for {job}, {other} to give up 2 workers"));
    assert_eq!(bench.job(&job).workers, members);
}

#[test]
fn workers_of_a_job_that_stops_are_reserved_for_the_next() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    let next = bench.submit(&[("workers.min", "3")]);
    bench.call(Input::Interrupt { job: job.clone() }).expect("a job that runs can be interrupted");
    let idle = bench.attach(1);
    check_reason(&bench, &next, &format!("waits for {job} to give up 2 workers"));
    let behind = bench.submit(&[("workers.max", "1")]);
    check_reason(&bench, &behind, "waits for 1 idle worker: of 3 that fit, 0 can be had now");
    bench.call(Input::Cancel { job: job.clone() }).expect("a job that stops can be cancelled");
    for worker in &members {
        bench.call(Input::Detach { worker: *worker }).expect("a worker may leave");
    }
    check_reason(&bench, &next, "waits for 3 workers of one kind: 1 attached");
    assert_eq!(bench.form(&behind), idle);
}

/// The records of a coordinator with `count` jobs that wait.
fn records(count: u64) -> Vec<Record> {
    let mut bench = Bench::new();
    bench.submit(&[]);
    let mut all = vec![Record::Counters(Counters { next_job: count + 1, workers_reserved: 1 })];
    for record in bench.records() {
        let Record::Job(job) = record else { continue };
        all.extend((1..=count).map(|number| {
            Record::Job(Box::new(JobRecord { id: JobId::new("demo", number), number, ..(*job).clone() }))
        }));
    }
    all
}

#[test]
fn a_worker_that_attaches_while_ten_thousand_jobs_wait_is_dealt_with_in_a_moment() {
    let now = Now { instant: Duration::ZERO, wall: jiff::Timestamp::UNIX_EPOCH };
    let restored = Coordinator::restore(Config::default(), now, records(10_000), &mut Vec::new());
    let mut coordinator = restored.expect("records that belong together");
    let began = Instant::now();
    for process in 1..=50 {
        let attach = Input::Attach(Box::new(hello(process)));
        coordinator.handle(now, attach, &mut Vec::new()).expect("a worker is let in");
        coordinator.place(now, &mut Vec::new());
    }
    let took = began.elapsed() / 50;
    println!("{took:?} for each worker");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(coordinator.job_states().filter(|state| *state == JobState::Preparing).count(), 50);
}

#[test]
fn a_thousand_connections_that_drop_together_are_dealt_with_by_one_plan() {
    let now = Now { instant: Duration::ZERO, wall: jiff::Timestamp::UNIX_EPOCH };
    let restored = Coordinator::restore(Config::default(), now, records(10_000), &mut Vec::new());
    let mut coordinator = restored.expect("records that belong together");
    let mut all = |inputs: &mut dyn Iterator<Item = Input>| {
        let began = Instant::now();
        inputs.for_each(|input| drop(coordinator.handle(now, input, &mut Vec::new()).expect("it is taken")));
        coordinator.place(now, &mut Vec::new());
        let took = began.elapsed();
        println!("{took:?} for a thousand workers");
        assert!(took < Duration::from_secs(5), "{took:?}");
        coordinator.job_states().filter(|state| *state == JobState::Preparing).count()
    };
    assert_eq!(all(&mut (1..=1_000).map(|process| Input::Attach(Box::new(hello(process))))), 1_000);
    let workers = || (1..=1_000).map(WorkerId::new);
    all(&mut workers().map(|worker| Input::Disconnected { worker }));
    all(&mut workers().map(|worker| Input::Poll { worker, after: 0, pace: None }));
}

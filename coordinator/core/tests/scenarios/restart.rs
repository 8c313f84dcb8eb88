//! Restarts of the coordinator, in each state of a job.

use phalanx_core::{Config, Coordinator, Input, Now, Record, Rejected, record::Counters};
use phalanx_protocol::{
    id::{Generation, JobId},
    message::{Directive, Event},
    rpc,
    view::JobState,
};

use crate::bench::{Bench, LEASE};

/// The job ends as if nothing had happened, after a restart in `state`.
#[track_caller]
fn check(state: JobState, reach: impl FnOnce(&mut Bench, &JobId)) {
    let mut bench = Bench::new();
    let job = bench.submit(&[
        ("register.model", "demo"),
        ("register.alias", "newest"),
        ("workers.min", "2"),
        ("workers.max", "2"),
    ]);
    reach(&mut bench, &job);
    bench.check(&job, state);
    let before = bench.job(&job);
    bench.restart();
    if state == JobState::Queued {
        bench.attach(2);
    }
    let after = bench.job(&job);
    let workers = if state == JobState::Registering { 0 } else { 2 };
    assert_eq!(after.workers.len(), workers, "it has the same workers");
    assert_eq!(after.checkpoints, before.checkpoints);
    bench.wait(LEASE, &after.workers);
    if matches!(after.state, JobState::Preparing | JobState::Forming) {
        bench.form(&job);
    }
    if state != JobState::Registering {
        assert_eq!(bench.job(&job).generation, before.generation.max(Generation::new(1)));
        bench.finish(&job);
    }
    bench.write();
    bench.check(&job, JobState::Done);
    assert_eq!(bench.coordinator.models()[0].versions.len(), 1);
    assert_eq!(bench.coordinator.models()[0].aliases.len(), 1);
}

#[test]
fn a_job_survives_a_restart_while_it_waits_or_prepares() {
    check(JobState::Queued, |_, _| {});
    check(JobState::Preparing, |bench, _| {
        bench.attach(2);
    });
    check(JobState::Forming, |bench, job| {
        bench.attach(2);
        bench.prepared(job);
    });
}

#[test]
fn a_job_survives_a_restart_while_it_trains_or_saves() {
    check(JobState::Training, |bench, job| {
        bench.attach(2);
        bench.form(job);
        bench.step(job, 3);
    });
    check(JobState::Training, |bench, job| {
        bench.attach(2);
        bench.form(job);
        bench.save(job, 5);
        // The second checkpoint's manifest is being written.
        bench.save_parts(job, 10);
    });
}

#[test]
fn a_job_that_stops_goes_on_stopping_after_a_restart_and_saves_its_state() {
    let check = |wishes: &[fn(JobId) -> Input], state| {
        let (mut bench, job, members) = Bench::train(2, &[]);
        bench.step(&job, 7);
        for wish in wishes {
            bench.call(wish(job.clone())).expect("a job that runs can be stopped");
        }
        // One rank has stopped and saved its part before the restart, the other one does it after that.
        let parts = [bench.part(&job, 0, 7), bench.part(&job, 1, 7)].map(Box::new);
        let [first, second] = parts;
        bench.report(members[0], &job, Event::CheckpointPart(first));
        bench.report(members[0], &job, Event::Stopped { step: 7 });
        bench.restart();
        bench.check(&job, JobState::Stopping);
        assert!(matches!(bench.poll(members[1]).last(), Some(Directive::Stop { save: true, .. })));
        bench.report(members[1], &job, Event::CheckpointPart(second));
        bench.report(members[1], &job, Event::Stopped { step: 7 });
        bench.write();
        bench.check(&job, state);
        assert_eq!(bench.job(&job).checkpoints.last().map(|newest| newest.step), Some(7));
    };
    let cancel: fn(JobId) -> Input = |job| Input::Cancel { job };
    let interrupt: fn(JobId) -> Input = |job| Input::Interrupt { job };
    check(&[cancel], JobState::Cancelled);
    check(&[interrupt], JobState::Paused);
    check(&[interrupt, cancel], JobState::Cancelled);
}

#[test]
fn a_manifest_that_was_being_written_is_written_after_a_restart() {
    let (mut bench, job, _) = Bench::train(2, &[]);
    bench.step(&job, 5);
    bench.save_parts(&job, 5);
    bench.restart();
    assert!(bench.job(&job).checkpoints.is_empty());
    bench.write();
    assert_eq!(bench.job(&job).checkpoints.len(), 1);
}

#[test]
fn a_generation_that_was_about_to_follow_follows_after_a_restart() {
    let (mut bench, job, members) = Bench::train(3, &[]);
    bench.step(&job, 7);
    bench.call(Input::Detach { worker: members[2] }).expect("leaving is taken");
    bench.restart();
    bench.check(&job, JobState::Forming);
    bench.confirm(members[0]);
    bench.confirm(members[1]);
    assert_eq!(bench.form_held(&job, 7), members[..2]);
}

#[test]
fn a_job_survives_a_restart_while_it_evaluates_or_registers() {
    check(JobState::Evaluating, |bench, job| {
        let workers = bench.attach(2);
        bench.form(job);
        bench.save(job, 20);
        bench.report(workers[0], job, Event::Evaluating);
    });
    check(JobState::Registering, |bench, job| {
        bench.attach(2);
        bench.form(job);
        bench.finish(job);
    });
}

#[test]
fn workers_that_train_do_not_notice_a_restart() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    members.iter().for_each(|member| bench.confirm(*member));
    bench.step(&job, 7);
    bench.restart();
    bench.wait(LEASE * 2, &members);
    bench.check(&job, JobState::Training);
    bench.step(&job, 9);
    let view = bench.job(&job);
    assert_eq!((view.step, view.generation, view.workers), (9, Generation::new(1), members));
}

#[test]
fn a_directive_after_a_restart_has_a_number_that_its_worker_has_not_seen() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    members.iter().for_each(|member| bench.confirm(*member));
    bench.restart();
    bench.call(Input::Interrupt { job: job.clone() }).expect("a job that runs can be interrupted");
    for member in members {
        assert!(matches!(bench.poll(member)[..], [Directive::Stop { .. }]));
        bench.confirm(member);
    }
}

#[test]
fn a_worker_that_dies_with_the_coordinator_is_missed_after_a_lease() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.restart();
    bench.wait(LEASE, &members[..1]);
    assert_eq!(bench.form_held(&job, 0), members[..1]);
}

#[test]
fn an_idle_worker_of_before_the_restart_must_attach_again() {
    let (mut bench, _, _) = Bench::train(1, &[]);
    let idle = bench.attach(1)[0];
    bench.restart();
    assert_eq!(
        bench.call(Input::Poll { worker: idle, after: 0, pace: None }),
        Err(Rejected::Call(rpc::Rejected::UnknownWorker(idle)))
    );
    assert!(bench.attach(1)[0] > idle, "numbers are not used again");
}

#[test]
fn a_job_that_was_over_stays_over() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    bench.finish(&job);
    bench.confirm(members[0]);
    let cancelled = bench.submit(&[]);
    bench.call(Input::Cancel { job: cancelled.clone() }).expect("a job that runs can be cancelled");
    let before = [bench.job(&job), bench.job(&cancelled)];
    bench.restart();
    assert_eq!([bench.job(&job), bench.job(&cancelled)], before);
}

#[test]
fn a_record_under_another_key_is_refused() {
    let record = Record::Counters(Counters::default());
    assert_eq!(Record::decode("counters", &record.encode()), Ok(record.clone()));
    let error = Record::decode("job/demo-1", &record.encode()).expect_err("another key");
    assert_eq!(
        error.to_string(),
        "record `job/demo-1` of the state store cannot be read: it holds the record `counters`"
    );
    assert!(Record::decode("counters", b"{").is_err());
}

#[test]
fn records_that_contradict_each_other_are_refused() {
    let (bench, job, _) = Bench::train(1, &[]);
    let records = bench.records().into_iter().filter(|record| matches!(record, Record::Job(_)));
    let now = Now { instant: bench.now, wall: jiff::Timestamp::UNIX_EPOCH };
    let error =
        Coordinator::restore(Config::default(), now, records, &mut Vec::new()).expect_err("no counters");
    let expected = format!("the state store has job {job} with number 1, but the next number is 1");
    assert_eq!(error.to_string(), expected);
}

//! Restarts of the coordinator, in each state of a job.

use phalanx_core::{Config, Coordinator, Input, Now, Record, Rejected, record::Counters};
use phalanx_protocol::{id::JobId, message::Event, rpc, view::JobState};

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
    let workers = bench.attach(2);
    bench.wait(LEASE, &workers);
    let after = bench.job(&job);
    assert!(after.generation >= before.generation);
    assert_eq!(after.checkpoints, before.checkpoints);
    if after.state == JobState::Preparing {
        assert_eq!(bench.form(&job).len(), 2);
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
fn a_job_that_was_stopping_before_a_restart_has_stopped_after_it() {
    let check = |wishes: &[fn(JobId) -> Input], state, reason: &str| {
        let (mut bench, job, members) = Bench::train(2, &[]);
        bench.save(&job, 5);
        for wish in wishes {
            bench.call(wish(job.clone())).expect("a job that runs can be stopped");
        }
        bench.check(&job, JobState::Stopping);
        bench.restart();
        bench.check(&job, state);
        let view = bench.job(&job);
        assert_eq!(view.reason.as_deref(), Some(reason));
        assert!(view.finished_at.is_some());

        bench.attach(members.len());
        bench.check(&job, state);
        bench.call(Input::Resume { job: job.clone(), workers: None }).expect("a job that stopped goes on");
        bench.form(&job);
        bench.check_said(&job, "goes on from the checkpoint at step 5");
    };
    let cancel: fn(JobId) -> Input = |job| Input::Cancel { job };
    let interrupt: fn(JobId) -> Input = |job| Input::Interrupt { job };
    let restarted = "the coordinator was restarted while it saved: it would go on from step 5";
    check(&[cancel], JobState::Cancelled, restarted);
    check(&[interrupt], JobState::Paused, &format!("interrupted; {restarted}"));
    check(&[interrupt, cancel], JobState::Cancelled, restarted);
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
fn after_a_restart_a_job_waits_for_as_many_workers_as_it_had_but_not_longer_than_a_lease() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.restart();
    let first = bench.attach(1);
    bench.check(&job, JobState::Queued);
    let second = bench.attach(1);
    assert_eq!(bench.form(&job), [first[0], second[0]]);
    assert!(first[0] > members[1], "worker numbers are not used again");

    bench.restart();
    let alone = bench.attach(1);
    bench.wait(LEASE / 2, &alone);
    bench.check(&job, JobState::Queued);
    bench.wait(LEASE, &alone);
    assert_eq!(bench.form(&job), alone);
}

#[test]
fn a_worker_of_before_the_restart_must_attach_again() {
    let (mut bench, _, members) = Bench::train(1, &[]);
    bench.restart();
    assert_eq!(
        bench.call(Input::Poll { worker: members[0], after: 0 }),
        Err(Rejected::Call(rpc::Rejected::UnknownWorker(members[0])))
    );
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

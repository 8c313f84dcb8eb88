//! Cancelling, interrupting and resuming.

use phalanx_core::{Input, Rejected};
use phalanx_protocol::{
    id::JobId,
    message::{Directive, Event, Failure},
    spec::WorkersSpec,
    view::JobState,
};

use crate::bench::{Bench, LEASE};

fn cancel(bench: &mut Bench, job: &JobId) {
    bench.call(Input::Cancel { job: job.clone() }).expect("a job that runs can be cancelled");
}

fn interrupt(bench: &mut Bench, job: &JobId) {
    bench.call(Input::Interrupt { job: job.clone() }).expect("a job that runs can be interrupted");
}

fn resume(bench: &mut Bench, job: &JobId) {
    bench.call(Input::Resume { job: job.clone(), workers: None }).expect("a job that stopped can be resumed");
}

#[test]
fn a_queued_job_is_cancelled_at_once() {
    let mut bench = Bench::new();
    let job = bench.submit(&[]);
    cancel(&mut bench, &job);
    bench.check(&job, JobState::Cancelled);
    resume(&mut bench, &job);
    bench.check(&job, JobState::Queued);
}

#[test]
fn a_job_that_prepares_is_cancelled_by_releasing_its_workers() {
    let mut bench = Bench::new();
    let workers = bench.attach(2);
    let job = bench.submit(&[]);
    cancel(&mut bench, &job);
    bench.check(&job, JobState::Cancelled);
    assert!(matches!(bench.poll(workers[0])[..], [Directive::Prepare { .. }, Directive::Release { .. }]));
    assert!(bench.poll(workers[1]).is_empty(), "it was never told of the job");
}

#[test]
fn an_interrupted_job_saves_its_state_and_goes_on_from_there_with_other_workers() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.step(&job, 7);
    interrupt(&mut bench, &job);
    bench.check(&job, JobState::Stopping);
    for member in &members {
        assert!(matches!(bench.poll(*member).last(), Some(Directive::Stop { .. })));
    }
    bench.save_parts(&job, 7);
    for member in &members {
        bench.report(*member, &job, Event::Stopped { step: 7 });
    }
    bench.check(&job, JobState::Stopping);
    bench.write();
    bench.check(&job, JobState::Paused);
    assert_eq!(bench.job(&job).reason.as_deref(), Some("interrupted"));
    for member in &members {
        bench.confirm(*member);
    }
    let workers = Some(WorkersSpec { min: Some(1), max: Some(1), ..Default::default() });
    bench.call(Input::Resume { job: job.clone(), workers }).expect("a paused job goes on");
    assert_eq!(bench.form(&job), members[..1]);
    bench.check_said(&job, "goes on from the checkpoint at step 7");
}

#[test]
fn a_resume_cannot_ask_for_more_workers_than_lanes() {
    let mut bench = Bench::new();
    let job = bench.submit(&[]);
    interrupt(&mut bench, &job);
    bench.attach(6);
    let workers = Some(WorkersSpec { min: Some(6), max: Some(9), ..Default::default() });
    bench.call(Input::Resume { job: job.clone(), workers }).expect("a paused job goes on");
    assert_eq!(bench.form(&job).len(), 4);
}

#[test]
fn a_part_that_is_reported_after_its_rank_has_stopped_is_waited_for() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    cancel(&mut bench, &job);
    for member in &members {
        bench.report(*member, &job, Event::Stopped { step: 7 });
    }
    bench.check(&job, JobState::Stopping);
    bench.save_parts(&job, 7);
    bench.write();
    bench.check(&job, JobState::Cancelled);
    assert_eq!(bench.job(&job).checkpoints.len(), 1);
}

#[test]
fn a_job_that_stops_where_it_was_saved_is_not_saved_again() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    bench.save(&job, 5);
    cancel(&mut bench, &job);
    bench.report(members[0], &job, Event::Stopped { step: 5 });
    bench.check(&job, JobState::Cancelled);
}

#[test]
fn a_worker_lost_while_stopping_does_not_keep_the_job_from_stopping() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.save(&job, 5);
    interrupt(&mut bench, &job);
    bench.report(
        members[0],
        &job,
        Event::Failed(Failure::Peer { reason: "a connection broke".to_owned(), step: 0 }),
    );
    bench.wait(LEASE, &members[..1]);
    bench.check(&job, JobState::Paused);
    let reason = bench.job(&job).reason;
    let expected = "interrupted; a worker was lost while it saved: it would go on from step 5";
    assert_eq!(reason.as_deref(), Some(expected));
}

#[test]
fn ranks_that_do_not_stop_in_time_are_released() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    cancel(&mut bench, &job);
    bench.wait(LEASE * 60, &members);
    bench.check(&job, JobState::Cancelled);
    assert_eq!(bench.job(&job).reason.as_deref(), Some("its state was not saved in time"));
}

#[test]
fn cancelling_a_job_that_is_being_interrupted_cancels_it() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    interrupt(&mut bench, &job);
    cancel(&mut bench, &job);
    interrupt(&mut bench, &job);
    bench.report(members[0], &job, Event::Stopped { step: 0 });
    bench.check(&job, JobState::Cancelled);
}

#[test]
fn a_job_that_finishes_before_it_has_stopped_is_done() {
    let (mut bench, job, _) = Bench::train(1, &[]);
    cancel(&mut bench, &job);
    bench.finish(&job);
    bench.check(&job, JobState::Done);
}

#[test]
fn what_a_job_cannot_do_in_its_state_is_an_error_that_says_why() {
    let (mut bench, job, _) = Bench::train(1, &[]);
    let refused = |bench: &mut Bench, input| match bench.call(input) {
        Err(refused @ Rejected::WrongState { .. }) => refused.to_string(),
        other => panic!("answered with {other:?}"),
    };
    let resume = Input::Resume { job: job.clone(), workers: None };
    let why = refused(&mut bench, resume.clone());
    assert_eq!(why, "job demo-1 is training, so it cannot be resumed: it has not stopped");
    bench.finish(&job);
    let why = refused(&mut bench, resume);
    assert_eq!(why, "job demo-1 is done, so it cannot be resumed: nothing is left to do");
    let why = refused(&mut bench, Input::Cancel { job });
    assert_eq!(why, "job demo-1 is done, so it cannot be cancelled: it is over");
    let nobody = JobId::new("nobody", 9);
    assert_eq!(bench.call(Input::Cancel { job: nobody.clone() }), Err(Rejected::UnknownJob(nobody)));
}

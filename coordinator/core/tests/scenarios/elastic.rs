//! Workers that join and leave while a job runs.

use phalanx_core::{Input, Rejected};
use phalanx_protocol::{
    id::{Generation, JobId, WorkerId},
    message::{Directive, Event, Failure},
    spec::WorkersSpec,
    view::JobState,
};

use crate::{
    bench::{Bench, LEASE},
    support::hello,
};

fn scale(bench: &mut Bench, job: &JobId, max: u32) {
    let workers = WorkersSpec { min: None, max: Some(max), ..Default::default() };
    bench.call(Input::Scale { job: job.clone(), workers }).expect("a job that runs can be scaled");
}

fn drain(bench: &mut Bench, worker: WorkerId) {
    bench.call(Input::Drain { worker }).expect("a worker that is there can be drained");
}

/// All ranks stop after `step`, as they were told.
pub(crate) fn stop_all(bench: &mut Bench, job: &JobId, members: &[WorkerId], step: u64, saves: bool) {
    for member in members {
        let told = bench.poll(*member);
        assert!(matches!(told.last(), Some(Directive::Stop { save, .. }) if *save == saves), "{told:?}");
    }
    for member in members {
        bench.report(*member, job, Event::Stopped { step });
    }
}

#[test]
fn an_idle_worker_joins_a_running_job_once_it_has_the_data() {
    let (mut bench, job, members) = Bench::train(2, &[("workers.max", "3")]);
    bench.step(&job, 7);
    let newcomer = bench.attach(1)[0];
    assert!(matches!(bench.poll(newcomer)[..], [Directive::Fetch { .. }]));
    bench.check(&job, JobState::Training);
    assert!(bench.poll(members[0]).iter().all(|told| !matches!(told, Directive::Stop { .. })));
    bench.report(newcomer, &job, Event::Fetched);
    stop_all(&mut bench, &job, &members, 8, false);
    assert_eq!(bench.form_held(&job, 8), [members[0], members[1], newcomer]);
    assert_eq!(bench.job(&job).generation, Generation::new(2));
}

#[test]
fn a_worker_that_comes_while_the_next_generation_forms_joins_after_that() {
    let (mut bench, job, members) = Bench::train(2, &[("workers.max", "4")]);
    let newcomer = bench.attach(1)[0];
    bench.call(Input::Detach { worker: members[1] }).expect("leaving is taken");
    bench.report(newcomer, &job, Event::Fetched);
    bench.confirm(members[0]);
    assert_eq!(bench.form_held(&job, 0), [members[0], newcomer], "it was ready in time");
}

#[test]
fn a_newcomer_that_cannot_have_the_data_disturbs_nobody() {
    let (mut bench, job, members) = Bench::train(1, &[("workers.max", "2")]);
    let newcomer = bench.attach(1)[0];
    let failure = Failure::Peer { reason: "it cannot map the file".to_owned(), step: 0 };
    bench.report(newcomer, &job, Event::Failed(failure));
    bench.check(&job, JobState::Training);
    bench.check_said(&job, "cannot join: it cannot map the file");
    bench.confirm(newcomer);
    assert!(bench.poll(newcomer).is_empty(), "it is not asked again at once");
    assert_eq!(bench.job(&job).workers, members);
}

#[test]
fn a_job_that_is_scaled_down_lets_its_last_ranks_go_after_a_step() {
    let (mut bench, job, members) = Bench::train(3, &[]);
    scale(&mut bench, &job, 1);
    stop_all(&mut bench, &job, &members, 3, false);
    assert_eq!(bench.form_held(&job, 3), members[..1]);
    let told = bench.poll(members[2]);
    assert!(matches!(told[..], [Directive::Release { keep: false, .. }]), "{told:?}");
    bench.check_said(&job, "takes 1 to 1 worker from now on");
}

#[test]
fn a_job_that_is_scaled_up_takes_the_idle() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    let idle = bench.attach(2);
    assert!(bench.poll(idle[0]).is_empty());
    scale(&mut bench, &job, 3);
    idle.iter().for_each(|newcomer| bench.report(*newcomer, &job, Event::Fetched));
    stop_all(&mut bench, &job, &members, 2, false);
    assert_eq!(bench.form_held(&job, 2), [members[0], idle[0], idle[1]]);
}

#[test]
fn a_job_that_is_over_cannot_be_scaled() {
    let (mut bench, job, _) = Bench::train(1, &[]);
    bench.finish(&job);
    let workers = WorkersSpec::default();
    let refused = bench.call(Input::Scale { job, workers }).expect_err("it is over");
    assert!(matches!(refused, Rejected::WrongState { .. }));
    assert!(refused.to_string().contains("it cannot be scaled"), "{refused}");
}

#[test]
fn a_worker_that_is_drained_finishes_its_step_and_leaves_the_others_its_work() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    drain(&mut bench, members[1]);
    stop_all(&mut bench, &job, &members, 4, false);
    assert_eq!(bench.form_held(&job, 4), members[..1]);
    let told = bench.poll(members[1]);
    assert!(matches!(told[..], [Directive::Release { .. }]), "{told:?}");
    assert!(bench.poll(members[1]).is_empty());
    let told = bench.poll(members[1]);
    assert!(matches!(told[..], [Directive::Leave]), "{told:?}");
    assert!(bench.poll(members[1]).is_empty(), "it is told once");
}

#[test]
fn the_last_worker_that_is_drained_saves_the_state_first() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    bench.step(&job, 4);
    drain(&mut bench, members[0]);
    let told = bench.poll(members[0]);
    assert!(matches!(told.last(), Some(Directive::Stop { save: true, .. })), "{told:?}");
    bench.save_parts(&job, 4);
    bench.report(members[0], &job, Event::Stopped { step: 4 });
    bench.write();
    bench.check(&job, JobState::Queued);
    assert!(matches!(bench.poll(members[0])[..], [Directive::Leave]));
    let other = bench.attach(1);
    assert_eq!(bench.form(&job), other);
    bench.check_said(&job, "goes on from the checkpoint at step 4");
}

#[test]
fn the_last_worker_that_is_drained_while_it_evaluates_leaves_when_its_state_is_saved() {
    let (mut bench, job, members) = Bench::train(1, &[("checkpoint.every", "0")]);
    bench.step(&job, 20);
    bench.report(members[0], &job, Event::Evaluating);
    drain(&mut bench, members[0]);
    bench.check(&job, JobState::Evaluating);
    bench.save_parts(&job, 20);
    bench.check(&job, JobState::Evaluating);
    bench.write();
    bench.confirm(members[0]);
    bench.check(&job, JobState::Queued);
    assert_eq!(bench.job(&job).checkpoints.last().map(|newest| newest.step), Some(20));
}

#[test]
fn workers_that_are_drained_one_after_the_other_save_what_nobody_else_holds() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.step(&job, 4);
    drain(&mut bench, members[1]);
    drain(&mut bench, members[0]);
    stop_all(&mut bench, &job, &members, 5, false);
    for member in &members {
        let formed = bench.formed(5);
        bench.report(*member, &job, formed);
    }
    bench.save_parts(&job, 5);
    stop_all(&mut bench, &job, &members, 5, true);
    bench.write();
    bench.check(&job, JobState::Queued);
    assert_eq!(bench.job(&job).checkpoints.last().map(|newest| newest.step), Some(5));
    assert!(matches!(bench.poll(members[0])[..], [Directive::Leave]));
}

#[test]
fn of_several_that_evaluate_one_that_is_drained_leaves_at_once() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.step(&job, 20);
    bench.report(members[0], &job, Event::Evaluating);
    drain(&mut bench, members[1]);
    members.iter().for_each(|member| bench.confirm(*member));
    assert_eq!(bench.form_held(&job, 20), members[..1]);
}

#[test]
fn a_job_that_prepares_does_not_start_below_its_fewest_workers_when_one_is_drained() {
    let mut bench = Bench::new();
    let workers = bench.attach(2);
    let job = bench.submit(&[("workers.min", "2")]);
    drain(&mut bench, workers[1]);
    bench.confirm(workers[0]);
    bench.check(&job, JobState::Queued);
    assert!(matches!(bench.poll(workers[1])[..], [Directive::Leave]), "it was never told of the job");
    let other = bench.attach(1);
    assert_eq!(bench.form(&job), [workers[0], other[0]]);
}

#[test]
fn who_joins_does_not_wait_for_a_manifest_that_is_being_written() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.save_parts(&job, 5);
    drain(&mut bench, members[1]);
    stop_all(&mut bench, &job, &members, 6, false);
    assert_eq!(bench.form_held(&job, 6), members[..1]);
    bench.fail_to_write();
    bench.check(&job, JobState::Training);
}

#[test]
fn a_newcomer_that_could_not_join_is_asked_again_later() {
    let (mut bench, job, members) = Bench::train(1, &[("workers.max", "2")]);
    let newcomer = bench.attach(1)[0];
    let failure = Failure::Peer { reason: "it cannot map the file".to_owned(), step: 0 };
    bench.report(newcomer, &job, Event::Failed(failure));
    bench.confirm(newcomer);
    let both = [members[0], newcomer];
    bench.wait(LEASE * 59, &both);
    assert!(bench.poll(newcomer).is_empty());
    bench.wait(LEASE * 2, &both);
    bench.report(newcomer, &job, Event::Fetched);
    bench.check(&job, JobState::Forming);
}

#[test]
fn a_newcomer_is_released_from_the_generation_that_it_was_told_of() {
    let (mut bench, job, members) = Bench::train(2, &[("workers.max", "3")]);
    let newcomer = bench.attach(1)[0];
    assert!(matches!(bench.poll(newcomer)[..], [Directive::Fetch { .. }]));
    let failure = Failure::Peer { reason: "a connection broke".to_owned(), step: 0 };
    members.iter().for_each(|member| bench.report(*member, &job, Event::Failed(Failure::clone(&failure))));
    members.iter().for_each(|member| bench.confirm(*member));
    bench.form_held(&job, 0);
    assert_eq!(bench.job(&job).generation, Generation::new(2));
    bench.call(Input::Cancel { job: job.clone() }).expect("a job that runs can be cancelled");
    members.iter().for_each(|member| bench.report(*member, &job, Event::Stopped { step: 0 }));
    bench.check(&job, JobState::Cancelled);
    let told = bench.poll(newcomer);
    let first = Generation::new(1);
    assert!(matches!(&told[..], [Directive::Release { generation, .. }] if *generation == first), "{told:?}");
}

#[test]
fn what_is_not_said_of_the_number_of_workers_stays_as_it_was() {
    let (mut bench, job, members) = Bench::train(3, &[("workers.min", "2")]);
    scale(&mut bench, &job, 4);
    bench.check_said(&job, "takes 2 to 4 workers from now on");
    bench
        .call(Input::Scale { job: job.clone(), workers: WorkersSpec::default() })
        .expect("it changes nothing");
    bench.call(Input::Interrupt { job: job.clone() }).expect("a job that runs can be interrupted");
    members.iter().for_each(|member| bench.report(*member, &job, Event::Stopped { step: 0 }));
    bench.call(Input::Detach { worker: members[1] }).expect("leaving is taken");
    bench.call(Input::Detach { worker: members[2] }).expect("leaving is taken");
    bench.confirm(members[0]);
    let workers = Some(WorkersSpec { max: Some(3), ..WorkersSpec::default() });
    bench.call(Input::Resume { job: job.clone(), workers }).expect("a paused job goes on");
    bench.check(&job, JobState::Queued);
    let reason = bench.job(&job).reason;
    assert_eq!(reason.as_deref(), Some("waits for 2 workers of one kind: 1 attached"));
}

#[test]
fn a_job_that_was_saved_when_its_last_worker_left_pauses_without_a_complaint() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    bench.step(&job, 4);
    drain(&mut bench, members[0]);
    bench.call(Input::Interrupt { job: job.clone() }).expect("a job that runs can be interrupted");
    bench.save_parts(&job, 4);
    bench.report(members[0], &job, Event::Stopped { step: 4 });
    bench.write();
    bench.check(&job, JobState::Paused);
    assert_eq!(bench.job(&job).reason.as_deref(), Some("interrupted"));
}

#[test]
fn an_idle_worker_that_is_drained_leaves_at_once_and_gets_no_work() {
    let mut bench = Bench::new();
    let worker = bench.attach(1)[0];
    drain(&mut bench, worker);
    let job = bench.submit(&[]);
    bench.check(&job, JobState::Queued);
    assert!(matches!(bench.poll(worker)[..], [Directive::Leave]));
}

#[test]
fn a_worker_that_is_drained_leaves_although_the_coordinator_is_restarted() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.report(members[0], &job, Event::Failed(Failure::Peer { reason: "a test".to_owned(), step: 0 }));
    bench.confirm(members[1]);
    bench.check(&job, JobState::Forming);
    let idle = bench.attach(1)[0];
    drain(&mut bench, idle);
    drain(&mut bench, members[1]);
    bench.restart();
    for member in &members {
        let formed = bench.formed(0);
        bench.report(*member, &job, formed);
    }
    let told = bench.poll(members[1]);
    assert!(matches!(told.last(), Some(Directive::Stop { .. })), "{told:?}");
    let again = bench.attach_as(hello(3));
    assert!(matches!(bench.poll(again)[..], [Directive::Leave]));
    bench.call(Input::Detach { worker: again }).expect("leaving is taken");
    let anew = bench.attach_as(hello(3));
    assert!(bench.poll(anew).iter().all(|told| !matches!(told, Directive::Leave)), "it has left before");
}

#[test]
fn a_user_who_cancels_while_workers_join_gets_the_state_saved() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.step(&job, 7);
    drain(&mut bench, members[1]);
    bench.call(Input::Cancel { job: job.clone() }).expect("a job that runs can be cancelled");
    stop_all(&mut bench, &job, &members, 8, false);
    bench.check(&job, JobState::Forming);
    let formed = bench.formed(8);
    bench.report(members[0], &job, formed);
    bench.check(&job, JobState::Stopping);
    bench.save_parts(&job, 8);
    bench.report(members[0], &job, Event::Stopped { step: 8 });
    bench.write();
    bench.check(&job, JobState::Cancelled);
    assert_eq!(bench.job(&job).checkpoints.last().map(|newest| newest.step), Some(8));
}

#[test]
fn a_rank_that_dies_while_another_joins_is_not_waited_for() {
    let (mut bench, job, members) = Bench::train(3, &[("workers.max", "3")]);
    bench.step(&job, 4);
    let newcomer = bench.attach(1)[0];
    scale(&mut bench, &job, 4);
    bench.report(newcomer, &job, Event::Fetched);
    bench.call(Input::Disconnected { worker: members[2] }).expect("it is taken");
    let failure = || Event::Failed(Failure::Peer { reason: "a connection broke".to_owned(), step: 4 });
    bench.report(members[0], &job, failure());
    bench.report(members[1], &job, failure());
    assert_eq!(bench.form_held(&job, 4), [members[0], members[1], newcomer]);
}

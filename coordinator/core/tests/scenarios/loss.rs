//! Workers that are lost, ranks that fail, and checkpoints that are damaged.

use phalanx_core::{Input, Rejected};
use phalanx_protocol::{
    id::{Generation, Rank, WorkerId},
    message::{Directive, Event, Failure, StateSource},
    reference::DatasetRef,
    rpc,
    spec::WorkersSpec,
    view::JobState,
};

use crate::{
    bench::{Bench, LEASE},
    support::{dataset, hello},
};

fn peer() -> Event {
    Event::Failed(Failure::Peer { reason: "a connection broke".to_owned(), step: 0 })
}

#[test]
fn a_silent_worker_is_lost_and_the_others_go_on_with_the_state_that_they_hold() {
    let (mut bench, job, members) = Bench::train(3, &[]);
    bench.save(&job, 5);
    bench.step(&job, 9);
    bench.wait(LEASE, &members[..2]);
    bench.check(&job, JobState::Forming);
    assert_eq!(bench.job(&job).step, 9, "its workers hold more than the checkpoint");
    assert_eq!(bench.form_held(&job, 9), members[..2]);
    let assignment = bench.assignment(members[1]);
    assert_eq!((assignment.rank, assignment.generation), (Rank::new(1), Generation::new(2)));
    assert_eq!(assignment.resume.as_ref().map(|checkpoint| checkpoint.step), Some(5));
    bench.check_said(&job, "worker 3 (host, process 3) was lost: it was not heard of for 4s");
    bench.check_said(&job, "goes on at step 9: its workers hold the state");
}

#[test]
fn a_job_goes_back_to_the_checkpoint_where_nobody_holds_the_state() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.save(&job, 5);
    bench.step(&job, 9);
    for member in members {
        bench.call(Input::Detach { worker: member }).expect("leaving is taken");
    }
    bench.check(&job, JobState::Queued);
    assert_eq!(bench.job(&job).step, 5);
    let curve = bench.coordinator.curve(&job).expect("a curve");
    assert_eq!(curve.train.last(), Some(&(5, 0.5)), "later points come again");
    let other = bench.attach(1);
    assert_eq!(bench.form(&job), other);
    bench.check_said(&job, "goes on from the checkpoint at step 5");
}

#[test]
fn below_its_fewest_workers_a_job_waits_and_says_so() {
    let (mut bench, job, members) = Bench::train(2, &[("workers.min", "2")]);
    bench.step(&job, 9);
    bench.call(Input::Detach { worker: members[1] }).expect("leaving is taken");
    bench.confirm(members[0]);
    bench.check(&job, JobState::Queued);
    let reason = bench.job(&job).reason;
    assert_eq!(reason.as_deref(), Some("waits for 2 workers of one kind: 1 attached"));
    assert_eq!(bench.job(&job).step, 9, "one that is left holds the state");
    let other = bench.attach(1);
    assert_eq!(bench.form_held(&job, 9), [members[0], other[0]]);
}

#[test]
fn below_its_fewest_workers_a_job_goes_on_with_those_who_hold_its_state() {
    let mut bench = Bench::new();
    let two = [("workers.min", "2"), ("workers.max", "2")];
    let idle = bench.attach(2);
    let other = bench.submit(&two);
    assert_eq!(bench.form(&other), idle);
    let members = bench.attach(2);
    let job = bench.submit(&two);
    assert_eq!(bench.form(&job), members);
    bench.step(&job, 9);
    bench.finish(&other);
    idle.iter().for_each(|worker| bench.confirm(*worker));
    bench.call(Input::Detach { worker: members[1] }).expect("leaving is taken");
    bench.confirm(members[0]);
    assert_eq!(bench.form_held(&job, 9), [idle[0], members[0]], "one that holds the state is among them");
}

#[test]
fn a_worker_that_died_with_its_peers_is_not_taken_into_the_next_generation() {
    let (mut bench, job, members) = Bench::train(3, &[]);
    // Worker 2 is dead, but its lease is not over yet.
    bench.report(members[0], &job, peer());
    bench.confirm(members[2]);
    bench.check(&job, JobState::Forming);
    assert_eq!(bench.job(&job).generation, Generation::new(1), "worker 2 is waited for");
    bench.wait(LEASE / 4, &[members[0], members[2]]);
    assert_eq!(bench.form(&job), [members[0], members[2]]);
}

#[test]
fn nobody_waits_for_a_worker_whose_connection_is_gone() {
    let (mut bench, job, members) = Bench::train(3, &[]);
    bench.call(Input::Disconnected { worker: members[1] }).expect("it is taken");
    bench.check(&job, JobState::Training);
    bench.report(members[0], &job, peer());
    bench.report(members[2], &job, peer());
    assert_eq!(bench.form(&job), [members[0], members[2]]);
    // It was cut off only, and comes back.
    bench.poll(members[1]);
    bench.poll(members[1]);
    let told = bench.poll(members[1]);
    assert!(matches!(told[..], [Directive::Fetch { .. }]), "{told:?}");
}

#[test]
fn when_all_come_back_after_a_broken_connection_nobody_is_waited_for() {
    let (mut bench, job, members) = Bench::train(3, &[]);
    bench.report(members[1], &job, peer());
    bench.confirm(members[0]);
    bench.confirm(members[2]);
    assert_eq!(bench.form(&job), members);
}

#[test]
fn a_worker_lost_while_another_prepares_does_not_end_the_generation() {
    let mut bench = Bench::new();
    let workers = bench.attach(2);
    let job = bench.submit(&[]);
    bench.call(Input::Detach { worker: workers[1] }).expect("leaving is taken");
    bench.check(&job, JobState::Preparing);
    assert_eq!(bench.form(&job), [workers[0]]);
    assert_eq!(bench.job(&job).generation, Generation::new(1));
}

#[test]
fn a_process_that_attaches_again_is_another_worker() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    let again = bench.attach_as(hello(1));
    assert_ne!(again, members[0]);
    bench.check_said(&job, "worker 1 (host, process 1) was lost: its process has attached again");
    assert_eq!(
        bench.call(Input::Poll { worker: members[0], after: 0, pace: None }),
        Err(Rejected::Call(rpc::Rejected::UnknownWorker(members[0])))
    );
    bench.wait(LEASE, &[again]);
    assert_eq!(bench.form(&job), [again]);
}

#[test]
fn a_report_of_an_older_generation_changes_nothing() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.report(members[0], &job, peer());
    for member in &members {
        bench.confirm(*member);
    }
    bench.form(&job);
    let before = bench.job(&job);
    let (got, current) = (Generation::new(1), Generation::new(2));
    assert_eq!(
        bench.report_in(members[0], &job, got, peer()),
        Err(Rejected::Call(rpc::Rejected::StaleGeneration { got, current }))
    );
    assert_eq!(bench.job(&job), before);
}

#[test]
fn a_report_of_a_worker_that_is_no_member_changes_nothing() {
    let (mut bench, job, _) = Bench::train(1, &[]);
    let other = bench.attach(1)[0];
    let before = bench.job(&job);
    assert!(bench.report_in(other, &job, Generation::new(1), peer()).is_err());
    let unknown = WorkerId::new(99);
    assert_eq!(
        bench.report_in(unknown, &job, Generation::new(1), peer()),
        Err(Rejected::Call(rpc::Rejected::UnknownWorker(unknown)))
    );
    assert_eq!(bench.job(&job), before);
}

#[test]
fn a_rank_that_prepares_and_tells_nothing_gives_its_place_to_another() {
    let mut bench = Bench::new();
    let workers = bench.attach(2);
    let job = bench.submit(&[]);
    let preparing = Event::Preparing { what: "reading".to_owned(), done_bytes: 1, total_bytes: 2 };
    bench.wait(LEASE * 59, &workers);
    bench.report(workers[0], &job, preparing);
    bench.wait(LEASE * 59, &workers);
    assert_eq!(bench.job(&job).workers, workers, "it has told that it goes on");
    bench.wait(LEASE, &workers);
    bench.check_said(&job, "worker 1 has told nothing of the data set for 240s");
    bench.check(&job, JobState::Preparing);
    assert_eq!(bench.job(&job).workers, workers[1..]);
}

#[test]
fn a_newcomer_that_does_not_come_to_an_end_is_no_longer_waited_for() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    let newcomers = bench.attach(2);
    let workers = WorkersSpec { max: Some(3), ..WorkersSpec::default() };
    bench.call(Input::Scale { job: job.clone(), workers }).expect("a job that runs can be scaled");
    bench.report(newcomers[0], &job, Event::Fetched);
    bench.wait(LEASE * 60, &[members[0], newcomers[0], newcomers[1]]);
    bench.check_said(&job, "cannot join: it did not have the data set within 240s");
    bench.report(members[0], &job, Event::Stopped { step: 4 });
    assert_eq!(bench.form_held(&job, 4), [members[0], newcomers[0]]);
}

#[test]
fn a_worker_that_tells_what_cannot_be_true_is_refused_and_changes_nothing() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    bench.restart();
    let before = bench.job(&job);
    let refused = |answer| matches!(answer, Err(Rejected::Call(rpc::Rejected::Impossible(_))));
    assert!(refused(bench.call(Input::Poll { worker: members[0], after: u64::MAX, pace: None })));
    for step in [21, u64::MAX] {
        let from = StateSource::Members { healed: 0 };
        let failure = Failure::Peer { reason: "a connection broke".to_owned(), step };
        for event in [Event::Formed { step, from }, Event::Stopped { step }, Event::Failed(failure)] {
            assert!(refused(bench.report_in(members[0], &job, Generation::new(1), event)));
        }
    }
    assert_eq!(bench.job(&job), before);
    bench.report(members[0], &job, Event::Stopped { step: 20 });
}

#[test]
fn a_damaged_checkpoint_is_dropped_and_the_one_before_is_used() {
    let (mut bench, job, mut members) = Bench::train(1, &[]);
    bench.save(&job, 5);
    bench.save(&job, 10);
    for expected in [Some(10), Some(5), None] {
        // Nobody is left who holds the state.
        bench.call(Input::Detach { worker: *members.last().expect("a worker") }).expect("leaving is taken");
        members = bench.attach(1);
        let assignment = bench.assignment(members[0]);
        assert_eq!(assignment.resume.as_ref().map(|checkpoint| checkpoint.step), expected);
        let Some(resume) = &assignment.resume else { break };
        let failure = Failure::CheckpointDamaged {
            manifest: resume.manifest.path.clone(),
            reason: "a byte is wrong".to_owned(),
        };
        bench.report(members[0], &job, Event::Failed(failure));
        bench.check_said(&job, &format!("checkpoint {} is damaged", resume.manifest.path));
    }
}

#[test]
fn a_job_that_makes_no_progress_fails_after_a_number_of_generations() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    for _ in 0..2 {
        bench.report(members[0], &job, peer());
        bench.confirm(members[0]);
        bench.form(&job);
    }
    // One step more than ever before: the count begins anew.
    bench.step(&job, 1);
    for _ in 0..3 {
        bench.report(members[0], &job, peer());
        bench.confirm(members[0]);
        bench.form(&job);
    }
    bench.report(members[0], &job, peer());
    bench.check(&job, JobState::Failed);
    let reason = bench.job(&job).reason.unwrap_or_default();
    assert!(reason.starts_with("3 generations in a row made no progress; the last: worker 1"), "{reason}");
}

#[test]
fn a_fault_of_the_job_fails_it() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    let failure = Failure::Job { reason: "the loss is no number".to_owned() };
    bench.report(members[1], &job, Event::Failed(failure));
    bench.check(&job, JobState::Failed);
    assert_eq!(bench.job(&job).reason.as_deref(), Some("the loss is no number"));
    for member in members {
        assert!(matches!(bench.poll(member).last(), Some(Directive::Release { .. })));
    }
}

#[test]
fn a_full_disk_pauses_the_job_until_it_is_resumed() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    bench.save(&job, 5);
    let failure = Failure::Storage { reason: "no space is left".to_owned() };
    bench.report(members[0], &job, Event::Failed(failure));
    bench.check(&job, JobState::Paused);
    assert_eq!(bench.job(&job).reason.as_deref(), Some("no space is left"));
    bench.confirm(members[0]);
    bench.call(Input::Resume { job: job.clone(), workers: None }).expect("a paused job goes on");
    bench.form(&job);
    bench.check_said(&job, "goes on from the checkpoint at step 5");
}

#[test]
fn a_checkpoint_whose_manifest_cannot_be_written_pauses_the_job() {
    let (mut bench, job, _) = Bench::train(1, &[]);
    bench.step(&job, 5);
    bench.save_parts(&job, 5);
    bench.fail_to_write();
    bench.check(&job, JobState::Paused);
    bench.check_said(&job, "the checkpoint at step 5 could not be written: no space is left");
    assert!(bench.job(&job).checkpoints.is_empty());
}

#[test]
fn a_manifest_of_a_generation_that_is_over_is_not_used() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    bench.save_parts(&job, 5);
    bench.report(members[0], &job, peer());
    bench.confirm(members[0]);
    bench.form(&job);
    // The next generation saves the same step before the first manifest is durable.
    bench.save_parts(&job, 5);
    bench.write();
    let checkpoints = bench.job(&job).checkpoints;
    let manifests: Vec<_> = checkpoints.iter().map(|checkpoint| checkpoint.manifest.path.as_str()).collect();
    assert_eq!(manifests, ["checkpoints/demo-1/g2-s5/manifest.json"]);
}

#[test]
fn older_checkpoints_are_deleted_when_a_newer_one_is_recorded() {
    let (mut bench, job, _) = Bench::train(1, &[]);
    bench.save(&job, 5);
    bench.save(&job, 10);
    bench.save_parts(&job, 15);
    assert!(bench.deleted.is_empty(), "the newer one is not durable yet");
    bench.write();
    assert_eq!(bench.deleted.iter().map(|checkpoint| checkpoint.step).collect::<Vec<_>>(), [5]);
    let kept: Vec<u64> = bench.job(&job).checkpoints.iter().map(|checkpoint| checkpoint.step).collect();
    assert_eq!(kept, [10, 15]);
}

#[test]
fn the_first_checkpoint_at_or_after_each_multiple_is_kept_for_good() {
    let settings = [("train.steps", "100000"), ("checkpoint.keep", "1"), ("checkpoint.keep_every", "10")];
    let (mut bench, job, _) = Bench::train(1, &settings);
    let kept = |bench: &Bench| -> Vec<u64> {
        bench.job(&job).checkpoints.iter().map(|checkpoint| checkpoint.step).collect()
    };
    for step in [5, 12, 15, 20, 25, 58, 60] {
        bench.save(&job, step);
    }
    assert_eq!(kept(&bench), [12, 20, 58, 60]);
    assert_eq!(bench.deleted.iter().map(|checkpoint| checkpoint.step).collect::<Vec<_>>(), [5, 15, 25]);
    bench.restart();
    assert_eq!(kept(&bench), [12, 20, 58, 60]);
}

#[test]
fn no_job_keeps_more_checkpoints_than_the_most() {
    let settings = [("train.steps", "100000"), ("checkpoint.keep", "2"), ("checkpoint.keep_every", "1")];
    let (mut bench, job, _) = Bench::train(1, &settings);
    for step in 1..=1_003 {
        bench.save(&job, step);
    }
    let kept = bench.job(&job).checkpoints;
    assert_eq!((kept.len(), kept[0].step), (1_000, 4));
}

#[test]
fn data_that_changed_meanwhile_fails_a_job_that_is_resumed() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    bench.save(&job, 5);
    bench.call(Input::Interrupt { job: job.clone() }).expect("a job that runs can be interrupted");
    bench.report(members[0], &job, Event::Stopped { step: 5 });
    bench.confirm(members[0]);
    bench.call(Input::Resume { job: job.clone(), workers: None }).expect("a paused job goes on");
    let changed = DatasetRef { version: "d2".to_owned(), ..dataset() };
    let event = Event::Prepared { dataset: changed, found: false, summary: "101 rows".to_owned() };
    bench.report(members[0], &job, event);
    bench.check(&job, JobState::Failed);
    bench.check_said(&job, "its data has changed since it began");
}

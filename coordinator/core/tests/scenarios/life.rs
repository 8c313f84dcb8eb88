//! The undisturbed life of jobs, and what they wait for.

use phalanx_core::{Config, Input, Rejected};
use phalanx_protocol::{
    message::{Directive, Event, Hello, Metrics, StateSource},
    reference::DatasetRef,
    rpc,
    spec::ModelSpec,
    view::JobState,
};

use crate::{
    bench::Bench,
    support::{dataset, hello, spec},
};

#[test]
fn a_job_goes_from_submission_to_a_model_version() {
    let mut bench = Bench::new();
    let job = bench.submit(&[("register.model", "demo"), ("register.alias", "newest")]);
    assert_eq!(bench.job(&job).reason.as_deref(), Some("waits for workers: none is attached"));
    let workers = bench.attach(1);
    bench.check(&job, JobState::Preparing);
    assert!(matches!(bench.poll(workers[0])[..], [Directive::Prepare { .. }]));
    bench.prepared(&job);
    bench.check(&job, JobState::Forming);
    assert!(matches!(bench.poll(workers[0])[..], [Directive::Train(_)]));
    bench.report(workers[0], &job, Event::Formed { step: 0, from: StateSource::Seed });
    bench.check(&job, JobState::Training);
    bench.save(&job, 5);
    bench.report(workers[0], &job, Event::Evaluating);
    bench.check(&job, JobState::Evaluating);
    bench.finish(&job);
    bench.check(&job, JobState::Registering);
    assert!(bench.coordinator.models().is_empty(), "no version before its manifest is durable");
    bench.write();
    bench.check(&job, JobState::Done);
    assert!(matches!(bench.poll(workers[0])[..], [Directive::Release { .. }]));

    let view = bench.job(&job);
    assert_eq!((view.step, view.cursor, view.total_steps), (20, 160, 20));
    assert_eq!(view.model.map(|model| (model.name, model.version)), Some(("demo".to_owned(), 1)));
    assert!(view.finished_at.is_some() && view.started_at.is_some());
    for text in [
        "submitted",
        "starts with 1 worker: 1",
        "data set found: 100 rows",
        "generation 1 formed at step 0: 1 worker",
        "checkpoint at step 5",
        "finished after 20 steps",
        "registered as model demo version 1, alias `newest`",
    ] {
        bench.check_said(&job, text);
    }
}

#[test]
fn a_job_is_not_over_before_the_checkpoint_of_its_last_step_is_whole() {
    let mut bench = Bench::new();
    let workers = bench.attach(2);
    let job = bench.submit(&[("workers.start", "2")]);
    bench.form(&job);
    bench.report(workers[0], &job, Event::Evaluating);
    bench.report(workers[0], &job, Event::CheckpointPart(Box::new(bench.part(&job, 0, 20))));
    bench.finish(&job);
    bench.check(&job, JobState::Evaluating);
    bench.restart();
    bench.report(workers[1], &job, Event::CheckpointPart(Box::new(bench.part(&job, 1, 20))));
    bench.check(&job, JobState::Evaluating);
    bench.write();
    bench.check(&job, JobState::Done);
    assert_eq!(bench.job(&job).checkpoints.last().map(|newest| newest.step), Some(20));
}

#[test]
fn measurements_do_not_push_out_what_happened() {
    let mut bench = Bench::new();
    bench.attach(1);
    let job = bench.submit(&[("train.steps", "1000")]);
    let workers = bench.form(&job);
    for step in 1..200 {
        let metrics = Metrics::from([("accuracy".to_owned(), 0.5)]);
        bench.report(workers[0], &job, Event::Validated { step, metrics });
    }
    bench.check_said(&job, "submitted");
    bench.check_said(&job, "validation at step 199: accuracy 0.5000");
}

#[test]
fn a_job_waits_for_its_fewest_workers_and_takes_no_more_than_its_lanes() {
    let mut bench = Bench::new();
    let job = bench.submit(&[("workers.min", "3")]);
    bench.attach(2);
    assert_eq!(bench.job(&job).reason.as_deref(), Some("waits for 3 workers of one kind: 2 attached"));
    bench.attach(1);
    assert_eq!(bench.form(&job).len(), 3);

    let mut bench = Bench::new();
    bench.attach(7);
    let job = bench.submit(&[]);
    assert_eq!(bench.form(&job).len(), 4);
}

#[test]
fn jobs_run_side_by_side_when_workers_suffice_and_else_in_the_order_of_submission() {
    let mut bench = Bench::new();
    bench.attach(3);
    let jobs = [(); 3].map(|()| bench.submit(&[("workers.min", "1"), ("workers.max", "1")]));
    let fourth = bench.submit(&[]);
    for job in &jobs {
        bench.form(job);
    }
    assert_eq!(
        bench.job(&fourth).reason.as_deref(),
        Some("waits for 1 idle worker: of 3 that fit, 0 can be had now")
    );
    let freed = bench.job(&jobs[1]).workers[0];
    bench.finish(&jobs[1]);
    bench.check(&fourth, JobState::Queued);
    bench.confirm(freed);
    assert_eq!(bench.form(&fourth), [freed]);
}

#[test]
fn a_worker_that_attaches_later_waits_for_the_next_job() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    let late = bench.attach(1);
    assert_eq!(bench.job(&job).workers, members);
    let next = bench.submit(&[]);
    assert_eq!(bench.form(&next), late);
}

#[test]
fn a_generation_does_not_mix_kinds_of_processors() {
    let mut bench = Bench::new();
    bench.attach_as(Hello { kind: "aarch64".to_owned(), ..hello(77) });
    let workers = bench.attach(2);
    let job = bench.submit(&[]);
    assert_eq!(bench.form(&job), workers);
}

#[test]
fn a_job_with_a_task_of_its_own_waits_for_a_worker_that_has_it() {
    let mut bench = Bench::new();
    bench.attach(1);
    let mut own = spec(&[]);
    own.model = ModelSpec::Custom(phalanx_protocol::spec::CustomSpec {
        task: "mine".to_owned(),
        settings: Default::default(),
    });
    bench.call(Input::Submit { spec: own, trace: None, key: None }).expect("a right job");
    let view = bench.coordinator.jobs().remove(0);
    let why = "waits for a worker that has the task `mine`: none of the 1 attached has it";
    assert_eq!(view.reason.as_deref(), Some(why));
    let having = bench.attach_as(Hello { tasks: vec!["mine".to_owned()], ..hello(77) });
    assert_eq!(bench.form(&view.id), [having]);
}

#[test]
fn a_wrong_job_is_refused_with_every_problem() {
    let mut bench = Bench::new();
    let mut wrong = spec(&[]);
    wrong.train.lanes = 3;
    wrong.name = "No Name".to_owned();
    match bench.call(Input::Submit { spec: wrong, trace: None, key: None }) {
        Err(Rejected::WrongJob { problems }) => assert_eq!(problems.len(), 2, "{problems:?}"),
        other => panic!("a wrong job was answered with {other:?}"),
    }
    assert!(bench.coordinator.jobs().is_empty());
}

#[test]
fn a_training_split_smaller_than_a_batch_fails_the_job() {
    let mut bench = Bench::new();
    bench.attach(1);
    let job = bench.submit(&[("train.batch_size", "128")]);
    bench.prepared(&job);
    bench.check(&job, JobState::Failed);
    bench.check_said(&job, "the training split has 80 rows, fewer than one batch of 128");
}

#[test]
fn figures_that_are_no_numbers_do_not_spoil_the_records() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    let metrics = Metrics::from([("loss".to_owned(), f64::NAN), ("accuracy".to_owned(), 0.5)]);
    bench.report(members[0], &job, Event::Validated { step: 1, metrics });
    bench.check_said(&job, "validation at step 1: accuracy 0.5000");
    bench.restart();
    assert_eq!(bench.job(&job).validation, Metrics::from([("accuracy".to_owned(), 0.5)]));
}

#[test]
fn a_worker_of_another_version_is_refused_and_so_is_one_too_many() {
    let mut bench = Bench::new();
    let old = Hello { version: "0.0.1".to_owned(), ..hello(7) };
    let refused = bench.call(Input::Attach(Box::new(old)));
    let (worker, coordinator) = ("0.0.1".to_owned(), rpc::VERSION.to_owned());
    assert_eq!(refused, Err(Rejected::Attach(rpc::NotAttached::Version { worker, coordinator })));

    let mut bench = Bench::with(Config { workers_max: 1, ..Config::default() });
    bench.attach(1);
    let refused = bench.call(Input::Attach(Box::new(hello(77))));
    assert_eq!(refused, Err(Rejected::Attach(rpc::NotAttached::Full { limit: 1 })));
}

#[test]
fn a_process_that_attaches_again_replaces_itself_and_not_the_one_of_another_container() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    let other = Hello { data_addr: ([10, 0, 0, 2], 9_000).into(), ..hello(1) };
    let other = bench.attach_as(other);
    bench.check(&job, JobState::Training);
    assert_eq!(bench.coordinator.workers().len(), 2);
    let again = bench.attach_as(hello(1));
    let ids: Vec<_> = bench.coordinator.workers().into_iter().map(|worker| worker.id).collect();
    assert_eq!(ids, [other, again]);
    assert!(again > members[0]);
}

#[test]
fn a_validation_that_is_told_twice_counts_once() {
    let (mut bench, job, members) = Bench::train(1, &[]);
    let validated = || Event::Validated { step: 5, metrics: Metrics::from([("loss".to_owned(), 0.5)]) };
    bench.save(&job, 5);
    bench.report(members[0], &job, validated());
    let before = (bench.job(&job), bench.coordinator.curve(&job));
    bench.report(members[0], &job, validated());
    assert_eq!((bench.job(&job), bench.coordinator.curve(&job)), before);
    assert_eq!(before.1.expect("a curve").validation, [(5, 0.5)]);
}

#[test]
fn more_steps_than_a_job_can_have_are_refused_once_the_rows_are_known() {
    let mut bench = Bench::new();
    bench.attach(1);
    let mut endless = spec(&[]);
    (endless.train.steps, endless.train.epochs) = (None, Some(u32::MAX));
    bench.call(Input::Submit { spec: endless, trace: None, key: None }).expect("a right job");
    let view = bench.coordinator.jobs().remove(0);
    let dataset = DatasetRef { train_rows: u64::MAX, ..dataset() };
    let event = Event::Prepared { dataset, found: true, summary: "many rows".to_owned() };
    bench.report(view.workers[0], &view.id, event);
    bench.check(&view.id, JobState::Failed);
    bench.check_said(&view.id, "are more than a job can have (1000000000000)");
}

#[test]
fn a_job_that_is_over_shows_how_many_workers_it_had_and_leaves_nothing_over() {
    let (mut bench, job, members) = Bench::train(2, &[]);
    bench.save(&job, 5);
    // A checkpoint that never comes to be.
    let part = Box::new(bench.part(&job, 0, 10));
    bench.report(members[0], &job, Event::CheckpointPart(part.clone()));
    bench.finish(&job);
    bench.check(&job, JobState::Done);
    let view = bench.job(&job);
    assert_eq!((view.world_size, view.workers), (2, Vec::new()));
    let [leftovers] = &bench.swept[..] else { panic!("swept {:?}", bench.swept) };
    assert_eq!(leftovers.folder(), format!("checkpoints/{job}"));
    assert!(leftovers.contains(&part.file.path));
    assert!(!leftovers.contains(&view.checkpoints[0].manifest.path));
}

#[test]
fn a_list_of_jobs_leaves_out_the_oldest_that_are_over() {
    let mut bench = Bench::new();
    let jobs = [(); 4].map(|()| bench.submit(&[]));
    for over in [&jobs[0], &jobs[2], &jobs[3]] {
        bench.call(Input::Cancel { job: over.clone() }).expect("a job that waits can be cancelled");
    }
    let listed = |max| bench.coordinator.newest_jobs(max).into_iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(listed(0), jobs[1..2]);
    assert_eq!(listed(2), jobs[1..]);
    assert_eq!(listed(9), jobs);
}

//! The coordinator dies (`kill -9`) in each state that a job can be in. After it is started again,
//! the job ends as if nothing had happened: the same bits, one model version, the alias set.
//!
//! States that pass in a moment are held by a worker that stands still, or are seen by what lies in
//! the object store; where the kill may come too late, the test looks whether it did, and tries again.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use phalanx_protocol::view::{JobState, JobView, ModelView};
use phalanx_tests::{Cluster, Deadline, Home, Job, Running, Signal, eventually, freeze};

const ID: &str = "mlp-1";

/// How often a state is tried to be hit that passes in a moment.
const TRIES: usize = 20;

fn registered(job: Job) -> Job {
    job.with("[register]\nmodel = \"census\"\nalias = \"champion\"\n[workers]\nstart = 2\n")
}

fn job() -> Job {
    registered(Job::mlp().steps(400).with("[checkpoint]\nevery = 100\n"))
}

/// A cluster with two workers that wait for a job. The first to attach will be rank 0.
fn ground() -> (Cluster, [Running; 2]) {
    let cluster = Cluster::start();
    let attached = || serde_json::from_str(&cluster.ask(&["workers", "--json"]).stdout).ok();
    let workers = [1, 2].map(|count| {
        let worker = cluster.start_worker(&[]);
        eventually("a worker", Deadline::default(), || {
            attached().filter(|workers: &Vec<serde_json::Value>| workers.len() == count)
        });
        worker
    });
    (cluster, workers)
}

/// Waits until the job is in this state, looking as often as it can. `None` where it is beyond it.
fn reach(cluster: &Cluster, state: JobState) -> Option<()> {
    let api = cluster.api();
    eventually(&format!("{state:?}"), Deadline::default(), || {
        let job: JobView = api.get(&format!("/v1/jobs/{ID}")).ok()?;
        assert!(!matches!(job.state, JobState::Failed | JobState::Paused), "{:?}", job.reason);
        (job.state == state || job.state == JobState::Done).then_some((job.state == state).then_some(()))
    })
}

/// `kill -9`, and the moment after it in milliseconds since 1970.
fn kill(cluster: &mut Cluster) -> i64 {
    cluster.kill_coordinator();
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
    i64::try_from(since.as_millis()).expect("it is not that late")
}

fn ends_as_if_nothing_had_happened(cluster: &Cluster, job: &Job) -> JobView {
    let done = cluster.wait_for(ID, JobState::Done);
    assert_eq!(done.state_hash, Some(Home::new().run(job, 1)), "{:#?}", done.messages);
    let model = cluster.ask(&["model", "census", "--json"]);
    let model: ModelView = serde_json::from_str(&model.stdout).unwrap_or_else(|e| panic!("{e}: {model:?}"));
    assert_eq!(model.versions.len(), 1, "{model:#?}");
    assert_eq!((model.versions[0].version, model.versions[0].job.as_str()), (1, ID));
    assert_eq!(model.aliases, [("champion".to_owned(), 1)].into());
    done
}

#[test]
fn killed_while_the_job_is_queued() {
    let mut cluster = Cluster::start();
    cluster.submit(&job());
    cluster.wait_for(ID, JobState::Queued);
    kill(&mut cluster);
    cluster.start_coordinator();
    assert_eq!(cluster.job(ID).map(|job| job.state), Some(JobState::Queued));
    let _workers = [(); 2].map(|()| cluster.start_worker(&[]));
    ends_as_if_nothing_had_happened(&cluster, &job());
}

#[test]
fn killed_while_the_data_set_is_prepared() {
    let (mut cluster, workers) = ground();
    workers.iter().for_each(|worker| freeze(worker.pid()));
    cluster.submit(&job());
    reach(&cluster, JobState::Preparing).expect("who is to prepare it stands still");
    kill(&mut cluster);
    workers.iter().for_each(|worker| worker.signal(Signal::CONT));
    cluster.start_coordinator();
    ends_as_if_nothing_had_happened(&cluster, &job());
}

#[test]
fn killed_while_the_workers_are_connecting() {
    let (mut cluster, [_prepares, still]) = ground();
    freeze(still.pid());
    cluster.submit(&job());
    reach(&cluster, JobState::Forming).expect("one that it waits for stands still");
    kill(&mut cluster);
    still.signal(Signal::CONT);
    cluster.start_coordinator();
    ends_as_if_nothing_had_happened(&cluster, &job());
}

#[test]
fn killed_while_it_trains() {
    let job = registered(Job::mlp().steps(3_000).with("[checkpoint]\nevery = 1000\n"));
    let (mut cluster, _workers) = ground();
    cluster.submit(&job);
    reach(&cluster, JobState::Training).expect("it has many steps");
    for _ in 0..3 {
        kill(&mut cluster);
        cluster.start_coordinator();
    }
    let done = ends_as_if_nothing_had_happened(&cluster, &job);
    assert_eq!(done.generation.get(), 1, "training has not noticed: {:#?}", done.messages);
}

/// The newest checkpoint, if there are parts of it and no manifest.
fn in_the_making(store: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(store.join("checkpoints").join(ID)).ok()?;
    let folders = folders.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = folders.max_by_key(|folder| {
        let (_, step) = folder.file_name()?.to_str()?.split_once("-s")?;
        step.parse::<u64>().ok()
    })?;
    let has_parts = fs::read_dir(&newest).is_ok_and(|mut files| files.next().is_some());
    (has_parts && !newest.join("manifest.json").exists()).then_some(newest)
}

#[test]
fn killed_while_a_checkpoint_is_in_the_making() {
    let job = registered(Job::mlp().steps(3_000).with("[checkpoint]\nevery = 5\n"));
    let (mut cluster, _workers) = ground();
    cluster.submit(&job);
    let mut hit = 0;
    for _ in 0..TRIES {
        let api = cluster.api();
        let over = || api.get(&format!("/v1/jobs/{ID}")).is_ok_and(|job: JobView| job.state.is_over());
        let half = eventually("a checkpoint in the making", Deadline::default(), || {
            in_the_making(cluster.store()).map(Some).or_else(|| over().then_some(None))
        });
        let Some(half) = half else { break };
        kill(&mut cluster);
        hit += u32::from(!half.join("manifest.json").exists());
        cluster.start_coordinator();
        if hit == 3 {
            break;
        }
    }
    assert!(hit > 0, "every manifest was written before the kill");
    ends_as_if_nothing_had_happened(&cluster, &job);
}

/// Kills the coordinator when `there` says so, until it was before the job's end.
fn kill_before_the_end(job: &Job, there: impl Fn(&Cluster) -> Option<()>) {
    for _ in 0..TRIES {
        let (mut cluster, _workers) = ground();
        cluster.submit(job);
        let was_there = there(&cluster);
        let killed_at = kill(&mut cluster);
        cluster.start_coordinator();
        let done = ends_as_if_nothing_had_happened(&cluster, job);
        let finished_at = done.finished_at.expect("it has ended").as_millisecond();
        if was_there.is_some() && finished_at >= killed_at {
            return;
        }
    }
    panic!("the coordinator was quicker each time");
}

#[test]
fn killed_while_the_test_split_is_measured() {
    let job = registered(Job::much_to_measure().steps(20));
    kill_before_the_end(&job, |cluster| reach(cluster, JobState::Evaluating));
}

#[test]
fn killed_when_the_model_is_written_and_not_registered() {
    let job = registered(Job::mlp().steps(20));
    let written = |cluster: &Cluster| {
        let manifest = cluster.store().join("models/census/1/manifest.json");
        let begun = SystemTime::now();
        while !manifest.exists() {
            assert!(
                begun.elapsed().is_ok_and(|waited| waited < Deadline::default().0),
                "no model is written"
            );
        }
        Some(())
    };
    kill_before_the_end(&job, written);
}

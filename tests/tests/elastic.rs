//! Workers that die, hang, join and leave while a job trains, and a coordinator that dies: the
//! job goes on with the state that its workers hold, and ends in the same bits.

use phalanx_protocol::view::{JobState, JobView};
use phalanx_tests::{Cluster, Deadline, Home, Job, Running, Signal, eventually};

/// Long enough to be disturbed, without a checkpoint that it could go back to.
fn long_job(workers: &str) -> Job {
    Job::mlp().steps(4_000).with(&format!("[checkpoint]\nevery = 0\n[workers]\n{workers}\n"))
}

/// A cluster whose job trains on `count` workers.
fn training(job: &Job, count: usize) -> (Cluster, Vec<Running>) {
    let cluster = Cluster::start_with(&["--lease", "2"]);
    let workers = (0..count).map(|_| cluster.start_worker(&[])).collect();
    cluster.submit(job);
    wait_for(&cluster, "all to train", |job| job.world_size as usize == count && job.step > 20);
    (cluster, workers)
}

fn wait_for(cluster: &Cluster, what: &str, there: impl Fn(&JobView) -> bool) -> JobView {
    eventually(what, Deadline::default(), || {
        let job = cluster.job("mlp-1")?;
        assert!(!job.state.is_over() || there(&job), "{:?}: {:?}", job.state, job.reason);
        there(&job).then_some(job)
    })
}

/// It ends in the bits of an undisturbed run, and nobody has read a checkpoint.
fn ends_in_the_same_bits(cluster: &Cluster, job: &Job) -> JobView {
    let ended = cluster.wait_for("mlp-1", JobState::Done);
    assert_eq!(ended.state_hash, Some(Home::new().run(job, 1)), "{:#?}", ended.messages);
    let went_back = ended.messages.iter().find(|message| message.text.contains("from the checkpoint"));
    assert!(went_back.is_none(), "{went_back:?}");
    ended
}

#[test]
fn a_worker_that_is_killed_is_replaced_and_takes_the_state_from_the_others() {
    let job = long_job("start = 3");
    let (cluster, mut workers) = training(&job, 3);
    workers[0].signal(Signal::KILL);
    wait_for(&cluster, "the others to go on", |job| job.world_size == 2 && job.step > 40);
    workers.push(cluster.start_worker(&[]));
    let healed = wait_for(&cluster, "another to join", |job| job.world_size == 3);
    let took = healed.messages.iter().any(|message| message.text.contains("took the state from the others"));
    assert!(took || healed.state == JobState::Forming, "{:#?}", healed.messages);
    ends_in_the_same_bits(&cluster, &job);
}

#[test]
fn a_worker_that_hangs_is_left_behind_and_joins_again_when_it_wakes_up() {
    let job = long_job("start = 2");
    let (cluster, workers) = training(&job, 2);
    workers[1].signal(Signal::STOP);
    wait_for(&cluster, "the other to go on", |job| job.world_size == 1);
    workers[1].signal(Signal::CONT);
    wait_for(&cluster, "it to join again", |job| job.world_size == 2);
    ends_in_the_same_bits(&cluster, &job);
}

#[test]
fn training_does_not_notice_that_the_coordinator_is_killed_and_started_again() {
    let job = long_job("start = 2");
    let (mut cluster, _workers) = training(&job, 2);
    cluster.kill_coordinator();
    cluster.start_coordinator();
    let ended = ends_in_the_same_bits(&cluster, &job);
    assert_eq!(ended.generation.get(), 1, "{:#?}", ended.messages);
}

#[test]
fn a_job_is_scaled_down_and_up_while_it_trains() {
    let job = long_job("start = 3");
    let (cluster, _workers) = training(&job, 3);
    let said = cluster.ask(&["scale", "mlp-1", "1"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    wait_for(&cluster, "it to shrink", |job| job.world_size == 1);
    assert_eq!(cluster.ask(&["scale", "mlp-1", "4"]).code, Some(0));
    wait_for(&cluster, "it to grow", |job| job.world_size == 3);
    ends_in_the_same_bits(&cluster, &job);
}

#[test]
fn a_worker_that_is_told_to_end_hands_its_work_over_and_ends_well() {
    let job = long_job("start = 3");
    let (cluster, mut workers) = training(&job, 3);
    let told = workers.remove(2);
    told.signal(Signal::TERM);
    let ended = told.wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let drained = wait_for(&cluster, "the others to go on", |job| job.world_size == 2);
    let lost = drained.messages.iter().find(|message| message.text.contains("was lost"));
    assert!(lost.is_none(), "{lost:?}");
    let worker = drained.workers[0].to_string();
    let said = cluster.ask(&["drain", &worker]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    wait_for(&cluster, "one to be left", |job| job.world_size == 1);
    ends_in_the_same_bits(&cluster, &job);
}

#[test]
fn the_last_worker_that_is_told_to_end_saves_the_state_first() {
    let job = long_job("start = 1");
    let (cluster, mut workers) = training(&job, 1);
    let told = workers.remove(0);
    told.signal(Signal::TERM);
    assert_eq!(told.wait().code, Some(0));
    let waiting = cluster.wait_for("mlp-1", JobState::Queued);
    assert_eq!(waiting.checkpoints.last().map(|newest| newest.step), Some(waiting.step));
    let _another = cluster.start_worker(&[]);
    let ended = cluster.wait_for("mlp-1", JobState::Done);
    assert_eq!(ended.state_hash, Some(Home::new().run(&job, 1)));
}

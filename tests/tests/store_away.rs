//! A cluster whose object store is a real S3 server that goes away and comes back.

use std::time::{Duration, Instant};

use phalanx_protocol::view::{JobState, JobView};
use phalanx_tests::{Cluster, Deadline, Home, Job, SeaweedFs, Signal, eventually};

/// How long the store is away. Calls to it are given up several times meanwhile.
const AWAY: Duration = Duration::from_secs(22);

/// Looks at the job until it is `there`.
fn wait_for(cluster: &Cluster, what: &str, there: impl Fn(&JobView) -> bool) -> JobView {
    eventually(what, Deadline::default(), || {
        let job = cluster.job("mlp-1")?;
        assert!(!job.state.is_over() || there(&job), "{:?}: {:?}", job.state, job.reason);
        there(&job).then_some(job)
    })
}

/// A job that trains for longer than the store is away, on any machine: it ends when it is told to.
fn endless() -> Job {
    Job::mlp().steps(1_000_000).with("[checkpoint]\nevery = 50\n[workers]\nmin = 2\n")
}

fn has_said(job: &JobView, text: &str) -> usize {
    job.messages.iter().filter(|message| message.text.contains(text)).count()
}

#[test]
fn a_store_that_is_away_stalls_checkpoints_and_not_training() {
    let Some(mut server) = SeaweedFs::start("a store that is away") else { return };
    let mut cluster = Cluster::on_s3(&server, &[]);
    (0..2).for_each(|_| cluster.add_worker());
    cluster.submit(&endless());
    wait_for(&cluster, "a checkpoint", |job| !job.checkpoints.is_empty());

    server.kill();
    let begun = Instant::now();
    let stalled = wait_for(&cluster, "the job to say that it is stalled", |job| job.store_away.is_some());
    let last = stalled.checkpoints.last().expect("one was there before").step;
    let reason = stalled.reason.expect("it says why");
    assert!(reason.contains("stalled") && reason.contains(&format!("of step {last}")), "{reason}");
    let shown = cluster.ask(&["job", "mlp-1"]).stdout;
    assert!(shown.contains("away since") && shown.contains("checkpoints are stalled"), "{shown}");
    let before = stalled.step;
    let during = wait_for(&cluster, "the outage to last", |_| begun.elapsed() >= AWAY);
    assert!(during.step > before + 50, "steps go on: {before}, then {}", during.step);
    assert_eq!(during.state, JobState::Training);
    assert_eq!(during.checkpoints.last().map(|checkpoint| checkpoint.step), Some(last));

    server.restart();
    let after = wait_for(&cluster, "a newer checkpoint", |job| {
        job.store_away.is_none() && job.checkpoints.last().is_some_and(|newest| newest.step > during.step)
    });
    assert_eq!(after.generation.get(), 1, "nobody was lost: {:#?}", after.messages);
    assert_eq!(has_said(&after, "the object store does not answer"), 1, "{:#?}", after.messages);
    assert_eq!(has_said(&after, "the object store answers again"), 1, "{:#?}", after.messages);
}

#[test]
fn a_job_that_ends_while_the_store_is_away_waits_for_it_and_ends_in_the_same_bits() {
    let Some(mut server) = SeaweedFs::start("a job that ends while the store is away") else { return };
    let mut cluster = Cluster::on_s3(&server, &[]);
    cluster.add_worker();
    let job = Job::mlp().steps(3_000).with("[checkpoint]\nevery = 100\n");
    cluster.submit(&job);
    wait_for(&cluster, "a checkpoint", |job| !job.checkpoints.is_empty());
    server.kill();
    let waits = wait_for(&cluster, "training to be over", |job| {
        job.state == JobState::Evaluating && job.store_away.is_some()
    });
    let reason = waits.reason.expect("it says what it waits for");
    assert!(reason.contains("wait for the store"), "{reason}");
    server.restart();
    let done = cluster.wait_for("mlp-1", JobState::Done);
    assert_eq!(done.state_hash, Some(Home::new().run(&job, 1)), "{:#?}", done.messages);
    assert_eq!(done.checkpoints.last().map(|newest| newest.step), Some(3_000));
}

#[test]
fn a_checkpoint_of_three_ranks_is_read_by_one_and_by_four() {
    let Some(server) = SeaweedFs::start("a checkpoint of three ranks on S3") else { return };
    let mut cluster = Cluster::on_s3(&server, &[]);
    (0..4).for_each(|_| cluster.add_worker());
    let job = Job::mlp().steps(1_500).with("[checkpoint]\nevery = 100\n[workers]\nmin = 3\nmax = 3\n");
    let expected = Home::new().run(&job, 1);
    for (id, readers) in [("mlp-1", 1), ("mlp-2", 4)] {
        cluster.submit(&job);
        eventually("a checkpoint", Deadline::default(), || {
            (!cluster.job(id)?.checkpoints.is_empty()).then_some(())
        });
        // Workers forget the state of a job that is given up.
        assert_eq!(cluster.ask(&["cancel", id]).code, Some(0));
        let written = cluster.wait_for(id, JobState::Cancelled);
        assert_eq!(written.world_size, 3);
        assert_eq!(cluster.ask(&["resume", id, "--workers", &readers.to_string()]).code, Some(0));
        let done = cluster.wait_for(id, JobState::Done);
        assert_eq!(done.world_size, readers, "{:#?}", done.messages);
        assert_eq!(has_said(&done, "goes on from the checkpoint"), 1, "{:#?}", done.messages);
        assert_eq!(done.state_hash.as_ref(), Some(&expected), "{readers} workers");
    }
}

#[test]
fn an_upload_that_is_cut_off_leaves_nothing_that_could_be_taken_for_a_checkpoint() {
    let Some(server) = SeaweedFs::start("an upload that is cut off") else { return };
    let mut cluster = Cluster::on_s3(&server, &["--lease", "2"]);
    cluster.add_worker();
    // Parts of 70 MB, which are sent in pieces.
    let job = Job::wide_mlp().hidden("[2048, 2048]").steps(12).with("[checkpoint]\nevery = 4\n");
    cluster.submit(&job);
    let is_part = |(path, _): &(String, u64)| path.ends_with(".safetensors");
    eventually("an upload", Deadline::default(), || (!server.list("runs/.claims/").is_empty()).then_some(()));
    cluster.workers()[0].signal(Signal::KILL);
    let left: Vec<_> = server.list("runs/checkpoints/").into_iter().filter(is_part).collect();

    cluster.add_worker();
    let done = cluster.wait_for("wide-1", JobState::Done);
    assert_eq!(done.state_hash, Some(Home::new().run(&job, 1)), "{:#?}", done.messages);
    let parts: Vec<_> = server.list("runs/checkpoints/").into_iter().filter(is_part).collect();
    let whole = done.checkpoints.last().expect("the last state is saved").bytes;
    // The kill may have come too late, and then the part is whole.
    assert!(left.iter().chain(&parts).all(|(_, bytes)| *bytes == whole), "{whole}: {left:?} {parts:?}");
    let named: Vec<_> =
        done.checkpoints.iter().map(|kept| format!("g{}-s{}/", kept.generation, kept.step)).collect();
    assert!(parts.iter().all(|(path, _)| named.iter().any(|name| path.contains(name))), "{parts:?}");
}

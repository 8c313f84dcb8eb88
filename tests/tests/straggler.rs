//! A worker that is slow: it is named, and an idle one takes its place.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::Duration,
};

use phalanx_protocol::view::{JobState, JobView, WorkerView};
use phalanx_tests::{Cluster, Deadline, Job, Running, Signal, eventually, send};

/// Of each of these, a slow worker has this much to itself.
const TURN: Duration = Duration::from_millis(40);
const SHARE: Duration = Duration::from_millis(10);

/// A process that is stopped most of the time.
struct Slowed {
    pid: i32,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Slowed {
    fn new(worker: &Running) -> Self {
        let (pid, over) = (worker.pid(), Arc::new(AtomicBool::new(false)));
        let stops = Arc::clone(&over);
        let thread = spawn(move || {
            while !stops.load(Ordering::Relaxed) {
                send(pid, Signal::STOP);
                sleep(TURN - SHARE);
                send(pid, Signal::CONT);
                sleep(SHARE);
            }
        });
        Self { pid, over, thread: Some(thread) }
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
        send(self.pid, Signal::CONT);
    }
}

fn wait_for(cluster: &Cluster, what: &str, there: impl Fn(&JobView) -> bool) -> JobView {
    eventually(what, Deadline::default(), || {
        let job = cluster.job("wide-1")?;
        assert!(!job.state.is_over(), "{:?}: {:?}", job.state, job.reason);
        there(&job).then_some(job)
    })
}

#[test]
fn a_slow_worker_is_named_and_an_idle_one_takes_its_place() {
    let cluster = Cluster::start_with(&["--lease", "2"]);
    let workers: Vec<_> = (0..3).map(|_| cluster.start_worker(&[])).collect();
    let settings = "[checkpoint]\nevery = 0\n[workers]\nmin = 3\nmax = 3\nevict_stragglers = true\n";
    cluster.submit(&Job::wide_mlp().steps(100_000_000).with(settings));
    wait_for(&cluster, "all to train", |job| job.state == JobState::Training && job.step > 20);
    let slowed = Slowed::new(&workers[1]);
    let attached: Vec<WorkerView> = cluster.api().get("/v1/workers").expect("the coordinator answers");
    let slow = attached.iter().find(|worker| worker.pid as i32 == slowed.pid).expect("it is attached").id;

    let named = wait_for(&cluster, "it to be named", |job| job.ranks.iter().any(|rank| rank.straggler));
    let straggler = named.ranks.iter().find(|rank| rank.straggler).expect("there is one");
    assert_eq!(straggler.worker, slow, "{:#?}", named.ranks);
    let told = named.messages.iter().any(|message| message.text.contains("is a straggler: rank"));
    assert!(told, "{:#?}", named.messages);
    let shown = cluster.ask(&["job", "wide-1"]).stdout;
    assert!(shown.lines().any(|line| line.ends_with("straggler")), "{shown}");

    let _idle = cluster.start_worker(&[]);
    let relieved = wait_for(&cluster, "another to take its place", |job| {
        job.state == JobState::Training && job.generation.get() > 1
    });
    assert!(!relieved.workers.contains(&slow) && relieved.world_size == 3, "{relieved:#?}");
    drop(slowed);
    let freed: Vec<WorkerView> = cluster.api().get("/v1/workers").expect("the coordinator answers");
    assert!(freed.iter().any(|worker| worker.id == slow && worker.job.is_none()), "{freed:#?}");
}

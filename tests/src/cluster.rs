//! A cluster by hand, as somebody runs it across machines, on one.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use phalanx_protocol::view::{JobState, JobView};

use crate::{
    api::Api,
    certificates::Certificates,
    job::Job,
    process::{Ended, Home, Running, Signal, binary},
    wait::{Deadline, eventually},
};

/// A coordinator on ports of its own, and workers that come by themselves.
#[derive(Debug)]
pub struct Cluster {
    home: Home,
    store: PathBuf,
    address: String,
    rpc: String,
    certificates: Option<Certificates>,
    /// Further flags of the coordinator.
    options: Vec<String>,
    coordinator: Option<Running>,
    workers: Vec<Running>,
}

impl Cluster {
    /// Starts a coordinator whose state and store lie in a folder of its own.
    pub fn start() -> Self {
        let home = Home::new();
        let store = home.folder().join("store");
        Self::with_store(home, store)
    }

    /// [`start`](Self::start) with certificates for the coordinator and its workers.
    pub fn start_secured() -> Self {
        let home = Home::new();
        let store = home.folder().join("store");
        Self::with(home, store, Some(Certificates::new()), &[])
    }

    /// [`start`](Self::start) with further flags for the coordinator.
    pub fn start_with(options: &[&str]) -> Self {
        let home = Home::new();
        let store = home.folder().join("store");
        Self::with(home, store, None, options)
    }

    /// A client of the coordinator that is quick.
    pub fn api(&self) -> Api {
        Api::new(&self.address)
    }

    /// Starts a coordinator with the store in this folder.
    ///
    /// # Panics
    ///
    /// Where no port can be had.
    pub fn with_store(home: Home, store: PathBuf) -> Self {
        Self::with(home, store, None, &[])
    }

    fn with(home: Home, store: PathBuf, certificates: Option<Certificates>, options: &[&str]) -> Self {
        let [address, rpc] = free_addresses();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let (coordinator, workers) = (None, Vec::new());
        let mut cluster = Self { home, store, address, rpc, certificates, options, coordinator, workers };
        cluster.start_coordinator();
        cluster
    }

    /// Starts the coordinator, again after it was killed.
    pub fn start_coordinator(&mut self) {
        let folder = self.home.folder().display();
        let mut command = Command::new(binary("phalanx"));
        command.args(["coordinator", "--listen", &self.address, "--rpc", &self.rpc]);
        command.args(["--state", &format!("{folder}/state.redb")]);
        command.args(["--store", &format!("file://{}", self.store.display())]);
        command.args(self.flags("coordinator")).args(&self.options);
        self.coordinator = Some(Running::start(command));
        eventually("the coordinator to answer", Deadline::default(), || {
            (self.ask(&["jobs", "--json"]).code == Some(0)).then_some(())
        });
    }

    fn flags(&self, role: &str) -> Vec<String> {
        self.certificates.as_ref().map_or_else(Vec::new, |certificates| certificates.flags(role))
    }

    /// The folder of the object store.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The workers that the cluster owns, in the order in which they were started.
    pub fn workers(&self) -> &[Running] {
        &self.workers
    }

    /// What the coordinator has told in its log until now.
    pub fn coordinator_said(&self) -> String {
        self.coordinator.as_ref().map_or_else(String::new, Running::said)
    }

    /// `kill -9` of the coordinator.
    ///
    /// # Panics
    ///
    /// Where it does not run.
    pub fn kill_coordinator(&mut self) {
        let coordinator = self.coordinator.take().expect("it runs");
        coordinator.signal(Signal::KILL);
        coordinator.wait();
    }

    /// Starts a worker.
    pub fn add_worker(&mut self) {
        let worker = self.start_worker(&self.flags("worker"));
        self.workers.push(worker);
    }

    /// Starts a worker that the cluster does not own, with these flags.
    pub fn start_worker(&self, flags: &[String]) -> Running {
        let mut command = Command::new(binary("phalanx"));
        command.args(["worker", "--coordinator", &self.rpc]);
        command.args(flags).current_dir(self.home.folder());
        Running::start(command)
    }

    /// Runs `phalanx ARGS` against the coordinator.
    pub fn ask(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(binary("phalanx"));
        command.args(args).args(["--coordinator", &format!("http://{}", self.address)]);
        Running::start(command).wait()
    }

    /// Submits a job.
    ///
    /// # Panics
    ///
    /// Where it is refused.
    pub fn submit(&self, job: &Job) {
        let file = self.home.write_job(job);
        let ended = self.ask(&["submit", file.to_str().expect("temporary paths are UTF-8")]);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    }

    /// The job, if the coordinator answers.
    pub fn job(&self, id: &str) -> Option<JobView> {
        serde_json::from_str(&self.ask(&["job", id, "--json"]).stdout).ok()
    }

    /// Waits until the job is in this state.
    ///
    /// # Panics
    ///
    /// Where it ends in another one.
    pub fn wait_for(&self, id: &str, state: JobState) -> JobView {
        eventually(&format!("{id} to be {state:?}"), Deadline::default(), || {
            let job = self.job(id)?;
            assert!(!job.state.is_over() || job.state == state, "{id}: {:?} {:?}", job.state, job.reason);
            (job.state == state).then_some(job)
        })
    }
}

/// Addresses on this machine where nobody listens, out of those that the system gives to
/// nobody by itself: they are free again for a process that is started anew.
///
/// # Panics
///
/// Where all are taken.
pub fn free_addresses<const N: usize>() -> [String; N] {
    let mut chance = RandomState::new().hash_one(std::process::id());
    let mut free = std::iter::from_fn(|| {
        let port = 20_000 + chance % 10_000;
        chance = chance.rotate_left(7).wrapping_add(1);
        Some(format!("127.0.0.1:{port}"))
    })
    .filter(|address| TcpListener::bind(address).is_ok());
    [(); N].map(|()| free.next().expect("a port can be had"))
}

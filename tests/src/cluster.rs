//! A cluster by hand, as somebody runs it across machines, on one.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use phalanx_protocol::view::{JobState, JobView};
use serde_json::Value;

use crate::{
    api::Api,
    certificates::Certificates,
    etcd::Etcd,
    job::Job,
    process::{Ended, Home, Running, Signal, binary},
    seaweed::SeaweedFs,
    wait::{Deadline, eventually},
};

/// Coordinators on ports of their own, and workers that come by themselves.
#[derive(Debug)]
pub struct Cluster {
    home: Home,
    ground: Ground,
    certificates: Option<Certificates>,
    coordinators: Vec<Coordinator>,
    workers: Vec<Running>,
}

/// What coordinators rest on.
#[derive(Debug)]
struct Ground {
    /// URL of the object store, and what a user sets to reach it.
    store: String,
    settings: Vec<(String, String)>,
    /// A file, or the URL of a state in etcd.
    state: String,
    /// Further flags of coordinators.
    options: Vec<String>,
}

/// A coordinator's place.
#[derive(Debug)]
struct Coordinator {
    address: String,
    rpc: String,
    process: Option<Running>,
}

impl Cluster {
    /// Starts a coordinator whose state and store lie in a folder of its own.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// [`start`](Self::start) with certificates for the coordinator and its workers.
    pub fn start_secured() -> Self {
        let home = Home::new();
        let ground = Ground::in_folder(&home, &[]);
        Self::on(home, ground, Some(Certificates::new()), 1)
    }

    /// [`start`](Self::start) with further flags for the coordinator.
    pub fn start_with(options: &[&str]) -> Self {
        let home = Home::new();
        let ground = Ground::in_folder(&home, options);
        Self::on(home, ground, None, 1)
    }

    /// Starts a coordinator with the store in this folder.
    pub fn with_store(home: Home, store: PathBuf) -> Self {
        let store = format!("file://{}", store.display());
        let ground = Ground { store, ..Ground::in_folder(&home, &[]) };
        Self::on(home, ground, None, 1)
    }

    /// Starts a coordinator with the store on this server. A call to it is given up after a few
    /// seconds, and made again.
    pub fn on_s3(server: &SeaweedFs, options: &[&str]) -> Self {
        let home = Home::new();
        let mut settings = server.settings();
        settings.push(("PHALANX_STORE_RETRY".to_owned(), "5".to_owned()));
        let ground = Ground { store: server.url("runs"), settings, ..Ground::in_folder(&home, options) };
        Self::on(home, ground, None, 1)
    }

    /// Starts so many coordinators that have their state in this etcd.
    pub fn over_etcd(etcd: &Etcd, coordinators: usize, options: &[&str]) -> Self {
        let home = Home::new();
        let ground = Ground { state: etcd.url("phalanx"), ..Ground::in_folder(&home, options) };
        Self::on(home, ground, None, coordinators)
    }

    fn on(home: Home, ground: Ground, certificates: Option<Certificates>, coordinators: usize) -> Self {
        let place = || {
            let [address, rpc] = free_addresses();
            Coordinator { address, rpc, process: None }
        };
        let coordinators = std::iter::repeat_with(place).take(coordinators).collect();
        let mut cluster = Self { home, ground, certificates, coordinators, workers: Vec::new() };
        (0..cluster.coordinators.len()).for_each(|number| cluster.spawn_coordinator(number));
        cluster.expect_an_answer();
        cluster
    }

    /// A client of the first coordinator that is quick.
    pub fn api(&self) -> Api {
        Api::new(&self.coordinators[0].address)
    }

    /// Starts the first coordinator again, after it was killed.
    pub fn start_coordinator(&mut self) {
        self.spawn_coordinator(0);
        self.expect_an_answer();
    }

    fn spawn_coordinator(&mut self, number: usize) {
        let Coordinator { address, rpc, .. } = &self.coordinators[number];
        let mut command = Command::new(binary("phalanx"));
        command.args(["coordinator", "--listen", address, "--rpc", rpc]);
        command.args(["--state", &self.ground.state, "--store", &self.ground.store]);
        command.args(self.flags("coordinator")).args(&self.ground.options);
        command.envs(self.ground.settings.clone());
        self.coordinators[number].process = Some(Running::start(command));
    }

    fn expect_an_answer(&self) {
        eventually("a coordinator to answer", Deadline::default(), || {
            (self.ask(&["jobs", "--json"]).code == Some(0)).then_some(())
        });
    }

    fn flags(&self, role: &str) -> Vec<String> {
        self.certificates.as_ref().map_or_else(Vec::new, |certificates| certificates.flags(role))
    }

    /// Where users reach the first coordinator, as `host:port`.
    pub fn http(&self) -> &str {
        &self.coordinators[0].address
    }

    /// Where workers attach to the first coordinator, as `host:port`.
    pub fn rpc(&self) -> &str {
        &self.coordinators[0].rpc
    }

    /// The process id of the first coordinator.
    ///
    /// # Panics
    ///
    /// Where it does not run.
    pub fn coordinator_pid(&self) -> i32 {
        self.coordinators[0].process.as_ref().expect("it runs").pid()
    }

    /// The folder of the object store, where it is one.
    ///
    /// # Panics
    ///
    /// Where it is not.
    pub fn store(&self) -> &Path {
        Path::new(self.ground.store.strip_prefix("file://").expect("the store is a folder"))
    }

    /// The workers that the cluster owns, in the order in which they were started.
    pub fn workers(&self) -> &[Running] {
        &self.workers
    }

    /// What the first coordinator has told in its log until now.
    pub fn coordinator_said(&self) -> String {
        self.coordinators[0].process.as_ref().map_or_else(String::new, Running::said)
    }

    /// `kill -9` of the first coordinator.
    ///
    /// # Panics
    ///
    /// Where it does not run.
    pub fn kill_coordinator(&mut self) {
        self.kill(0);
    }

    /// `kill -9` of the coordinator that leads; returns which that was.
    ///
    /// # Panics
    ///
    /// Where none does.
    pub fn kill_leader(&mut self) -> usize {
        let leader = self.leader().expect("one leads");
        self.kill(leader);
        leader
    }

    /// The coordinator that leads, if one does.
    pub fn leader(&self) -> Option<usize> {
        let leads = |place: &Coordinator| Api::new(&place.address).get::<Value>("/v1/jobs").is_ok();
        self.coordinators.iter().position(leads)
    }

    fn kill(&mut self, number: usize) {
        let coordinator = self.coordinators[number].process.take().expect("it runs");
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
        let rpc: Vec<_> = self.coordinators.iter().map(|place| place.rpc.as_str()).collect();
        let mut command = Command::new(binary("phalanx"));
        command.args(["worker", "--coordinator", &rpc.join(",")]);
        command.args(flags).current_dir(self.home.folder()).envs(self.ground.settings.clone());
        Running::start(command)
    }

    /// Runs `phalanx ARGS` against the coordinators.
    pub fn ask(&self, args: &[&str]) -> Ended {
        let urls: Vec<_> =
            self.coordinators.iter().map(|place| format!("http://{}", place.address)).collect();
        let mut command = Command::new(binary("phalanx"));
        command.args(args).args(["--coordinator", &urls.join(",")]);
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

    /// The job, if a coordinator answers.
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

impl Ground {
    fn in_folder(home: &Home, options: &[&str]) -> Self {
        let folder = home.folder().display();
        Self {
            store: format!("file://{folder}/store"),
            settings: Vec::new(),
            state: format!("{folder}/state.redb"),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        }
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

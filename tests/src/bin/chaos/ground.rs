//! The cluster that things go wrong in: coordinators, workers, and the services that they need, as
//! processes of this machine. A fault begins and ends here; what ends by itself is started again,
//! as a supervisor would.

use std::{path::Path, process::Command};

use phalanx_protocol::view::{JobView, WorkerView};
use phalanx_tests::{
    Api, Deadline, Ended, Etcd, Home, Network, Running, SeaweedFs, Signal, binary, eventually,
    free_addresses, freeze, send,
};

use crate::{
    log::Log,
    options::{Kind, Options},
    plan::{Fault, Way},
};

/// That of workers and of the leader, in seconds.
const LEASE: &str = "2";

/// What a crash of the program itself writes to its log.
const PANIC: &str = "panicked at";

/// The cluster.
#[derive(Debug)]
pub(crate) struct Ground {
    home: Home,
    coordinators: Vec<Coordinator>,
    workers: Vec<Process>,
    weed: Option<SeaweedFs>,
    etcd: Option<Etcd>,
    /// Goes after those who live in it.
    network: Option<Network>,
    /// Faults under way.
    faults: Vec<Fault>,
    /// Kinds of faults that this machine allows.
    kinds: Vec<Kind>,
    panics: Vec<String>,
}

#[derive(Debug)]
struct Coordinator {
    http: String,
    rpc: String,
    process: Process,
}

/// A process that is to run, unless a fault has ended it.
#[derive(Debug, Default)]
struct Process {
    running: Option<Running>,
    is_down: bool,
}

impl Ground {
    /// Starts everything that the faults need, and tells what this machine does not allow.
    pub(crate) fn start(options: &Options) -> Self {
        let wants = |kind| options.kinds.contains(&kind);
        let network = if wants(Kind::Partition) { lay_network(options.workers) } else { None };
        let host = network.as_ref().map_or_else(|| "127.0.0.1".to_owned(), Network::home);
        let etcd = if wants(Kind::Etcd) { Etcd::start(1) } else { None };
        let store = || SeaweedFs::start_at(&host, "an object store that goes away");
        let weed = if wants(Kind::Store) { store() } else { None };
        let allowed = |kind: &Kind| match kind {
            Kind::Kill | Kind::Stop | Kind::Coordinator => true,
            Kind::Partition => network.is_some(),
            Kind::Etcd => etcd.is_some(),
            Kind::Store => weed.is_some(),
        };
        let kinds = options.kinds.iter().copied().filter(allowed).collect();
        let coordinators = if etcd.is_some() { 2 } else { 1 };
        let coordinator = || {
            let [http, rpc] = free_addresses().map(|address| address.replace("127.0.0.1", &host));
            Coordinator { http, rpc, process: Process::default() }
        };
        let coordinators = std::iter::repeat_with(coordinator).take(coordinators).collect();
        let workers = std::iter::repeat_with(Process::default).take(options.workers).collect();
        let (home, faults, panics) = (Home::new(), Vec::new(), Vec::new());
        let mut ground = Self { home, weed, etcd, network, coordinators, workers, faults, kinds, panics };
        (0..ground.coordinators.len()).for_each(|number| ground.start_coordinator(number));
        (0..ground.workers.len()).for_each(|number| ground.start_worker(number));
        ground
    }

    /// Kinds of faults that this machine allows, of those that are asked for.
    pub(crate) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// How many coordinators and workers there are.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.coordinators.len(), self.workers.len())
    }

    /// The cluster in words.
    pub(crate) fn described(&self) -> String {
        let state = if self.etcd.is_some() { "2 coordinators over etcd" } else { "1 coordinator" };
        let store = if self.weed.is_some() { "SeaweedFS" } else { "a folder as object store" };
        let place = if self.network.is_some() { "each in a network namespace" } else { "on one host" };
        format!("{state}, {store}, {} workers, {place}", self.workers.len())
    }

    /// Where something is written that is gone with the cluster.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Clients of all coordinators; one of them leads.
    pub(crate) fn apis(&self) -> Vec<Api> {
        self.coordinators.iter().map(|coordinator| Api::new(&coordinator.http)).collect()
    }

    /// Runs `phalanx ARGS` against the coordinator that leads.
    pub(crate) fn ask(&self, args: &[&str]) -> Ended {
        let all: Vec<_> = self.coordinators.iter().map(|one| format!("http://{}", one.http)).collect();
        let mut command = Command::new(binary("phalanx"));
        command.args(args).args(["--coordinator", &all.join(",")]);
        self.with_store_settings(&mut command);
        Running::start(command).wait()
    }

    /// Waits until a coordinator leads and all workers are attached.
    ///
    /// # Panics
    ///
    /// Where that takes longer than the usual deadline.
    pub(crate) fn expect_well(&mut self, log: &mut Log) {
        let apis = self.apis();
        eventually("the cluster to be well", Deadline::default(), || {
            self.supervise(log);
            let workers: Vec<WorkerView> = apis.iter().find_map(|api| api.get("/v1/workers").ok())?;
            (workers.len() == self.workers.len()).then_some(())
        });
    }

    /// Begins a fault. Returns whether it could be: not where one hits the same already.
    pub(crate) fn begin(&mut self, fault: &Fault) -> bool {
        if self.faults.iter().any(|other| other.hits_the_same(fault)) {
            return false;
        }
        match fault {
            Fault::Kill(workers) => {
                let said: Vec<_> = workers.iter().filter_map(|worker| self.workers[*worker].kill()).collect();
                self.panics.extend(said.iter().filter_map(|said| panic_in(said)));
            }
            Fault::Stop(worker) => {
                let Some(pid) = self.workers[*worker].pid() else { return false };
                freeze(pid);
            }
            Fault::Partition(worker, from) => {
                self.network.as_mut().expect("such faults need one").cut(*worker, *from);
            }
            Fault::Coordinator(number) => {
                let said = self.coordinators[*number].process.kill();
                self.panics.extend(said.as_deref().and_then(panic_in));
            }
            Fault::Etcd(Way::Killed) => self.etcd().kill(0),
            Fault::Etcd(Way::Hangs) => self.etcd().hang(0),
            Fault::Store(Way::Killed) => self.weed().kill(),
            Fault::Store(Way::Hangs) => self.weed().freeze(),
        }
        self.faults.push(fault.clone());
        true
    }

    /// Ends a fault that was begun.
    pub(crate) fn end(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill(workers) => workers.iter().for_each(|worker| self.start_worker(*worker)),
            Fault::Stop(worker) => {
                self.workers[*worker].pid().into_iter().for_each(|pid| send(pid, Signal::CONT));
            }
            Fault::Partition(worker, _) => {
                self.network.as_mut().expect("such faults need one").mend(*worker);
            }
            Fault::Coordinator(number) => self.start_coordinator(*number),
            Fault::Etcd(Way::Killed) => self.etcd().restart(0),
            Fault::Etcd(Way::Hangs) => self.etcd().go_on(0),
            Fault::Store(Way::Killed) => self.weed().restart(),
            Fault::Store(Way::Hangs) => self.weed().thaw(),
        }
        self.faults.retain(|other| other != fault);
    }

    /// Starts again what has ended by itself: a coordinator without etcd, a worker that could not
    /// end its work in time.
    pub(crate) fn supervise(&mut self, log: &mut Log) {
        for number in 0..self.coordinators.len() {
            if let Some(said) = self.coordinators[number].process.ended_by_itself() {
                self.note_end(&format!("coordinator {number}"), &said, log);
                self.start_coordinator(number);
            }
        }
        for number in 0..self.workers.len() {
            if let Some(said) = self.workers[number].ended_by_itself() {
                self.note_end(&format!("worker {number}"), &said, log);
                self.start_worker(number);
            }
        }
    }

    /// Crashes of the program itself, told once.
    pub(crate) fn take_panics(&mut self) -> Vec<String> {
        let coordinators = self.coordinators.iter().map(|coordinator| &coordinator.process);
        let running = coordinators.chain(&self.workers).filter_map(|process| process.running.as_ref());
        let said: Vec<_> = running.map(Running::said).collect();
        let mut panics = std::mem::take(&mut self.panics);
        panics.extend(said.iter().filter_map(|said| panic_in(said)));
        panics
    }

    /// Writes what all processes have said into a folder.
    pub(crate) fn write_logs(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let coordinators = self.coordinators.iter().map(|coordinator| ("coordinator", &coordinator.process));
        let all =
            coordinators.enumerate().chain(self.workers.iter().map(|worker| ("worker", worker)).enumerate());
        for (number, (name, process)) in all {
            let said = process.running.as_ref().map_or_else(String::new, Running::said);
            std::fs::write(folder.join(format!("{name}-{number}.log")), said)?;
        }
        Ok(())
    }

    fn note_end(&mut self, who: &str, said: &str, log: &mut Log) {
        log.tell(format_args!(
            "{who} has ended by itself: {}",
            said.lines().last().unwrap_or("it said nothing")
        ));
        self.panics.extend(panic_in(said));
    }

    fn start_coordinator(&mut self, number: usize) {
        let Coordinator { http, rpc, .. } = &self.coordinators[number];
        let folder = self.home.folder().display();
        let state =
            self.etcd.as_ref().map_or_else(|| format!("{folder}/state.redb"), |etcd| etcd.url("chaos"));
        let store =
            self.weed.as_ref().map_or_else(|| format!("file://{folder}/store"), |weed| weed.url("chaos"));
        let mut command = Command::new(binary("phalanx"));
        command.args(["coordinator", "--listen", http, "--rpc", rpc, "--lease", LEASE]);
        command.args(["--state", &state, "--store", &store]);
        self.with_store_settings(&mut command);
        self.coordinators[number].process.start(command);
    }

    fn start_worker(&mut self, number: usize) {
        let binary = binary("phalanx");
        let mut command = match &self.network {
            Some(network) => network.command(number, binary),
            None => Command::new(binary),
        };
        let all: Vec<_> = self.coordinators.iter().map(|coordinator| coordinator.rpc.as_str()).collect();
        command.args(["worker", "--coordinator", &all.join(",")]);
        command.arg("--cache").arg(self.home.folder().join(format!("cache-{number}")));
        self.with_store_settings(&mut command);
        self.workers[number].start(command);
    }

    fn with_store_settings(&self, command: &mut Command) {
        command.envs(self.weed.iter().flat_map(SeaweedFs::settings));
    }

    fn etcd(&mut self) -> &mut Etcd {
        self.etcd.as_mut().expect("such faults need one")
    }

    fn weed(&mut self) -> &mut SeaweedFs {
        self.weed.as_mut().expect("such faults need one")
    }
}

impl Process {
    fn start(&mut self, command: Command) {
        *self = Self { running: Some(Running::start(command)), is_down: false };
    }

    /// `kill -9`. Gives what it has said.
    fn kill(&mut self) -> Option<String> {
        self.is_down = true;
        let running = self.running.take()?;
        running.signal(Signal::KILL);
        Some(running.wait().stderr)
    }

    fn pid(&self) -> Option<i32> {
        self.running.as_ref().map(Running::pid)
    }

    /// What it has said, if it has ended and was not killed.
    fn ended_by_itself(&mut self) -> Option<String> {
        let running = self.running.as_mut().filter(|_| !self.is_down)?;
        running.has_ended().then(|| running.said())
    }
}

impl Fault {
    /// Whether one of them cannot begin or end while the other is under way.
    fn hits_the_same(&self, other: &Self) -> bool {
        let workers = self.workers();
        let service = match self {
            Self::Coordinator(_) => self == other,
            Self::Etcd(_) | Self::Store(_) => self.kind() == other.kind(),
            Self::Kill(_) | Self::Stop(_) | Self::Partition(..) => false,
        };
        service || other.workers().iter().any(|worker| workers.contains(worker))
    }

    fn workers(&self) -> Vec<usize> {
        match self {
            Self::Kill(workers) => workers.clone(),
            Self::Stop(worker) | Self::Partition(worker, _) => vec![*worker],
            Self::Coordinator(_) | Self::Etcd(_) | Self::Store(_) => Vec::new(),
        }
    }
}

fn lay_network(hosts: usize) -> Option<Network> {
    match Network::lay(hosts) {
        Ok(network) => Some(network),
        Err(reason) => {
            eprintln!("SKIPPED: partitions need network namespaces, which cannot be had here: {reason}");
            None
        }
    }
}

fn panic_in(said: &str) -> Option<String> {
    let lines: Vec<&str> = said.lines().collect();
    let at = lines.iter().position(|line| line.contains(PANIC))?;
    Some(lines[at..].iter().take(3).copied().collect::<Vec<_>>().join(" "))
}

/// The newest state of a job that any coordinator tells.
pub(crate) fn job_of(apis: &[Api], id: &str) -> Option<JobView> {
    apis.iter().find_map(|api| api.get(&format!("/v1/jobs/{id}")).ok())
}

//! A real etcd of one or more members, on loopback ports and in a folder of its own.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    cluster::free_addresses,
    process::{Running, binary, freeze},
    wait::{Deadline, eventually},
};

/// An etcd, ended and forgotten when dropped.
#[derive(Debug)]
pub struct Etcd {
    folder: TempDir,
    binary: PathBuf,
    flags: Vec<String>,
    scheme: &'static str,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    /// Where it is called.
    client: String,
    /// Where other members call it.
    peer: String,
    /// Where it tells in the clear how it is.
    status: String,
    process: Option<Running>,
}

impl Etcd {
    /// Starts one of so many members. `None`, and a line that says so, where `PHALANX_ETCD` does not
    /// name the binary.
    pub fn start(members: usize) -> Option<Self> {
        Self::start_with(members, "http", Vec::new())
    }

    /// Starts one for the state of coordinators. `None`, and a line that says so, where there is none or the binary cannot
    /// use it.
    pub fn for_coordinators() -> Option<Self> {
        let mut command = Command::new(binary("phalanx"));
        command.args(["coordinator", "--listen", "127.0.0.1:0", "--rpc", "127.0.0.1:0"]);
        // Nowhere: whoever can use an etcd says that it is none, and ends.
        command.args(["--state", "etcd://", "--store"]).arg(std::env::temp_dir());
        if Running::start(command).wait().stderr.contains("--features cluster") {
            eprintln!(
                "SKIPPED: a test of several coordinators needs a binary built with `--features cluster`"
            );
            return None;
        }
        Self::start(1)
    }

    /// [`start`](Self::start) with these flags, for calls over `https` or `http`.
    pub fn start_with(members: usize, scheme: &'static str, flags: Vec<String>) -> Option<Self> {
        let Some(binary) = std::env::var_os("PHALANX_ETCD") else {
            eprintln!("SKIPPED: a test of several coordinators needs PHALANX_ETCD=$(scripts/etcd.sh)");
            return None;
        };
        let member = || {
            let [client, peer, status] = free_addresses();
            Member { client, peer, status, process: None }
        };
        let folder = TempDir::new().expect("a temporary folder can be made");
        let members = std::iter::repeat_with(member).take(members).collect();
        let mut etcd = Self { folder, binary: binary.into(), flags, scheme, members };
        (0..etcd.members.len()).for_each(|number| etcd.spawn(number));
        (0..etcd.members.len()).for_each(|number| etcd.expect_healthy(number));
        Some(etcd)
    }

    /// The URL of a state in it.
    pub fn url(&self, prefix: &str) -> String {
        format!("etcd://{}/{prefix}", self.endpoints().join(","))
    }

    /// Its members as `host:port`.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client.clone()).collect()
    }

    /// The member that leads among them, if one does.
    pub fn leader(&self) -> Option<usize> {
        self.members
            .iter()
            .position(|member| member.asked("/metrics").contains("\netcd_server_is_leader 1\n"))
    }

    /// `kill -9` of a member.
    ///
    /// # Panics
    ///
    /// Where it does not run.
    pub fn kill(&mut self, number: usize) {
        let process = self.members[number].process.take().expect("it runs");
        process.signal(Signal::KILL);
        process.wait();
    }

    /// Starts a member again that was killed, and waits until it is well.
    pub fn restart(&mut self, number: usize) {
        self.spawn(number);
        self.expect_healthy(number);
    }

    /// Lets a member hang.
    pub fn hang(&self, number: usize) {
        freeze(self.members[number].process.as_ref().expect("it runs").pid());
    }

    /// Lets a member go on that hangs.
    pub fn go_on(&self, number: usize) {
        self.signal(number, Signal::CONT);
    }

    fn signal(&self, number: usize, signal: Signal) {
        self.members[number].process.as_ref().expect("it runs").signal(signal);
    }

    fn spawn(&mut self, number: usize) {
        let Member { client, peer, status, .. } = &self.members[number];
        let all = self.members.iter().enumerate().map(|(n, member)| format!("m{n}=http://{}", member.peer));
        let all: Vec<String> = all.collect();
        let mut command = Command::new(&self.binary);
        command.args(["--name", &format!("m{number}"), "--initial-cluster", &all.join(",")]);
        command.arg("--data-dir").arg(self.folder.path().join(format!("m{number}")));
        for flag in ["--listen-client-urls", "--advertise-client-urls"] {
            command.args([flag, &format!("{}://{client}", self.scheme)]);
        }
        for flag in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
            command.args([flag, &format!("http://{peer}")]);
        }
        command.args(["--listen-metrics-urls", &format!("http://{status}"), "--log-level", "error"]);
        command.args(["--logger", "zap"]).args(&self.flags);
        self.members[number].process = Some(Running::start(command));
    }

    fn expect_healthy(&self, number: usize) {
        eventually("etcd to be well", Deadline::default(), || {
            self.members[number].asked("/health").contains("true").then_some(())
        });
    }
}

impl Member {
    /// What it answers to `GET path`; nothing where it does not.
    fn asked(&self, path: &str) -> String {
        let mut answer = Vec::new();
        let asked = TcpStream::connect(&self.status).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
            stream.read_to_end(&mut answer)
        });
        asked.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&answer).into_owned())
    }
}

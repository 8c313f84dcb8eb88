//! A real S3 server for tests: SeaweedFS, in a folder and on ports of its own. `PHALANX_WEED` names
//! its binary, as `scripts/seaweedfs.sh` prints it; tests that find none say that they were skipped.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    process::{freeze, send},
    wait::{Deadline, eventually},
};

/// The one bucket.
const BUCKET: &str = "phalanx";

/// Whom the server lets in; everyone may see what is in the bucket, which tells when it is ready.
const IDENTITIES: &str = r#"{"identities": [
    {"name": "tester", "credentials": [{"accessKey": "tester", "secretKey": "open sesame"}], "actions": ["Admin"]},
    {"name": "anonymous", "actions": ["List:phalanx"]}
]}"#;

/// How often to try other ports: between the choice and the start another process may take one.
const STARTS_MAX: usize = 3;

/// The flags that take a port; the server's own choice for the second of each pair may be taken.
const PORTS: [&str; 10] = [
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
];

/// The server's process; killed when dropped.
#[derive(Debug)]
pub struct SeaweedFs {
    weed: PathBuf,
    /// The address at which it is called.
    host: String,
    folder: TempDir,
    ports: [u16; PORTS.len()],
    child: Option<Child>,
}

impl SeaweedFs {
    /// Starts one and waits until it answers. Where `PHALANX_WEED` names none, says that `what` is
    /// skipped, and returns nothing.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn start(what: &str) -> Option<Self> {
        Self::start_at("127.0.0.1", what)
    }

    /// [`start`](Self::start) at another address of this machine.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn start_at(host: &str, what: &str) -> Option<Self> {
        let Some(weed) = std::env::var_os("PHALANX_WEED").filter(|weed| !weed.is_empty()) else {
            eprintln!("SKIPPED: {what} needs PHALANX_WEED=$(scripts/seaweedfs.sh)");
            return None;
        };
        let folder = TempDir::new().expect("a temporary folder can be made");
        fs::create_dir(folder.path().join("data")).expect("the temporary folder can be written");
        fs::write(folder.path().join("identities.json"), IDENTITIES)
            .expect("the temporary folder can be written");
        let ports = free_ports();
        let mut server = Self { weed: weed.into(), host: host.to_owned(), folder, ports, child: None };
        for _ in 1..STARTS_MAX {
            if server.spawn() {
                return Some(server);
            }
            server.ports = free_ports();
        }
        server.restart();
        Some(server)
    }

    /// The store at `prefix` of the bucket.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// What a user sets to reach it, as the environment's variables.
    pub fn settings(&self) -> Vec<(String, String)> {
        let settings = [
            ("AWS_ENDPOINT", format!("http://{}:{}", self.host, self.ports[0])),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", "tester".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "open sesame".to_owned()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Stops answering: connections are taken and nothing comes back.
    pub fn freeze(&self) {
        freeze(self.pid());
    }

    /// Answers again.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Goes away, at once: connections are refused.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A process that is stopped is killed all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Comes back with all that it held.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn restart(&mut self) {
        assert!(self.spawn(), "SeaweedFS has ended: {}", self.log());
    }

    /// Returns whether it runs and answers.
    fn spawn(&mut self) -> bool {
        let place = |name: &str| self.folder.path().join(name).display().to_string();
        let log = fs::File::create(place("log")).expect("the temporary folder can be written");
        let mut command = Command::new(&self.weed);
        command.arg("mini").args(PORTS.iter().zip(self.ports).map(|(flag, port)| format!("-{flag}={port}")));
        command.args([format!("-ip={}", self.host), format!("-ip.bind={}", self.host)]);
        command.args(["-admin.ui=false", "-webdav=false", "-s3.iam=false"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]);
        command.arg("-s3.autoCreateBucket=false").arg(format!("-bucket={BUCKET}"));
        command
            .arg(format!("-dir={}", place("data")))
            .arg(format!("-s3.config={}", place("identities.json")));
        command.arg(format!("-filer.localSocket={}", place("filer.sock")));
        command.arg(format!("-s3.localSocket={}", place("s3.sock"))).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be cloned")).stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        eventually("SeaweedFS to answer", Deadline::default(), || {
            let child = self.child.as_mut().expect("it was started");
            let ended = child.try_wait().expect("a child can be waited for").is_some();
            (ended || self.answers()).then_some(!ended)
        })
    }

    /// The files below `prefix`, as far as one listing goes: path and bytes of each.
    ///
    /// # Panics
    ///
    /// Where it does not answer.
    pub fn list(&self, prefix: &str) -> Vec<(String, u64)> {
        let answer = self.asked(prefix).expect("it answers");
        let between = |text: &str, tag: &str| {
            let (_, rest) = text.split_once(&format!("<{tag}>"))?;
            Some(rest.split_once("</")?.0.to_owned())
        };
        let files = answer.split("<Contents>").skip(1);
        files.filter_map(|file| Some((between(file, "Key")?, between(file, "Size")?.parse().ok()?))).collect()
    }

    /// Whether it lists the bucket.
    fn answers(&self) -> bool {
        self.asked("").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }

    /// Its listing of what is below `prefix`.
    fn asked(&self, prefix: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.ports[0]))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let path = format!("/{BUCKET}?list-type=2&prefix={prefix}");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: phalanx\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    fn pid(&self) -> i32 {
        let child = self.child.as_ref().expect("it runs");
        i32::try_from(child.id()).expect("process ids fit")
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports that nobody has at this moment.
fn free_ports() -> [u16; PORTS.len()] {
    let listeners = PORTS.map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}

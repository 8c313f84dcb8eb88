//! The `phalanx` binary as a process, and a home of its own for each test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use phalanx_protocol::view::JobView;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use crate::{
    job::Job,
    wait::{Deadline, eventually},
};

/// The binary under test, which `scripts/test.sh` has built: in the folder of the profile.
///
/// # Panics
///
/// Where it is not there.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its own path");
    let folder = own.parent().expect("a file lies in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let path = folder.join(name);
    assert!(path.is_file(), "{} is missing: build it with `cargo build --release -p {name}`", path.display());
    path
}

/// A folder with a home, job files and whatever else a test writes.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// A process that may still run; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Option<Child>,
    stdout: Option<Pipe>,
    stderr: Option<Pipe>,
}

/// What comes through a pipe, read to its end by a thread.
#[derive(Debug)]
struct Pipe {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Home {
    /// A new, empty one.
    ///
    /// # Panics
    ///
    /// Where the temporary folder cannot be made.
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary folder can be made") }
    }

    /// The folder around the home.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// The home itself.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Writes `text` to a file called `name` and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("the temporary folder can be written");
        path
    }

    /// Writes the job's file and returns its path.
    pub fn write_job(&self, job: &Job) -> PathBuf {
        self.write(&format!("{}.toml", job.name()), &job.to_toml())
    }

    /// `phalanx ARGS --home HOME`, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("phalanx"));
        command.args(args).arg("--home").arg(self.path()).current_dir(self.folder());
        command
    }

    /// Runs `phalanx ARGS --home HOME` to its end.
    pub fn phalanx(&self, args: &[&str]) -> Ended {
        Running::start(self.command(args)).wait()
    }

    /// Starts `phalanx run JOB --workers N`.
    pub fn start(&self, job: &Job, workers: u32) -> Running {
        let file = self.write_job(job);
        let file = file.to_str().expect("temporary paths are UTF-8");
        Running::start(self.command(&["run", file, "--workers", &workers.to_string()]))
    }

    /// Runs `job` to its end and returns its state hash.
    ///
    /// # Panics
    ///
    /// Where it fails.
    pub fn run(&self, job: &Job, workers: u32) -> String {
        let ended = self.start(job, workers).wait();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        self.state_hash(&format!("{}-1", job.name()))
    }

    /// The job, as `phalanx job ID --json` tells it.
    ///
    /// # Panics
    ///
    /// Where the command fails or prints something else.
    pub fn job(&self, id: &str) -> JobView {
        let ended = self.phalanx(&["job", id, "--json"]);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
    }

    /// The state hash of a finished job.
    ///
    /// # Panics
    ///
    /// Where it has none.
    pub fn state_hash(&self, id: &str) -> String {
        self.job(id).state_hash.expect("a finished job has a state hash")
    }

    /// Waits until the job has at least `count` checkpoints, and returns the newest's step.
    pub fn wait_for_checkpoint(&self, id: &str, count: usize) -> u64 {
        eventually("a checkpoint", Deadline::default(), || {
            let ended = self.phalanx(&["job", id, "--json"]);
            let job: JobView = serde_json::from_str(&ended.stdout).ok()?;
            (job.checkpoints.len() >= count).then(|| job.checkpoints.last().map(|last| last.step)).flatten()
        })
    }
}

impl Running {
    /// Starts `command`, which knows nothing of what the tester has set for `phalanx`.
    ///
    /// # Panics
    ///
    /// Where it cannot be started.
    pub fn start(mut command: Command) -> Self {
        let of_phalanx = [
            "COORDINATOR",
            "COORDINATOR_RPC",
            "HOME",
            "LOG",
            "OTLP",
            "TLS_CA",
            "TLS_CERT",
            "TLS_KEY",
            "ETCD_PASSWORD",
        ];
        for variable in of_phalanx {
            command.env_remove(format!("PHALANX_{variable}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().map(Pipe::drain);
        let stderr = child.stderr.take().map(Pipe::drain);
        Self { child: Some(child), stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        let child = self.child.as_ref().expect("it was not waited for");
        i32::try_from(child.id()).expect("process ids fit")
    }

    /// What it has written to standard error until now.
    pub fn said(&self) -> String {
        self.stderr.as_ref().map_or_else(String::new, Pipe::text)
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was not waited for");
        child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Process ids of its children.
    pub fn children(&self) -> Vec<i32> {
        let pid = self.pid();
        let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let main: Vec<i32> = listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        if !main.is_empty() {
            return main;
        }
        children_of(pid)
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// `kill -9` of it and of all its children at once.
    pub fn kill_all(&self) {
        let children = self.children();
        send(self.pid(), Signal::KILL);
        for child in children {
            send(child, Signal::KILL);
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// Where it takes longer than ten minutes.
    pub fn wait(mut self) -> Ended {
        let deadline = Deadline(std::time::Duration::from_secs(600));
        eventually("a process to end", deadline, || self.has_ended().then_some(()));
        let status = self.child.take().and_then(|mut child| child.wait().ok()).expect("it has ended");
        let text = |pipe: Option<Pipe>| pipe.map(Pipe::into_text).unwrap_or_default();
        Ended { code: status.code(), stdout: text(self.stdout.take()), stderr: text(self.stderr.take()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until none of these processes is left.
///
/// # Panics
///
/// Where one is left after the usual deadline.
pub fn expect_gone(pids: &[i32]) {
    for pid in pids {
        eventually("a process to end", Deadline::default(), || {
            (!Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(())
        });
    }
}

/// Sends `signal` to `pid`; that it is gone already is no error.
pub fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Stops `pid` with `SIGSTOP`, and returns when all its threads stand still.
///
/// # Panics
///
/// Where they do not after the usual deadline.
pub fn freeze(pid: i32) {
    send(pid, Signal::STOP);
    let is_stopped = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
    };
    eventually("a process to stand still", Deadline::default(), || {
        fs::read_dir(format!("/proc/{pid}/task")).ok()?.filter_map(Result::ok).all(is_stopped).then_some(())
    });
}

/// Children by their parent, for kernels without `/proc/…/children`.
fn children_of(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // pid (name) state parent …; the name may hold anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        after_name.split_whitespace().nth(1).and_then(|text| text.parse().ok()) == Some(parent)
    };
    pids.filter(is_child).collect()
}

impl Pipe {
    fn drain(mut pipe: impl std::io::Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let mut part = [0; 4_096];
            while let Ok(read @ 1..) = pipe.read(&mut part) {
                shared.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&part[..read]);
            }
        });
        Self { bytes, thread }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn into_text(self) -> String {
        let Self { bytes, thread } = self;
        let _ = thread.join();
        String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

//! Worker processes of one run. Owns them: none outlives this process, however
//! it ends.
//!
//! Ctrl-C reaches this process alone, and the kernel kills workers when the
//! thread that started them ends: that is the process's first one, see `main`.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures::future::select_all;
use phalanx_agent::{TLS_VARIABLES, TelemetryArgs};
use phalanx_telemetry::LogFormat;
use phalanx_train::DeviceName;
use tokio::{
    process::{Child, Command},
    time::timeout,
};
use tracing::info;

use crate::{
    error::CliError,
    home::{Home, open_log},
    show,
};

/// How long workers may take to leave when they are asked to.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// Lines of a dead worker's log that are shown.
const TAIL_LINES: usize = 12;

/// How the workers of a run are started.
#[derive(Debug, Clone)]
pub(crate) struct WorkerOptions {
    /// The binary; this one by default.
    pub(crate) binary: Option<PathBuf>,
    /// Where they compute, given out in turn; the processor if there is none.
    pub(crate) devices: Vec<DeviceName>,
    /// What each tells of itself.
    pub(crate) telemetry: TelemetryArgs,
}

/// The worker processes of a run.
#[derive(Debug)]
pub(crate) struct Fleet {
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    number: u32,
    pid: u32,
    child: Child,
    log: PathBuf,
}

/// A worker that ended although nobody asked it to.
#[derive(Debug)]
pub(crate) struct Death {
    /// Number within the run, from 1.
    pub(crate) number: u32,
    /// Its process id.
    pub(crate) pid: u32,
    /// How it ended, for people.
    pub(crate) how: String,
    /// Where its log is.
    pub(crate) log: PathBuf,
    /// The end of its log.
    pub(crate) tail: Vec<String>,
}

impl Fleet {
    /// Starts `count` workers that attach at `coordinator`. Must be called on the process's
    /// first thread.
    ///
    /// # Errors
    ///
    /// If one cannot be started; those before it are killed.
    pub(crate) fn start(
        count: u32,
        coordinator: SocketAddr,
        home: &Home,
        options: &WorkerOptions,
    ) -> Result<Self, CliError> {
        let own = std::env::current_exe();
        let own =
            own.map_err(|e| CliError::failed(format!("this program's own file cannot be found: {e}")))?;
        let binary = options.binary.as_ref().unwrap_or(&own);
        let mut workers = Vec::new();
        let devices = options.devices.iter().cycle();
        let devices = devices.copied().chain(std::iter::repeat(DeviceName::Cpu));
        for (number, device) in (1..=count).zip(devices) {
            let log = home.logs().join(format!("worker-{number}.log"));
            let mut command = Command::new(binary);
            if options.binary.is_none() {
                command.arg("worker");
            }
            command.arg("--coordinator").arg(coordinator.to_string()).args(["--listen", "127.0.0.1:0"]);
            command.arg("--cache").arg(home.cache());
            command.arg("--device").arg(device.to_string());
            command.arg(format!("--die-with-parent={}", std::process::id()));
            command.args(telemetry(&options.telemetry));
            // They are for a cluster's; this run's coordinator has no certificates.
            TLS_VARIABLES.iter().for_each(|variable| _ = command.env_remove(variable));
            let child = spawn(command, &log).map_err(|e| {
                CliError::usage(format!("the worker {} cannot be started: {e}", binary.display()))
            })?;
            let pid = child.id().unwrap_or_default();
            info!(number, pid, log = %log.display(), "worker started");
            workers.push(Worker { number, pid, child, log });
        }
        Ok(Self { workers })
    }

    /// How many live.
    pub(crate) fn living(&self) -> usize {
        self.workers.len()
    }

    /// The number that this run gave to the process.
    pub(crate) fn number(&self, pid: u32) -> Option<u32> {
        self.workers.iter().find(|worker| worker.pid == pid).map(|worker| worker.number)
    }

    /// Waits until a worker ends; for ever if there is none. Cancelling the wait loses none.
    pub(crate) async fn next_death(&mut self) -> Death {
        if self.workers.is_empty() {
            return std::future::pending().await;
        }
        let ends = self.workers.iter_mut().map(|worker| Box::pin(worker.child.wait()));
        let (end, index, _) = select_all(ends).await;
        let Worker { number, pid, log, .. } = self.workers.remove(index);
        let tail = show::tail(&log, TAIL_LINES);
        Death { number, pid, how: how(end), log, tail }
    }

    /// Asks all to leave, and kills those that do not in time.
    pub(crate) async fn stop(mut self) {
        for worker in &self.workers {
            terminate(worker.pid);
        }
        let all_left = async {
            for worker in &mut self.workers {
                let _ = worker.child.wait().await;
            }
        };
        if timeout(LEAVE_MAX, all_left).await.is_err() {
            self.kill().await;
        }
    }

    /// Kills all at once.
    pub(crate) async fn kill(mut self) {
        for worker in &mut self.workers {
            // It may have ended by itself.
            let _ = worker.child.kill().await;
        }
    }
}

/// The flags that `args` came from.
fn telemetry(args: &TelemetryArgs) -> Vec<String> {
    let TelemetryArgs { log_format, log, otlp } = args;
    let format = match log_format {
        LogFormat::Human => "human",
        LogFormat::Json => "json",
    };
    let mut flags = vec!["--log-format".to_owned(), format.to_owned()];
    for (name, value) in [("--log", log), ("--otlp", otlp)] {
        flags.extend(value.iter().flat_map(|value| [name.to_owned(), value.clone()]));
    }
    flags
}

fn spawn(mut command: Command, log: &Path) -> io::Result<Child> {
    let log = open_log(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // The terminal's Ctrl-C is for this process: it saves first.
    command.process_group(0).kill_on_drop(true).spawn()
}

fn terminate(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

fn how(end: io::Result<ExitStatus>) -> String {
    // Prints as `exit status: 1` or `signal: 9 (SIGKILL)`.
    end.map_or_else(|e| e.to_string(), |status| status.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(binary: PathBuf) -> WorkerOptions {
        let telemetry = TelemetryArgs { log_format: LogFormat::Human, log: None, otlp: None };
        WorkerOptions { binary: Some(binary), devices: Vec::new(), telemetry }
    }

    fn nowhere() -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    fn script(folder: &std::path::Path, text: &str) -> WorkerOptions {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join("worker.sh");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        options(path)
    }

    #[tokio::test]
    async fn a_worker_that_dies_is_told_with_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        home.create().unwrap();
        let options = script(folder.path(), "echo first; echo last >&2; exit 3");
        let mut fleet = Fleet::start(1, nowhere(), &home, &options).unwrap();
        let death = fleet.next_death().await;
        assert_eq!((death.number, death.how.as_str()), (1, "exit status: 3"));
        assert_eq!(death.tail, ["first", "last"]);
        assert_eq!(fleet.living(), 0);
    }

    #[tokio::test]
    async fn a_worker_that_does_not_leave_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        home.create().unwrap();
        let options = script(folder.path(), "trap '' TERM; while :; do sleep 0.1; done");
        let fleet = Fleet::start(2, nowhere(), &home, &options).unwrap();
        let pids: Vec<u32> = fleet.workers.iter().map(|worker| worker.pid).collect();
        fleet.stop().await;
        for pid in pids {
            assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        }
    }

    #[tokio::test]
    async fn a_binary_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        home.create().unwrap();
        let options = options(folder.path().join("absent"));
        let error = Fleet::start(1, nowhere(), &home, &options).unwrap_err();
        assert!(error.to_string().contains("absent"), "{error}");
    }
}

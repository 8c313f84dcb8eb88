//! The home: the folder that holds the embedded state store, the object store
//! and the logs of jobs that run on this machine.
//!
//! While a coordinator serves a home, `coordinator.json` in it says where; the
//! file is a hint and not a lock (that is the state store's own), so a reader
//! always asks whether the coordinator is still there.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use phalanx_train::DeviceName;
use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// A log that is longer when a process starts is moved to `*.log.old`.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// A home, which may not exist yet.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    path: PathBuf,
}

/// Who serves a home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announcement {
    /// The process.
    pub(crate) pid: u32,
    /// Where its HTTP interface is.
    pub(crate) http_addr: SocketAddr,
    /// Its object store: another process that got the same port has another one.
    pub(crate) store_url: String,
}

/// An announcement that is taken back when this is dropped.
#[derive(Debug)]
pub(crate) struct Announced {
    file: PathBuf,
}

impl Home {
    /// The home where none is named.
    pub(crate) const DEFAULT: &str = ".phalanx";

    /// The home at `path`.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where it is, as the user wrote it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether jobs were ever run here.
    pub(crate) fn exists(&self) -> bool {
        self.state_file().exists()
    }

    /// Makes the folders.
    ///
    /// # Errors
    ///
    /// If one cannot be made.
    pub(crate) fn create(&self) -> Result<(), CliError> {
        fs::create_dir_all(self.logs()).map_err(|e| {
            CliError::failed(format!("the home {} cannot be made: {e}", self.path.display()))
                .hint("--home DIR or PHALANX_HOME names another folder")
        })
    }

    /// The embedded state store.
    pub(crate) fn state_file(&self) -> PathBuf {
        self.path.join("state.redb")
    }

    /// The object store's folder.
    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Where workers keep local copies and notes.
    pub(crate) fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// Where the processes of a run write their logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// What to type to let a job of this home go on, with workers of this binary.
    pub(crate) fn resume_command(
        &self,
        id: &str,
        worker_binary: Option<&Path>,
        devices: &[DeviceName],
    ) -> String {
        let home = (self.path != Path::new(Self::DEFAULT)).then_some(self.path.as_path());
        let mut command = format!("phalanx resume {id}");
        for (flag, path) in [("--home", home), ("--worker-binary", worker_binary)] {
            if let Some(path) = path {
                command.push_str(&format!(" {flag} {}", quoted(&path.display().to_string())));
            }
        }
        // A job stays on the kind of machine that it began on.
        if devices.iter().any(|device| *device != DeviceName::Cpu) {
            let names: Vec<_> = devices.iter().map(DeviceName::to_string).collect();
            command.push_str(&format!(" --device {}", names.join(",")));
        }
        command
    }

    /// Who serves this home, if anybody says so.
    pub(crate) fn announcement(&self) -> Option<Announcement> {
        serde_json::from_slice(&fs::read(self.announcement_file()).ok()?).ok()
    }

    /// Says who serves this home, for as long as the result lives.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn announce(&self, announcement: &Announcement) -> Result<Announced, CliError> {
        let file = self.announcement_file();
        let write = || -> io::Result<()> {
            let staged = tempfile::NamedTempFile::new_in(&self.path)?;
            serde_json::to_writer(&staged, announcement)?;
            staged.persist(&file)?;
            Ok(())
        };
        write().map_err(|e| CliError::failed(format!("{} cannot be written: {e}", file.display())))?;
        Ok(Announced { file })
    }

    fn announcement_file(&self) -> PathBuf {
        self.path.join("coordinator.json")
    }
}

/// `word` as a shell must be given it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%=,~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Opens a log to be added to. What an earlier process has written stays, because it may tell why
/// that one ended, or it may still be writing; a long log is moved out of the way.
///
/// # Errors
///
/// What the system says.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|seen| seen.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.old"))?;
    }
    File::options().append(true).create(true).open(path)
}

impl Drop for Announced {
    fn drop(&mut self) {
        // Left behind, it names an address where nobody answers, which readers see.
        let _ = fs::remove_file(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_can_be_pasted_into_a_shell() {
        let command = |home: &str, binary| Home::at(Path::new(home)).resume_command("a-1", binary, &[]);
        assert_eq!(command(".phalanx", None), "phalanx resume a-1");
        assert_eq!(command("my home", None), "phalanx resume a-1 --home 'my home'");
        let gpus = [DeviceName::Cuda(0), DeviceName::Cuda(1)];
        let with_gpus = Home::at(Path::new(".phalanx")).resume_command("a-1", None, &gpus);
        assert_eq!(with_gpus, "phalanx resume a-1 --device cuda:0,cuda:1");
        let binary = Some(Path::new("it's"));
        assert_eq!(command("/tmp/x", binary), r"phalanx resume a-1 --home /tmp/x --worker-binary 'it'\''s'");
    }

    #[test]
    fn a_log_is_added_to_and_moved_when_it_is_long() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("worker-1.log");
        for _ in 0..2 {
            io::Write::write_all(&mut open_log(&log).unwrap(), b"x").unwrap();
        }
        assert_eq!(fs::read(&log).unwrap(), b"xx");
        open_log(&log).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();
        assert_eq!(open_log(&log).unwrap().metadata().unwrap().len(), 0);
        assert!(folder.path().join("worker-1.log.old").exists());
    }

    #[test]
    fn an_announcement_is_seen_while_it_lives() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"));
        assert!(!home.exists());
        assert_eq!(home.announcement(), None);
        home.create().unwrap();
        let announcement = Announcement {
            pid: 7,
            http_addr: "127.0.0.1:7700".parse().unwrap(),
            store_url: "file:///x".to_owned(),
        };
        let announced = home.announce(&announcement).unwrap();
        assert_eq!(home.announcement(), Some(announcement));
        drop(announced);
        assert_eq!(home.announcement(), None);
    }
}

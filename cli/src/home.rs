//! The home: the folder that holds the embedded state store, the object store
//! and the logs of jobs that run on this machine.
//!
//! While a coordinator serves a home, `coordinator.json` in it says where; the
//! file is a hint and not a lock (that is the state store's own), so a reader
//! always asks whether the coordinator is still there.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::error::CliError;

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

    /// What to type to let a job of this home go on.
    pub(crate) fn resume_command(&self, id: &str) -> String {
        if self.path == Path::new(Self::DEFAULT) {
            return format!("phalanx resume {id}");
        }
        format!("phalanx resume {id} --home {}", self.path.display())
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

//! The three files, as a command line names them.

use std::{fs, path::PathBuf};

use crate::settings::{FileProblem, Role, Tls, TlsError, TlsFile};

/// Where a process' certificates lie. They are read once: a process has new ones after it
/// was started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the cluster's CA.
    pub ca: PathBuf,
    /// The process' own certificate, and those that lead to the CA.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be used as {file}: {problem}", path.display())]
pub struct TlsFilesError {
    /// Which file.
    pub file: TlsFile,
    /// Where it should lie.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: FileProblem,
}

impl TlsFiles {
    /// Reads them and makes the settings of a process of this role.
    ///
    /// # Errors
    ///
    /// Where one cannot be read, and those of [`Tls::new`].
    pub fn load(&self, role: Role) -> Result<Tls, TlsFilesError> {
        let read = |file| {
            let refused = |error| self.wrong(TlsError { file, problem: FileProblem::Unreadable(error) });
            fs::read(self.path(file)).map_err(refused)
        };
        let [ca, certificate, key] = [read(TlsFile::Ca)?, read(TlsFile::Certificate)?, read(TlsFile::Key)?];
        Tls::new(role, &ca, &certificate, &key).map_err(|error| self.wrong(error))
    }

    fn path(&self, file: TlsFile) -> &PathBuf {
        match file {
            TlsFile::Ca => &self.ca,
            TlsFile::Certificate => &self.certificate,
            TlsFile::Key => &self.key,
        }
    }

    fn wrong(&self, TlsError { file, problem }: TlsError) -> TlsFilesError {
        TlsFilesError { file, path: self.path(file).clone(), problem }
    }
}

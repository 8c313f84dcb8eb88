//! A cluster's certificates, as somebody makes them to try TLS out.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A CA and what it has signed: made by `scripts/certificates.sh`, gone when dropped.
#[derive(Debug)]
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// Those of a new CA.
    ///
    /// # Panics
    ///
    /// Where the script fails: it needs openssl.
    #[expect(clippy::new_without_default, reason = "it makes files")]
    pub fn new() -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/certificates.sh");
        let made = Command::new(script).arg(dir.path()).output().expect("bash is there");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { dir }
    }

    /// The CA's certificate, that of a `role` (`coordinator`, `worker`), and its key.
    pub fn files(&self, role: &str) -> [PathBuf; 3] {
        ["ca.pem".to_owned(), format!("{role}.pem"), format!("{role}.key")]
            .map(|name| self.dir.path().join(name))
    }

    /// The flags that give them to a process.
    pub fn flags(&self, role: &str) -> Vec<String> {
        let files = self.files(role).map(|path| path.to_string_lossy().into_owned());
        let named = ["--tls-ca", "--tls-cert", "--tls-key"].into_iter().zip(files);
        named.flat_map(|(flag, file)| [flag.to_owned(), file]).collect()
    }
}

//! The files of a source: found by path or glob, or fetched from an object store,
//! and known by the hash of their content.

use std::{
    fs::Metadata,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use phalanx_protocol::{reference::HashHex, spec::is_glob};
use serde::{Deserialize, Serialize};

use crate::{
    PrepareError,
    source::{open, unreadable},
};

/// The most files of one source.
pub(crate) const FILES_MAX: usize = 1 << 20;

/// Bytes of a file between two accounts of how far its hash has come.
const HASHED_AT_ONCE: usize = 1 << 20;

/// A file whose content is known.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// What people call it: its path or URL.
    pub(crate) name: PathBuf,
    /// Where it can be read.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its hash.
    pub(crate) blake3: HashHex,
    /// Whether its rows are lines.
    pub(crate) has_lines: bool,
    stamp: Stamp,
}

/// What a file's content is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// A file of a source, as a manifest remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    /// Its path or URL when it was first prepared.
    pub path: PathBuf,
    /// Its size; of what an interface or a database gave, as JSON lines.
    pub bytes: u64,
    /// Its hash.
    pub blake3: HashHex,
}

impl SourceFile {
    /// A file on this machine that is read once, and whose hash nobody asks for.
    pub(crate) fn unhashed(path: &Path) -> Result<Self, PrepareError> {
        let metadata = open(path)?.metadata().map_err(|error| unreadable(path, error))?;
        let stamp = stamp(&metadata);
        let (name, path) = (path.to_owned(), path.to_owned());
        Ok(Self { name, path, bytes: stamp.bytes, blake3: String::new(), has_lines: true, stamp })
    }

    /// What a manifest remembers of it.
    pub(crate) fn record(&self) -> SourceRecord {
        SourceRecord { path: self.name.clone(), bytes: self.bytes, blake3: self.blake3.clone() }
    }
}

/// The files on this machine that `path` names: itself, or what a glob stands for, in the order of their names.
pub(crate) fn locate(path: &Path) -> Result<Vec<PathBuf>, PrepareError> {
    if !is_glob(path) || path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let refuse = |reason: String| PrepareError::Recipe { reason };
    let pattern = path.to_str().ok_or_else(|| refuse(format!("{}: a glob must be UTF-8", path.display())))?;
    let found = glob::glob(pattern).map_err(|error| refuse(format!("{pattern}: not a glob: {error}")))?;
    let mut files = Vec::new();
    for entry in found {
        let entry =
            entry.map_err(|error| unreadable(error.path(), io::Error::other(error.error().to_string())))?;
        if entry.is_file() {
            files.push(entry);
        }
        if files.len() > FILES_MAX {
            return Err(refuse(format!("{pattern} stands for more than {FILES_MAX} files")));
        }
    }
    files.sort_unstable();
    if files.is_empty() { Err(PrepareError::NoMatch { pattern: pattern.to_owned() }) } else { Ok(files) }
}

/// Reads a file through, and tells `told` how many bytes it has read.
pub(crate) fn hash_file(
    name: PathBuf,
    path: PathBuf,
    has_lines: bool,
    mut told: impl FnMut(u64) -> Result<(), PrepareError>,
) -> Result<SourceFile, PrepareError> {
    let mut file = open(&path)?;
    let stamp = stamp(&file.metadata().map_err(|error| unreadable(&path, error))?);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; HASHED_AT_ONCE];
    loop {
        let read = file.read(&mut buffer).map_err(|error| unreadable(&path, error))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        told(read as u64)?;
    }
    let blake3 = hasher.finalize().to_hex().to_string();
    Ok(SourceFile { name, path, bytes: stamp.bytes, blake3, has_lines, stamp })
}

/// Fails if a file is another one than when it was hashed.
pub(crate) fn is_unchanged(file: &SourceFile) -> Result<(), PrepareError> {
    let metadata = std::fs::metadata(&file.path).map_err(|error| unreadable(&file.path, error))?;
    match stamp(&metadata) == file.stamp {
        true => Ok(()),
        false => Err(PrepareError::Changed { path: file.name.clone() }),
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp { bytes: metadata.len(), modified: metadata.modified().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_finds_files_in_the_order_of_their_names_and_says_when_there_are_none() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", "c.txt"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let found = locate(&folder.path().join("*.csv")).unwrap();
        assert_eq!(found, ["a.csv", "b.csv"].map(|name| folder.path().join(name)));
        let error = locate(&folder.path().join("*.json")).unwrap_err().to_string();
        assert!(error.contains("no file is like"), "{error}");
    }
}

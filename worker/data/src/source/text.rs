//! Plain text files, read as bytes in contiguous stretches. The bytes need not
//! be UTF-8: a model of bytes takes any.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use super::{open, unreadable};
use crate::error::PrepareError;

/// A file of bytes.
#[derive(Debug)]
pub(crate) struct TextFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl TextFile {
    pub(crate) fn open(path: &Path) -> Result<Self, PrepareError> {
        let file = open(path)?;
        let bytes = file.metadata().map_err(|error| unreadable(path, error))?.len();
        match bytes {
            0 => Err(PrepareError::Empty { path: path.to_owned(), expected: "text" }),
            _ => Ok(Self { path: path.to_owned(), file, bytes }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The stretch of `length` bytes from `start`.
    pub(crate) fn read(&mut self, start: u64, length: usize) -> Result<Vec<u8>, PrepareError> {
        let failed = |error| unreadable(&self.path, error);
        self.file.seek(SeekFrom::Start(start)).map_err(failed)?;
        let mut stretch = vec![0; length];
        self.file.read_exact(&mut stretch).map_err(failed)?;
        Ok(stretch)
    }
}

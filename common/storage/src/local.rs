//! Files of the store as local files that can be mapped into memory, checked
//! without reading gigabytes at every start.
//!
//! When a file is hashed, what the file system says about it then (device,
//! inode, size, times of change) is noted in the cache. As long as it says the
//! same, the file is taken as checked; whoever writes to a file, or puts another
//! in its place, changes that. What this does not see is a disk that returns
//! other bytes than were written to it; [`Store::read`](crate::Store::read)
//! hashes every time and does.
//!
//! All functions block; the store calls them on a thread for blocking work.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use phalanx_protocol::reference::FileRef;
use tempfile::NamedTempFile;
use tracing::warn;

use crate::{StorageError, folder};

/// Bytes that are hashed at once.
const HASH_BYTES: usize = 1 << 20;

/// What names of files begin with that are on their way into the cache.
pub(crate) const GET_PREFIX: &str = ".get-";
const NOTE_PREFIX: &str = ".note-";

/// Where copies and notes lie in a cache.
pub(crate) const FILES: &str = "files";
pub(crate) const CHECKED: &str = "checked";

/// Removes what killed processes have left half-written in the folder `cache`,
/// if it is there. To be called when a process begins. Blocks.
pub fn clean_cache(cache: &Path) {
    folder::remove_abandoned(&cache.join(FILES), GET_PREFIX);
    folder::remove_abandoned(&cache.join(CHECKED), NOTE_PREFIX);
}

/// Checks the local `copy` of `file`, by its note in `cache` or by its hash.
pub(crate) fn check(file: &FileRef, copy: &Path, cache: &Path) -> Result<(), StorageError> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => StorageError::NotFound(file.path.clone()),
        _ => StorageError::io(copy, &e),
    };
    let mut content = File::open(copy).map_err(failed)?;
    let seen = content.metadata().map_err(failed)?;
    check_size(file, seen.len())?;

    let note = cache.join(CHECKED).join(name(file)?);
    let identity = identity(copy, &seen);
    if fs::read_to_string(&note).is_ok_and(|noted| noted == identity) {
        // When it was last used; that this cannot be told is no harm.
        let _ = File::options().write(true).open(&note).and_then(|note| note.set_modified(SystemTime::now()));
        return Ok(());
    }

    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; HASH_BYTES];
    loop {
        match content.read(&mut buffer).map_err(failed)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        };
    }
    check_hash(file, &hasher.finalize())?;
    if let Err(error) = write_note(&note, &identity) {
        warn!(note = %note.display(), %error, "a check could not be noted and will be made again");
    }
    Ok(())
}

/// Fails unless a file of `actual` bytes has the size of its reference.
pub(crate) fn check_size(file: &FileRef, actual: u64) -> Result<(), StorageError> {
    if actual == file.bytes {
        return Ok(());
    }
    Err(StorageError::Damaged {
        path: file.path.clone(),
        expected: format!("{} bytes", file.bytes),
        actual: format!("{actual} bytes"),
    })
}

/// Fails unless `actual` is the hash of its reference.
pub(crate) fn check_hash(file: &FileRef, actual: &blake3::Hash) -> Result<(), StorageError> {
    let actual = actual.to_hex();
    if actual.as_str() == file.blake3 {
        return Ok(());
    }
    Err(StorageError::Damaged {
        path: file.path.clone(),
        expected: format!("blake3 {}", file.blake3),
        actual: format!("blake3 {actual}"),
    })
}

/// A file on its way into the cache. It is removed when this is dropped, and
/// gets its name only when it is whole, right and durable.
#[derive(Debug)]
pub(crate) struct Download {
    staged: NamedTempFile,
    hasher: blake3::Hasher,
    bytes: u64,
    folder: PathBuf,
}

impl Download {
    /// Where the copy of `file` lies in `cache`, once it is there.
    pub(crate) fn place(file: &FileRef, cache: &Path) -> Result<PathBuf, StorageError> {
        Ok(cache.join(FILES).join(name(file)?))
    }

    /// Begins a copy in `cache`.
    pub(crate) fn begin(cache: &Path) -> Result<Self, StorageError> {
        let folder = cache.join(FILES);
        let failed = |e: io::Error| StorageError::io(&folder, &e);
        folder::create_folders(&folder).map_err(failed)?;
        let staged = NamedTempFile::with_prefix_in(GET_PREFIX, &folder).map_err(failed)?;
        Ok(Self { staged, hasher: blake3::Hasher::new(), bytes: 0, folder })
    }

    /// Adds a piece.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), StorageError> {
        self.hasher.update(piece);
        self.bytes += piece.len() as u64;
        self.staged.write_all(piece).map_err(|e| StorageError::io(self.staged.path(), &e))
    }

    /// Checks the copy of `file` and gives it its name.
    pub(crate) fn finish(self, file: &FileRef) -> Result<(), StorageError> {
        check_size(file, self.bytes)?;
        check_hash(file, &self.hasher.finalize())?;
        let place = self.folder.join(name(file)?);
        let failed = |e: io::Error| StorageError::io(&place, &e);
        self.staged.as_file().sync_all().map_err(failed)?;
        self.staged.persist(&place).map_err(|e| failed(e.error))?;
        folder::sync_folder(&self.folder).map_err(failed)
    }
}

/// The file's name in the cache: its hash, which is outside input.
fn name(file: &FileRef) -> Result<&str, StorageError> {
    if file.blake3.len() == blake3::OUT_LEN * 2 && file.blake3.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(&file.blake3);
    }
    Err(StorageError::Path {
        path: file.path.clone(),
        reason: format!("expected a BLAKE3 hash beside it, found `{}`", file.blake3),
    })
}

/// What changes whenever the file's content does.
fn identity(path: &Path, seen: &Metadata) -> String {
    format!(
        "{} device {} inode {} bytes {} modified {}.{:09} changed {}.{:09}\n",
        path.display(),
        seen.dev(),
        seen.ino(),
        seen.len(),
        seen.mtime(),
        seen.mtime_nsec(),
        seen.ctime(),
        seen.ctime_nsec(),
    )
}

fn write_note(note: &Path, identity: &str) -> io::Result<()> {
    let folder = note.parent().expect("invariant: a note lies in a folder of the cache");
    fs::create_dir_all(folder)?;
    let mut staged = NamedTempFile::with_prefix_in(NOTE_PREFIX, folder)?;
    staged.write_all(identity.as_bytes())?;
    staged.persist(note)?;
    Ok(())
}

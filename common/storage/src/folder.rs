//! A store that is a local folder. Written here and not with `object_store`'s
//! own local store, because that one never calls fsync and leaves half-written
//! files beside the whole ones when its process is killed.
//!
//! Invariants: a file appears under its path whole or not at all; when
//! [`create`](Folder::create) returns, it survives a power cut. What a killed
//! process leaves behind lies in `.tmp`, which is no path of the store, and is
//! removed by whoever opens the store an hour later.
//!
//! All functions block; the store calls them on a thread for blocking work.

use std::{
    fs::{self, File, Metadata, Permissions},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tempfile::NamedTempFile;
use tracing::{debug, info};

use crate::{
    Content, Listed, StorageError,
    calls::{Call, Calls, Moving},
    durable,
    outage::{Away, Health},
    path,
    store::LIST_FILES_MAX,
};

/// Where files are written before they get their path; on the same file system.
const STAGING: &str = ".tmp";

/// A staged file that nobody has written to for this long belongs to a process
/// that is gone.
const STAGED_AGE_MAX: Duration = Duration::from_secs(3_600);

/// A store that is a local folder.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    health: Health,
    calls: Arc<Calls>,
}

impl Folder {
    /// Opens the folder, creating it if it is absent, and removes what killed
    /// processes left in it.
    pub(crate) fn open(root: PathBuf) -> Result<Self, StorageError> {
        let staging = root.join(STAGING);
        create_folders(&staging).map_err(|e| StorageError::io(&staging, &e))?;
        remove_abandoned(&staging, "");
        Ok(Self { root, health: Health::default(), calls: Arc::default() })
    }

    /// Whether the file system answers, which may be another machine's.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// The calls to it that are under way.
    pub(crate) fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// Since when it has not answered, with an error or at all.
    pub(crate) fn away(&self) -> Option<Away> {
        self.health.away().or_else(|| self.calls.silence())
    }

    /// The file behind a checked path.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Creates the file durably; its hash. [`StorageError::Exists`] if there is one.
    pub(crate) fn create(
        &self,
        path: &str,
        content: &Content,
        call: &Call,
    ) -> Result<blake3::Hash, StorageError> {
        let target = self.file(path);
        let folder = target.parent().expect("invariant: a file lies below the root");
        let failed = |e: io::Error| match e.kind() {
            // Somebody has removed the store, or what it is mounted on is gone.
            io::ErrorKind::NotFound => {
                StorageError::Other(format!("its folder {} is gone: {e}", self.root.display()))
            }
            _ => StorageError::io(&target, &e),
        };

        // First of all, so that a store that is gone is not begun anew.
        let mut staged = self.stage().map_err(failed)?;
        let hash = durable::write(staged.as_file_mut(), content, call).map_err(failed)?;
        self.create_folders(folder).map_err(failed)?;
        match staged.persist_noclobber(&target) {
            Ok(_) => sync_folder(folder).map(|()| hash).map_err(failed),
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => {
                // Its creator may still be about to make it durable, and the
                // caller takes "exists" for that.
                File::open(&target).and_then(|file| file.sync_all()).map_err(failed)?;
                sync_folder(folder).map_err(failed)?;
                Err(StorageError::Exists(path.to_owned()))
            }
            Err(e) => Err(failed(e.error)),
        }
    }

    /// A new file, for whom the process's umask lets read it: workers and users may be others than
    /// the coordinator.
    fn stage(&self) -> io::Result<NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("put-").permissions(Permissions::from_mode(0o666));
        builder.tempfile_in(self.root.join(STAGING))
    }

    /// Creates the folders between the root and a file, each entry durable.
    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        create_folders(folder)?;
        // Those that were there may be another process's, which has not synced them yet.
        let within = folder.ancestors().take_while(|folder| *folder != self.root);
        within.filter_map(Path::parent).try_for_each(sync_folder)
    }

    /// Size of the file in bytes, if it is there.
    pub(crate) fn size(&self, path: &str) -> Result<Option<u64>, StorageError> {
        let file = self.file(path);
        match fs::metadata(&file) {
            Ok(found) if found.is_file() => Ok(Some(found.len())),
            Ok(_) => Ok(None),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(StorageError::io(&file, &e)),
        }
    }

    /// Reads the file, whose size was found right before: at most `bytes_max` of it.
    pub(crate) fn read(&self, path: &str, bytes_max: u64, call: &Call) -> Result<Vec<u8>, StorageError> {
        let file = self.file(path);
        let failed = |e: io::Error| match is_absent(&e) {
            true => StorageError::NotFound(path.to_owned()),
            false => StorageError::io(&file, &e),
        };
        let mut content = Vec::new();
        let size = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        content.try_reserve_exact(size).map_err(|e| failed(io::Error::other(e)))?;
        let opened = File::open(&file).map_err(failed)?.take(bytes_max);
        Moving(opened, call).read_to_end(&mut content).map_err(failed)?;
        Ok(content)
    }

    /// Deletes the file; that it is not there is success.
    pub(crate) fn delete(&self, path: &str) -> Result<(), StorageError> {
        let file = self.file(path);
        match fs::remove_file(&file) {
            Ok(()) => Ok(()),
            Err(e) if is_absent(&e) => Ok(()),
            Err(e) => Err(StorageError::io(&file, &e)),
        }
    }

    /// Up to `max` of the files below the folder `prefix` (all of them, if it is empty) that
    /// `wanted` picks, and whether there are more.
    pub(crate) fn find(
        &self,
        prefix: &str,
        max: usize,
        mut wanted: impl FnMut(&Listed) -> bool,
    ) -> Result<(Vec<Listed>, bool), StorageError> {
        let mut files = Vec::new();
        let mut folders = vec![prefix.to_owned()];
        while let Some(folder) = folders.pop() {
            let place = self.file(&folder);
            let entries = match fs::read_dir(&place) {
                Ok(entries) => entries,
                Err(e) if is_absent(&e) => continue,
                Err(e) => return Err(StorageError::io(&place, &e)),
            };
            for entry in entries {
                let entry = entry.map_err(|e| StorageError::io(&place, &e))?;
                let Some(name) =
                    entry.file_name().to_str().filter(|n| !n.starts_with('.')).map(str::to_owned)
                else {
                    continue;
                };
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                // A file that is deleted while it is listed is not there.
                let Ok(found) = entry.metadata() else { continue };
                if found.is_dir() {
                    folders.push(path);
                    if folders.len() > LIST_FILES_MAX {
                        let text = format!("more than {LIST_FILES_MAX} folders in `{prefix}`");
                        return Err(StorageError::Other(text));
                    }
                    continue;
                }
                let file = listed(path, &found);
                if found.is_file() && wanted(&file) {
                    if files.len() == max {
                        return Ok((files, true));
                    }
                    files.push(file);
                }
            }
        }
        Ok((files, false))
    }

    /// Files that were begun and have no path yet, by their names in the staging folder.
    pub(crate) fn unfinished(&self) -> Result<Vec<Listed>, StorageError> {
        Ok(self.find(STAGING, LIST_FILES_MAX, |_| true)?.0)
    }

    /// Removes one of them; that it is not there is success.
    pub(crate) fn abort(&self, path: &str) -> Result<(), StorageError> {
        let name = path.strip_prefix(STAGING).and_then(|path| path.strip_prefix('/'));
        match name.map(path::checked) {
            Some(Ok(_)) => self.delete(path),
            Some(Err(error)) => Err(error),
            None => Err(StorageError::Path {
                path: path.to_owned(),
                reason: "it is no unfinished file".to_owned(),
            }),
        }
    }
}

fn listed(path: String, found: &Metadata) -> Listed {
    let modified = found.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
    Listed { path, bytes: found.len(), modified: modified.unwrap_or(Timestamp::MAX) }
}

/// Creates a folder and those above it, each entry durable; that it is there is
/// success. Blocks.
///
/// # Errors
///
/// What the system says: one of them is a file, may not be written to, or finds no space.
pub fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(above) = above {
        create_folders(above)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => above.map_or(Ok(()), sync_folder),
        // Whoever was quicker may not have synced it yet.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {
            above.map_or(Ok(()), sync_folder)
        }
        Err(e) => Err(e),
    }
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes files of processes that are gone: those in `folder` whose name begins with `prefix`
/// and that nobody has written to for a while. What cannot be removed does no harm.
pub(crate) fn remove_abandoned(folder: &Path, prefix: &str) {
    if let Err(error) = try_remove_abandoned(folder, prefix) {
        debug!(folder = %folder.display(), %error, "abandoned files were not removed");
    }
}

fn try_remove_abandoned(folder: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > STAGED_AGE_MAX {
            fs::remove_file(entry.path())?;
            info!(file = %entry.path().display(), "abandoned file removed");
        }
    }
    Ok(())
}

/// Whether the error says that there is no such file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

//! The size of a cache: what was used longest ago is deleted where a cache has grown beyond its bound. Several processes
//! share a cache, so that only one of them at a time looks at it.
//!
//! A file is used when it is checked, which touches the note about that. Half-written files do not count, and whoever has
//! mapped a deleted one keeps it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use phalanx_protocol::reference::FileRef;

use crate::{
    folder,
    local::{CHECKED, Download, FILES, GET_PREFIX},
};

/// What processes lock that delete files.
const LOCK: &str = "trim.lock";

/// Whether the cache has a copy of `file`, checked or not.
pub fn is_cached(file: &FileRef, cache: &Path) -> bool {
    Download::place(file, cache).is_ok_and(|place| place.exists())
}

/// Deletes the copies in `cache` that were used longest ago until the others have at most `bytes_max` bytes; gives the
/// bytes that were deleted. What was used within `grace` stays: another process may be about to map it. If another process
/// is at it, leaves it to that one. Blocks.
///
/// # Errors
///
/// If the folder cannot be read or written.
pub fn trim_cache(cache: &Path, bytes_max: u64, grace: Duration) -> io::Result<u64> {
    let folder = cache.join(FILES);
    if !folder.is_dir() {
        return Ok(0);
    }
    folder::create_folders(cache)?;
    let lock = File::create(cache.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(0),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut copies = copies(&folder, &cache.join(CHECKED))?;
    copies.sort();
    let (mut bytes, mut deleted) = (copies.iter().map(|copy| copy.bytes).sum::<u64>(), 0);
    let now = SystemTime::now();
    for copy in copies {
        let is_new = now.duration_since(copy.used).is_ok_and(|unused| unused < grace);
        if bytes <= bytes_max || is_new {
            break;
        }
        match fs::remove_file(&copy.path) {
            Ok(()) => deleted += copy.bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        bytes -= copy.bytes;
    }
    Ok(deleted)
}

/// A copy in a cache; those used longest ago are the least.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Copy {
    used: SystemTime,
    path: PathBuf,
    bytes: u64,
}

fn copies(folder: &Path, notes: &Path) -> io::Result<Vec<Copy>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(GET_PREFIX) {
            continue;
        }
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let note = fs::metadata(notes.join(entry.file_name())).and_then(|note| note.modified());
        let used = note.or_else(|_| metadata.modified())?;
        copies.push(Copy { used, path: entry.path(), bytes: metadata.len() });
    }
    Ok(copies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first_and_half_written_files_stay() {
        let cache = tempfile::tempdir().expect("a folder");
        let (files, notes) = (cache.path().join(FILES), cache.path().join(CHECKED));
        fs::create_dir_all(&files).expect("a folder");
        fs::create_dir_all(&notes).expect("a folder");
        let begun = SystemTime::now();
        for (name, age) in [("a", 30), ("b", 10), ("c", 20)] {
            fs::write(files.join(name), [0; 100]).expect("a file");
            let note = File::create(notes.join(name)).expect("a note");
            note.set_modified(begun - Duration::from_secs(age)).expect("a time");
        }
        fs::write(files.join(format!("{GET_PREFIX}half")), [0; 1_000]).expect("a file");
        let left = || {
            let mut names: Vec<_> = fs::read_dir(&files)
                .expect("a folder")
                .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
                .filter(|name| !name.starts_with(GET_PREFIX))
                .collect();
            names.sort();
            names.concat()
        };
        let trim = |bytes_max, grace| {
            trim_cache(cache.path(), bytes_max, Duration::from_secs(grace)).expect("it can be read")
        };
        assert_eq!((trim(300, 0), left()), (0, "abc".to_owned()));
        assert_eq!((trim(250, 0), left()), (100, "bc".to_owned()));
        assert_eq!((trim(100, 3_600), left()), (0, "bc".to_owned()));
        assert_eq!((trim(100, 0), left()), (100, "b".to_owned()));
        let absent = trim_cache(&cache.path().join("absent"), 0, Duration::ZERO);
        assert_eq!(absent.expect("nothing is to do"), 0);
    }
}

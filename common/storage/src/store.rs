//! The store: one handle over a local folder or a remote service. Holds no
//! state but where the store is.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::path::Path as ObjectPath;
use phalanx_protocol::reference::FileRef;
use tracing::warn;
use url::Url;

use crate::{
    Content, StorageError, UnderWay,
    calls::Call,
    folder::Folder,
    local::{self, Download},
    outage::Away,
    path,
    remote::{EXPECTED, Remote},
};

/// The most files that one listing returns.
pub(crate) const LIST_FILES_MAX: usize = 100_000;

/// An object store at a URL. Cheap to clone; clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    url: String,
    kind: Kind,
}

/// A file found in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its path.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was created, by the store's clock.
    pub modified: Timestamp,
}

#[derive(Debug, Clone)]
enum Kind {
    Folder(Arc<Folder>),
    Remote(Arc<Remote>),
}

impl Store {
    /// Opens `url`: a folder (`file:///…` or a plain path, created if absent),
    /// `s3://…`, `gs://…`, `az://…`, or, for tests, `memory://`, which is a new
    /// store each time. A service is not asked yet whether it is there. Its
    /// credentials and settings are taken from the environment, as
    /// `docs/object-store.md` says.
    ///
    /// # Errors
    ///
    /// [`StorageError::Url`] if it is none of these, or settings do not fit it;
    /// [`StorageError::Full`] or [`StorageError::Other`] if the folder cannot be created.
    pub fn open(url: &str) -> Result<Self, StorageError> {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let settings: Vec<_> = std::env::vars_os().filter_map(text).collect();
        Self::open_with(url, &settings)
    }

    /// Opens `url` with these settings in the place of the environment's.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_with(url: &str, settings: &[(String, String)]) -> Result<Self, StorageError> {
        let refuse = |reason: &str| StorageError::Url { url: url.to_owned(), reason: reason.to_owned() };
        if url.is_empty() {
            return Err(refuse(EXPECTED));
        }
        if !url.contains("://") {
            return Self::open_folder(url, Path::new(url));
        }
        let parsed = Url::parse(url).map_err(|e| refuse(&format!("{e}; {EXPECTED}")))?;
        if parsed.scheme() == "file" {
            let folder = parsed.to_file_path();
            let folder =
                folder.map_err(|()| refuse("expected an absolute path, as in `file:///data/store`"))?;
            return Self::open_folder(url, &folder);
        }
        Ok(Self { url: url.to_owned(), kind: Kind::Remote(Arc::new(Remote::open(&parsed, settings)?)) })
    }

    fn open_folder(url: &str, folder: &Path) -> Result<Self, StorageError> {
        let refuse = |reason: String| StorageError::Url { url: url.to_owned(), reason };
        let folder = std::path::absolute(folder).map_err(|e| refuse(e.to_string()))?;
        if folder.exists() && !folder.is_dir() {
            return Err(refuse("it is a file; expected a folder".to_owned()));
        }
        let absolute = Url::from_file_path(&folder).map_err(|()| refuse(EXPECTED.to_owned()))?;
        Ok(Self { url: absolute.into(), kind: Kind::Folder(Arc::new(Folder::open(folder)?)) })
    }

    /// The URL, which means the same from any current folder.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Since when the store has not answered, or only that it cannot now, and why. Calls to a service go
    /// on trying for a minute before they fail, and this tells what they wait for.
    pub fn away(&self) -> Option<Away> {
        match &self.kind {
            Kind::Folder(folder) => folder.away(),
            Kind::Remote(remote) => remote.health().away(),
        }
    }

    /// The oldest call under way to a folder. Where a disk is dead it stays what it is, for ever. Those to a
    /// service have limits of their own.
    pub fn oldest_call(&self) -> Option<UnderWay> {
        match &self.kind {
            Kind::Folder(folder) => folder.calls().oldest(),
            Kind::Remote(_) => None,
        }
    }

    /// Creates `path` durably, once. If it is there already with the same
    /// content, that is success; with other content, [`StorageError::Exists`].
    /// A call that fails, is dropped, or whose process is killed leaves nothing at `path`.
    ///
    /// # Errors
    ///
    /// Also [`StorageError::Full`], [`StorageError::Away`], [`StorageError::Denied`],
    /// [`StorageError::NoBucket`], [`StorageError::Path`] and [`StorageError::Other`]. After
    /// [`Away`](StorageError::Away) it may be called again, and finds what it has created.
    pub async fn create(&self, path: &str, content: impl Into<Content>) -> Result<FileRef, StorageError> {
        let object = path::checked(path)?;
        let content = content.into();
        let (bytes, hashed) = (content.len() as u64, content.clone());
        let hashing = || {
            let hashed = hashed.clone();
            blocking(move || Ok(hashed.hash()))
        };
        let refer =
            |hash: blake3::Hash| FileRef { path: path.to_owned(), bytes, blake3: hash.to_hex().to_string() };
        let created = match &self.kind {
            Kind::Folder(folder) => {
                on_folder(folder, path, move |folder, path, call| folder.create(path, &content, call))
                    .await
                    .map(refer)
            }
            Kind::Remote(remote) => {
                let reference = refer(hashing().await?);
                let content = blocking(move || Ok(content.into_bytes())).await?;
                remote.create(&object, &reference, content).await.map(|()| reference)
            }
        };
        let Err(StorageError::Exists(path)) = created else { return created };
        let reference = refer(hashing().await?);
        match self.read(&reference).await {
            Ok(_) => Ok(reference),
            // Not found: somebody is about to create it.
            Err(StorageError::Damaged { .. } | StorageError::NotFound(_)) => Err(StorageError::Exists(path)),
            Err(other) => Err(other),
        }
    }

    /// Reads a file whole and checks size and hash.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`] if it is not what the reference says;
    /// [`StorageError::NotFound`], [`StorageError::Path`] and [`StorageError::Other`].
    pub async fn read(&self, file: &FileRef) -> Result<Bytes, StorageError> {
        let content = self.read_path(&file.path, file.bytes).await?;
        let (file, hashed) = (file.clone(), content.clone());
        blocking(move || {
            local::check_size(&file, hashed.len() as u64)?;
            local::check_hash(&file, &blake3::hash(&hashed))
        })
        .await?;
        Ok(content)
    }

    /// Reads a small file of at most `bytes_max` whose hash is not known.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`] if it is larger; [`StorageError::NotFound`],
    /// [`StorageError::Path`] and [`StorageError::Other`].
    pub async fn read_path(&self, path: &str, bytes_max: u64) -> Result<Bytes, StorageError> {
        let object = path::checked(path)?;
        let too_large = |bytes: u64| StorageError::Damaged {
            path: path.to_owned(),
            expected: format!("at most {bytes_max} bytes"),
            actual: format!("{bytes} bytes"),
        };
        match &self.kind {
            Kind::Folder(folder) => {
                let read = on_folder(folder, path, move |folder, path, call| {
                    let bytes = folder.size(path)?.ok_or_else(|| StorageError::NotFound(path.to_owned()))?;
                    if bytes > bytes_max { Ok(Err(bytes)) } else { folder.read(path, bytes, call).map(Ok) }
                });
                read.await?.map(Bytes::from).map_err(too_large)
            }
            Kind::Remote(remote) => {
                let (bytes, mut pieces) = remote.get(&object, bytes_max).await?;
                if bytes > bytes_max {
                    return Err(too_large(bytes));
                }
                let mut content = BytesMut::new();
                while let Some(piece) = pieces.try_next().await? {
                    content.extend_from_slice(&piece);
                    if content.len() as u64 > bytes_max {
                        return Err(too_large(content.len() as u64));
                    }
                }
                Ok(content.freeze())
            }
        }
    }

    /// Makes a file available as a local file, checked: the store's own file if
    /// it is a folder, else a copy in the folder `cache` (found there again the
    /// next time). Content that was checked before and has not been touched
    /// since is not read again; `cache` holds the notes about that too.
    ///
    /// # Errors
    ///
    /// [`StorageError::Damaged`], [`StorageError::NotFound`], [`StorageError::Path`],
    /// [`StorageError::Other`], and [`StorageError::Full`] if the copy finds no space.
    pub async fn local_file(&self, file: &FileRef, cache: &Path) -> Result<PathBuf, StorageError> {
        let object = path::checked(&file.path)?;
        match &self.kind {
            Kind::Folder(folder) => {
                let place = folder.file(&file.path);
                check_local(file, &place, cache).await?;
                Ok(place)
            }
            Kind::Remote(remote) => {
                let place = Download::place(file, cache)?;
                match check_local(file, &place, cache).await {
                    Ok(()) => return Ok(place),
                    Err(StorageError::NotFound(_)) => {}
                    Err(error @ StorageError::Damaged { .. }) => {
                        warn!(copy = %place.display(), %error, "a cached file is damaged and is fetched again");
                    }
                    Err(other) => return Err(other),
                }
                download(remote, &object, file, cache).await?;
                check_local(file, &place, cache).await?;
                Ok(place)
            }
        }
    }

    /// Deletes `path`; that it is not there is success. If it is on its way there,
    /// that is given up.
    ///
    /// # Errors
    ///
    /// [`StorageError::Path`], [`StorageError::Other`], and those of a service.
    pub async fn delete(&self, path: &str) -> Result<(), StorageError> {
        let object = path::checked(path)?;
        match &self.kind {
            Kind::Folder(folder) => on_folder(folder, path, |folder, path, _| folder.delete(path)).await,
            Kind::Remote(remote) => remote.delete(&object).await,
        }
    }

    /// The files below the folder `prefix` (all of them, if it is empty),
    /// ordered by path.
    ///
    /// # Errors
    ///
    /// [`StorageError::Path`], and [`StorageError::Other`] also if there are
    /// more than 100,000.
    pub async fn list_prefix(&self, prefix: &str) -> Result<Vec<Listed>, StorageError> {
        let (mut files, more) = self.find(prefix, LIST_FILES_MAX, |_| true).await?;
        if more {
            return Err(StorageError::Other(format!("more than {LIST_FILES_MAX} files in `{prefix}`")));
        }
        files.sort_unstable();
        Ok(files)
    }

    /// Up to `max` of the files below the folder `prefix` (all of them, if it is empty) that
    /// `wanted` picks, in no order, and whether there are more. `wanted` sees each file once.
    ///
    /// # Errors
    ///
    /// [`StorageError::Path`], [`StorageError::Other`], and those of a service.
    pub async fn find(
        &self,
        prefix: &str,
        max: usize,
        wanted: impl FnMut(&Listed) -> bool + Send + 'static,
    ) -> Result<(Vec<Listed>, bool), StorageError> {
        let object = if prefix.is_empty() { None } else { Some(path::checked(prefix)?) };
        match &self.kind {
            Kind::Folder(folder) => {
                on_folder(folder, prefix, move |folder, prefix, _| folder.find(prefix, max, wanted)).await
            }
            Kind::Remote(remote) => remote.find(object.as_ref(), max, wanted).await,
        }
    }

    /// Files that somebody has begun and not ended: they may be in the making, or their process is
    /// gone. For S3, the path that the file is to get and the time when it was begun; for a folder
    /// a place of its own below `.tmp`, and the time when it was last written to.
    ///
    /// # Errors
    ///
    /// [`StorageError::Other`], and those of a service.
    pub async fn unfinished(&self) -> Result<Vec<Listed>, StorageError> {
        match &self.kind {
            Kind::Folder(folder) => on_folder(folder, "", |folder, _, _| folder.unfinished()).await,
            Kind::Remote(remote) => remote.unfinished().await,
        }
    }

    /// Gives up one of [`unfinished`](Self::unfinished), by its path there; that it is gone is
    /// success. Whoever still works on it finds that out and begins anew.
    ///
    /// # Errors
    ///
    /// [`StorageError::Path`], [`StorageError::Other`], and those of a service.
    pub async fn abort(&self, path: &str) -> Result<(), StorageError> {
        match &self.kind {
            Kind::Folder(folder) => on_folder(folder, path, |folder, path, _| folder.abort(path)).await,
            Kind::Remote(remote) => remote.abort(&path::checked(path)?).await,
        }
    }
}

async fn check_local(file: &FileRef, place: &Path, cache: &Path) -> Result<(), StorageError> {
    let (file, place, cache) = (file.clone(), place.to_owned(), cache.to_owned());
    blocking(move || local::check(&file, &place, &cache)).await
}

async fn download(
    remote: &Remote,
    object: &ObjectPath,
    file: &FileRef,
    cache: &Path,
) -> Result<(), StorageError> {
    let (bytes, mut pieces) = remote.get(object, file.bytes).await?;
    local::check_size(file, bytes)?;
    let cache = cache.to_owned();
    let mut copy = blocking(move || Download::begin(&cache)).await?;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        copy = blocking(move || copy.write(&piece).map(|()| copy)).await?;
    }
    let file = file.clone();
    blocking(move || copy.finish(&file)).await
}

async fn on_folder<T: Send + 'static>(
    folder: &Arc<Folder>,
    path: &str,
    work: impl FnOnce(&Folder, &str, &Call) -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let (used, path, begun) = (Arc::clone(folder), path.to_owned(), Instant::now());
    let worked = blocking(move || work(&used, &path, &used.calls().begin())).await;
    match &worked {
        Err(error) if error.is_transient() => folder.health().fails(begun, &error.to_string()),
        Ok(_) | Err(_) => folder.health().answers(),
    }
    worked
}

/// Runs `work` on a thread for blocking work. What it has begun it also ends,
/// even if the caller goes away.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(StorageError::Other(format!("blocking work did not end: {e}"))))
}

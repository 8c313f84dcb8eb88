//! The store (first version by the architect; its signatures are the contract).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, path::Path as ObjectPath};
use phalanx_protocol::reference::FileRef;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No space left.
    #[error("the object store is full: {0}")]
    Full(String),
    /// No such file.
    #[error("{0} is not in the object store")]
    NotFound(String),
    /// There already, with other content.
    #[error("{0} is in the object store already, with other content")]
    Exists(String),
    /// Not what the reference says.
    #[error("{path} is damaged: expected {expected}, found {actual}")]
    Damaged {
        /// The file.
        path: String,
        /// Size or hash of the reference.
        expected: String,
        /// Size or hash found.
        actual: String,
    },
    /// Wrong URL.
    #[error("`{url}` is no object store: {reason}")]
    Url {
        /// It.
        url: String,
        /// Why.
        reason: String,
    },
    /// Everything else.
    #[error("object store: {0}")]
    Other(String),
}

/// An object store at a URL. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    url: String,
    inner: Arc<dyn ObjectStore>,
    /// The folder, if the store is a local one.
    folder: Option<PathBuf>,
}

impl Store {
    /// Opens `url`: a folder (`file:///…` or a plain path, created if absent) or any URL that `object_store` knows.
    pub fn open(url: &str) -> Result<Self, StorageError> {
        let folder = PathBuf::from(url.strip_prefix("file://").unwrap_or(url));
        std::fs::create_dir_all(&folder).map_err(|e| StorageError::Other(e.to_string()))?;
        let inner = object_store::local::LocalFileSystem::new_with_prefix(&folder)
            .map_err(|e| StorageError::Other(e.to_string()))?;
        Ok(Self { url: url.to_owned(), inner: Arc::new(inner), folder: Some(folder) })
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates `path` durably, once. If it is there already with the same content, that is success; with other content, [`StorageError::Exists`].
    pub async fn create(&self, path: &str, content: Bytes) -> Result<FileRef, StorageError> {
        let reference = FileRef {
            path: path.to_owned(),
            bytes: content.len() as u64,
            blake3: blake3::hash(&content).to_hex().to_string(),
        };
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.inner.put_opts(&ObjectPath::from(path), content.into(), options).await {
            Ok(_) => Ok(reference),
            Err(object_store::Error::AlreadyExists { .. }) => self
                .read(&reference)
                .await
                .map(|_| reference)
                .map_err(|_| StorageError::Exists(path.to_owned())),
            Err(e) => Err(StorageError::Other(e.to_string())),
        }
    }

    /// Reads a file whole and checks size and hash.
    pub async fn read(&self, file: &FileRef) -> Result<Bytes, StorageError> {
        let bytes = self.read_path(&file.path, file.bytes).await?;
        let actual = blake3::hash(&bytes).to_hex().to_string();
        if actual != file.blake3 {
            return Err(StorageError::Damaged {
                path: file.path.clone(),
                expected: file.blake3.clone(),
                actual,
            });
        }
        Ok(bytes)
    }

    /// Reads a small file of at most `bytes_max` whose hash is not known.
    pub async fn read_path(&self, path: &str, _bytes_max: u64) -> Result<Bytes, StorageError> {
        let result = self.inner.get(&ObjectPath::from(path)).await.map_err(|e| match e {
            object_store::Error::NotFound { .. } => StorageError::NotFound(path.to_owned()),
            e => StorageError::Other(e.to_string()),
        })?;
        result.bytes().await.map_err(|e| StorageError::Other(e.to_string()))
    }

    /// Makes a file available as a local file, checked: the store's own file if it is a folder, else a copy in `cache` (found there again the next time).
    pub async fn local_file(&self, file: &FileRef, _cache: &Path) -> Result<PathBuf, StorageError> {
        let _ = self.read(file).await?;
        Ok(self.folder.clone().unwrap_or_default().join(&file.path))
    }

    /// Whether `path` is there.
    pub async fn exists(&self, path: &str) -> Result<bool, StorageError> {
        match self.inner.head(&ObjectPath::from(path)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(StorageError::Other(e.to_string())),
        }
    }

    /// Deletes `path`; that it is not there is success.
    pub async fn delete(&self, path: &str) -> Result<(), StorageError> {
        match self.inner.delete(&ObjectPath::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(StorageError::Other(e.to_string())),
        }
    }
}

//! Dataset versions in a store: which are there, and the one that is meant.

use phalanx_storage::{StorageError, Store};

use crate::{
    DatasetManifest, OpenError,
    manifest::{FOLDER, FORMAT, MANIFEST_BYTES_MAX},
};

/// Why no version is found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// No version begins like this.
    #[error("there is no dataset version `{name}`")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// Several do.
    #[error("`{name}` is the beginning of {} dataset versions: {}", versions.len(), versions.join(", "))]
    Several {
        /// What was asked for.
        name: String,
        /// The versions, in order.
        versions: Vec<String>,
    },
    /// It cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// The names of all dataset versions, in order.
///
/// # Errors
///
/// What the store says.
pub async fn versions(store: &Store) -> Result<Vec<String>, StorageError> {
    let listed = store.list_prefix(FOLDER).await?;
    let version = |path: &str| {
        let version = path.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix("/manifest.json")?;
        Some(version.to_owned())
    };
    let mut versions: Vec<String> = listed.iter().filter_map(|file| version(&file.path)).collect();
    versions.sort_unstable();
    Ok(versions)
}

/// The manifest of the one version whose name begins with `name`.
///
/// # Errors
///
/// If there is none, or more than one, or its manifest cannot be read.
pub async fn find_version(name: &str, store: &Store) -> Result<DatasetManifest, FindError> {
    let mut found = versions(store).await.map_err(OpenError::from)?;
    found.retain(|version| version.starts_with(name));
    match found.as_slice() {
        [version] => Ok(load(version, store).await?),
        [] => Err(FindError::NotFound { name: name.to_owned() }),
        _ => Err(FindError::Several { name: name.to_owned(), versions: found }),
    }
}

async fn load(version: &str, store: &Store) -> Result<DatasetManifest, OpenError> {
    let path = DatasetManifest::path(version);
    let content = store.read_path(&path, MANIFEST_BYTES_MAX).await?;
    // Another format may have another form: which one it is, is asked for first.
    #[derive(serde::Deserialize)]
    struct Form {
        format: u32,
    }
    let unreadable = |error| OpenError::Manifest { path: path.clone(), error };
    let Form { format: actual } = serde_json::from_slice(&content).map_err(unreadable)?;
    if actual != FORMAT {
        return Err(OpenError::Format { path, expected: FORMAT, actual });
    }
    serde_json::from_slice(&content).map_err(unreadable)
}

//! The embedded state store: one redb file, for a coordinator on one machine.
//! The file is locked while it is open; redb makes its commits atomic and
//! durable.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use phalanx_storage::{create_folders, is_full};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{FORMAT, Put, Revision, Snapshot, StateError, StateStore};

/// Numbers about the store itself.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const META_FORMAT: &str = "format";
const META_REVISION: &str = "revision";

/// The records.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");

/// Bytes of the file kept in memory; the state is read once and then only written.
const CACHE_BYTES: usize = 8 << 20;

/// A state store in one file.
#[derive(Debug)]
pub(super) struct Redb {
    file: Arc<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    database: Database,
}

impl Redb {
    /// Opens the file, creating it and its folders if absent.
    pub(super) async fn open(path: PathBuf) -> Result<Self, StateError> {
        let file = blocking(move || OpenFile::open(path)).await?;
        Ok(Self { file: Arc::new(file) })
    }
}

#[async_trait]
impl StateStore for Redb {
    async fn load(&self) -> Result<Snapshot, StateError> {
        let file = Arc::clone(&self.file);
        blocking(move || file.load().map_err(|e| failed(&file.path, e))).await
    }

    async fn commit(&self, expected: Revision, changes: Vec<Put>) -> Result<Revision, StateError> {
        let file = Arc::clone(&self.file);
        blocking(move || {
            let committed = file.commit(expected, &changes).map_err(|e| failed(&file.path, e))?;
            committed.map_err(|actual| StateError::Conflict {
                place: file.path.display().to_string(),
                expected,
                actual,
            })
        })
        .await
    }
}

impl OpenFile {
    fn open(path: PathBuf) -> Result<Self, StateError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        create_folders(folder).map_err(|e| failed(&path, e.into()))?;
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&path)
            .map_err(|e| failed(&path, e.into()))?;
        let sync = File::open(folder).and_then(|folder| folder.sync_all());
        sync.map_err(|e: io::Error| failed(&path, e.into()))?;

        let file = Self { path, database };
        match file.prepare().map_err(|e| failed(&file.path, e))? {
            FORMAT => Ok(file),
            actual => Err(StateError::Format { place: file.path.display().to_string(), actual }),
        }
    }

    /// Creates the tables where they are absent; returns the store's format.
    fn prepare(&self) -> Result<u64, redb::Error> {
        let transaction = self.database.begin_write()?;
        let format = {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get(META_FORMAT)?.map(|number| number.value());
            if found.is_none() {
                meta.insert(META_FORMAT, FORMAT)?;
                meta.insert(META_REVISION, 0)?;
                transaction.open_table(RECORDS)?;
            }
            found.unwrap_or(FORMAT)
        };
        transaction.commit()?;
        Ok(format)
    }

    fn load(&self) -> Result<Snapshot, redb::Error> {
        let transaction = self.database.begin_read()?;
        let revision = transaction.open_table(META)?.get(META_REVISION)?.map_or(0, |number| number.value());
        let mut records = BTreeMap::new();
        for record in transaction.open_table(RECORDS)?.iter()? {
            let (key, value) = record?;
            records.insert(key.value().to_owned(), value.value().to_owned());
        }
        Ok(Snapshot { revision: Revision(revision), records })
    }

    /// Applies the changes if the state is at revision `expected`; returns the
    /// revision after that or, as the inner error, the one found instead.
    fn commit(&self, expected: Revision, changes: &[Put]) -> Result<Result<Revision, Revision>, redb::Error> {
        let transaction = self.database.begin_write()?;
        let next = {
            let mut meta = transaction.open_table(META)?;
            let actual = meta.get(META_REVISION)?.map_or(0, |number| number.value());
            if actual != expected.0 {
                return Ok(Err(Revision(actual)));
            }
            meta.insert(META_REVISION, actual + 1)?;
            actual + 1
        };
        {
            let mut records = transaction.open_table(RECORDS)?;
            for change in changes {
                records.insert(change.key.as_str(), change.value.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(Ok(Revision(next)))
    }
}

fn failed(path: &Path, error: redb::Error) -> StateError {
    let place = path.display().to_string();
    match error {
        redb::Error::DatabaseAlreadyOpen => StateError::InUse { place },
        redb::Error::Io(ref e) if is_full(e) => StateError::Full { place },
        other => StateError::Other { place, reason: other.to_string() },
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
        Err(StateError::Other { place: "redb".to_owned(), reason: format!("blocking work did not end: {e}") })
    })
}

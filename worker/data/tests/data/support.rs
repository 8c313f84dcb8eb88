//! A folder with a source and a store, and writers of source files.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    buffer::OffsetBuffer,
};
use parquet::arrow::ArrowWriter;
use phalanx_data::{Cache, Dataset, PrepareError, Prepared, prepare};
use phalanx_protocol::spec::{DataSpec, SplitSpec};
use phalanx_storage::Store;
use serde_json::{Map, Value};
use tempfile::TempDir;

/// A folder with a source and a store.
pub(crate) struct Bench {
    folder: TempDir,
    pub(crate) store: Store,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store").to_str().unwrap()).unwrap();
        Self { folder, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes columns to a Parquet file, in row groups of two rows.
    pub(crate) fn parquet(&self, name: &str, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
        let path = self.path(name);
        write_parquet(&path, columns);
        path
    }

    pub(crate) async fn prepare(&self, spec: &DataSpec) -> Result<Prepared, PrepareError> {
        prepare(spec, &self.store, &mut |_| {}).await
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::new(self.path("cache"), Cache::BYTES_MAX)
    }

    pub(crate) async fn open(&self, spec: &DataSpec) -> Dataset {
        let prepared = self.prepare(spec).await.unwrap();
        Dataset::open(&prepared.dataset, &self.store, &self.cache()).await.unwrap()
    }
}

/// A `[data]` section over the source at `path`, with `settings` of the section and of its source as
/// the inside of a JSON object.
pub(crate) fn spec(kind: &str, path: &Path, settings: &str) -> DataSpec {
    const OF_THE_SOURCE: [&str; 5] = ["missing", "delimiter", "context", "labels", "resize"];
    let settings: Map<String, Value> = serde_json::from_str(&format!("{{{settings}}}")).unwrap();
    let (mut source, mut data): (Map<_, _>, Map<_, _>) =
        settings.into_iter().partition(|(key, _)| OF_THE_SOURCE.contains(&key.as_str()));
    source.insert("path".to_owned(), Value::from(path.to_str().unwrap()));
    data.insert(kind.to_owned(), source.into());
    serde_json::from_value(data.into()).unwrap()
}

/// All rows into the training split.
pub(crate) fn train_only(mut spec: DataSpec) -> DataSpec {
    spec.split = SplitSpec { train: 1.0, validation: 0.0, test: 0.0, ..spec.split };
    spec
}

pub(crate) fn offsets(lengths: &[usize]) -> OffsetBuffer<i32> {
    OffsetBuffer::from_lengths(lengths.iter().copied())
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    for start in (0..batch.num_rows()).step_by(2) {
        writer.write(&batch.slice(start, 2.min(batch.num_rows() - start))).unwrap();
        writer.flush().unwrap();
    }
    if batch.num_rows() == 0 {
        writer.write(&batch).unwrap();
    }
    writer.close().unwrap();
}

/// An array for [`Bench::parquet`].
pub(crate) fn array(array: impl arrow::array::Array + 'static) -> ArrayRef {
    Arc::new(array)
}

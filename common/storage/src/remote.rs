//! A store that is a service: S3, Google Cloud Storage, Azure, or the memory of
//! this process. Credentials, endpoints and client settings come from the
//! environment, under the names that `object_store` documents
//! (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`, `GOOGLE_…`, `AZURE_…`).

use std::{str::FromStr, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, PutMode, PutOptions,
    RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder,
    memory::InMemory, path::Path as ObjectPath, prefix::PrefixStore,
};
use url::Url;

use crate::{Listed, StorageError, store::LIST_FILES_MAX};

/// A request that takes longer has failed; it carries one whole file.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// A connection that takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// After this a request is not tried again: a job that cannot write pauses, and
/// that should be seen while somebody watches.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// The most times a request is tried again.
const RETRIES_MAX: usize = 8;

/// The largest file that every service takes in one request (S3: 5 GiB).
const PUT_BYTES_MAX: usize = 5 << 30;

/// A store that is a service.
#[derive(Debug)]
pub(crate) struct Remote {
    inner: Box<dyn ObjectStore>,
}

impl Remote {
    /// Opens the store at `url`. Nothing is sent yet.
    pub(crate) fn open(url: &Url) -> Result<Self, StorageError> {
        let refuse = |reason: String| StorageError::Url { url: url.to_string(), reason };
        let (scheme, prefix) = ObjectStoreScheme::parse(url).map_err(|_| refuse(EXPECTED.to_owned()))?;
        let inner: Box<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::Memory => Box::new(InMemory::new()),
            ObjectStoreScheme::AmazonS3 => {
                let builder = AmazonS3Builder::new().with_retry(retries()).with_client_options(client());
                let builder = environment("AWS_").fold(builder, |b, (key, value)| b.with_config(key, value));
                prefixed(builder.with_url(url.as_str()).build().map_err(|e| refuse(e.to_string()))?, prefix)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let builder =
                    GoogleCloudStorageBuilder::new().with_retry(retries()).with_client_options(client());
                let builder =
                    environment("GOOGLE_").fold(builder, |b, (key, value)| b.with_config(key, value));
                prefixed(builder.with_url(url.as_str()).build().map_err(|e| refuse(e.to_string()))?, prefix)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let builder =
                    MicrosoftAzureBuilder::new().with_retry(retries()).with_client_options(client());
                let builder =
                    environment("AZURE_").fold(builder, |b, (key, value)| b.with_config(key, value));
                prefixed(builder.with_url(url.as_str()).build().map_err(|e| refuse(e.to_string()))?, prefix)
            }
            _ => return Err(refuse(EXPECTED.to_owned())),
        };
        Ok(Self { inner })
    }

    /// Creates the file durably. [`StorageError::Exists`] if there is one; that
    /// may be our own, if the answer to an earlier try was lost.
    pub(crate) async fn create(&self, path: &ObjectPath, content: Bytes) -> Result<(), StorageError> {
        if content.len() > PUT_BYTES_MAX {
            let bytes = content.len();
            return Err(StorageError::Other(format!(
                "{path}: {bytes} bytes, and a remote store takes at most {PUT_BYTES_MAX} in one file"
            )));
        }
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let result = self.inner.put_opts(path, content.into(), options).await;
        result.map(drop).map_err(|e| StorageError::remote(path.as_ref(), &e))
    }

    /// The file's size in bytes and its content, piece by piece.
    pub(crate) async fn get(
        &self,
        path: &ObjectPath,
    ) -> Result<(u64, BoxStream<'static, Result<Bytes, StorageError>>), StorageError> {
        let name = path.to_string();
        let found = self.inner.get(path).await.map_err(|e| StorageError::remote(&name, &e))?;
        let bytes = found.meta.size;
        let pieces = found.into_stream().map_err(move |e| StorageError::remote(&name, &e));
        Ok((bytes, pieces.boxed()))
    }

    /// Deletes the file; that it is not there is success.
    pub(crate) async fn delete(&self, path: &ObjectPath) -> Result<(), StorageError> {
        match self.inner.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(StorageError::remote(path.as_ref(), &e)),
        }
    }

    /// The files below the folder `prefix` (all of them, if it is none).
    pub(crate) async fn list(&self, prefix: Option<&ObjectPath>) -> Result<Vec<Listed>, StorageError> {
        let name = prefix.map_or("", |p| p.as_ref()).to_owned();
        let mut found = self.inner.list(prefix);
        let mut files = Vec::new();
        while let Some(file) = found.try_next().await.map_err(|e| StorageError::remote(&name, &e))? {
            if files.len() == LIST_FILES_MAX {
                return Err(StorageError::Other(format!("more than {LIST_FILES_MAX} files in `{name}`")));
            }
            files.push(Listed { path: file.location.to_string(), bytes: file.size });
        }
        Ok(files)
    }
}

/// What a store's URL may be, for messages.
pub(crate) const EXPECTED: &str = "expected a folder, `file:///…`, `s3://bucket/…`, `gs://bucket/…` or \
     `az://container/…`";

fn prefixed(store: impl ObjectStore, prefix: ObjectPath) -> Box<dyn ObjectStore> {
    Box::new(PrefixStore::new(store, prefix))
}

fn retries() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT }
}

/// The defaults, which the environment may override.
fn client() -> ClientOptions {
    ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT)
}

/// The settings in the environment whose names begin with `prefix` and that the
/// store knows.
fn environment<K: FromStr>(prefix: &str) -> impl Iterator<Item = (K, String)> + '_ {
    std::env::vars_os().filter_map(move |(name, value)| {
        let name = name.to_str().filter(|name| name.starts_with(prefix))?;
        Some((name.to_ascii_lowercase().parse().ok()?, value.into_string().ok()?))
    })
}

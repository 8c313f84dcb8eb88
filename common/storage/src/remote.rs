//! A store that is a service: S3, Google Cloud Storage, Azure, or the memory of
//! this process. What a user sets, and how long each thing is waited for, stands
//! in `docs/object-store.md`.

use std::{str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use jiff::Timestamp;
use object_store::{
    BackoffConfig, ClientConfigKey, ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, ObjectStoreScheme, PutMode, PutOptions, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
    memory::InMemory,
    path::Path as ObjectPath,
    prefix::PrefixStore,
};
use phalanx_protocol::reference::FileRef;
use url::Url;

use crate::{
    Listed, StorageError,
    outage::Health,
    service::Connector,
    uploads::{CLAIMS, Uploads},
};

/// Bytes of the pieces in which large files are fetched, and sent to S3.
pub(crate) const PIECE_BYTES: usize = 8 << 20;

/// The most pieces of one file that are on their way at once.
pub(crate) const PIECES_AT_ONCE: usize = 4;

/// A request to S3 that takes longer has failed: none carries more than [`UPLOAD_BYTES_MIN`].
/// `AWS_TIMEOUT` sets another limit.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for services that are sent each file in one request.
const FILE_TIMEOUT: Duration = Duration::from_secs(300);

/// A connection that takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// After this a request is not tried again: whoever waits should learn of it while somebody watches.
/// The setting [`RETRY_SETTING`] gives another number of seconds.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// See [`RETRY_TIMEOUT`].
const RETRY_SETTING: &str = "PHALANX_STORE_RETRY";

/// The most seconds of it: a service may take a request for too old after some minutes.
const RETRY_SECONDS_MAX: u64 = 600;

/// The most times a request is tried again; with [`BACKOFF_MAX`] more than fit into the time.
const RETRIES_MAX: usize = 100;

/// The least and the most time between two tries; it grows by up to a factor of two.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The largest file that every service takes in one request (S3: 5 GiB).
const PUT_BYTES_MAX: usize = 5 << 30;

/// From this size on, files are sent to S3 in pieces.
const UPLOAD_BYTES_MIN: usize = 2 * PIECE_BYTES;

/// A store that is a service.
#[derive(Debug)]
pub(crate) struct Remote {
    inner: Arc<dyn ObjectStore>,
    /// Files in pieces, where the service is S3.
    uploads: Option<Uploads>,
    health: Arc<Health>,
}

impl Remote {
    /// Opens the store at `url` with these settings, of which those that the service does not know
    /// are passed over. Nothing is sent yet.
    pub(crate) fn open(url: &Url, settings: &[(String, String)]) -> Result<Self, StorageError> {
        let refuse = |reason: String| StorageError::Url { url: url.to_string(), reason };
        let (scheme, prefix) = ObjectStoreScheme::parse(url).map_err(|_| refuse(EXPECTED.to_owned()))?;
        let connector = Connector::default();
        let health = Arc::clone(&connector.health);
        let alone = |inner| Self { inner, uploads: None, health: Arc::clone(&health) };
        let failed = |error: object_store::Error| refuse(error.to_string());
        let retries = retries(settings).map_err(refuse)?;
        Ok(match scheme {
            ObjectStoreScheme::Memory => alone(Arc::new(InMemory::new())),
            ObjectStoreScheme::AmazonS3 => {
                let builder = AmazonS3Builder::new().with_retry(retries).with_http_connector(connector);
                let builder = builder.with_client_options(client(PIECE_TIMEOUT)).with_url(url.as_str());
                let builder =
                    known(settings, "AWS_").fold(builder, |b, (key, value)| b.with_config(key, value));
                check_clear(&builder).map_err(refuse)?;
                let bucket = builder.build().map_err(failed)?;
                let inner: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(bucket.clone(), prefix.clone()));
                let uploads = Some(Uploads::new(bucket, prefix, Arc::clone(&inner)));
                Self { inner, uploads, health }
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let builder =
                    GoogleCloudStorageBuilder::new().with_retry(retries).with_http_connector(connector);
                let builder = builder.with_client_options(client(FILE_TIMEOUT)).with_url(url.as_str());
                let builder =
                    known(settings, "GOOGLE_").fold(builder, |b, (key, value)| b.with_config(key, value));
                alone(Arc::new(PrefixStore::new(builder.build().map_err(failed)?, prefix)))
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let builder = MicrosoftAzureBuilder::new().with_retry(retries).with_http_connector(connector);
                let builder = builder.with_client_options(client(FILE_TIMEOUT)).with_url(url.as_str());
                let builder =
                    known(settings, "AZURE_").fold(builder, |b, (key, value)| b.with_config(key, value));
                alone(Arc::new(PrefixStore::new(builder.build().map_err(failed)?, prefix)))
            }
            _ => return Err(refuse(EXPECTED.to_owned())),
        })
    }

    /// Whether the service answers.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Creates the file durably. [`StorageError::Exists`] if there is one; that
    /// may be our own, if the answer to an earlier try was lost.
    pub(crate) async fn create(
        &self,
        path: &ObjectPath,
        file: &FileRef,
        content: Bytes,
    ) -> Result<(), StorageError> {
        match &self.uploads {
            Some(uploads) if content.len() >= UPLOAD_BYTES_MIN => uploads.create(path, file, content).await,
            _ if content.len() > PUT_BYTES_MAX => Err(StorageError::Other(format!(
                "{path}: {} bytes, and this service takes at most {PUT_BYTES_MAX} in one file",
                content.len()
            ))),
            _ => create_at_once(&*self.inner, path, content).await,
        }
    }

    /// The file's size in bytes and its content, piece by piece; a file that is larger than a piece
    /// several pieces at a time. Whoever expects at most `bytes_max` stops at a larger size.
    pub(crate) async fn get(
        &self,
        path: &ObjectPath,
        bytes_max: u64,
    ) -> Result<(u64, BoxStream<'static, Result<Bytes, StorageError>>), StorageError> {
        let name = path.to_string();
        let head = match bytes_max <= PIECE_BYTES as u64 {
            true => None,
            false => match self.inner.head(path).await {
                Ok(found) => Some(found),
                // The answer to HEAD has no room for the reason, which the one to GET has.
                Err(object_store::Error::NotFound { .. }) => None,
                Err(e) => return Err(StorageError::remote(&name, &e)),
            },
        };
        let Some(found) = head else {
            let found = self.inner.get(path).await.map_err(|e| StorageError::remote(&name, &e))?;
            let bytes = found.meta.size;
            let pieces = found.into_stream().map_err(move |e| StorageError::remote(&name, &e));
            return Ok((bytes, pieces.boxed()));
        };
        let (inner, path, bytes) = (Arc::clone(&self.inner), path.clone(), found.size);
        let pieces = stream::iter((0..bytes).step_by(PIECE_BYTES)).map(move |begin| {
            let (inner, path, name) = (Arc::clone(&inner), path.clone(), name.clone());
            let range = GetRange::Bounded(begin..bytes.min(begin + PIECE_BYTES as u64));
            let options =
                GetOptions { range: Some(range), if_match: found.e_tag.clone(), ..GetOptions::default() };
            let fetched = async move { inner.get_opts(&path, options).await?.bytes().await };
            fetched.map(move |fetched| fetched.map_err(|e| StorageError::remote(&name, &e)))
        });
        Ok((bytes, pieces.buffered(PIECES_AT_ONCE).boxed()))
    }

    /// Deletes the file, and gives an upload of it up; that it is not there is success.
    pub(crate) async fn delete(&self, path: &ObjectPath) -> Result<(), StorageError> {
        self.abort(path).await?;
        delete(&*self.inner, path).await
    }

    /// Up to `max` of the files below the folder `prefix` (all of them, if it is none) that
    /// `wanted` picks, and whether there are more.
    pub(crate) async fn find(
        &self,
        prefix: Option<&ObjectPath>,
        max: usize,
        mut wanted: impl FnMut(&Listed) -> bool,
    ) -> Result<(Vec<Listed>, bool), StorageError> {
        let name = prefix.map_or("", |p| p.as_ref()).to_owned();
        let mut found = self.inner.list(prefix);
        let mut files = Vec::new();
        while let Some(file) = found.try_next().await.map_err(|e| StorageError::remote(&name, &e))? {
            let file = listed(&file);
            if is_hidden(&file.path) || !wanted(&file) {
                continue;
            }
            if files.len() == max {
                return Ok((files, true));
            }
            files.push(file);
        }
        Ok((files, false))
    }

    /// Uploads that were begun and not ended, by the path of the file that each is to become.
    pub(crate) async fn unfinished(&self) -> Result<Vec<Listed>, StorageError> {
        match &self.uploads {
            Some(uploads) => uploads.unfinished().await,
            None => Ok(Vec::new()),
        }
    }

    /// Gives such an upload up.
    pub(crate) async fn abort(&self, path: &ObjectPath) -> Result<(), StorageError> {
        match &self.uploads {
            Some(uploads) => uploads.abort(path).await,
            None => Ok(()),
        }
    }
}

/// What a store's URL may be, for messages.
pub(crate) const EXPECTED: &str = "expected a folder, `file:///…`, `s3://bucket/…`, `gs://bucket/…` or \
     `az://container/…`";

/// Creates a file in one request, which every service does for one of many at most.
pub(crate) async fn create_at_once(
    store: &dyn ObjectStore,
    path: &ObjectPath,
    content: Bytes,
) -> Result<(), StorageError> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let created = store.put_opts(path, content.into(), options).await;
    created.map(drop).map_err(|e| StorageError::remote(path.as_ref(), &e))
}

/// Deletes a file; that it is not there is success.
pub(crate) async fn delete(store: &dyn ObjectStore, path: &ObjectPath) -> Result<(), StorageError> {
    match store.delete(path).await.map_err(|e| StorageError::remote(path.as_ref(), &e)) {
        Ok(()) | Err(StorageError::NotFound(_)) => Ok(()),
        Err(other) => Err(other),
    }
}

pub(crate) fn listed(file: &ObjectMeta) -> Listed {
    let modified =
        Timestamp::from_millisecond(file.last_modified.timestamp_millis()).unwrap_or(Timestamp::MAX);
    Listed { path: file.location.to_string(), bytes: file.size, modified }
}

/// Whether it is one of the store's own files.
fn is_hidden(path: &str) -> bool {
    path.strip_prefix(CLAIMS).is_some_and(|rest| rest.starts_with('/'))
}

/// Refuses to send anything in the clear unless that is asked for.
fn check_clear(builder: &AmazonS3Builder) -> Result<(), String> {
    let given = |key| builder.get_config_value(&key);
    let endpoint = given(AmazonS3ConfigKey::S3Endpoint).or_else(|| given(AmazonS3ConfigKey::Endpoint));
    let allowed = given(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)).unwrap_or_default();
    let refused = ["", "0", "false", "off", "no", "n"].contains(&allowed.to_ascii_lowercase().as_str());
    match endpoint.filter(|endpoint| refused && endpoint.starts_with("http://")) {
        Some(endpoint) => Err(format!(
            "its endpoint {endpoint} has no TLS: set AWS_ALLOW_HTTP=true to let everything pass in the clear"
        )),
        None => Ok(()),
    }
}

fn retries(settings: &[(String, String)]) -> Result<RetryConfig, String> {
    let retry_timeout = match settings.iter().find(|(name, _)| name == RETRY_SETTING) {
        None => RETRY_TIMEOUT,
        Some((_, text)) => match text.parse() {
            Ok(seconds @ 0..=RETRY_SECONDS_MAX) => Duration::from_secs(seconds),
            _ => return Err(format!("{RETRY_SETTING}={text}: expected 0 to {RETRY_SECONDS_MAX} seconds")),
        },
    };
    let backoff = BackoffConfig { init_backoff: BACKOFF_MIN, max_backoff: BACKOFF_MAX, base: 2.0 };
    Ok(RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout })
}

/// The defaults, which settings may override.
fn client(timeout: Duration) -> ClientOptions {
    ClientOptions::new().with_timeout(timeout).with_connect_timeout(CONNECT_TIMEOUT)
}

/// The settings whose names begin with `prefix` and that the service knows.
fn known<K: FromStr>(settings: &[(String, String)], prefix: &str) -> impl Iterator<Item = (K, String)> {
    settings.iter().filter_map(move |(name, value)| {
        let name = Some(name).filter(|name| name.starts_with(prefix))?;
        Some((name.to_ascii_lowercase().parse().ok()?, value.clone()))
    })
}

//! What all requests to Kubernetes share: who they are sent to, how long they may take, and how many there are.

use std::time::{Duration, Instant};

use kube::{Client, Config, client::ClientBuilder, config::InferConfigError};
use tokio::time::{sleep_until, timeout};

/// Who writes what a coordinator writes.
pub(crate) const COORDINATOR: &str = "phalanx-coordinator";

/// A request that takes longer is given up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The time between two requests that write, in the long run: 40 a second, so that with watches it stays below 50.
const PACE: Duration = Duration::from_millis(25);

/// Requests that may come at once after a quiet time.
const BURST: u32 = 8;

/// Why there is no way to Kubernetes.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a pod's account nor a kubeconfig is there.
    #[error("there is no Kubernetes to talk to: neither an account of a pod nor a kubeconfig can be used")]
    NotFound(#[source] Box<InferConfigError>),
    /// What is there cannot be used.
    #[error("the Kubernetes of the kubeconfig, or of the pod's account, cannot be used")]
    Unusable(#[source] Box<kube::Error>),
}

/// A way to Kubernetes, in one namespace.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The one of this pod's account, or else of the user's kubeconfig (`KUBECONFIG`); in `namespace`, or else in that
    /// which is the default there. Nobody is asked yet.
    ///
    /// # Errors
    ///
    /// Neither is there, or it cannot be used.
    pub async fn connect(namespace: Option<String>) -> Result<Self, ConnectError> {
        phalanx_tls::use_ring();
        let config = Config::infer().await.map_err(|error| ConnectError::NotFound(Box::new(error)))?;
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let unusable = |error| ConnectError::Unusable(Box::new(error));
        let client = ClientBuilder::try_from(config).map_err(unusable)?.build();
        Ok(Self { client, namespace })
    }

    /// The namespace in which everything is looked for and written.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error("the API server did not answer within {REQUEST_TIMEOUT:?}")]
    Late,
}

impl Unanswered {
    /// The status code of the answer, if the API server gave one.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status.code),
            Self::Kube(_) | Self::Late => None,
        }
    }
}

/// Waits for an answer, but not for ever.
pub(crate) async fn answered<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Unanswered> {
    timeout(REQUEST_TIMEOUT, request).await.map_err(|_| Unanswered::Late)?.map_err(Unanswered::from)
}

/// How many requests may be made: a bucket that fills with time.
#[derive(Debug)]
pub(crate) struct Budget {
    /// When it would be full, had nothing been asked for since.
    full_at: Instant,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { full_at: Instant::now() }
    }

    /// When the next request may be made.
    pub(crate) fn next(&self) -> Instant {
        let burst = PACE * BURST;
        self.full_at.checked_sub(burst).unwrap_or(self.full_at)
    }

    /// One is made at `now`.
    pub(crate) fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + PACE;
    }

    /// Waits until a request may be made, and takes it.
    pub(crate) async fn spend(&mut self) {
        sleep_until(self.next().into()).await;
        self.take(Instant::now());
    }
}

//! The coordinator's HTTP interface, seen from a client: one typed call for each
//! route. Every command goes this way, whether the coordinator is far away, in
//! another process of this machine, or in this process.

mod collection;
mod follow;
mod lines;

use std::{fmt, time::Duration};

use phalanx_protocol::{
    id::WorkerId,
    spec::{JobSpec, WorkersSpec},
    view::{
        AliasRequest, ApiError, ClusterView, Curve, JobView, ModelView, ResumeRequest, SubmitRequest,
        WorkerView,
    },
};
use reqwest::{Method, RequestBuilder, StatusCode, Url, header::HeaderMap};
use serde::de::DeserializeOwned;

pub(crate) use collection::Collection;
pub(crate) use follow::Follow;
use lines::Lines;

use crate::error::CliError;

/// A coordinator that takes longer to be reached is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A call that takes longer has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes of an answer: a job with a confusion matrix of a thousand classes has seven million.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A coordinator at an address.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    base: Url,
    http: reqwest::Client,
}

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The address is none.
    #[error("`{0}` is no address of a coordinator: expected one such as http://localhost:7700")]
    Address(String),
    /// Nobody answers.
    #[error("no coordinator answers at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What the system says.
        reason: String,
    },
    /// The coordinator says no.
    #[error("{reason}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// What the coordinator says.
        reason: String,
    },
    /// Something answers that is no coordinator of this version.
    #[error("{url} does not answer like a coordinator: {reason}")]
    Strange {
        /// Where.
        url: String,
        /// What is strange.
        reason: String,
    },
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Address(_) => Self::usage(error),
            ClientError::Refused { status, .. }
                if matches!(*status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND) =>
            {
                Self::usage(error)
            }
            ClientError::Refused { .. } | ClientError::Strange { .. } => Self::failed(error),
            ClientError::Unreachable { .. } => {
                Self::failed(error).hint("is `phalanx coordinator` running, and is this its HTTP address?")
            }
        }
    }
}

impl Client {
    /// A client of the coordinator at `address`, which is not asked yet.
    ///
    /// # Errors
    ///
    /// [`ClientError::Address`].
    pub(crate) fn new(address: &str) -> Result<Self, ClientError> {
        let invalid = || ClientError::Address(address.to_owned());
        let text = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let base = Url::parse(&text).map_err(|_| invalid())?;
        if base.scheme() != "http" || base.host_str().is_none() {
            return Err(invalid());
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|_| invalid())?;
        Ok(Self { base, http })
    }

    /// Its address.
    pub(crate) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// What a client must know of the cluster.
    pub(crate) async fn cluster(&self) -> Result<ClusterView, ClientError> {
        self.get(&["cluster"]).await
    }

    /// Submits a job; the current span becomes the parent of its trace.
    pub(crate) async fn submit(&self, spec: JobSpec) -> Result<JobView, ClientError> {
        let mut headers = HeaderMap::new();
        phalanx_telemetry::to_headers(&mut headers);
        let request = self.request(Method::POST, &["jobs"]).headers(headers).json(&SubmitRequest { spec });
        self.call(request).await
    }

    /// All jobs.
    pub(crate) async fn jobs(&self) -> Result<Vec<JobView>, ClientError> {
        self.get(&["jobs"]).await
    }

    /// One job.
    pub(crate) async fn job(&self, id: &str) -> Result<JobView, ClientError> {
        self.get(&["jobs", id]).await
    }

    /// A job's loss curve.
    pub(crate) async fn curve(&self, id: &str) -> Result<Curve, ClientError> {
        self.get(&["jobs", id, "curve"]).await
    }

    /// A job as it changes, until it is over.
    pub(crate) fn follow(&self, id: &str) -> Follow {
        Follow::new(self.clone(), id.to_owned())
    }

    /// Stops a job for good, or until it is resumed.
    pub(crate) async fn cancel(&self, id: &str) -> Result<JobView, ClientError> {
        self.call(self.request(Method::POST, &["jobs", id, "cancel"])).await
    }

    /// Saves a job's state and pauses it.
    pub(crate) async fn interrupt(&self, id: &str) -> Result<JobView, ClientError> {
        self.call(self.request(Method::POST, &["jobs", id, "interrupt"])).await
    }

    /// Lets a job go on, from now on with as many workers as `workers` says.
    pub(crate) async fn resume(&self, id: &str, workers: Option<u32>) -> Result<JobView, ClientError> {
        let workers =
            workers.map(|count| WorkersSpec { start: Some(count), max: Some(count), ..Default::default() });
        let request = self.request(Method::POST, &["jobs", id, "resume"]);
        self.call(request.json(&ResumeRequest { workers })).await
    }

    /// Changes how many workers a job takes.
    pub(crate) async fn scale(&self, id: &str, workers: &WorkersSpec) -> Result<JobView, ClientError> {
        self.call(self.request(Method::POST, &["jobs", id, "scale"]).json(workers)).await
    }

    /// Lets a worker finish its step and leave.
    pub(crate) async fn drain(&self, worker: WorkerId) -> Result<WorkerView, ClientError> {
        self.call(self.request(Method::POST, &["workers", &worker.to_string(), "drain"])).await
    }

    /// All workers.
    pub(crate) async fn workers(&self) -> Result<Vec<WorkerView>, ClientError> {
        self.get(&["workers"]).await
    }

    /// All models.
    pub(crate) async fn models(&self) -> Result<Vec<ModelView>, ClientError> {
        self.get(&["models"]).await
    }

    /// One model.
    pub(crate) async fn model(&self, name: &str) -> Result<ModelView, ClientError> {
        self.get(&["models", name]).await
    }

    /// Lets an alias name a version.
    pub(crate) async fn set_alias(
        &self,
        name: &str,
        alias: &str,
        version: u64,
    ) -> Result<ModelView, ClientError> {
        let request = self.request(Method::PUT, &["models", name, "aliases", alias]);
        self.call(request.json(&AliasRequest { version })).await
    }

    /// Deletes what nobody needs in the object store and is at least `age` old; nothing in a dry run.
    /// Returns when the store was looked through.
    pub(crate) async fn collect_garbage(
        &self,
        age: Duration,
        dry_run: bool,
    ) -> Result<Collection, ClientError> {
        let mut url = self.url(&["gc"]);
        let wanted = [("dry_run", dry_run.to_string()), ("older_than_seconds", age.as_secs().to_string())];
        url.query_pairs_mut().extend_pairs(wanted);
        Ok(Collection::new(self.clone(), self.lines(self.http.post(url)).await?))
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        self.call(self.request(Method::GET, path)).await
    }

    /// A request for `/v1/…`.
    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// The address of `/v1/…`; the parts of the path are escaped.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        url
    }

    /// Sends a request that is answered line by line.
    async fn lines(&self, request: RequestBuilder) -> Result<Lines, ClientError> {
        Ok(Lines::of(self.send(request).await?))
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request.timeout(CALL_TIMEOUT)).await?;
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|e| self.strange(e))
    }

    /// Sends a request and takes an answer that is no success apart.
    async fn send(&self, request: RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.body(response).await?;
        match serde_json::from_slice(&body) {
            Ok(ApiError { error }) => Err(ClientError::Refused { status, reason: error }),
            Err(_) => Err(self.strange(format!("status {status}"))),
        }
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|e| self.unreachable(&e))? {
            body.extend_from_slice(&piece);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(self.strange(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes")));
            }
        }
        Ok(body)
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: self.address().to_owned(), reason: innermost(error) }
    }

    fn strange(&self, reason: impl fmt::Display) -> ClientError {
        ClientError::Strange { url: self.address().to_owned(), reason: reason.to_string() }
    }
}

/// The first cause, which is what a person can act on.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_lack_its_scheme() {
        let client = Client::new("localhost:7700").unwrap();
        assert_eq!(client.address(), "http://localhost:7700");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in ["", "https://x", "http://", "ftp://x", "a b"] {
            assert!(matches!(Client::new(wrong), Err(ClientError::Address(_))), "{wrong:?}");
        }
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        let client = Client::new("http://host:1/").unwrap();
        let request = client.request(Method::GET, &["jobs", "../models?x"]).build().unwrap();
        assert_eq!(request.url().as_str(), "http://host:1/v1/jobs/..%2Fmodels%3Fx");
    }
}

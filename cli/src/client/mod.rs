//! The coordinator's HTTP interface, seen from a client: one typed call for each
//! route. Every command goes this way, whether the coordinator is far away, in
//! another process of this machine, or in this process.
//!
//! Of several coordinators one leads. A call that cannot reach one, or finds it
//! standing by, goes to the leader that is named there and to each of the others.
//! One that broke on the way or is not answered does so only if it changes nothing,
//! since it may have been heard.

mod collection;
mod follow;
mod lines;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use phalanx_protocol::{
    id::WorkerId,
    rpc::Standby,
    spec::{JobSpec, WorkersSpec},
    view::{
        AliasRequest, ApiError, ClusterView, Curve, JobView, ModelView, ResumeRequest, SubmitRequest,
        WorkerView,
    },
};
use reqwest::{Method, RequestBuilder, StatusCode, Url, header::HeaderMap};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

pub(crate) use collection::Collection;
pub(crate) use follow::Follow;
use lines::Lines;

use crate::error::CliError;

/// A coordinator that takes longer to be reached is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A call that takes longer has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A coordinator that answers nothing for so long hangs: another one is asked, if there is one.
const HANG_MAX: Duration = Duration::from_secs(10);

/// The most bytes of an answer: a job with a confusion matrix of a thousand classes has seven million.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The most coordinators that are asked for one call.
const ASKED_MAX: usize = 32;

/// A coordinator at an address, or whichever of several leads.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// All that are known from the start; one at least.
    bases: Vec<Url>,
    /// The one that answered last as the leader.
    leader: Arc<Mutex<Url>>,
    http: reqwest::Client,
    /// How long is waited for the beginning of an answer where another coordinator can be asked.
    hang_max: Duration,
}

/// Where a request is made for.
struct At<'a> {
    base: &'a Url,
    http: &'a reqwest::Client,
}

/// A coordinator that did not answer.
struct Unanswered {
    /// Whether it may have heard the request.
    perhaps_heard: bool,
    error: ClientError,
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
    /// None of the coordinators leads.
    #[error("no coordinator leads at this moment: {} stands by", .stand_by.join(", "))]
    NoLeader {
        /// Those that answer.
        stand_by: Vec<String>,
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
            ClientError::NoLeader { .. } => Self::failed(error)
                .hint("the next one leads within seconds; --coordinator URL,URL names all that may"),
            ClientError::Unreachable { .. } => {
                Self::failed(error).hint("is `phalanx coordinator` running, and is this its HTTP address?")
            }
        }
    }
}

impl Client {
    /// A client of the coordinator at `address`, or of several with commas between, which are
    /// not asked yet.
    ///
    /// # Errors
    ///
    /// [`ClientError::Address`].
    pub(crate) fn new(address: &str) -> Result<Self, ClientError> {
        let bases = address.split(',').map(base).collect::<Result<Vec<_>, _>>()?;
        phalanx_tls::use_ring();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|_| ClientError::Address(address.to_owned()))?;
        let leader = Arc::new(Mutex::new(bases[0].clone()));
        Ok(Self { bases, leader, http, hang_max: HANG_MAX })
    }

    /// Its address; of several coordinators all, with commas between.
    pub(crate) fn address(&self) -> String {
        self.bases.iter().map(shown).collect::<Vec<_>>().join(",")
    }

    fn leader(&self) -> Url {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn turn_to(&self, leader: &Url) {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner).clone_from(leader);
    }

    /// What a client must know of the cluster.
    pub(crate) async fn cluster(&self) -> Result<ClusterView, ClientError> {
        self.get(&["cluster"]).await
    }

    /// Submits a job; the current span becomes the parent of its trace.
    pub(crate) async fn submit(&self, spec: JobSpec) -> Result<JobView, ClientError> {
        let mut headers = HeaderMap::new();
        phalanx_telemetry::to_headers(&mut headers);
        let body = SubmitRequest { spec };
        self.call(|at| at.request(Method::POST, &["jobs"]).headers(headers.clone()).json(&body)).await
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
        self.call(|at| at.request(Method::POST, &["jobs", id, "cancel"])).await
    }

    /// Saves a job's state and pauses it.
    pub(crate) async fn interrupt(&self, id: &str) -> Result<JobView, ClientError> {
        self.call(|at| at.request(Method::POST, &["jobs", id, "interrupt"])).await
    }

    /// Lets a job go on, from now on with as many workers as `workers` says.
    pub(crate) async fn resume(&self, id: &str, workers: Option<u32>) -> Result<JobView, ClientError> {
        let workers =
            workers.map(|count| WorkersSpec { start: Some(count), max: Some(count), ..Default::default() });
        let body = ResumeRequest { workers };
        self.call(|at| at.request(Method::POST, &["jobs", id, "resume"]).json(&body)).await
    }

    /// Changes how many workers a job takes.
    pub(crate) async fn scale(&self, id: &str, workers: &WorkersSpec) -> Result<JobView, ClientError> {
        self.call(|at| at.request(Method::POST, &["jobs", id, "scale"]).json(workers)).await
    }

    /// Lets a worker finish its step and leave.
    pub(crate) async fn drain(&self, worker: WorkerId) -> Result<WorkerView, ClientError> {
        self.call(|at| at.request(Method::POST, &["workers", &worker.to_string(), "drain"])).await
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
        let body = AliasRequest { version };
        self.call(|at| at.request(Method::PUT, &["models", name, "aliases", alias]).json(&body)).await
    }

    /// Deletes what nobody needs in the object store and is at least `age` old; nothing in a dry run.
    /// Returns when the store was looked through.
    pub(crate) async fn collect_garbage(
        &self,
        age: Duration,
        dry_run: bool,
    ) -> Result<Collection, ClientError> {
        let wanted = [("dry_run", dry_run.to_string()), ("older_than_seconds", age.as_secs().to_string())];
        let lines = self.lines(|at| at.request(Method::POST, &["gc"]).query(&wanted)).await?;
        Ok(Collection::new(self.clone(), lines))
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        self.call(|at| at.request(Method::GET, path)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: impl Fn(At<'_>) -> RequestBuilder,
    ) -> Result<T, ClientError> {
        let response = self.send(|at| request(at).timeout(CALL_TIMEOUT)).await?;
        let base = self.leader();
        let body = body(&base, response).await?;
        serde_json::from_slice(&body).map_err(|e| strange(&base, e))
    }

    /// Sends a request to the coordinator that leads, and takes an answer that is no success apart.
    async fn send(
        &self,
        request: impl Fn(At<'_>) -> RequestBuilder,
    ) -> Result<reqwest::Response, ClientError> {
        let (mut waiting, mut asked) = (VecDeque::from([self.leader()]), Vec::new());
        waiting.extend(self.bases.iter().cloned());
        let (mut stand_by, mut away) = (Vec::new(), Vec::new());
        while let Some(base) = waiting.pop_front() {
            if asked.contains(&base) || asked.len() == ASKED_MAX {
                continue;
            }
            asked.push(base.clone());
            let request = request(At { base: &base, http: &self.http }).build();
            let request = request.map_err(|error| unreachable(&base, &error))?;
            let changes_nothing = request.method().is_safe();
            let others = waiting.iter().any(|other| !asked.contains(other));
            let limit = if changes_nothing && others { self.hang_max } else { CALL_TIMEOUT };
            let response = match self.ask(&base, request, limit).await {
                Ok(response) => response,
                Err(Unanswered { perhaps_heard, error }) => {
                    if perhaps_heard {
                        self.turn_from(&base);
                    }
                    if perhaps_heard && !changes_nothing {
                        return Err(error);
                    }
                    away.push(error);
                    continue;
                }
            };
            let status = response.status();
            if status.is_success() {
                self.turn_to(&base);
                return Ok(response);
            }
            let Ok(ApiError { error: reason, standby }) =
                serde_json::from_slice(&body(&base, response).await?)
            else {
                return Err(strange(&base, format!("status {status}")));
            };
            let Some(Standby { leader }) = standby else {
                return Err(ClientError::Refused { status, reason });
            };
            stand_by.push(shown(&base));
            // The one that is named comes before those that are only known.
            leader
                .and_then(|leader| Url::parse(&leader).ok())
                .into_iter()
                .for_each(|url| waiting.push_front(url));
        }
        match away.into_iter().next() {
            Some(error) if stand_by.is_empty() => Err(error),
            _ => Err(ClientError::NoLeader { stand_by }),
        }
    }

    /// Sends a request to one coordinator, whose answer must begin within `limit`.
    async fn ask(
        &self,
        base: &Url,
        request: reqwest::Request,
        limit: Duration,
    ) -> Result<reqwest::Response, Unanswered> {
        match timeout(limit, self.http.execute(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                Err(Unanswered { perhaps_heard: !error.is_connect(), error: unreachable(base, &error) })
            }
            Err(_) => {
                let reason = format!("it has not answered for {limit:?}");
                let error = ClientError::Unreachable { url: shown(base), reason };
                Err(Unanswered { perhaps_heard: true, error })
            }
        }
    }

    /// Sends a request that is answered line by line.
    async fn lines(&self, request: impl Fn(At<'_>) -> RequestBuilder) -> Result<Lines, ClientError> {
        Ok(Lines::of(self.send(request).await?))
    }

    /// Asks another coordinator than `base` next, if there is one.
    fn turn_from(&self, base: &Url) {
        let place = self.bases.iter().position(|known| known == base).unwrap_or(self.bases.len() - 1);
        self.turn_to(&self.bases[(place + 1) % self.bases.len()]);
    }
}

impl At<'_> {
    /// A request for `/v1/…`; the parts of the path are escaped.
    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        self.http.request(method, url)
    }
}

/// The URL that one address means.
fn base(address: &str) -> Result<Url, ClientError> {
    let invalid = || ClientError::Address(address.to_owned());
    let text = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let base = Url::parse(&text).map_err(|_| invalid())?;
    if base.scheme() == "http" && base.host_str().is_some() { Ok(base) } else { Err(invalid()) }
}

async fn body(base: &Url, mut response: reqwest::Response) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|e| unreachable(base, &e))? {
        body.extend_from_slice(&piece);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(strange(base, format!("its answer is longer than {ANSWER_BYTES_MAX} bytes")));
        }
    }
    Ok(body)
}

fn shown(base: &Url) -> String {
    base.as_str().trim_end_matches('/').to_owned()
}

fn unreachable(base: &Url, error: &reqwest::Error) -> ClientError {
    ClientError::Unreachable { url: shown(base), reason: innermost(error) }
}

fn strange(base: &Url, reason: impl fmt::Display) -> ClientError {
    ClientError::Strange { url: shown(base), reason: reason.to_string() }
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
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn an_address_may_lack_its_scheme() {
        let client = Client::new("localhost:7700").unwrap();
        assert_eq!(client.address(), "http://localhost:7700");
    }

    #[test]
    fn several_addresses_are_asked_in_turn() {
        let client = Client::new("a:1,http://b:2").unwrap();
        assert_eq!(client.address(), "http://a:1,http://b:2");
        assert_eq!(shown(&client.leader()), "http://a:1");
        client.turn_from(&client.leader());
        assert_eq!(shown(&client.leader()), "http://b:2");
        client.turn_from(&client.leader());
        assert_eq!(shown(&client.leader()), "http://a:1");
    }

    /// A coordinator that takes connections and answers with `answer`, if with anything.
    async fn coordinator(answer: Option<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if let Some(answer) = answer {
                    let _ = stream.read(&mut [0; 4_096]).await;
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                        answer.len()
                    );
                    let _ = stream.write_all((head + answer).as_bytes()).await;
                }
                open.push(stream);
            }
        });
        address
    }

    #[tokio::test]
    async fn one_that_hangs_is_not_waited_for_by_who_only_asks() {
        let addresses = [coordinator(None).await, coordinator(Some("[]")).await];
        let mut client = Client::new(&addresses.join(",")).unwrap();
        client.hang_max = Duration::from_millis(50);
        assert!(client.jobs().await.unwrap().is_empty());
        assert_eq!(
            shown(&client.leader()),
            format!("http://{}", addresses[1]),
            "it is asked first from now on"
        );
        client.turn_to(&client.bases[0].clone());
        let follow = timeout(Duration::from_secs(5), client.follow("job-1").next()).await;
        assert!(matches!(follow, Ok(Err(ClientError::Strange { .. }))), "it was asked for its lines");
        // What changes something may have been heard.
        client.turn_to(&client.bases[0].clone());
        assert!(timeout(Duration::from_millis(200), client.cancel("job-1")).await.is_err());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in ["", "https://x", "http://", "ftp://x", "a b", "a:1,", "a:1,ftp://x"] {
            assert!(matches!(Client::new(wrong), Err(ClientError::Address(_))), "{wrong:?}");
        }
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        let client = Client::new("http://host:1/").unwrap();
        let at = At { base: &client.leader(), http: &client.http };
        let request = at.request(Method::GET, &["jobs", "../models?x"]).build().unwrap();
        assert_eq!(request.url().as_str(), "http://host:1/v1/jobs/..%2Fmodels%3Fx");
    }
}

//! The rows of a JSON interface, page after page, written down as JSON lines. The
//! token is sent and never shown, and goes to the host of the first page alone.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Duration,
};

use phalanx_protocol::spec::{HttpSpec, PageBy, PagesSpec};
use reqwest::{Client, StatusCode, Url, header::HeaderMap};
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, time::Instant};

use crate::{PrepareError, secret::secret};

/// The most bytes of one page.
const PAGE_BYTES_MAX: usize = 256 << 20;

/// A request that takes longer has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The pause before a request is first repeated; it doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The longest pause, also where the interface asks for a longer one.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Asks for all pages: what people call the source, and the file in which its rows are.
pub(crate) async fn write_down(spec: &HttpSpec, scratch: &Path) -> Result<(PathBuf, PathBuf), PrepareError> {
    let place = scratch.join("rows.jsonl");
    let shown = spec.url.split(['?', '#']).next().unwrap_or_default().to_owned();
    let refuse = |reason: String| PrepareError::Fetch { url: shown.clone(), reason };
    let mut pages = Pages::new(spec).map_err(&refuse)?;
    let failed =
        |error: std::io::Error| PrepareError::Scratch { path: place.clone(), reason: error.to_string() };
    let mut file = tokio::io::BufWriter::new(tokio::fs::File::create(&place).await.map_err(failed)?);
    while let Some(rows) = pages.next().await.map_err(&refuse)? {
        for row in rows {
            file.write_all(format!("{row}\n").as_bytes()).await.map_err(failed)?;
        }
    }
    file.flush().await.map_err(failed)?;
    Ok((PathBuf::from(&shown), place))
}

/// The pages of an interface, one after the other.
struct Pages<'a> {
    spec: &'a HttpSpec,
    client: Client,
    token: Option<String>,
    first: Url,
    next: Option<Url>,
    /// The pages that were asked for: one that comes again would never end.
    asked: HashSet<String>,
    rows: u64,
    earliest: Instant,
}

impl<'a> Pages<'a> {
    fn new(spec: &'a HttpSpec) -> Result<Self, String> {
        let first = Url::parse(&spec.url).map_err(|error| error.to_string())?;
        let token = secret(spec.token_env.as_deref(), spec.token_file.as_deref())?;
        // The process may have chosen a provider before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A page elsewhere is never fetched unseen: a redirect could carry the token away.
        let client = Client::builder().timeout(REQUEST_TIMEOUT).redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(|error| without_address(&error))?;
        let mut pages = Self {
            spec,
            client,
            token,
            next: None,
            first,
            asked: HashSet::new(),
            rows: 0,
            earliest: Instant::now(),
        };
        pages.next = Some(pages.page_at(0));
        Ok(pages)
    }

    /// The address of the page after `pages` others, where pages have numbers; the first one where they have none.
    fn page_at(&self, pages: u64) -> Url {
        let mut url = self.first.clone();
        let Some(PagesSpec { by, first, .. }) = &self.spec.pages else { return url };
        let position = match by {
            PageBy::Number => first.unwrap_or(1) + pages,
            PageBy::Offset => first.unwrap_or(0) + self.rows,
            PageBy::Cursor | PageBy::Link => return url,
        };
        set(&mut url, self.parameter(), &position.to_string());
        url
    }

    fn parameter(&self) -> &str {
        let pages = self.spec.pages.as_ref();
        pages.and_then(|pages| pages.parameter.as_deref()).unwrap_or(match pages.map(|pages| pages.by) {
            Some(PageBy::Offset) => "offset",
            Some(PageBy::Cursor) => "cursor",
            Some(PageBy::Number | PageBy::Link) | None => "page",
        })
    }

    /// The rows of the next page; `None` behind the last.
    async fn next(&mut self) -> Result<Option<Vec<Value>>, String> {
        let Some(url) = self.next.take() else { return Ok(None) };
        if !self.asked.insert(url.to_string()) {
            return Err(format!("page {} is one that was given before", self.asked.len() + 1));
        }
        if let Some(pages) = self.spec.pages.as_ref().filter(|pages| self.asked.len() > pages.max as usize) {
            return Err(format!("there are more than {} pages; `pages.max` lets more through", pages.max));
        }
        let (answer, headers) = self.ask(&url).await?;
        let rows = answer.pointer(&self.spec.rows).and_then(Value::as_array).ok_or_else(|| {
            format!("page {}: expected a list of rows at \"{}\"", self.asked.len(), self.spec.rows)
        })?;
        if let Some(row) = rows.iter().position(|row| !row.is_object()) {
            return Err(format!("page {}, row {}: expected a JSON object", self.asked.len(), row + 1));
        }
        self.rows += rows.len() as u64;
        self.next = self.after(&url, &answer, rows.is_empty(), &headers)?;
        Ok(Some(rows.clone()))
    }

    /// The address of the page after one.
    fn after(
        &self,
        url: &Url,
        answer: &Value,
        is_empty: bool,
        headers: &HeaderMap,
    ) -> Result<Option<Url>, String> {
        let Some(pages) = &self.spec.pages else { return Ok(None) };
        match pages.by {
            PageBy::Number | PageBy::Offset if is_empty => Ok(None),
            PageBy::Number | PageBy::Offset => Ok(Some(self.page_at(self.asked.len() as u64))),
            PageBy::Cursor => {
                let cursor = match answer.pointer(pages.next.as_deref().unwrap_or_default()) {
                    None | Some(Value::Null) => return Ok(None),
                    Some(Value::String(cursor)) if cursor.is_empty() => return Ok(None),
                    Some(Value::String(cursor)) => cursor.clone(),
                    Some(Value::Number(cursor)) => cursor.to_string(),
                    Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                        return Err(format!("page {}: the next cursor is no text", self.asked.len()));
                    }
                };
                let mut next = self.first.clone();
                set(&mut next, self.parameter(), &cursor);
                Ok(Some(next))
            }
            PageBy::Link => {
                let links = headers.get_all("link").iter().filter_map(|link| link.to_str().ok());
                let Some(next) = links.flat_map(|links| links.split(',')).find_map(next_link) else {
                    return Ok(None);
                };
                let next = url.join(next).map_err(|error| format!("the `Link` header: {error}"))?;
                // The token is for the host that the job file names.
                match next.origin() == self.first.origin() {
                    true => Ok(Some(next)),
                    false => Err("the `Link` header leads to another host".to_owned()),
                }
            }
        }
    }

    /// One page, asked for again where that may help.
    async fn ask(&mut self, url: &Url) -> Result<(Value, HeaderMap), String> {
        let mut pause = PAUSE_MIN;
        for repeated in 0.. {
            tokio::time::sleep_until(self.earliest).await;
            self.earliest =
                Instant::now() + Duration::from_secs_f64(1.0 / self.spec.requests_per_second.max(1e-3));
            let (reason, wait) = match self.once(url).await {
                Ok(answer) => return Ok(answer),
                Err(Refusal { reason, again: false, .. }) => return Err(reason),
                Err(Refusal { reason, wait, .. }) => (reason, wait),
            };
            if repeated >= self.spec.retries {
                return Err(format!("{reason}, {} times", repeated + 1));
            }
            tokio::time::sleep(wait.unwrap_or(pause).min(PAUSE_MAX)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        unreachable!("a request is repeated until it is given up")
    }

    async fn once(&self, url: &Url) -> Result<(Value, HeaderMap), Refusal> {
        let mut request = self.client.get(url.clone()).header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let again =
            |error: reqwest::Error| Refusal { reason: without_address(&error), again: true, wait: None };
        let mut answer = request.send().await.map_err(again)?;
        let status = answer.status();
        if !status.is_success() {
            let transient = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
            let seconds =
                answer.headers().get("retry-after").and_then(|wait| wait.to_str().ok()?.parse().ok());
            let hint = match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; is the token right?",
                _ if status.is_redirection() => "; name the address that it redirects to",
                _ => "",
            };
            return Err(Refusal {
                reason: format!("it answered {status}{hint}"),
                again: transient || status.is_server_error(),
                wait: seconds.map(Duration::from_secs),
            });
        }
        let mut content = Vec::new();
        while let Some(bytes) = answer.chunk().await.map_err(again)? {
            content.extend_from_slice(&bytes);
            if content.len() > PAGE_BYTES_MAX {
                let reason = format!("a page has more than {PAGE_BYTES_MAX} bytes");
                return Err(Refusal { reason, again: false, wait: None });
            }
        }
        let headers = answer.headers().clone();
        let json = serde_json::from_slice(&content);
        let json =
            json.map_err(|error| Refusal { reason: format!("no JSON: {error}"), again: false, wait: None })?;
        Ok((json, headers))
    }
}

/// Why a page was not given.
struct Refusal {
    reason: String,
    /// Whether it may be given if it is asked for again.
    again: bool,
    /// After how long, if the interface says so.
    wait: Option<Duration>,
}

/// Sets a parameter of an address.
fn set(url: &mut Url, name: &str, value: &str) {
    let others: Vec<(String, String)> =
        url.query_pairs().filter(|(other, _)| other != name).map(|(a, b)| (a.into(), b.into())).collect();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, value);
}

/// The address of a `Link` that is the next page (RFC 8288).
fn next_link(link: &str) -> Option<&str> {
    let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| matches!(parameter.trim(), "rel=\"next\"" | "rel=next");
    parameters.split(';').any(is_next).then_some(address)
}

/// An error without the address, whose parameters may be nobody's business, but with its cause.
fn without_address(error: &reqwest::Error) -> String {
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    let kind = if error.is_timeout() { "it did not answer in time" } else { "it cannot be reached" };
    let mut reason = kind.to_owned();
    while let Some(cause) = source {
        if cause.source().is_none() {
            reason = format!("{kind}: {cause}");
        }
        source = cause.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(next_link(" </a?page=2>; rel=\"next\""), Some("/a?page=2"));
        assert_eq!(next_link("</a?page=9>; rel=\"last\""), None);
        assert_eq!(next_link("nonsense"), None);
    }

    #[test]
    fn a_parameter_takes_the_place_of_the_one_of_its_name() {
        let mut url = Url::parse("https://host/rows?size=10&page=1").unwrap();
        set(&mut url, "page", "2");
        assert_eq!(url.as_str(), "https://host/rows?size=10&page=2");
    }
}

//! How the store talks HTTP: the client of `object_store`, with two rules of ours.
//!
//! 1. Whatever is sent may be sent again, since each file has one content for ever. So a request
//!    whose answer is lost or late is repeated like one that never left; `object_store` alone would
//!    give up a creation there.
//! 2. An upload in parts is completed only if there is no such file yet. `object_store` can ask for
//!    that in a creation in one request, but not there.
//!
//! Also notes since when the service has not answered.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use object_store::{
    ClientOptions, HeaderValue,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
        ReqwestConnector,
    },
};

use crate::{error::innermost, outage::Health};

/// Makes clients that follow the rules above.
#[derive(Debug, Default)]
pub(crate) struct Connector {
    pub(crate) health: Arc<Health>,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { client, health: Arc::clone(&self.health) }))
    }
}

#[derive(Debug)]
struct Service {
    client: HttpClient,
    health: Arc<Health>,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if completes_an_upload(&request) {
            request.headers_mut().insert("if-none-match", HeaderValue::from_static("*"));
        }
        let begun = Instant::now();
        let answer = self.client.execute(request).await;
        match &answer {
            // 507 is an answer: there is no room.
            Ok(answer) if !answer.status().is_server_error() || answer.status().as_u16() == 507 => {
                self.health.answers();
            }
            Ok(answer) => self.health.fails(begun, &format!("it answers {}", answer.status())),
            Err(error) => self.health.fails(begun, &innermost(error)),
        }
        answer.map_err(|error| match error.kind() {
            HttpErrorKind::Timeout | HttpErrorKind::Interrupted => {
                HttpError::new(HttpErrorKind::Request, error)
            }
            _ => error,
        })
    }
}

/// Whether it is S3's `CompleteMultipartUpload`.
fn completes_an_upload(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() == "POST" && query.split('&').any(|part| part.starts_with("uploadId="))
}

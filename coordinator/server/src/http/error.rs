//! Answers that are no success: a status and an [`ApiError`] that says what is
//! wrong and, where there is one, the remedy. axum's own extractors answer in
//! plain text; the ones here answer like everything else.

use axum::{
    Json,
    body::HttpBody as _,
    extract::{FromRequest, FromRequestParts, Request},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use phalanx_core::Rejected;
use phalanx_protocol::{rpc::Standby, view::ApiError};
use serde::de::DeserializeOwned;

use crate::handle::CallError;

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    reason: String,
    standby: Option<Standby>,
}

impl Refused {
    /// An answer with this status and reason.
    pub(super) fn new(status: StatusCode, reason: impl ToString) -> Self {
        Self { status, reason: reason.to_string(), standby: None }
    }

    /// Nothing has this name.
    pub(super) fn not_found(what: &str, name: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what} `{name}`"))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = ApiError { error: self.reason, standby: self.standby };
        (self.status, Json(body)).into_response()
    }
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        let status = match &error {
            CallError::Standby(leader) => {
                let standby = Standby { leader: leader.as_ref().map(|leader| leader.http.clone()) };
                let refused = Self::new(StatusCode::SERVICE_UNAVAILABLE, &standby);
                return Self { standby: Some(standby), ..refused };
            }
            CallError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            CallError::Rejected(rejected) => match rejected {
                Rejected::UnknownJob(_) | Rejected::UnknownModel(_) | Rejected::UnknownVersion { .. } => {
                    StatusCode::NOT_FOUND
                }
                Rejected::WrongJob { .. } | Rejected::WrongAlias(_) => StatusCode::BAD_REQUEST,
                Rejected::WrongState { .. } | Rejected::Call(_) | Rejected::Attach(_) => StatusCode::CONFLICT,
                Rejected::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
            },
        };
        Self::new(status, error)
    }
}

/// A JSON body.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(Refused::new(rejection.status(), rejection.body_text())),
        }
    }
}

/// A JSON body, or none at all.
#[derive(Debug)]
pub(super) struct OptionalBody<T>(pub(super) Option<T>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        if request.body().is_end_stream() {
            return Ok(Self(None));
        }
        Body::from_request(request, state).await.map(|Body(body)| Self(Some(body)))
    }
}

/// The variables of a path.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(variables)) => Ok(Self(variables)),
            Err(rejection) => Err(Refused::new(rejection.status(), rejection.body_text())),
        }
    }
}

/// What stands after the question mark.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(variables)) => Ok(Self(variables)),
            Err(rejection) => Err(Refused::new(rejection.status(), rejection.body_text())),
        }
    }
}

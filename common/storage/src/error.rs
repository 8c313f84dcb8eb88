//! What can go wrong with the store, and how errors of the layers below are
//! sorted into it. What becomes of a job hangs on two of them: a store that is
//! full pauses it, and one that is away may be back in a moment.
//!
//! Messages hold no more of a service's answer than its error's code: the rest
//! may show keys.

use std::{error::Error, io, path::Path};

use object_store::client::{HttpError, HttpErrorKind};

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No space left.
    #[error("the object store is full: {0}")]
    Full(String),
    /// The service did not answer, or said that it cannot now, for a whole minute; or a folder's file
    /// system did not. It may be back.
    #[error("the object store is away: {0}")]
    Away(String),
    /// The service takes us for nobody, or for somebody who may not do this.
    #[error(
        "the object store refuses access: {0}: check the credentials that the environment gives (AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY for s3://, GOOGLE_… for gs://, AZURE_… for az://) and what they are allowed to do"
    )]
    Denied(String),
    /// The service has no such bucket.
    #[error(
        "the object store has no such bucket or container: {0}: create it, or name another one with --store"
    )]
    NoBucket(String),
    /// No such file.
    #[error("{0} is not in the object store")]
    NotFound(String),
    /// There already, with other content.
    #[error("{0} is in the object store already, with other content")]
    Exists(String),
    /// Not what the reference says.
    #[error("{path} is damaged: expected {expected}, found {actual}")]
    Damaged {
        /// The file.
        path: String,
        /// Size or hash of the reference.
        expected: String,
        /// Size or hash found.
        actual: String,
    },
    /// Wrong URL, or settings that do not fit it.
    #[error("`{url}` is no object store: {reason}")]
    Url {
        /// It.
        url: String,
        /// Why.
        reason: String,
    },
    /// A path that the store does not let in.
    #[error("`{path}` cannot be a path of the object store: {reason}")]
    Path {
        /// It.
        path: String,
        /// Why.
        reason: String,
    },
    /// Everything else.
    #[error("object store: {0}")]
    Other(String),
}

impl StorageError {
    /// Whether the same call may succeed later without anybody mending anything: the store is away.
    /// What is full, refused or absent stays so until somebody acts.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Full(_)
            | Self::Denied(_)
            | Self::NoBucket(_)
            | Self::NotFound(_)
            | Self::Exists(_)
            | Self::Damaged { .. }
            | Self::Url { .. }
            | Self::Path { .. }
            | Self::Other(_) => false,
        }
    }

    /// An error of the operating system at `path`.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        let text = format!("{}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound(path.display().to_string()),
            _ if is_full(error) => Self::Full(text),
            kind if is_unreachable(kind) => Self::Away(text),
            _ => Self::Other(text),
        }
    }

    /// An error of a remote store about its file `path`.
    pub(crate) fn remote(path: &str, error: &object_store::Error) -> Self {
        if let Some(Answer { status, code }) = Answer::of(error) {
            let text = format!("{path}: it answers {status} {code}");
            return match status {
                507 => Self::Full(text),
                _ if code.ends_with("QuotaExceeded") => Self::Full(text),
                401 | 403 => Self::Denied(text),
                404 if NO_BUCKET.contains(&code.as_str()) => Self::NoBucket(text),
                404 => Self::NotFound(path.to_owned()),
                409 if IN_BETWEEN.contains(&code.as_str()) => Self::Away(text),
                409 | 412 => Self::Exists(path.to_owned()),
                408 | 429 | 500.. => Self::Away(text),
                _ => Self::Other(text),
            };
        }
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound(path.to_owned()),
            object_store::Error::AlreadyExists { .. } => Self::Exists(path.to_owned()),
            _ if INSTANCE_METADATA.iter().any(|place| error.to_string().contains(place)) => Self::Denied(
                format!("{path}: the environment gives no credentials, and neither does this machine"),
            ),
            _ if is_unanswered(error) => Self::Away(format!("{path}: {}", innermost(error))),
            _ => Self::Other(format!("{path}: {error}")),
        }
    }
}

/// Codes of services for a bucket that is not there.
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

/// Codes for a write that met another one of the same file: neither has happened yet.
const IN_BETWEEN: [&str; 2] = ["ConditionalRequestConflict", "OperationAborted"];

/// Where AWS's machines give credentials to whoever has none in the environment.
const INSTANCE_METADATA: [&str; 2] = ["/latest/api/token", "/latest/meta-data/"];

/// What `object_store` says of an answer that is no success. It keeps the status in a private
/// type, so its text is the only place to see it.
const ANSWERED: &str = "Server returned non-2xx status code: ";

/// The same for a success that holds an error after all, one that passes.
const ANSWERED_IN_THE_BODY: &str = "Server returned error response: ";

/// An answer of a service that is no success.
struct Answer {
    /// HTTP status.
    status: u16,
    /// The code in the answer, such as `AccessDenied`; empty if there is none.
    code: String,
}

impl Answer {
    fn of(error: &object_store::Error) -> Option<Self> {
        let text = innermost(error);
        let code = between(&text, "<Code>", "</Code>").unwrap_or_default().to_owned();
        if text.starts_with(ANSWERED_IN_THE_BODY) {
            return Some(Self { status: 503, code });
        }
        let status = text.strip_prefix(ANSWERED)?.split(' ').next()?.parse().ok()?;
        Some(Self { status, code })
    }
}

fn between<'t>(text: &'t str, begin: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(begin)?;
    Some(rest.split_once(end)?.0)
}

/// Whether no answer came: no connection, or one that was closed or silent.
fn is_unanswered(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        cause.downcast_ref::<HttpError>().is_some_and(|http| match http.kind() {
            HttpErrorKind::Connect
            | HttpErrorKind::Request
            | HttpErrorKind::Timeout
            | HttpErrorKind::Interrupted => true,
            // An answer that ends in the middle.
            HttpErrorKind::Decode => true,
            _ => false,
        })
    })
}

/// Whether a file system says that the machine behind it does not answer, as NFS and FUSE do.
fn is_unreachable(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::TimedOut
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::NotConnected
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

/// The text of the first cause, which is what a person can act on.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// The error and those that it was made from.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Whether `error`, or any error that it was made from, says that no space or
/// quota is left: `ENOSPC`, `EDQUOT`, or HTTP status 507 of a remote store.
pub fn is_full(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        let status = || cause.source().is_none() && cause.to_string().contains("507 Insufficient Storage");
        cause.downcast_ref::<io::Error>().is_some_and(is_full_io) || status()
    })
}

/// [`is_full`] for an I/O error, whose inner error does not count as its source.
fn is_full_io(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.get_ref().is_some_and(|inner| is_full(inner))
}

#[cfg(test)]
mod tests {
    use object_store::Error as StoreError;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Box<dyn Error + Send + Sync>);

    fn check(error: impl Error + Send + Sync + 'static, expected: bool) {
        let text = format!("{error:?}");
        assert_eq!(is_full(&Outer(Box::new(error))), expected, "{text}");
    }

    #[test]
    fn a_full_disk_is_found_at_any_depth() {
        check(io::Error::from(io::ErrorKind::StorageFull), true);
        check(io::Error::from_raw_os_error(28), true);
        check(io::Error::from_raw_os_error(122), true);
        check(io::Error::other(io::Error::from_raw_os_error(28)), true);
        check(io::Error::other("Server returned non-2xx status code: 507 Insufficient Storage: "), true);
        check(io::Error::from(io::ErrorKind::PermissionDenied), false);
        check(io::Error::other("something else"), false);
    }

    fn answered(status: &str, code: &str) -> StorageError {
        let body = format!("<Error><Code>{code}</Code><Message>key AKIA0123</Message></Error>");
        let source = io::Error::other(format!("{ANSWERED}{status}: {body}")).into();
        StorageError::remote("a/b", &StoreError::Generic { store: "S3", source })
    }

    #[test]
    fn an_answer_is_sorted_by_its_status_and_told_by_its_code_alone() {
        let check = |status: &str, code: &str, expected: fn(&StorageError) -> bool, told: &str| {
            let error = answered(status, code);
            assert!(expected(&error), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(told) && !text.contains("AKIA0123"), "{text}");
        };
        check("403 Forbidden", "AccessDenied", |e| matches!(e, StorageError::Denied(_)), "AccessDenied");
        check("401 Unauthorized", "", |e| matches!(e, StorageError::Denied(_)), "AWS_ACCESS_KEY_ID");
        check("404 Not Found", "NoSuchBucket", |e| matches!(e, StorageError::NoBucket(_)), "create it");
        check("404 Not Found", "NoSuchKey", |e| matches!(e, StorageError::NotFound(_)), "a/b");
        check(
            "412 Precondition Failed",
            "PreconditionFailed",
            |e| matches!(e, StorageError::Exists(_)),
            "a/b",
        );
        check("503 Service Unavailable", "SlowDown", StorageError::is_transient, "SlowDown");
        check("409 Conflict", "ConditionalRequestConflict", StorageError::is_transient, "a/b");
        check("507 Insufficient Storage", "", |e| matches!(e, StorageError::Full(_)), "a/b");
        check("400 Bad Request", "InvalidPart", |e| matches!(e, StorageError::Other(_)), "InvalidPart");
    }

    #[test]
    fn a_folder_of_a_machine_that_does_not_answer_is_away() {
        let stale = StorageError::io(Path::new("/mnt/store"), &io::Error::from_raw_os_error(116));
        assert!(stale.is_transient(), "{stale:?}");
        let broken = StorageError::io(Path::new("/mnt/store"), &io::Error::from_raw_os_error(5));
        assert!(!broken.is_transient(), "{broken:?}");
    }

    #[test]
    fn what_does_not_answer_is_away() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let source = HttpError::new(HttpErrorKind::Connect, refused).into();
        let error = StorageError::remote("a", &StoreError::Generic { store: "S3", source });
        assert!(error.is_transient() && error.to_string().contains("refused"), "{error}");
    }
}

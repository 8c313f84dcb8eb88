//! What can go wrong with the store, and how errors of the layers below are
//! sorted into it. The one difference that decides what becomes of a job is
//! "full": it pauses instead of failing.

use std::{error::Error, io, path::Path};

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No space left.
    #[error("the object store is full: {0}")]
    Full(String),
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
    /// Wrong URL.
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
    /// An error of the operating system at `path`.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        let text = format!("{}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound(path.display().to_string()),
            _ if is_full(error) => Self::Full(text),
            _ => Self::Other(text),
        }
    }

    /// An error of a remote store about its file `path`.
    pub(crate) fn remote(path: &str, error: &object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound(path.to_owned()),
            object_store::Error::AlreadyExists { .. } => Self::Exists(path.to_owned()),
            _ if is_full(error) => Self::Full(format!("{path}: {error}")),
            _ => Self::Other(format!("{path}: {error}")),
        }
    }
}

/// Whether `error`, or any error that it was made from, says that no space or
/// quota is left: `ENOSPC`, `EDQUOT`, or HTTP status 507 of a remote store.
pub fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(is_full_io) {
            return true;
        }
        // `object_store` keeps the status in a private type: its text is the only place to see it.
        if error.source().is_none() && error.to_string().contains("507 Insufficient Storage") {
            return true;
        }
        next = error.source();
    }
    false
}

/// [`is_full`] for an I/O error, whose inner error does not count as its source.
fn is_full_io(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.get_ref().is_some_and(|inner| is_full(inner))
}

#[cfg(test)]
mod tests {
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
}

//! Which paths the store lets in. Paths come out of manifests and messages, so
//! they are outside input: none may leave the store or hide in it.

use object_store::path::Path as ObjectPath;

use crate::StorageError;

/// The most bytes in a path; S3 allows 1,024.
const PATH_BYTES_MAX: usize = 1_000;

/// The most bytes between two slashes; file systems allow 255.
const SEGMENT_BYTES_MAX: usize = 200;

/// Checks that `path` can name a file: segments of ASCII letters, digits and
/// `-_.=+`, separated by single slashes, none beginning with a dot. Names that
/// begin with a dot are kept for the store's own temporary files.
pub(crate) fn checked(path: &str) -> Result<ObjectPath, StorageError> {
    let refuse = |reason: &str| Err(StorageError::Path { path: path.to_owned(), reason: reason.to_owned() });
    if path.is_empty() {
        return refuse("it is empty");
    }
    if path.len() > PATH_BYTES_MAX {
        return refuse("it is longer than 1,000 bytes");
    }
    for segment in path.split('/') {
        match segment.as_bytes() {
            [] => return refuse("expected something before, between and after its slashes"),
            [b'.', ..] => return refuse("no part of it may begin with a dot"),
            bytes if bytes.len() > SEGMENT_BYTES_MAX => {
                return refuse("a part of it is longer than 200 bytes");
            }
            bytes if !bytes.iter().all(|&b| b.is_ascii_alphanumeric() || b"-_.=+".contains(&b)) => {
                return refuse("expected ASCII letters, digits, `-`, `_`, `.`, `=`, `+` and `/`");
            }
            _ => {}
        }
    }
    ObjectPath::parse(path).map_err(|e| StorageError::Path { path: path.to_owned(), reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_leave_the_store_or_hide_in_it_are_refused() {
        let long = "a".repeat(201);
        for path in [
            "", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", ".tmp/x", "a/.b", "a\\b", "a\0b", "a b",
            "ä", &long,
        ] {
            assert!(matches!(checked(path), Err(StorageError::Path { .. })), "{path:?}");
        }
    }

    #[test]
    fn plain_paths_are_let_in_as_they_are() {
        for path in ["a", "jobs/mnist-3/checkpoints/g1-s100/part-0.safetensors", "x/y=1/z_2.json"] {
            assert_eq!(checked(path).expect("a plain path").as_ref(), path);
        }
    }

    proptest! {
        #[test]
        fn what_is_let_in_stays_below_the_root(path in "[a./\\\\-]{0,12}") {
            if checked(&path).is_ok() {
                let below = std::path::Path::new(&path);
                prop_assert!(below.components().all(|c| matches!(c, std::path::Component::Normal(_))));
            }
        }
    }
}

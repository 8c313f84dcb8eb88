//! Fetching the files of a source from an object store into a folder of this
//! machine, where they are read as often as passes need. Credentials are taken
//! from the environment, by the names in `docs/object-store.md`, and never shown.

use std::path::{Path, PathBuf};

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path as ObjectPath};
use phalanx_protocol::spec::is_glob;
use tokio::io::AsyncWriteExt as _;
use url::Url;

use super::files::FILES_MAX;
use crate::PrepareError;

/// Fetches what `url` names, a file, a glob or (where `folder` is set) all below it, into `scratch`.
/// The result is the name and the place of each file, in the order of their names.
pub(crate) async fn fetch(
    url: &Path,
    folder: bool,
    scratch: &Path,
) -> Result<Vec<(PathBuf, PathBuf)>, PrepareError> {
    let text = url.to_str().unwrap_or_default();
    let refuse = |reason: String| PrepareError::Fetch { url: text.to_owned(), reason };
    // Signs of a glob are kept from the URL's own parser.
    let (base, pattern) = match is_glob(url) {
        true => text.rsplit_once('/').map_or((text, None), |_| split_glob(text)),
        false => (text, None),
    };
    let parsed = Url::parse(base).map_err(|error| refuse(error.to_string()))?;
    let settings = std::env::vars_os().filter_map(|(name, value)| {
        Some((name.into_string().ok()?.to_lowercase(), value.into_string().ok()?))
    });
    let (store, prefix) =
        object_store::parse_url_opts(&parsed, settings).map_err(|error| refuse(error.to_string()))?;
    let found = match pattern.is_some() || folder {
        true => list(&*store, &prefix, pattern, &refuse).await?,
        false => vec![prefix.clone()],
    };
    let mut files = Vec::with_capacity(found.len());
    for (number, object) in found.into_iter().enumerate() {
        let beyond: String = object
            .prefix_match(&prefix)
            .map(|parts| parts.map(|part| format!("/{}", part.as_ref())).collect())
            .unwrap_or_default();
        let name = PathBuf::from(format!("{}{beyond}", base.trim_end_matches('/')));
        let file_name = object.filename().unwrap_or("file");
        let place = scratch.join(format!("{number:06}-{file_name}"));
        download(&*store, &object, &place)
            .await
            .map_err(|reason| PrepareError::Fetch { url: name.display().to_string(), reason })?;
        files.push((name, place));
    }
    Ok(files)
}

/// What stands before the first sign of a glob up to a `/`, and the whole of what is behind it.
fn split_glob(text: &str) -> (&str, Option<&str>) {
    let first = text.find(['*', '?', '[']).unwrap_or(text.len());
    let slash = text[..first].rfind('/').map_or(0, |slash| slash + 1);
    (&text[..slash], Some(&text[slash..]))
}

async fn list(
    store: &dyn ObjectStore,
    prefix: &ObjectPath,
    pattern: Option<&str>,
    refuse: &impl Fn(String) -> PrepareError,
) -> Result<Vec<ObjectPath>, PrepareError> {
    let pattern = pattern
        .map(glob::Pattern::new)
        .transpose()
        .map_err(|error| refuse(format!("not a glob: {error}")))?;
    let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
    let fits = |object: &ObjectPath| {
        let Some(beyond) = object.prefix_match(prefix) else { return false };
        let beyond: Vec<String> = beyond.map(|part| part.as_ref().to_owned()).collect();
        pattern.as_ref().is_none_or(|pattern| pattern.matches_with(&beyond.join("/"), options))
    };
    let mut found = Vec::new();
    let mut listing = store.list(Some(prefix));
    while let Some(meta) = listing.next().await {
        let meta = meta.map_err(|error| refuse(error.to_string()))?;
        if fits(&meta.location) {
            found.push(meta.location);
        }
        if found.len() > FILES_MAX {
            return Err(refuse(format!("more than {FILES_MAX} files")));
        }
    }
    found.sort_unstable();
    if found.is_empty() { Err(refuse("no file is like this".to_owned())) } else { Ok(found) }
}

async fn download(store: &dyn ObjectStore, object: &ObjectPath, place: &Path) -> Result<(), String> {
    let mut content = store.get(object).await.map_err(|error| error.to_string())?.into_stream();
    let mut file = tokio::fs::File::create(place).await.map_err(|error| error.to_string())?;
    while let Some(bytes) = content.try_next().await.map_err(|error| error.to_string())? {
        file.write_all(&bytes).await.map_err(|error| error.to_string())?;
    }
    file.flush().await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_is_cut_behind_the_last_folder_that_is_certain() {
        assert_eq!(split_glob("s3://b/a/x*/y.csv"), ("s3://b/a/", Some("x*/y.csv")));
        assert_eq!(split_glob("s3://b/*.csv"), ("s3://b/", Some("*.csv")));
    }

    #[tokio::test]
    async fn files_are_fetched_by_glob_in_the_order_of_their_names() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["b.csv", "a.csv", "c.txt"] {
            std::fs::write(from.path().join(name), name).unwrap();
        }
        let url = format!("file://{}/*.csv", from.path().display());
        let fetched = fetch(Path::new(&url), false, to.path()).await.unwrap();
        let read: Vec<String> =
            fetched.iter().map(|(_, place)| std::fs::read_to_string(place).unwrap()).collect();
        assert_eq!(read, ["a.csv", "b.csv"]);
        assert!(fetched[0].0.ends_with("a.csv"));
    }
}

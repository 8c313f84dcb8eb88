//! Gathering a source: its files are found or fetched, what a database or an
//! interface gives is written down, and all of it is hashed. From then on a source is files on
//! this machine whose content is known.

use std::{
    path::{Path, PathBuf},
    pin::pin,
};

use phalanx_protocol::spec::{DataSpec, SourceSpec, is_url};
use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    PrepareError, Progress, Stage,
    build::given_up,
    http,
    intake::{self, SourceFile, hash_file, is_image, locate},
    label_studio,
    source::unreadable,
    sql,
};

/// A file before it is hashed: what people call it, and where it is.
type Found = (PathBuf, PathBuf);

/// The files of the source that `spec` names. What must be written on the way is in `scratch`.
pub(crate) async fn gather(
    spec: &DataSpec,
    scratch: &Path,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Vec<SourceFile>, PrepareError> {
    let source = spec.source().ok_or_else(|| PrepareError::Recipe {
        reason: "expected one source, found none or several".to_owned(),
    })?;
    let found = match source {
        SourceSpec::Sql(query) => vec![sql::write_down(query, scratch).await?],
        SourceSpec::Http(interface) => vec![http::write_down(interface, scratch).await?],
        SourceSpec::Images(folder) => {
            let mut found = match is_url(&folder.path) {
                true => intake::fetch(&folder.path, true, scratch).await?,
                false => images(&folder.path)?,
            };
            // Labels decide what comes of the images.
            found.extend(folder.labels.iter().map(|labels| (labels.clone(), labels.clone())));
            found
        }
        SourceSpec::LabelStudio(tasks) => {
            vec![label_studio::write_down(files(&tasks.path, scratch).await?, scratch).await?]
        }
        SourceSpec::Csv(_)
        | SourceSpec::Parquet(_)
        | SourceSpec::Json(_)
        | SourceSpec::Arrow(_)
        | SourceSpec::Text(_) => files(source.path().unwrap_or(Path::new("")), scratch).await?,
    };
    let has_lines = match source {
        SourceSpec::Csv(_) | SourceSpec::Json(_) | SourceSpec::Text(_) => true,
        SourceSpec::Parquet(_)
        | SourceSpec::Arrow(_)
        | SourceSpec::Images(_)
        | SourceSpec::LabelStudio(_)
        | SourceSpec::Sql(_)
        | SourceSpec::Http(_) => false,
    };
    hash(found, has_lines, progress).await
}

/// The files that a path, a glob or a URL names.
async fn files(path: &Path, scratch: &Path) -> Result<Vec<Found>, PrepareError> {
    match is_url(path) {
        true => intake::fetch(path, false, scratch).await,
        false => Ok(locate(path)?.into_iter().map(|path| (path.clone(), path)).collect()),
    }
}

/// Hashes files on a thread.
async fn hash(
    found: Vec<Found>,
    has_lines: bool,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Vec<SourceFile>, PrepareError> {
    let first = found.first().map(|(name, _)| name.clone()).unwrap_or_default();
    let (told, mut newest) = watch::channel(0.0);
    let mut hashing = pin!(spawn_blocking(move || {
        let sizes = found.iter().map(|(_, path)| std::fs::metadata(path).map_or(0, |file| file.len()));
        let total = sizes.sum::<u64>().max(1) as f64;
        let (mut done, mut files) = (0, Vec::with_capacity(found.len()));
        for (name, path) in found {
            files.push(hash_file(name, path, has_lines, |bytes| {
                done += bytes;
                told.send((done as f64 / total) as f32).map_err(given_up)
            })?);
        }
        Ok(files)
    }));
    let mut fraction = 0.0;
    loop {
        progress(Progress { stage: Stage::Hash, fraction });
        tokio::select! {
            hashed = &mut hashing => return hashed.map_err(|_| PrepareError::Crashed { path: first })?,
            Ok(()) = newest.changed() => fraction = *newest.borrow_and_update(),
        }
    }
}

/// The images below a folder, in the order of their paths.
fn images(folder: &Path) -> Result<Vec<Found>, PrepareError> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| unreadable(&folder, error))?;
        for entry in entries {
            let path = entry.map_err(|error| unreadable(&folder, error))?.path();
            // A link to a folder may lead round in a circle.
            match path.symlink_metadata() {
                Ok(seen) if seen.is_dir() => folders.push(path),
                Ok(_) if is_image(&path) => found.push((path.clone(), path)),
                Ok(_) => {}
                Err(error) => return Err(unreadable(&path, error)),
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

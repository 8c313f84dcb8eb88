//! Garbage collection: looks through the object store for what nobody needs, as
//! the state machine judges it, and deletes that.
//!
//! The records are looked at first and the store afterwards. What is listed and
//! older than an hour then belongs to jobs that were known at the look, except
//! dataset versions: a job that was submitted since may find one there and use it.
//! So before each of their files is deleted, the records are looked at again, and
//! the manifest of a version goes first: nobody finds the version from then on.
//! What is left of the race is the time that one deletion takes, against the time
//! that a worker takes to hash the source of its data.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use jiff::{SignedDuration, Timestamp};
use phalanx_core::{Coordinator, Verdict};
use phalanx_protocol::view::{GARBAGE_SHOWN_MAX, GarbageFile, GarbageKind, GcView};
use phalanx_storage::{Listed, StorageError, Store};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    handle::{CallError, Handle},
    metrics,
};

/// The most files that one collection deletes.
const GARBAGE_MAX: usize = 100_000;

/// The most deletions at a time.
const CONCURRENT_MAX: usize = 16;

/// Why nothing was collected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GcError {
    /// The coordinator is stopping.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The store could not be looked through.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Somebody else writes there, too.
    #[error(
        "nothing was deleted: the object store has `{path}` of {owner}, which this coordinator has never had; \
         give each coordinator a store or a prefix of its own, and start this one with the state that belongs to its store"
    )]
    Foreign {
        /// The file.
        path: String,
        /// Whose it is.
        owner: String,
    },
}

/// What was found. Owned by whoever asked; dropped, nothing more is deleted.
#[derive(Debug)]
pub(crate) struct Collection {
    handle: Handle,
    store: Store,
    garbage: Vec<GarbageFile>,
    view: GcView,
}

impl Collection {
    /// Looks for garbage that is at least `age` old. Deletes nothing.
    pub(crate) async fn look(
        handle: Handle,
        store: Store,
        age: Duration,
        dry_run: bool,
    ) -> Result<Self, GcError> {
        let named = handle.read(Coordinator::named).await?;
        let before =
            Timestamp::now().saturating_sub(SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX));
        let before = before.unwrap_or(Timestamp::MIN);
        let judge = named.clone();
        let wanted = move |file: &_| judge.judge(file, before) != Verdict::Kept;
        let (files, more) = store.find("", GARBAGE_MAX, wanted).await?;
        let mut garbage = Vec::new();
        for file in files {
            match named.judge(&file, before) {
                Verdict::Kept => {}
                Verdict::Garbage(kind) => garbage.push(found(file, kind)),
                Verdict::Foreign { owner } => return Err(GcError::Foreign { path: file.path, owner }),
            }
        }
        let unfinished = store.unfinished().await?.into_iter();
        let abandoned = unfinished.filter(|file| named.is_abandoned(file, before));
        garbage.extend(abandoned.map(|file| found(file, GarbageKind::Unfinished)));
        // Versions one after the other, each with its manifest first.
        garbage.sort_by_cached_key(|file| {
            (file.kind, !file.path.ends_with("/manifest.json"), file.path.clone())
        });

        let preparing = named.preparing().cloned();
        let mut view =
            GcView { dry_run, older_than_seconds: age.as_secs(), more, preparing, ..GcView::default() };
        for file in &garbage {
            let of_kind = view.garbage.entry(file.kind).or_default();
            of_kind.files += 1;
            of_kind.bytes = of_kind.bytes.saturating_add(file.bytes);
        }
        view.files = garbage.iter().take(GARBAGE_SHOWN_MAX).cloned().collect();
        view.files.sort_unstable();
        Ok(Self { handle, store, garbage, view })
    }

    /// What was found, before anything is deleted.
    pub(crate) fn view(&self) -> GcView {
        self.view.clone()
    }

    /// Deletes it, unless that is not wanted, and tells `view` how far it is. What cannot be deleted
    /// ends it: the next collection finds the rest.
    pub(crate) async fn collect(self, view: &watch::Sender<GcView>) {
        let problem = if self.view.dry_run { None } else { self.delete(view).await.err() };
        view.send_modify(|view| {
            view.problem = problem.map(|problem| problem.to_string());
            view.done = true;
            let deleted: u64 = view.garbage.values().map(|of_kind| of_kind.deleted_files).sum();
            info!(deleted, dry_run = view.dry_run, problem = view.problem, "garbage collected");
        });
    }

    async fn delete(self, view: &watch::Sender<GcView>) -> Result<(), GcError> {
        let Self { handle, store, garbage, view: _ } = self;
        let (datasets, others): (Vec<_>, Vec<_>) =
            garbage.into_iter().partition(|file| file.kind == GarbageKind::Dataset);
        let others = stream::iter(others).map(|file| delete(&store, file, view));
        others.buffer_unordered(CONCURRENT_MAX).try_for_each(|()| future::ready(Ok(()))).await?;
        for file in datasets {
            let named = handle.read(Coordinator::named).await?;
            if let Some(job) = named.preparing() {
                view.send_modify(|view| view.preparing = Some(job.clone()));
                break;
            }
            let GarbageFile { path, bytes, modified, .. } = file.clone();
            let listed = Listed { path, bytes, modified };
            if named.judge(&listed, Timestamp::MAX) == Verdict::Garbage(GarbageKind::Dataset) {
                delete(&store, file, view).await?;
            }
        }
        Ok(())
    }
}

async fn delete(store: &Store, file: GarbageFile, view: &watch::Sender<GcView>) -> Result<(), GcError> {
    let deleted = match file.kind {
        GarbageKind::Unfinished => store.abort(&file.path).await,
        GarbageKind::Checkpoint | GarbageKind::Artifact | GarbageKind::Model | GarbageKind::Dataset => {
            store.delete(&file.path).await
        }
    };
    if let Err(error) = deleted {
        metrics::file_failed();
        warn!(path = file.path, %error, "garbage was not deleted");
        return Err(error.into());
    }
    metrics::garbage_deleted(file.bytes);
    view.send_modify(|view| {
        let of_kind = view.garbage.entry(file.kind).or_default();
        of_kind.deleted_files += 1;
        of_kind.deleted_bytes = of_kind.deleted_bytes.saturating_add(file.bytes);
    });
    Ok(())
}

fn found(file: Listed, kind: GarbageKind) -> GarbageFile {
    GarbageFile { path: file.path, kind, bytes: file.bytes, modified: file.modified }
}

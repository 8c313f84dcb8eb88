//! Files of S3 that are too large for one request: sent in pieces, several at a
//! time, and put together when all are there. Nothing is seen under a file's path
//! before that; what was sent of a file that never came to be is given up at
//! once, or later by whoever asks for [`unfinished`](Uploads::unfinished) uploads.
//!
//! Creation has one winner here, too. S3 puts an upload together only if there is
//! no such file ("If-None-Match", see `service.rs`), and AWS does that for one of
//! many at most. SeaweedFS 4.48 refuses whoever comes later, but lets several
//! through that come at the same time. So an upload begins with a *claim*: a
//! small file, created in one request, which all services do for one of many. It
//! names the upload and the content, and is deleted when the upload has ended:
//!
//! | the claim's content | then |
//! | --- | --- |
//! | is ours | both send the same pieces to the claim's upload, and whoever is last finds the file there |
//! | is another | the file counts as created with that |
//!
//! Transitions: claimed → pieces there → completed or aborted → claim deleted. A
//! process that is killed leaves a claim and pieces, never a file. Nobody aborts
//! an upload that somebody may be completing in the same moment, as far as that
//! can be seen: SeaweedFS would delete what the file was just made of.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{
    ObjectStore, ObjectStoreExt as _, aws::AmazonS3, multipart::MultipartStore as _, path::Path as ObjectPath,
};
use phalanx_protocol::reference::{FileRef, HashHex};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tracing::{debug, warn};

use crate::{
    Listed, StorageError,
    remote::{self, PIECE_BYTES, PIECES_AT_ONCE},
    store::LIST_FILES_MAX,
};

/// The folder of the claims; they lie there under the paths of their files.
pub(crate) const CLAIMS: &str = ".claims";

/// The most pieces that S3 takes.
const PIECES_MAX: usize = 10_000;

/// The most bytes of a claim.
const CLAIM_BYTES_MAX: usize = 4 << 10;

/// How often to begin anew when somebody else has given the upload up that we took part in.
const ATTEMPTS_MAX: usize = 4;

/// Uploads to one bucket.
#[derive(Debug, Clone)]
pub(crate) struct Uploads {
    bucket: AmazonS3,
    /// Where the store lies in the bucket.
    prefix: ObjectPath,
    /// The store itself.
    store: Arc<dyn ObjectStore>,
}

/// Who uploads what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    /// S3's name of the upload.
    upload: String,
    /// The content's hash.
    blake3: HashHex,
}

/// How an attempt ended.
enum Attempt {
    Created,
    /// Somebody has given the upload up.
    Lost,
}

impl Uploads {
    pub(crate) fn new(bucket: AmazonS3, prefix: ObjectPath, store: Arc<dyn ObjectStore>) -> Self {
        Self { bucket, prefix, store }
    }

    /// Creates the file in pieces. [`StorageError::Exists`] if there is one, or if somebody is about
    /// to create one with other content.
    pub(crate) async fn create(
        &self,
        path: &ObjectPath,
        file: &FileRef,
        content: Bytes,
    ) -> Result<(), StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            // Asked first: what is there need not be sent.
            if self.is_there(path).await? {
                return Err(StorageError::Exists(path.to_string()));
            }
            match self.attempt(path, file, &content).await? {
                Attempt::Created => return Ok(()),
                Attempt::Lost => debug!(%path, "an upload was given up by somebody else and begins anew"),
            }
        }
        Err(StorageError::Away(format!(
            "{path}: its upload was given up {ATTEMPTS_MAX} times by somebody else"
        )))
    }

    async fn attempt(
        &self,
        path: &ObjectPath,
        file: &FileRef,
        content: &Bytes,
    ) -> Result<Attempt, StorageError> {
        let Some(claim) = self.claim(path, file).await? else { return Ok(Attempt::Lost) };
        let unfinished = Unfinished { uploads: Some(self.clone()), path: path.clone(), claim };
        match self.send(path, &unfinished.claim.upload, content).await {
            Ok(()) => {
                unfinished.end().await;
                Ok(Attempt::Created)
            }
            // Refused, since there is a file: of somebody who has completed the same upload, or another one. The
            // claim stays for `gc`: an upload is never aborted in the moment in which it may be completed.
            Err(StorageError::Exists(path)) => {
                unfinished.leave();
                Err(StorageError::Exists(path))
            }
            // The upload has ended: by us, if the answer to an earlier try was lost, or by somebody else.
            Err(StorageError::NotFound(_)) => {
                unfinished.end().await;
                Ok(Attempt::Lost)
            }
            Err(error) => Err(error),
        }
    }

    /// Begins an upload and claims it, or takes part in the one that has the claim. `None` if that
    /// one has just ended.
    async fn claim(&self, path: &ObjectPath, file: &FileRef) -> Result<Option<Claim>, StorageError> {
        let begun = self.bucket.create_multipart(&self.key(path)).await;
        let upload = begun.map_err(|e| StorageError::remote(path.as_ref(), &e))?;
        let claim = Claim { upload, blake3: file.blake3.clone() };
        let json = serde_json::to_vec(&claim).expect("invariant: a claim is made of plain values");
        let claimed = remote::create_at_once(&*self.store, &claim_path(path), json.into()).await;
        let theirs = match claimed {
            Ok(()) => return Ok(Some(claim)),
            Err(StorageError::Exists(_)) => self.claimed(path).await,
            Err(error) => Err(error),
        };
        // Ours, if the answer to an earlier try was lost.
        if theirs.as_ref().is_ok_and(|theirs| theirs.as_ref() == Some(&claim)) {
            return Ok(Some(claim));
        }
        // No piece was sent, so nothing is lost if this fails.
        let _ = self.bucket.abort_multipart(&self.key(path), &claim.upload).await;
        match theirs? {
            Some(theirs) if theirs.blake3 == claim.blake3 => Ok(Some(theirs)),
            Some(_) => Err(StorageError::Exists(path.to_string())),
            None => Ok(None),
        }
    }

    /// Sends all pieces and lets S3 put them together.
    async fn send(&self, path: &ObjectPath, upload: &String, content: &Bytes) -> Result<(), StorageError> {
        let key = self.key(path);
        let pieces = stream::iter(pieces(content.len()).enumerate());
        let sent = pieces
            .map(|(index, piece)| self.bucket.put_part(&key, upload, index, content.slice(piece).into()));
        let completed = async {
            let sent = sent.buffered(PIECES_AT_ONCE).try_collect().await?;
            self.bucket.complete_multipart(&key, upload, sent).await
        };
        completed.await.map(drop).map_err(|e| StorageError::remote(path.as_ref(), &e))
    }

    /// Uploads that were begun and not ended: the paths of their files, and when they were claimed.
    pub(crate) async fn unfinished(&self) -> Result<Vec<Listed>, StorageError> {
        let failed = |e| StorageError::remote(CLAIMS, &e);
        let mut claims = self.store.list(Some(&ObjectPath::from(CLAIMS)));
        let mut found = Vec::new();
        while let Some(claim) = claims.try_next().await.map_err(failed)? {
            let claim = remote::listed(&claim);
            let path = claim.path.strip_prefix(CLAIMS).and_then(|path| path.strip_prefix('/'));
            found.extend(path.map(|path| Listed { path: path.to_owned(), ..claim.clone() }));
            if found.len() == LIST_FILES_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// Gives the upload of a file up, whoever has begun it; that there is none is success.
    pub(crate) async fn abort(&self, path: &ObjectPath) -> Result<(), StorageError> {
        match self.claimed(path).await? {
            Some(claim) => self.give_up(path, &claim).await,
            None => Ok(()),
        }
    }

    /// Aborts an upload and then deletes its claim.
    async fn give_up(&self, path: &ObjectPath, claim: &Claim) -> Result<(), StorageError> {
        let aborted = self.bucket.abort_multipart(&self.key(path), &claim.upload).await;
        match aborted.map_err(|e| StorageError::remote(path.as_ref(), &e)) {
            Ok(()) | Err(StorageError::NotFound(_)) => self.release(path, claim).await,
            Err(other) => Err(other),
        }
    }

    /// Deletes the claim of an upload that has ended, unless another one has claimed the path since.
    async fn release(&self, path: &ObjectPath, claim: &Claim) -> Result<(), StorageError> {
        match self.claimed(path).await? {
            Some(now) if now == *claim => remote::delete(&*self.store, &claim_path(path)).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn claimed(&self, path: &ObjectPath) -> Result<Option<Claim>, StorageError> {
        let place = claim_path(path);
        let read = async { self.store.get_range(&place, 0..CLAIM_BYTES_MAX as u64).await };
        match read.await.map_err(|e| StorageError::remote(place.as_ref(), &e)) {
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|error| {
                StorageError::Other(format!("{place} is no claim of an upload: {error}: delete it"))
            }),
            Err(StorageError::NotFound(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn is_there(&self, path: &ObjectPath) -> Result<bool, StorageError> {
        match self.store.head(path).await.map_err(|e| StorageError::remote(path.as_ref(), &e)) {
            Ok(_) => Ok(true),
            Err(StorageError::NotFound(_)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// The file's name in the bucket.
    fn key(&self, path: &ObjectPath) -> ObjectPath {
        self.prefix.parts().chain(path.parts()).collect()
    }
}

/// An upload that has not ended. Dropped, it is given up in the background.
struct Unfinished {
    /// `None` once it has ended.
    uploads: Option<Uploads>,
    path: ObjectPath,
    claim: Claim,
}

impl Unfinished {
    /// It has ended.
    async fn end(mut self) {
        let Some(uploads) = self.uploads.take() else { return };
        if let Err(error) = uploads.release(&self.path, &self.claim).await {
            debug!(path = %self.path, %error, "the claim of an upload that has ended was not deleted");
        }
    }

    /// Somebody else sees to it.
    fn leave(mut self) {
        self.uploads = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let (Some(uploads), Ok(runtime)) = (self.uploads.take(), Handle::try_current()) else { return };
        let (path, claim) = (self.path.clone(), self.claim.clone());
        runtime.spawn(async move {
            let given_up = async {
                // Its completion may have come through without an answer.
                if uploads.is_there(&path).await? {
                    return uploads.release(&path, &claim).await;
                }
                uploads.give_up(&path, &claim).await
            };
            if let Err(error) = given_up.await {
                warn!(%path, %error, "an upload that was cut off was not given up: `phalanx gc` does it later");
            }
        });
    }
}

fn claim_path(path: &ObjectPath) -> ObjectPath {
    ObjectPath::from(CLAIMS).parts().chain(path.parts()).collect()
}

/// The pieces of a file of so many bytes: equal but for the last, as some services demand.
fn pieces(bytes: usize) -> impl Iterator<Item = Range<usize>> {
    let piece = PIECE_BYTES.max(bytes.div_ceil(PIECES_MAX));
    (0..bytes).step_by(piece).map(move |begin| begin..bytes.min(begin + piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_file_and_are_not_too_many() {
        for bytes in [1, PIECE_BYTES, PIECE_BYTES + 1, 5 << 30, 100 << 30] {
            let pieces: Vec<_> = pieces(bytes).collect();
            assert!(pieces.len() <= PIECES_MAX, "{bytes}");
            assert!(
                pieces.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].len() >= pair[1].len())
            );
            assert_eq!((pieces[0].start, pieces.last().unwrap().end), (0, bytes));
        }
    }
}

//! What control tells the work of one generation: to stop when the step under way
//! is done, or that the generation is over and nobody waits for it any more.
//!
//! Shared between control, which gives orders, and the tasks and threads of the
//! work, which look at them. An order is never taken back.

use std::{
    io,
    sync::atomic::{AtomicU8, Ordering},
};

use phalanx_collective::AbortHandle;
use phalanx_member::StopVote;
use tokio_util::sync::CancellationToken;

/// The orders to one generation's work.
#[derive(Debug)]
pub(crate) struct Orders {
    /// A [`StopVote`]; the greater of two holds.
    vote: AtomicU8,
    stop: CancellationToken,
    over: CancellationToken,
    /// Ends waits inside of the collective.
    abort: AbortHandle,
}

/// The generation is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over;

impl Orders {
    /// No orders yet.
    ///
    /// # Errors
    ///
    /// Where the process has no file descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            vote: AtomicU8::new(StopVote::Continue as u8),
            stop: CancellationToken::new(),
            over: CancellationToken::new(),
            abort: AbortHandle::new()?,
        })
    }

    /// Stop after the step under way, and save the state first if that is wanted.
    pub(crate) fn stop(&self, save: bool) {
        self.vote.fetch_max(StopVote::to_stop(save) as u8, Ordering::AcqRel);
        self.stop.cancel();
    }

    /// The generation is over: whoever works for it ends without a word.
    pub(crate) fn end(&self) {
        self.over.cancel();
        self.vote.store(StopVote::Stop as u8, Ordering::Release);
        self.stop.cancel();
        self.abort.abort();
    }

    /// What the trainer is to vote for.
    pub(crate) fn vote(&self) -> StopVote {
        let vote = self.vote.load(Ordering::Acquire);
        let all = [StopVote::Continue, StopVote::Stop, StopVote::SaveAndStop];
        all.into_iter().find(|it| *it as u8 == vote).expect("invariant: it is stored as one of them")
    }

    /// Waits for an order to stop.
    pub(crate) async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the generation is over.
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// What `work` gives, unless the generation is over before; `work` is dropped then.
    pub(crate) async fn unless_over<T>(&self, work: impl Future<Output = T>) -> Result<T, Over> {
        tokio::select! {
            biased;
            () = self.over.cancelled() => Err(Over),
            done = work => Ok(done),
        }
    }

    /// Ends waits inside of the collective of this generation.
    pub(crate) fn abort_handle(&self) -> &AbortHandle {
        &self.abort
    }
}

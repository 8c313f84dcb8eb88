//! A flag that a thread can wait for together with sockets: a pair of connected
//! sockets of which one end is written to and the other polled. Whoever creates a
//! signal owns it; nothing here knows what it means, except [`AbortHandle`].

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Something to be woken by. It stays raised until it is cleared.
#[derive(Debug)]
pub(crate) struct Signal {
    writer: UnixStream,
    reader: UnixStream,
}

impl Signal {
    /// A signal that is not raised.
    pub(crate) fn new() -> io::Result<Self> {
        let (writer, reader) = UnixStream::pair()?;
        writer.set_nonblocking(true)?;
        reader.set_nonblocking(true)?;
        Ok(Self { writer, reader })
    }

    /// Makes the polled end readable.
    pub(crate) fn raise(&self) {
        // It can only fail because the buffer is full, and then it is readable.
        let _ = (&self.writer).write(&[1]);
    }

    /// Makes the polled end unreadable until the next [`raise`](Self::raise).
    pub(crate) fn clear(&self) {
        let mut taken = [0; 64];
        while matches!((&self.reader).read(&mut taken), Ok(read) if read == taken.len()) {}
    }
}

impl AsFd for Signal {
    /// The end to be polled for reading.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Ends all waits of one [`Group`](crate::Group), from any thread, for good, and tells whether it
/// waits. Made before the group, so that it reaches [`Group::connect`](crate::Group::connect)
/// too. Clones are the same handle.
#[derive(Clone)]
pub struct AbortHandle {
    inner: Arc<Inner>,
}

struct Inner {
    aborted: AtomicBool,
    signal: Signal,
    /// Waits that have begun, and those that have ended.
    waits: AtomicU64,
}

/// A wait for other ranks, which ends when this is dropped.
pub(crate) struct Wait<'a>(&'a AtomicU64);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl AbortHandle {
    /// A handle for one group.
    ///
    /// # Errors
    ///
    /// Where the process has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                aborted: AtomicBool::new(false),
                signal: Signal::new()?,
                waits: AtomicU64::new(0),
            }),
        })
    }

    /// Ends the wait that the group is in, at once, and all later ones, with
    /// [`CollectiveError::Aborted`](crate::CollectiveError::Aborted). Does not block.
    pub fn abort(&self) {
        self.inner.aborted.store(true, Ordering::Release);
        self.inner.signal.raise();
    }

    /// Whether [`abort`](Self::abort) was called.
    pub fn is_aborted(&self) -> bool {
        self.inner.aborted.load(Ordering::Acquire)
    }

    /// How often the group has begun or ended to wait for other ranks: an odd number while it
    /// waits. Its own limits hold then; a rank that does not wait, and never begins to, is stuck.
    pub fn waits(&self) -> u64 {
        self.inner.waits.load(Ordering::Relaxed)
    }

    /// Begins a wait. A group has one at a time.
    pub(crate) fn wait(&self) -> Wait<'_> {
        self.inner.waits.fetch_add(1, Ordering::Relaxed);
        Wait(&self.inner.waits)
    }

    /// Raised when aborted, never cleared.
    pub(crate) fn signal(&self) -> &Signal {
        &self.inner.signal
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").field("aborted", &self.is_aborted()).finish()
    }
}

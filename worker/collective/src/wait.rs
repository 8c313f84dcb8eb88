//! Waiting for file descriptors until a deadline. The only place that blocks.

use std::{io, time::Instant};

use rustix::{
    event::{PollFd, Timespec, poll},
    io::Errno,
};

/// Blocks until one of `fds` is ready, `deadline` has passed, or a signal handler
/// ran; the caller looks at all three. Without a deadline it may block forever.
pub(crate) fn wait(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.map(|left| Timespec::try_from(left).expect("invariant: deadlines are near"));
    match poll(fds, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

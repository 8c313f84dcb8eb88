//! Ending with the process that started this one: a worker of `phalanx run` must
//! not outlive it, not even where that is killed.

use std::{io, process};

use rustix::process::{Pid, getppid};

/// Ends this process at once when its parent, the process `pid`, has ended; 0 is the
/// parent that it has now. Files are written whole or not at all, so nothing is lost
/// that was promised.
///
/// The kernel sends `SIGKILL` when the *thread* that started this process ends, so the
/// parent must do that on a thread that lives as long as itself.
///
/// # Errors
///
/// What the system says.
pub(crate) fn die_with_parent(pid: u32) -> io::Result<()> {
    let parent = i32::try_from(pid).ok().and_then(Pid::from_raw).or_else(getppid);
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // Whoever has lost its parent is given another one: it was gone before the kernel was asked.
    if getppid() != parent {
        process::exit(1);
    }
    Ok(())
}

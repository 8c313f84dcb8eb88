//! Ending with the process that started this one: a worker of `phalanx run` must
//! not outlive it, not even where that is killed.

use std::{io, process, thread, time::Duration};

use rustix::process::{Pid, getppid};

/// How often the parent is looked for, where the system does not tell when it is gone.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Ends this process at once when its parent, the process `pid`, has ended; 0 is the
/// parent that it has now. Files are written whole or not at all, so nothing is lost
/// that was promised.
///
/// On Linux the kernel sends `SIGKILL` when the *thread* that started this process
/// ends, so the parent must do that on a thread that lives as long as itself. The
/// look for another parent serves other systems, and the moment before the kernel
/// was asked.
///
/// # Errors
///
/// What the system says.
pub(crate) fn die_with_parent(pid: u32) -> io::Result<()> {
    let parent = i32::try_from(pid).ok().and_then(Pid::from_raw).or_else(getppid);
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let look = move || {
        // Whoever has lost its parent is given another one.
        while getppid() == parent {
            thread::sleep(LOOK_EVERY);
        }
        process::exit(1);
    };
    thread::Builder::new().name("parent".to_owned()).spawn(look).map(drop)
}

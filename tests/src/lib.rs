//! A harness around the real binary: jobs in a folder of their own, processes
//! that are started, interrupted and killed, and what they say.

mod job;
mod process;
mod wait;

pub use job::{Job, examples};
pub use process::{Ended, Home, Running, binary, send};
pub use rustix::process::Signal;
pub use wait::{Deadline, eventually};

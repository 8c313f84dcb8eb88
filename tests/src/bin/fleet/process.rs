//! The processes: how many files this one may open, and what the coordinator's takes.

use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A connection for each worker takes more than the usual 1,024.
pub(crate) fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the limit can be raised");
}

/// The coordinator's process.
pub(crate) struct Coordinator {
    pub(crate) pid: i32,
}

impl Coordinator {
    /// The cores that it takes while `act` goes on.
    pub(crate) fn cores_during(&self, act: impl FnOnce()) -> f64 {
        let (before, begun) = (self.cpu(), Instant::now());
        act();
        (self.cpu() - before) / begun.elapsed().as_secs_f64()
    }

    /// Processor time until now, in seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("it runs");
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        // user and system time are fields 14 and 15; the state, after the name, is field 3.
        let ticks = after_name.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|field| field.parse::<u64>().expect("a number of ticks")).sum();
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }
}

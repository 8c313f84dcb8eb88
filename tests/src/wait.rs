//! Waiting for something to become true, with a deadline and never a bare sleep.

use std::time::{Duration, Instant};

/// How long to wait at most. Generous: the machine may have one core for eight processes.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Duration);

impl Default for Deadline {
    fn default() -> Self {
        Self(Duration::from_secs(120))
    }
}

/// Asks `probe` again and again until it has an answer.
///
/// # Panics
///
/// When there is none within the deadline; says `what` was waited for.
pub fn eventually<T>(what: &str, Deadline(limit): Deadline, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
